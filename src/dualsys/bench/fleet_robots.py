"""The robots of the fleet benchmark: the planner's side of the line to System 2, many times over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import zmq
from numpy.typing import NDArray

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.codec import to_image
from dualsys.bus.handshake import shake_hands
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext
from dualsys.clock import NS_PER_MS, NS_PER_S, Clock, period_ns
from dualsys.config_links import SlowEndpoints
from dualsys.errors import BusError
from dualsys.fast.planner.cadence import Cadence
from dualsys.messages import LatentPacket, Observation, Tensor

LOOK_NS: Final = 10 * NS_PER_MS
"""Time between two looks at the ages."""

ANSWER_S: Final = 60.0
"""How long System 2 may take to start."""

Scene: TypeAlias = tuple[NDArray[np.uint8], str]
"""What the fixed camera sees, uint8 `[height, width, 3]`, and what the robot is told."""


@dataclass(frozen=True)
class Looked:
    """What was seen of all robots for a while.

    Attributes:
        ages_ms: Age of the newest latent, float64 `[looks, robots]`; NaN while a robot has none.
        received: Latents of each robot.
        seconds: For how long.
    """

    ages_ms: NDArray[np.float64]
    received: list[int]
    seconds: float


class Robots:
    """N robots that observe at one rate, evenly out of step, and have shaken hands.

    Args:
        context: From `bus.sockets.open_context`.
        endpoints: Of System 2.
        count: How many.
        scenes: What they see and are told, in turn.
        state: The arm's state, float32, as the specification of System 2 says.
        rate_hz: Observations of each per second.
        clock: Where time comes from.

    Raises:
        BusError: System 2 refuses one, or does not answer.
    """

    def __init__(
        self,
        context: ZmqContext,
        endpoints: SlowEndpoints,
        count: int,
        scenes: Sequence[Scene],
        state: NDArray[np.float32],
        rate_hz: float,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._scenes = scenes
        self._state = Tensor.of(state)
        self._seqs = [0] * count
        self._period_ns = period_ns(rate_hz)
        names = [f"robot{number}" for number in range(count)]
        self._services = [ServiceClient(context, endpoints.service, "System 2") for _ in names]
        for session, (name, service) in enumerate(zip(names, self._services, strict=True), 1):
            told = {"robot_name": name, "observation_rate_hz": f"{rate_hz:g}", "latent_soft_ms": "1000000"}
            shake_hands(service, "planner", session, None, ANSWER_S, told)
        self._observations = [
            LatestPublisher(context, endpoints.observation, bind=False, setting="observation") for _ in names
        ]
        self._latents = [
            LatestSubscriber(
                context,
                endpoints.latent,
                bind=False,
                setting="latent",
                types=(LatentPacket,),
                topic=name.encode(),
            )
            for name in names
        ]
        self._poller = zmq.Poller()
        for channel in self._latents:
            self._poller.register(channel.socket, zmq.POLLIN)
        self._numbers = {channel.socket: number for number, channel in enumerate(self._latents)}
        self._captured_ns = np.full(count, -1, np.int64)
        start_ns = clock.now_ns()
        self._cadences = [
            Cadence(self._period_ns, start_ns + number * self._period_ns // count) for number in range(count)
        ]

    def run(self, duration_ns: int) -> Looked:
        """Let all of them send and receive for a while."""
        begun_ns = now_ns = self._clock.now_ns()
        received = [0] * len(self._seqs)
        looks: list[NDArray[np.float64]] = []
        look = Cadence(LOOK_NS, begun_ns)
        while now_ns - begun_ns < duration_ns:
            for number, cadence in enumerate(self._cadences):
                if cadence.due(now_ns):
                    self._send(number, now_ns)
            for channel, _ in self._poller.poll(1):
                number = self._numbers[channel]
                packet = self._latents[number].receive()
                if packet is not None:
                    self._captured_ns[number] = packet.t_capture_ns
                    received[number] += 1
            now_ns = self._clock.now_ns()
            if look.due(now_ns):
                ages_ms = (now_ns - self._captured_ns) / NS_PER_MS
                looks.append(np.where(self._captured_ns < 0, np.nan, ages_ms))
        ages = np.array(looks).reshape(-1, len(self._seqs))
        return Looked(ages, received, (now_ns - begun_ns) / NS_PER_S)

    def passes(self) -> dict[int, int]:
        """Forward passes of System 2 so far, by their size.

        Raises:
            BusError: It refuses to tell.
        """
        reply = self._services[0].request("status", ANSWER_S)
        if not reply.ok:
            raise BusError(f"System 2 refused its status: {reply.text}")
        start = "passes."
        return {
            int(name.removeprefix(start)): int(value)
            for name, value in reply.values.items()
            if name.startswith(start)
        }

    def _send(self, number: int, now_ns: int) -> None:
        image, words = self._scenes[(number + self._seqs[number]) % len(self._scenes)]
        observation = Observation(
            session=number + 1,
            episode=0,
            seq=self._seqs[number],
            t_capture_ns=now_ns,
            images={"fixed": to_image(image)},
            proprioception=self._state,
            instruction=words,
        )
        self._seqs[number] += 1
        self._observations[number].send(observation)
