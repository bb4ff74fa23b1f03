"""The conformance kit passes an arm that keeps the contract, and names the fault of any other."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS, NS_PER_S, VirtualClock
from dualsys.errors import RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.contract import ArmReading, RobotSpec
from dualsys.robots.kit import Bench, Outcome, Report, RobotContract, examine
from dualsys.robots.kit.connection_checks import absence, close, lost_connection, reconnection
from dualsys.robots.kit.judging import Check, judged
from dualsys.robots.kit.motion_checks import (
    lag,
    limits,
    order,
    refuses_nonsense,
    scale,
    stays,
    stop,
    velocities,
)
from dualsys.robots.kit.reading_checks import (
    calls_do_not_wait,
    cycle,
    range_of_readings,
    reading,
    readings_in_time,
    specification,
)
from dualsys.robots.scripted import SCRIPTED_SPEC, ScriptedArm, ScriptedRobot

LIMITS = SCRIPTED_SPEC.limits
START = (0.4, -0.7, 0.02)


class Coasting(ScriptedArm):
    """Goes on as it went when nobody says anything."""

    def at_watchdog(self) -> None:
        if np.abs(self.velocity).max() > 1e-3:
            self.target = self.position + self.velocity


class GoodArm(ScriptedRobot):
    """With a cycle, and a clock that can be moved."""

    @property
    def clock(self) -> VirtualClock:
        assert isinstance(self.arm.clock, VirtualClock)
        return self.arm.clock

    def wait_cycle(self, deadline_ns: int) -> bool:
        self.clock.sleep_until_ns(min(deadline_ns, self.clock.now_ns() + 4 * NS_PER_MS))
        return self.arm.there


def bench_of(
    arm: type[GoodArm],
    start: tuple[float, ...] = START,
    world: type[ScriptedArm] = ScriptedArm,
    **settings: object,
) -> Bench:
    clock = VirtualClock(NS_PER_S)
    made = world(clock, start)
    nowhere = ScriptedArm(clock, start)
    nowhere.there = False

    def drop() -> None:
        made.there = False

    given = {"may_move": True, "drop": drop, "absent": lambda: arm(nowhere), **settings}
    return Bench(lambda: arm(made), clock, **given)  # type: ignore[arg-type]


def failures(report: Report) -> dict[str, Outcome]:
    return {one.check: one for one in report.outcomes if one.state == "failed"}


def require_caught(bench: Bench, check: Check, seen: str, remedy: str) -> None:
    """Assert that a check fails, and that it tells what was seen and what to do."""
    outcome = judged(check, bench)
    text = "\n".join(outcome.lines())
    assert outcome.state == "failed", text
    assert seen in outcome.seen, text
    assert remedy in outcome.remedy, text
    assert outcome.expected


class TestGoodArm(RobotContract):
    """The mixin, on the arm that keeps the contract."""

    @classmethod
    def make_bench(cls) -> Bench:
        return bench_of(GoodArm)


def test_an_arm_that_keeps_the_contract_passes_every_check() -> None:
    report = examine(bench_of(GoodArm))
    assert report.passed
    assert [one.lines() for one in report.outcomes if one.state != "passed"] == []
    assert report.closing_line() == "scripted, 3 axes: 20 passed"
    assert report.tree()["passed"] is True


@pytest.mark.parametrize("start", [(-1.995, 1.995, 0.0), (2.005, -2.005, 0.08)])
def test_an_arm_at_its_limits_is_moved_away_from_them(start: tuple[float, ...]) -> None:
    bench = bench_of(GoodArm, start)
    assert failures(examine(bench)) == {}
    path = np.array(bench.moved.samples.command)
    assert (path.max(axis=0) <= np.maximum(LIMITS.upper, start)).all()
    assert (path.min(axis=0) >= np.minimum(LIMITS.lower, start)).all()


def test_without_consent_nothing_is_sent() -> None:
    bench = bench_of(GoodArm, may_move=False, drop=None)
    report = examine(bench)
    assert report.passed
    skipped = {one.check for one in report.outcomes if one.state == "skipped"}
    assert {"stays", "scale and direction", "stop", "silence", "refuses nonsense"} <= skipped
    with bench.connected() as session:
        assert session.robot.arm.written == 0  # type: ignore[attr-defined]


def test_motions_are_small_and_slow_and_end_where_they_began() -> None:
    bench = bench_of(GoodArm)
    examine(bench)
    trace = bench.moved.samples.trace()
    assert (np.ptp(trace.command, axis=0) <= np.array([0.02, 0.02, 0.004]) + 1e-9).all()
    speed = np.abs(np.diff(trace.command, axis=0)) * 250
    assert (speed <= 0.2 * LIMITS.velocity).all()
    np.testing.assert_allclose(trace.position[-1], START, atol=1e-3)


class DegreesRead(GoodArm):
    def read(self) -> ArmReading:
        one = super().read()
        scale = np.array([180 / np.pi, 180 / np.pi, 1.0])
        return replace(one, position=one.position * scale, velocity=one.velocity * scale)


class DegreesSent(GoodArm):
    def send(self, command: FloatArray) -> None:
        super().send(np.append(np.degrees(command[:2]), command[2]))


class RadiansTakenForDegrees(GoodArm):
    def send(self, command: FloatArray) -> None:
        super().send(np.append(np.radians(command[:2]), command[2]))


class TenfoldGain(GoodArm):
    def send(self, command: FloatArray) -> None:
        super().send(np.array(START) + 10 * (command - START))


class Backwards(GoodArm):
    def send(self, command: FloatArray) -> None:
        super().send(2 * np.array(START) - command)


class Swapped(GoodArm):
    def send(self, command: FloatArray) -> None:
        super().send(command[[1, 0, 2]])


class Deaf(GoodArm):
    def send(self, command: FloatArray) -> None:
        del command


class Late(GoodArm):
    def __init__(self, arm: ScriptedArm) -> None:
        super().__init__(arm)
        self.queue: deque[ArmReading] = deque()

    def read(self) -> ArmReading:
        self.queue.append(super().read())
        old = self.queue.popleft() if len(self.queue) > 100 else self.queue[0]
        return replace(old, t_ns=self.clock.now_ns())


class Waiting(GoodArm):
    def read(self) -> ArmReading:
        self.clock.advance_ns(20 * NS_PER_MS)
        return super().read()


class WaitingToSend(GoodArm):
    def send(self, command: FloatArray) -> None:
        self.clock.advance_ns(3 * NS_PER_MS)
        super().send(command)


class Silent(GoodArm):
    def read(self) -> ArmReading:
        if self.last is None:
            return super().read()
        return self.last


class Slow(GoodArm):
    def read(self) -> ArmReading:
        if self.last is not None and self.clock.now_ns() - self.last.t_ns < 20 * NS_PER_MS:
            return self.last
        return super().read()


class NotANumber(GoodArm):
    def read(self) -> ArmReading:
        return replace(super().read(), position=np.array([0.4, nan, 0.02]))


class OneTooFew(GoodArm):
    def read(self) -> ArmReading:
        one = super().read()
        return replace(one, velocity=one.velocity[:2])


class Ahead(GoodArm):
    def read(self) -> ArmReading:
        one = super().read()
        return replace(one, t_ns=one.t_ns + NS_PER_S)


class SendsAnything(GoodArm):
    def write(self, command: FloatArray) -> None:
        self.send(np.resize(np.nan_to_num(command, posinf=0.0, neginf=0.0), 3))


class NoVelocity(GoodArm):
    def read(self) -> ArmReading:
        return replace(super().read(), velocity=np.zeros(3))


class DegreesPerSecond(GoodArm):
    def read(self) -> ArmReading:
        one = super().read()
        return replace(one, velocity=np.degrees(one.velocity))


class InDegrees(GoodArm):
    @property
    def spec(self) -> RobotSpec:
        limits = replace(LIMITS, lower=np.array([-170.0, -170, 0]), upper=np.array([170.0, 170, 0.08]))
        return replace(SCRIPTED_SPEC, limits=limits)


class InMillimetres(GoodArm):
    @property
    def spec(self) -> RobotSpec:
        return replace(SCRIPTED_SPEC, limits=replace(LIMITS, upper=np.array([2.0, 2.0, 80.0])))


class Leaping(GoodArm):
    def __init__(self, arm: ScriptedArm) -> None:
        super().__init__(arm)
        self.due_ns = 0

    @property
    def spec(self) -> RobotSpec:
        return replace(SCRIPTED_SPEC, limits=replace(LIMITS, velocity=np.array([0.2, 0.2, 0.2])))

    def send(self, command: FloatArray) -> None:
        if self.clock.now_ns() >= self.due_ns:
            self.due_ns = self.clock.now_ns() + 500 * NS_PER_MS
            self.kept = command
        super().send(self.kept)


class NeverStops(GoodArm):
    def stop(self, reason: str) -> None:
        del reason


class StopsForGood(GoodArm):
    halted = False

    def stop(self, reason: str) -> None:
        super().stop(reason)
        self.halted = True

    def write(self, command: FloatArray) -> None:
        if self.halted:
            raise RobotError("stopped")
        super().write(command)


class ClosesOnce(GoodArm):
    def close(self) -> None:
        if not self.connected:
            raise KeyError("port")
        super().close()


class ReadsWhenClosed(GoodArm):
    def close(self) -> None:
        """Keep everything."""


class ConnectsOnce(GoodArm):
    used = False

    def connect(self) -> None:
        if self.used:
            raise RobotError("port is in use")
        self.used = True
        super().connect()


class StampsAnew(GoodArm):
    def read(self) -> ArmReading:
        return replace(super().read(), t_ns=self.clock.now_ns())


class HangsWhenLost(GoodArm):
    def read(self) -> ArmReading:
        if not self.arm.there:
            self.clock.advance_ns(5 * NS_PER_S)
        return super().read()


class BreaksWhenLost(GoodArm):
    def read(self) -> ArmReading:
        if not self.arm.there and self.last is not None and self.clock.now_ns() % 7 == 0:
            raise KeyError("position")
        return super().read()


class ConnectsToNobody(GoodArm):
    def connect(self) -> None:
        self.connected = True


class ConnectsForEver(GoodArm):
    def connect(self) -> None:
        if not self.arm.there:
            self.clock.advance_ns(60 * NS_PER_S)
        super().connect()


class NoCycle(GoodArm):
    def wait_cycle(self, deadline_ns: int) -> bool:
        self.clock.sleep_until_ns(deadline_ns)
        return False


class CycleBeyondDeadline(GoodArm):
    def wait_cycle(self, deadline_ns: int) -> bool:
        self.clock.sleep_until_ns(deadline_ns + NS_PER_S)
        return True


BAD = [
    (DegreesRead, START, range_of_readings, "shoulder is at 22.92 rad", "look like degrees"),
    (DegreesSent, START, stays, "told to stay at", "set-points arrive in degrees"),
    (DegreesSent, (0.0, 0.0, 0.02), scale, "times as far", "convert at the driver's edge"),
    (RadiansTakenForDegrees, START, stays, "went off", "set-points are taken for degrees"),
    (RadiansTakenForDegrees, (0, 0, 0.02), scale, "taken for degrees", "rad, m"),
    (TenfoldGain, START, scale, "a gain", "convert at the driver's edge"),
    (Backwards, START, scale, "backwards", "the sign of each axis"),
    (Swapped, START, stays, "went off", "another order of the axes"),
    (Swapped, (0.3, 0.3, 0.02), order, "shoulder was told to move, and elbow moved", "by name"),
    (Deaf, START, scale, "did not move", "convert"),
    (Late, START, lag, "ms after its set-points", "queue"),
    (Waiting, START, calls_do_not_wait, "read() takes 20.00 ms", "never wait in `read`"),
    (WaitingToSend, START, calls_do_not_wait, "write() takes 3.00 ms", "never wait in `write`"),
    (Silent, START, readings_in_time, "the robot is silent", "in a thread or a process"),
    (Slow, START, readings_in_time, "% of the looks", "state a lower rate_hz"),
    (NotANumber, START, reading, "position of elbow is nan", "keep the last reading"),
    (OneTooFew, START, reading, "velocity has the shape [2]", "one number for each axis"),
    (Ahead, START, reading, "ahead of the clock", "settings.clock.now_ns()"),
    (SendsAnything, START, refuses_nonsense, "raised nothing when given nan for shoulder", "require_command"),
    (NoVelocity, START, velocities, "shoulder reads 0 times", "differences of positions"),
    (DegreesPerSecond, START, velocities, "times its velocity", "rad/s"),
    (InDegrees, START, specification, "these look like degrees", "numpy.radians()"),
    (InMillimetres, START, specification, "millimetres", "gripper openings in m"),
    (Leaping, START, limits, "the speed of shoulder", "compare the limits"),
    (StopsForGood, START, stop, "after the rest: stopped", "until the next `write`"),
    (ClosesOnce, START, close, "the second close() raised KeyError", "forget"),
    (ReadsWhenClosed, START, close, "read() after close() raised nothing", "raise RobotError"),
    (ConnectsOnce, START, reconnection, "port is in use", "in `connect`"),
    (StampsAnew, START, lost_connection, "gives a reading that is 0 ms old", "stamp a reading when it comes"),
    (HangsWhenLost, START, lost_connection, "a call took 5.00 s", "never wait"),
    (BreaksWhenLost, START, lost_connection, "raised KeyError", "into RobotError"),
    (ConnectsToNobody, START, absence, "raised nothing although no robot is there", "raise RobotError"),
    (ConnectsForEver, START, absence, "gave up after 61.0 s", "bound every wait"),
    (NoCycle, START, cycle, "0 of 20 waits", "leave out wait_cycle()"),
    (CycleBeyondDeadline, START, cycle, "after its deadline", "bound every wait"),
]


@pytest.mark.parametrize(
    ("arm", "start", "check", "seen", "remedy"),
    BAD,
    ids=[f"{row[0].__name__}-{row[2].__name__}" for row in BAD],
)
def test_a_driver_that_breaks_the_contract_is_caught_and_its_fault_named(
    arm: type[GoodArm], start: tuple[float, ...], check: Check, seen: str, remedy: str
) -> None:
    require_caught(bench_of(arm, start), check, seen, remedy)


def test_an_arm_that_coasts_on_is_caught_after_silence_and_after_a_stop_that_does_nothing() -> None:
    found = failures(examine(bench_of(NeverStops, world=Coasting)))
    assert {"stop", "silence"} <= found.keys()
    assert "still moved" in found["silence"].seen
    assert "watchdog" in found["silence"].remedy


@pytest.mark.parametrize("arm", [DegreesSent, TenfoldGain, Swapped])
def test_an_arm_that_goes_astray_is_stopped_early_and_is_not_moved_again(
    arm: type[GoodArm],
) -> None:
    bench = bench_of(arm, drop=None)
    examine(bench)
    assert bench.moved.astray is not None
    assert "stopped" not in vars(bench), "the stop is tried only on an arm that goes where it is told"
    with bench.connected() as session:
        assert np.abs(session.robot.read().position - START).max() < 0.1


def test_a_robot_that_cannot_be_connected_fails_once_and_skips_the_rest() -> None:
    bench = bench_of(GoodArm)
    assert bench.drop is not None
    bench.drop()
    report = examine(bench)
    assert failures(report).keys() == {"connection"}
    assert "no answer from the robot" in failures(report)["connection"].seen
    assert report.robot == "unknown robot"


@pytest.mark.parametrize("value", [nan, inf])
def test_readings_that_become_nonsense_while_the_arm_moves_stop_it(value: float) -> None:
    class Breaking(GoodArm):
        def read(self) -> ArmReading:
            one = super().read()
            broken = np.array([value, *one.position[1:]])
            return replace(one, position=broken) if self.arm.written > 150 else one

    found = failures(examine(bench_of(Breaking)))
    assert "scale and direction" in found
    assert f"shoulder reads {value} while the arm moves" in found["scale and direction"].seen
