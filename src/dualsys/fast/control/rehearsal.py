"""The control loop on an arm that is held in memory: how punctual is it on this machine?

`python -m dualsys.fast.control.rehearsal RATE_HZ SECONDS REALTIME PRIORITY SPIN_US PREPARE_US` runs the loop
of the control process with its limits, a plan every 20 ms, its state sent over a socket at every tick, and
prints the result as JSON. Only the arm and the planner at the other ends are missing: plans are decoded from
the bytes that a planner would send, which are made before the first tick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, get_args

import msgspec
import numpy as np

from dualsys.bus.channel import LatestPublisher
from dualsys.bus.codec import decode, encode
from dualsys.bus.service import ServiceServer
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, Clock, Tick, WallClock, nanoseconds, period_ns
from dualsys.errors import DualsysError, RobotError
from dualsys.fast.control.core import Ages, ControlCore
from dualsys.fast.control.dry_run import DryRun
from dualsys.fast.control.limits import FloatArray
from dualsys.fast.control.loop import ControlLoop, OnHello, OnRequest
from dualsys.fast.control.pacing import Periodic, Punctuality, spinning
from dualsys.fast.control.realtime import RealtimeMode, freeze_memory, preparation_ns, request_realtime
from dualsys.messages import Plan, Tensor
from dualsys.robots.contract import ArmReading
from dualsys.robots.simulated import SIMULATED_PANDA

SESSION = 1
PLAN_NS = 20 * NS_PER_MS
PLAN_KNOTS = 16
WARM_UP_NS = 200 * NS_PER_MS
SWAY_RAD = 0.1
_MIDDLE = (0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08)


@dataclass(frozen=True)
class Rehearsed:
    """How a loop went.

    Attributes:
        ticks: Ticks that were judged.
        missed: Ticks that were skipped.
        longest_miss: Most skipped in a row.
        late_us: `p50`, `p99`, `p999` and `max` of the lateness of a tick, us.
        realtime: What was granted, in words.
        work_us: The same of how long a tick took, from its reading to its last answer, plans included, us;
            empty where it is not known. What is missed although no tick took a period was woken too late.
    """

    ticks: int
    missed: int
    longest_miss: int
    late_us: dict[str, float]
    realtime: str = ""
    work_us: dict[str, float] = field(default_factory=dict)


class HeldArm:
    """An arm that is wherever it was commanded to be, until it is time to end.

    Args:
        clock: Where time comes from.
        duration_ns: How long to go on after the first reading.

    Attributes:
        read_ns: When it was read last.
    """

    spec = SIMULATED_PANDA

    def __init__(self, clock: Clock, duration_ns: int) -> None:
        self._clock = clock
        self._duration_ns = duration_ns
        self._end_ns = -1
        self.read_ns = 0
        self._position = np.array(_MIDDLE)
        self._rest = np.zeros(len(_MIDDLE))
        self.loop: ControlLoop | None = None

    def connect(self) -> None:
        """Do nothing."""

    def read(self) -> ArmReading:
        """Where it is, now."""
        self.read_ns = now_ns = self._clock.now_ns()
        if self._end_ns < 0:
            self._end_ns = now_ns + self._duration_ns
        if now_ns >= self._end_ns and self.loop is not None:
            self.loop.ask_to_end()
        return ArmReading(now_ns, self._position, self._rest)

    def write(self, command: FloatArray) -> None:
        """Be there."""
        self._position = command

    def stop(self, reason: str) -> None:
        """Do nothing: it is at rest between commands."""

    def close(self) -> None:
        """Do nothing."""


class SwayingPlans:
    """Plans that lead the first joint to and fro, one every 20 ms, as the bytes that a planner sends.

    Args:
        clock: Where time comes from.
        duration_ns: For how long there are plans, from now on.
    """

    def __init__(self, clock: Clock, duration_ns: int) -> None:
        self._clock = clock
        self._start_ns = clock.now_ns()
        self._frames = [
            encode(_swaying_plan(seq, self._start_ns)) for seq in range(1, duration_ns // PLAN_NS + 2)
        ]
        self._last = -1

    def receive(self) -> Plan | None:
        """The newest plan for the next third of a second, if it has not been received yet."""
        newest = min((self._clock.now_ns() - self._start_ns) // PLAN_NS, len(self._frames) - 1)
        if newest == self._last:
            return None
        self._last = newest
        return decode(self._frames[newest], Plan)


def _swaying_plan(seq: int, start_ns: int) -> Plan:
    """The plan that comes `seq - 1` times 20 ms after a start."""
    now_ns = start_ns + (seq - 1) * PLAN_NS
    times_ns = now_ns + np.arange(-1, PLAN_KNOTS - 1, dtype=np.int64) * PLAN_NS
    setpoints = np.tile(np.array(_MIDDLE), (PLAN_KNOTS, 1))
    setpoints[:, 0] = SWAY_RAD * np.sin((times_ns - start_ns) * 1e-9)
    return Plan(
        session=SESSION, episode=0, epoch=0, seq=seq, t_ns=Tensor.of(times_ns),
        setpoints=Tensor.of(setpoints), latent_seq=seq, t_latent_ns=now_ns, t_observation_ns=now_ns,
        splice_ns=now_ns, delay_ns=0, delay_steps=0,
    )  # fmt: skip


class Answers:
    """Answers questions as the last thing of a tick, and notes how long each has taken since its reading.

    Args:
        service: Where questions come from.
        arm: Says when it was read.
        clock: Where time comes from.
        work: Where that is noted.
    """

    def __init__(self, service: ServiceServer, arm: HeldArm, clock: Clock, work: Punctuality) -> None:
        self._service = service
        self._arm = arm
        self._clock = clock
        self._work = work
        self._ticks = 0

    def serve(self, on_hello: OnHello, on_request: OnRequest) -> int:
        """Answer what is waiting."""
        answered = self._service.serve(on_hello, on_request)
        self._ticks += 1
        self._work.note(Tick(self._ticks, 0, self._clock.now_ns() - self._arm.read_ns, 0))
        return answered


def rehearse(
    rate_hz: float, duration_s: float, mode: RealtimeMode, priority: int, spin_us: float, prepare_us: float
) -> Rehearsed:
    """Run the control loop in this process, which is real-time afterwards if that was granted.

    Args:
        rate_hz: Ticks per second.
        duration_s: For how long, behind a warm-up.
        mode, priority: See `request_realtime`.
        spin_us: As `control.spin_ms`, us.
        prepare_us: As `control.prepare_ms`, us.

    Raises:
        RobotError: The rate cannot be held, real-time was demanded and refused, or a tick failed.
    """
    realtime = request_realtime(mode, priority)
    clock = WallClock()
    tick_ns = period_ns(rate_hz)
    pacing = Periodic(tick_ns)
    warm_up = WARM_UP_NS // tick_ns
    ticks = round(duration_s * rate_hz) + 1
    prepare_ns = preparation_ns(prepare_us / 1e3, realtime)
    punctuality, work = Punctuality(ticks, warm_up=warm_up), Punctuality(ticks, warm_up=warm_up)
    context = open_context()
    with TemporaryDirectory(prefix="dualsys-") as folder:
        try:
            states = LatestPublisher(context, f"ipc://{folder}/state", bind=True, setting="rehearsal")
            service = ServiceServer(context, f"ipc://{folder}/service", setting="rehearsal")
            lasts_ns = WARM_UP_NS + nanoseconds(duration_s)
            plans = SwayingPlans(clock, lasts_ns + NS_PER_S)
            arm = HeldArm(clock, lasts_ns)
            limits = SIMULATED_PANDA.limits
            core = ControlCore(limits, Ages(), tick_ns, session=SESSION)
            loop = ControlLoop(
                core, arm, plans, states, Answers(service, arm, clock, work), clock, pacing,
                wait=spinning(clock, max(prepare_ns, nanoseconds(spin_us * 1e-6))),
                realtime=freeze_memory(mode, realtime), punctuality=punctuality, prepare_ns=prepare_ns,
                dry_run=DryRun(context, arm.read().position, limits, tick_ns) if prepare_ns else None,
            )  # fmt: skip
            arm.loop = loop
            loop.handle_signals()
            loop.run()
        finally:
            close_context(context)
    if core.statistics()["plans"] == 0:
        raise RobotError("rehearsal: no plan was followed, so nothing was measured")
    return Rehearsed(
        punctuality.ticks,
        punctuality.missed,
        punctuality.longest_miss,
        punctuality.late_us(),
        str(realtime),
        work.late_us(),
    )


def rehearsal_command(
    rate_hz: float,
    duration_s: float,
    mode: RealtimeMode,
    priority: int = 50,
    spin_us: float = 0.0,
    prepare_us: float = 0.0,
) -> list[str]:
    """The command line that runs a rehearsal in a process of its own."""
    options = [f"{rate_hz:g}", f"{duration_s:g}", mode, str(priority), f"{spin_us:g}", f"{prepare_us:g}"]
    return [sys.executable, "-m", "dualsys.fast.control.rehearsal", *options]


def read_rehearsed(text: str) -> Rehearsed:
    """What such a process has printed.

    Raises:
        RobotError: It is something else.
    """
    try:
        return msgspec.json.decode(text, type=Rehearsed)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RobotError(f"rehearsal: expected JSON with ticks and late_us, got {text[:200]!r}") from error


def main(arguments: Sequence[str]) -> int:
    """Run one rehearsal; returns the exit code."""
    try:
        rate_hz, duration_s, mode, priority, *early_us = arguments
        spin_us, prepare_us = (float(text) for text in early_us)
        checked: Any = mode
        if mode not in get_args(RealtimeMode):
            raise ValueError(f"REALTIME must be one of {', '.join(get_args(RealtimeMode))}, got {mode!r}")
        rehearsed = rehearse(float(rate_hz), float(duration_s), checked, int(priority), spin_us, prepare_us)
    except (DualsysError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(msgspec.json.encode(rehearsed).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
