"""The bus benchmark's floor: plain pyzmq, a pair of sockets that moves the same bytes and looks at none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import zmq
from numpy.typing import NDArray

from dualsys.bench.bus_ours import frame_of, observation, packet
from dualsys.bench.bus_payloads import ANSWER_S, NAMES, Addresses, Line, Stamps, latents, no_answer
from dualsys.bus.keys import KeyStore
from dualsys.clock import WallClock
from dualsys.errors import PeerTimeoutError


def pair(line: Line, addresses: Addresses, own: str) -> zmq.Socket[bytes]:
    """One end of a pair of sockets, with the keys of `own` (`cloud` or `edge`) where the line has keys."""
    socket = zmq.Context().socket(zmq.PAIR)
    socket.setsockopt(zmq.LINGER, 0)
    if line.keyed:
        key = KeyStore(addresses.homes / own).own()
        socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public)
        if own == "cloud":
            socket.setsockopt(zmq.CURVE_SERVER, 1)
        else:
            socket.setsockopt(zmq.CURVE_SERVERKEY, KeyStore(addresses.homes / "cloud").own().public)
    return socket


def raw_frames(images: Mapping[str, NDArray[np.uint8]]) -> tuple[list[bytes], list[bytes]]:
    """Questions and answers by payload: frames of ours, but the first byte of a question is its number.

    Zeros would not do: where nobody has written them, they may all be one page of memory, which is quicker to
    read than what a System 2 has made.

    Args:
        images: Of the observation with images.
    """
    shown = [images if name == "observation" else {} for name in NAMES]
    questions = [
        bytes([number]) + frame_of(observation(number, 1, these))[1:] for number, these in enumerate(shown)
    ]
    asked = observation(0, 1, {})
    return questions, [frame_of(packet(asked, latent)) for latent in latents()]


class RawNear:
    """The end that asks. Its answers are empty arrays: bytes are not turned into anything here.

    Args:
        line: Which link.
        addresses: Of the far end.
        images: Those that will be sent, for their size.

    Raises:
        PeerTimeoutError: Nobody answers.
    """

    def __init__(self, line: Line, addresses: Addresses, images: Mapping[str, NDArray[np.uint8]]) -> None:
        self._name, self._address = line.name, addresses.up
        self._clock, self.received_ns = WallClock(), 0
        self._socket = pair(line, addresses, "edge")
        self._socket.setsockopt(zmq.RCVTIMEO, round(ANSWER_S * 1000))
        self._socket.connect(addresses.up)
        self._questions, _ = raw_frames(images)
        try:
            self.exchange(0, {})
        except PeerTimeoutError:
            self.close()
            raise

    def exchange(self, number: int, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Near`."""
        del images
        self._socket.send(self._questions[number])
        try:
            self._socket.recv()
        except zmq.Again as error:
            raise no_answer(self._name, self._address) from error
        self.received_ns = self._clock.now_ns()
        return np.zeros((0, 0), np.float32)

    def close(self) -> None:
        """Disconnect."""
        self._socket.context.destroy(linger=0)


def serve_raw(line: Line, addresses: Addresses, stamp: Stamps, ready: Callable[[], None]) -> None:
    """Answers for as long as the process lives; see `bus_far.serve`."""
    socket = pair(line, addresses, "cloud")
    socket.bind(addresses.up)
    _, answers = raw_frames({})
    ready()
    while True:
        number = socket.recv()[0]
        stamp.sending(stamp.making())
        socket.send(answers[number])
