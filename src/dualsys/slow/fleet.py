"""The robots of one System 2: who is served, whose turn it is, and what a forward pass makes of it. Pure.

One robot is the smallest fleet. It has the model to itself, needs no name, and is served before it has shaken
hands. Several are told apart by name and session: the handshake brings both, and whoever has not shaken hands
is not served.

`take` and `put` belong to the thread of the sockets, `compute` to that of the model.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import AdmissionError, DualsysError, MessageError
from dualsys.messages import LatentCodec, LatentPacket, Observation
from dualsys.slow.admission import Capacity, PassTimes, RobotNeeds
from dualsys.slow.backend import LanguageModel, System2, System2Input, encode_all
from dualsys.slow.core import SlowCore, SlowStatistics
from dualsys.slow.scheduler import Scheduler, Turn

ROBOT_NAME = "robot_name"
"""What a robot is called, among the details of a handshake."""

ABSENT_NS = 3 * NS_PER_S
"""Silence after which a robot whose connection is gone has left."""

_NAME = re.compile(r"[A-Za-z0-9_\-]{0,64}")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arrival:
    """An observation and when it came in."""

    observation: Observation
    received_ns: int


@dataclass(frozen=True)
class Answer:
    """A latent packet, whose it is, and when its observation came in."""

    robot: str
    packet: LatentPacket
    received_ns: int


@dataclass(frozen=True)
class RobotStatistics:
    """Totals of one robot.

    Attributes:
        superseded: Observations that a newer one replaced before the model was free.
        worst_wait_ms: Longest wait for its turn, ms.
        worst_age_ms: Greatest age that its latents may have when the next one leaves, by the reckoning of
            the admission, ms.
        processed: Observations that became a latent.
        rejected: Observations that did not.
        last_fault: Why the last of them did not; empty while there is none.
    """

    superseded: int
    worst_wait_ms: float
    worst_age_ms: float
    processed: int
    rejected: int
    last_fault: str


class _Robot:
    def __init__(self, name: str, core: SlowCore) -> None:
        self.name = name
        self.core = core
        self.session: int | None = None
        self.needs: RobotNeeds | None = None
        self.superseded = 0
        self.worst_wait_ns = 0
        self.seen_ns = 0
        self.released = False


class Fleet:
    """Robots that share one System 2.

    Attributes:
        uplink: What observations have to carry.
        pass_times: How long forward passes take.
        passes: Forward passes by the number of their turns.
        refused: Handshakes of robots for which there was no room.
        last_refusal: Why the last of them was; empty while there is none.

    Args:
        system2: The model, or its language half; see `SlowCore`.
        capacity: What it has to give; with one robot nobody is refused.
        codec: How latents travel.
        feature_codec: How features travel, where they do.

    Raises:
        SpecError: A codec does not suit the specification of the latent or of the features.
    """

    def __init__(
        self,
        system2: System2 | LanguageModel,
        capacity: Capacity,
        codec: LatentCodec = "float32",
        feature_codec: LatentCodec = "float16",
    ) -> None:
        self._system2 = system2
        self._capacity = capacity
        self._new_core = partial(SlowCore, system2, codec, feature_codec)
        self.uplink = self._new_core().uplink
        self._scheduler: Scheduler[Arrival] = Scheduler(capacity.sizes, capacity.wait_ns)
        self._robots: dict[str, _Robot] = {}
        self._sessions: dict[int, _Robot] = {}
        self._only = _Robot("", self._new_core()) if capacity.robots == 1 else None
        if self._only is not None:
            self._robots[""] = self._only
            self._scheduler.add("")
        self.pass_times = PassTimes()
        self.passes: Counter[int] = Counter()
        self.refused = 0
        self.last_refusal = ""

    @property
    def robots(self) -> tuple[str, ...]:
        """Names of those that are served."""
        return tuple(self._robots)

    @property
    def waiting(self) -> int:
        """How many of them wait for their turn."""
        return self._scheduler.waiting

    def join(self, session: int, details: Mapping[str, str], now_ns: int) -> None:
        """Let a robot in that shakes hands, or in anew under the name that it had.

        Args:
            session: Of its planner.
            details: Of the handshake: `robot_name`, `observation_rate_hz` and `latent_soft_ms`.
            now_ns: The present.

        Raises:
            MessageError: A detail is missing or wrong.
            AdmissionError: It would make latents too old, there are enough robots, or another one has its
                session.
        """
        if self._only is not None:
            robot_name(details)
            self._only.session = session
            return
        try:
            self._join(session, details, now_ns)
        except DualsysError as error:
            self.refused += 1
            self.last_refusal = str(error)
            raise

    def _join(self, session: int, details: Mapping[str, str], now_ns: int) -> None:
        name = robot_name(details)
        if not name:
            raise MessageError(
                f"handshake: details.{ROBOT_NAME}: this System 2 serves several robots and tells them apart "
                "by name: set robot.name to another one for each of them"
            )
        other = self._sessions.get(session)
        if other is not None and other.name != name:
            raise AdmissionError(
                f"robot {name!r} has the session {session} of robot {other.name!r}: restart its planner"
            )
        needs = RobotNeeds.of(details)
        others = {robot.name: robot.needs for robot in self._robots.values() if robot.needs is not None}
        self._capacity.admit(name, {**others, name: needs}, self.pass_times.longest_ns())
        robot = self._robots.get(name)
        if robot is None:
            robot = self._robots[name] = _Robot(name, self._new_core())
            self._scheduler.add(name)
            _LOG.info("robot %r joins, %d are served", name, len(self._robots))
        elif robot.session is not None:
            del self._sessions[robot.session]
        robot.session, robot.needs, robot.seen_ns, robot.released = session, needs, now_ns, False
        self._sessions[session] = robot

    def release(self, name: str) -> None:
        """Note that the connection of a robot is gone; its place is free once it has been silent for a while.

        A line that breaks makes a new connection by itself, and observations come again before hands do.
        """
        if name in self._robots:
            self._robots[name].released = True

    def prune(self, now_ns: int) -> None:
        """Stop serving those whose connection is gone, and of whom nothing has come for `ABSENT_NS`."""
        for robot in list(self._robots.values()):
            if robot.released and robot is not self._only and now_ns - robot.seen_ns > ABSENT_NS:
                self._leave(robot)

    def _leave(self, robot: _Robot) -> None:
        del self._robots[robot.name]
        self._scheduler.remove(robot.name)
        if robot.session is not None:
            del self._sessions[robot.session]
        _LOG.info("robot %r has left, %d are served", robot.name, len(self._robots))

    def put(self, observation: Observation, now_ns: int) -> bool:
        """Take in an observation.

        Returns:
            Whether it comes from a robot that is served.
        """
        robot = self._sender(observation.session)
        if robot is None:
            return False
        robot.seen_ns = now_ns
        robot.superseded += self._scheduler.put(robot.name, Arrival(observation, now_ns), now_ns)
        return True

    def due_ns(self) -> int | None:
        """When to call `take` at the latest; None if nobody waits."""
        return self._scheduler.due_ns()

    def take(self, now_ns: int) -> list[Turn[Arrival]]:
        """Those whose turn it is; empty if it is nobody's yet."""
        turns = self._scheduler.take(now_ns)
        for turn in turns:
            robot = self._robots[turn.robot]
            robot.worst_wait_ns = max(robot.worst_wait_ns, turn.waited_ns)
        return turns

    def compute(self, turns: Sequence[Turn[Arrival]]) -> list[Answer]:
        """Run one forward pass. What is refused, or cannot be used, is counted at its robot, and costs no
        other.

        If the model itself fails, it has failed for all of them.
        """
        good: list[tuple[_Robot, Arrival, System2Input]] = []
        for turn in turns:
            # Gone in the meantime, perhaps: this runs beside the thread of the sockets.
            robot = self._robots.get(turn.robot)
            if robot is None:
                continue
            try:
                good.append((robot, turn.item, robot.core.take_in(turn.item.observation)))
            except DualsysError:
                # Counted, kept and logged by the core.
                continue
        try:
            outputs = encode_all(self._system2, [given for _, _, given in good])
        except DualsysError as error:
            for robot, _, _ in good:
                robot.core.blame_model(error)
            return []
        answers: list[Answer] = []
        for (robot, arrival, _), output in zip(good, outputs, strict=True):
            try:
                packet = robot.core.give_out(arrival.observation, output)
            except DualsysError:
                continue
            answers.append(Answer(robot.name, packet, arrival.received_ns))
        return answers

    def finish(self, turns: int, duration_ns: int) -> None:
        """Note how long a pass took that had so many turns and brought at least one answer."""
        self.passes[turns] += 1
        self.pass_times.add(turns, duration_ns)

    def serves(self, answer: Answer) -> bool:
        """Whether the robot of an answer is still there, in the session that it asked in."""
        robot = self._robots.get(answer.robot)
        return robot is not None and robot.session in (None, answer.packet.session)

    def statistics(self) -> SlowStatistics:
        """Totals of all robots that are served."""
        cores = [robot.core.statistics() for robot in self._robots.values()]
        rejected: Counter[str] = Counter()
        for core in cores:
            rejected.update(core.rejected)
        faults = [core.last_fault for core in cores if core.last_fault]
        session = cores[0].session if self._only is not None else -1
        processed = sum(core.processed for core in cores)
        return SlowStatistics(processed, dict(rejected), faults[-1] if faults else "", session)

    def superseded(self) -> int:
        """Observations of all robots that newer ones replaced."""
        return sum(robot.superseded for robot in self._robots.values())

    def by_robot(self) -> dict[str, RobotStatistics]:
        """Totals by name; empty where there can be only one."""
        if self._only is not None:
            return {}
        return {name: self._totals(robot) for name, robot in self._robots.items()}

    def _totals(self, robot: _Robot) -> RobotStatistics:
        worst_age_ns = 0
        if robot.needs is not None:
            period_ns, pass_ns = robot.needs.observation_ns, self.pass_times.longest_ns()
            worst_age_ns = self._capacity.worst_age_ns(period_ns, len(self._robots), pass_ns)
        core = robot.core.statistics()
        return RobotStatistics(
            robot.superseded,
            robot.worst_wait_ns / NS_PER_MS,
            worst_age_ns / NS_PER_MS,
            core.processed,
            sum(core.rejected.values()),
            core.last_fault,
        )

    def _sender(self, session: int) -> _Robot | None:
        if self._only is None:
            return self._sessions.get(session)
        return self._only if self._only.session in (None, session) else None


def robot_name(details: Mapping[str, str]) -> str:
    """What a robot is called, by the details of a handshake; empty if it has no name.

    Raises:
        MessageError: It is no name.
    """
    name = details.get(ROBOT_NAME, "")
    if not _NAME.fullmatch(name):
        raise MessageError(
            f"handshake: details.{ROBOT_NAME}: expected up to 64 letters, digits, '_' and '-', got {name!r}: "
            "set robot.name"
        )
    return name


def stamped(answer: Answer, compute_ns: int) -> Answer:
    """The answer with the duration of the pass in its packet, and when its observation came in."""
    packet = msgspec.structs.replace(answer.packet, compute_ns=compute_ns, t_received_ns=answer.received_ns)
    return Answer(answer.robot, packet, answer.received_ns)
