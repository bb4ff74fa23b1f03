"""The bus benchmark's two ends on the bus of dualsys: the channels, messages and checks of a live system."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from dualsys.bench.bus_payloads import (
    ANSWER_S,
    CAMERA,
    INSTRUCTION,
    Addresses,
    Line,
    Stamps,
    latents,
    no_answer,
)
from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.codec import encode, from_image, to_image
from dualsys.bus.gate import Protection
from dualsys.bus.latent_codec import LatentReader, encode_latent
from dualsys.bus.order import header
from dualsys.bus.sockets import ZmqContext, close_context, gate_of, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.errors import PeerTimeoutError
from dualsys.messages import LatentPacket, Message, Observation, Tensor
from dualsys.specs import LatentSpec, TensorSpec

_ASK_AGAIN_NS = 200 * NS_PER_MS
"""A channel holds one message back now and then, until the next one is sent; see `bus.channel`."""
_REST = np.zeros(9, np.float32)
KIND = "latent_sequence"


def observation(number: int, seq: int, images: Mapping[str, NDArray[np.uint8]]) -> Observation:
    """What the planner sends, with raw images."""
    return Observation(
        session=1,
        episode=number,
        seq=seq,
        t_capture_ns=seq,
        images={name: to_image(image) for name, image in images.items()},
        proprioception=Tensor.of(_REST),
        instruction=INSTRUCTION,
    )


def packet(asked: Observation, latent: NDArray[np.float32]) -> LatentPacket:
    """What System 2 answers."""
    return LatentPacket(
        session=asked.session,
        episode=asked.episode,
        seq=asked.seq,
        observation_seq=asked.seq,
        t_capture_ns=asked.t_capture_ns,
        instruction=asked.instruction,
        compute_ns=0,
        weights="0123456789abcdef",
        kind=KIND,
        tensors=encode_latent({"tokens": latent}, "float32"),
    )


def frame_of(message: Message) -> bytes:
    """A message as it travels on a channel without a topic, if a publisher 0 sends it first."""
    return b"\0" + header(0, 0) + encode(message)


def _context(line: Line, addresses: Addresses, home: str) -> ZmqContext:
    if not line.keyed:
        return open_context()
    servers = {addresses.up: "cloud", addresses.down: "cloud"}
    return open_context(Protection(addresses.homes / home, servers))


class OursNear:
    """The planner's side.

    Args:
        line: Which link.
        addresses: Of the far end.

    Raises:
        BusError: An address cannot be used.
        PeerTimeoutError: Nobody answers.
    """

    def __init__(self, line: Line, addresses: Addresses) -> None:
        self._clock = WallClock()
        self._name, self._address = line.name, addresses.up
        self._context = _context(line, addresses, "edge")
        self._observations = LatestPublisher(self._context, addresses.up, bind=False, setting="up")
        self._latents: LatestSubscriber[LatentPacket] = LatestSubscriber(
            self._context, addresses.down, bind=False, setting="down", types=(LatentPacket,)
        )
        self._readers = [
            LatentReader(LatentSpec(KIND, {"tokens": TensorSpec(latent.shape)}), "float32")
            for latent in latents()
        ]
        self._seq = 0
        self.received_ns = 0
        try:
            self.exchange(0, {})
        except PeerTimeoutError:
            self.close()
            raise

    def exchange(self, number: int, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Near`. What is asked again counts from the first time on."""
        deadline_ns = self._clock.now_ns() + round(ANSWER_S * NS_PER_S)
        while (latent := self._ask(number, images, _ASK_AGAIN_NS)) is None:
            if self._clock.now_ns() > deadline_ns:
                raise no_answer(self._name, self._address)
        return latent

    def close(self) -> None:
        """Disconnect."""
        close_context(self._context)

    def _ask(
        self, number: int, images: Mapping[str, NDArray[np.uint8]], timeout_ns: int
    ) -> NDArray[np.float32] | None:
        self._seq += 1
        self._observations.send(observation(number, self._seq, images))
        deadline_ns = self._clock.now_ns() + timeout_ns
        while (remaining_ns := deadline_ns - self._clock.now_ns()) > 0:
            answer = self._latents.receive_within(remaining_ns)
            self.received_ns = self._clock.now_ns()
            if answer is not None and answer.observation_seq == self._seq:
                tokens: NDArray[np.float32] = self._readers[number].read(answer.tensors)["tokens"]  # type: ignore[assignment]
                return tokens
        return None


def serve_ours(line: Line, addresses: Addresses, stamp: Stamps, ready: Callable[[], None]) -> None:
    """System 2's side: answers observations for as long as the process lives; see `bus_far.serve`."""
    context = _context(line, addresses, "cloud")
    gate = gate_of(context)
    observations = LatestSubscriber(context, addresses.up, bind=True, setting="up", types=(Observation,))
    publisher = LatestPublisher(context, addresses.down, bind=True, setting="down")
    answers = latents()
    ready()
    while True:
        asked = observations.receive_within(20 * NS_PER_MS)
        if gate is not None:
            gate.serve()
            publisher.tend()
        if asked is None:
            continue
        if asked.images:
            from_image(asked.images[CAMERA])
        making_ns = stamp.making()
        answer = packet(asked, answers[asked.episode])
        stamp.sending(making_ns)
        publisher.send(answer)
