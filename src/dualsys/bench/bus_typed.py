"""What typed messages cost by themselves: the pair of sockets of `bus_raw`, and msgspec at both ends.

The messages are those of dualsys, encoded and decoded against their schema, which is the least that anybody
does who wants to know what came. There are no channels, numbers, sizes or specifications to be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from dualsys.bench.bus_ours import observation, packet
from dualsys.bench.bus_payloads import ANSWER_S, Addresses, Line, Stamps, latents, no_answer
from dualsys.bench.bus_raw import pair
from dualsys.clock import WallClock
from dualsys.errors import PeerTimeoutError
from dualsys.messages import LatentPacket, Observation


class TypedNear:
    """The end that asks.

    Args:
        line: Which link.
        addresses: Of the far end.

    Raises:
        PeerTimeoutError: Nobody answers.
    """

    def __init__(self, line: Line, addresses: Addresses) -> None:
        self._name, self._address = line.name, addresses.up
        self._clock, self.received_ns = WallClock(), 0
        self._socket = pair(line, addresses, "edge")
        self._socket.setsockopt(zmq.RCVTIMEO, round(ANSWER_S * 1000))
        self._socket.connect(addresses.up)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(LatentPacket).decode
        self._seq = 0
        try:
            self.exchange(0, {})
        except PeerTimeoutError:
            self.close()
            raise

    def exchange(self, number: int, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Near`."""
        self._seq += 1
        self._socket.send(self._encode(observation(number, self._seq, images)))
        try:
            answer = self._decode(self._socket.recv())
        except zmq.Again as error:
            raise no_answer(self._name, self._address) from error
        self.received_ns = self._clock.now_ns()
        tokens: NDArray[np.float32] = answer.tensors["tokens"].array()  # type: ignore[assignment]
        return tokens

    def close(self) -> None:
        """Disconnect."""
        self._socket.context.destroy(linger=0)


def serve_typed(line: Line, addresses: Addresses, stamp: Stamps, ready: Callable[[], None]) -> None:
    """Answers for as long as the process lives; see `bus_far.serve`."""
    socket = pair(line, addresses, "cloud")
    socket.bind(addresses.up)
    answers = latents()
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Observation).decode
    ready()
    while True:
        asked = decode(socket.recv())
        making_ns = stamp.making()
        answer = packet(asked, answers[asked.episode])
        stamp.sending(making_ns)
        socket.send(encode(answer))
