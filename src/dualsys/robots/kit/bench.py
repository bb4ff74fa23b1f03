"""A robot under examination: trials that read it and move it a little, each made once and then judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from dualsys.clock import Clock, Pacer, nanoseconds, period_ns, seconds
from dualsys.errors import DualsysError, RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.fast.control.pacing import MAX_RATE_HZ
from dualsys.robots.contract import ArmReading, Robot, RobotSpec
from dualsys.robots.kit.motion import Response, Trace, duration_s, excursion, one_way, out_and_back, response

PACE_HZ: Final = 250.0
"""Most set-points per second that the kit sends, as many as control by default."""

WATCH_S: Final = 1.0
HOLD_S: Final = 0.2
SETTLE_S: Final = 0.25
"""After each motion, so that an arm that lags has come after."""

REST_WATCH_S: Final = 0.3
ASTRAY: Final = 3.0
"""An arm is stopped when an axis is further from its set-point than so many times the motion."""


class AstrayError(RobotError):
    """The arm went elsewhere than it was told, and was stopped."""

    def __init__(self, axis: str, told: FloatArray, found: FloatArray, tolerance: FloatArray) -> None:
        self.told = told
        self.went = found - told
        self.tolerance = tolerance
        super().__init__(f"{axis} went astray, and the arm was stopped")


@dataclass
class Samples:
    """What was sent and read in one trial, as lists of one entry per tick."""

    t_ns: list[int] = field(default_factory=list)
    stamp_ns: list[int] = field(default_factory=list)
    command: list[FloatArray] = field(default_factory=list)
    readings: list[ArmReading] = field(default_factory=list)
    read_ns: list[int] = field(default_factory=list)
    write_ns: list[int] = field(default_factory=list)

    def trace(self, first: int = 0, last: int | None = None) -> Trace:
        """The samples of a range as arrays."""
        part = slice(first, last)
        return Trace(
            np.array([seconds(t_ns - self.t_ns[0]) for t_ns in self.t_ns[part]]),
            np.array(self.command[part]),
            np.array([reading.position for reading in self.readings[part]]),
            np.array([reading.velocity for reading in self.readings[part]]),
        )


@dataclass(frozen=True)
class Segment:
    """One motion of one axis.

    Attributes:
        axis: Which.
        trace: From its beginning until the arm has settled, or went astray.
    """

    axis: int
    trace: Trace


@dataclass
class Trial:
    """What came of one trial.

    Attributes:
        samples: Everything that was sent and read.
        segments: The motions, in order.
        distance: [A], how far each axis was moved, rad then m, with sign.
        halted: Index of the first sample after `stop`, or after the last set-point; -1 if there was none.
        fault: What the driver raised, or that the arm went astray; empty if it went well.
        astray: How it went astray; None if it did not.
        spec: What the robot is; None if it could not be connected.
    """

    samples: Samples = field(default_factory=Samples)
    segments: list[Segment] = field(default_factory=list)
    distance: FloatArray = field(default_factory=lambda: np.zeros(0))
    halted: int = -1
    fault: str = ""
    astray: AstrayError | None = None
    spec: RobotSpec | None = None

    @cached_property
    def responses(self) -> list[tuple[int, Response]]:
        """What each motion did, by axis; of a trial that is over."""
        return [(one.axis, response(one.trace, one.axis, self.distance)) for one in self.segments]


class Bench:
    """A robot, and what may be done to it. Trials are made when they are first asked for, and kept.

    Args:
        open: Makes the driver, not connected yet. Called for each trial.
        clock: Where time comes from; the one that the driver stamps with.
        may_move: Somebody stands at the stop: small motions are allowed.
        connect_timeout_s: Longest time for a connection.
        drop: Cuts the connection for good, such as by killing the process at the other end; None if that
            cannot be done. Asked for last.
        absent: Makes a driver of the same kind whose robot is not there; None if that cannot be done.
        reach_rad: How far joints are moved.
        reach_m: How far grippers are moved.
        motion_s: Duration of a motion, at least.
    """

    def __init__(
        self,
        open: Callable[[], Robot],
        clock: Clock,
        *,
        may_move: bool = False,
        connect_timeout_s: float = 10.0,
        drop: Callable[[], None] | None = None,
        absent: Callable[[], Robot] | None = None,
        reach_rad: float = 0.02,
        reach_m: float = 0.004,
        motion_s: float = 0.5,
    ) -> None:
        self.open = open
        self.clock = clock
        self.may_move = may_move
        self.connect_timeout_s = connect_timeout_s
        self.drop = drop
        self.absent = absent
        self.reach_rad = reach_rad
        self.reach_m = reach_m
        self.motion_s = motion_s

    @cached_property
    def watched(self) -> Trial:
        """A second of reading; nothing is sent."""
        return self._trial(lambda session: session.play(None, WATCH_S))

    @cached_property
    def moved(self) -> Trial:
        """Told to stay, then each axis out and back in turn."""
        return self._trial(_move_each_axis)

    @cached_property
    def stopped(self) -> Trial:
        """Stopped in the middle of a motion, then led back."""
        return self._trial(lambda session: _halt(session, by_stop=True))

    @cached_property
    def silenced(self) -> Trial:
        """Left alone in the middle of a motion, then led back."""
        return self._trial(lambda session: _halt(session, by_stop=False))

    @contextmanager
    def connected(self) -> Iterator[Session]:
        """A connected robot, stopped and let go of in the end.

        Raises:
            DualsysError: As `Robot.connect`.
        """
        robot = self.open()
        try:
            robot.connect()
            yield Session(self, robot)
        finally:
            try:
                robot.stop("a check has ended")
            finally:
                # A port that is kept would make every later check fail, for another reason than its own.
                robot.close()

    def timed(self, act: Callable[[], object]) -> float:
        """How long a call takes, s."""
        before_ns = self.clock.now_ns()
        act()
        return seconds(self.clock.now_ns() - before_ns)

    def _trial(self, act: Callable[[Session], None]) -> Trial:
        trial = Trial()
        try:
            with self.connected() as session:
                session.trial = trial
                trial.spec = session.spec
                act(session)
        except AstrayError as error:
            trial.astray, trial.fault = error, str(error)
        except DualsysError as error:
            trial.fault = str(error)
        except Exception as error:
            # The driver is what is examined: whatever it raises is a finding, not a fault of the kit.
            trial.fault = f"the driver raised {type(error).__name__}, which is no RobotError: {error}"
        return trial


class Session:
    """A connected robot in one trial.

    Args:
        bench: What may be done to it.
        robot: Connected already.
    """

    def __init__(self, bench: Bench, robot: Robot) -> None:
        self.bench = bench
        self.robot = robot
        self.spec = robot.spec
        self.trial = Trial()
        reach = np.where(
            np.arange(len(self.spec.axes)) < self.spec.limits.joints, bench.reach_rad, bench.reach_m
        )
        self._tolerance: FloatArray = ASTRAY * reach
        rate_hz = min(self.spec.rate_hz, PACE_HZ, MAX_RATE_HZ)
        self._pacer = Pacer(bench.clock, period_ns(rate_hz))

    def play(self, setpoint: Callable[[float], FloatArray] | None, duration_s: float) -> None:
        """Send what `setpoint` gives for each time since the beginning, s, and read; None: only read.

        Raises:
            AstrayError: An axis went elsewhere.
            RobotError: As `Robot.read` and `Robot.write`, or a reading was written over.
        """
        clock, samples = self.bench.clock, self.trial.samples
        start_ns = clock.now_ns()
        before = at_the_time = np.zeros(0)
        while (now_ns := clock.now_ns()) - start_ns < nanoseconds(duration_s):
            reading = self.robot.read()
            read_ns = clock.now_ns()
            if not np.array_equal(before, at_the_time, equal_nan=True):
                raise RobotError(
                    "a new reading was written over the one before: return arrays of its own for each reading"
                )
            before, at_the_time = reading.position, np.array(reading.position)
            samples.t_ns.append(now_ns)
            samples.stamp_ns.append(reading.t_ns)
            samples.readings.append(reading)
            samples.read_ns.append(read_ns - now_ns)
            if setpoint is None:
                samples.command.append(np.full(len(self.spec.axes), np.nan))
            else:
                command = setpoint(seconds(now_ns - start_ns))
                samples.command.append(command)
                self._require_near(reading.position, command)
                self.robot.write(command)
                samples.write_ns.append(clock.now_ns() - read_ns)
            self._pacer.wait()

    def hold(self, duration_s: float) -> FloatArray:
        """Tell the arm to stay where it is. Returns where that is, [A], rad then m."""
        here = self.robot.read().position.copy()
        self.play(lambda _: here, duration_s)
        return here

    def _require_near(self, position: FloatArray, command: FloatArray) -> None:
        away = np.abs(position - command) / self._tolerance
        axis = int(away.argmax())
        if not np.isfinite(away).all():
            axis = int(np.isfinite(away).argmin())
            name = self.spec.axes[axis]
            raise RobotError(f"{name} reads {position[axis]} while the arm moves, which was stopped")
        if away[axis] > 1.0:
            raise AstrayError(self.spec.axes[axis], command, position, self._tolerance)


def _move_each_axis(session: Session) -> None:
    trial, bench = session.trial, session.bench
    here = session.hold(HOLD_S)
    trial.distance = excursion(session.spec, here, bench.reach_rad, bench.reach_m)
    lasts_s = duration_s(session.spec, trial.distance, bench.motion_s)
    for axis in range(len(here)):
        first = len(trial.samples.t_ns)
        step = np.zeros(len(here))
        step[axis] = trial.distance[axis]

        def setpoint(t_s: float, step: FloatArray = step) -> FloatArray:
            return here + step * out_and_back(t_s / lasts_s)

        try:
            session.play(setpoint, lasts_s + SETTLE_S)
        finally:
            trial.segments.append(Segment(axis, trial.samples.trace(first)))


def _halt(session: Session, *, by_stop: bool) -> None:
    trial, bench = session.trial, session.bench
    here = session.hold(HOLD_S)
    trial.distance = excursion(session.spec, here, bench.reach_rad, bench.reach_m)
    lasts_s = duration_s(session.spec, trial.distance, bench.motion_s)
    # A quarter of the way through the motion is fastest.
    session.play(lambda t_s: here + trial.distance * out_and_back(t_s / lasts_s), 0.25 * lasts_s)
    if by_stop:
        session.robot.stop("a check of the stop")
    trial.halted = len(trial.samples.t_ns)
    session.play(None, session.spec.rest_s + REST_WATCH_S)
    there = session.hold(HOLD_S)
    session.play(lambda t_s: there + (here - there) * one_way(t_s / lasts_s), lasts_s)
