"""One axis moves a little, slowly, within its limits, and nothing else does."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest

from dualsys.clock import VirtualClock
from dualsys.errors import RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.jog import FASTEST, jog
from dualsys.robots.kit import Bench
from dualsys.robots.scripted import ScriptedArm, ScriptedRobot


class Watched(ScriptedRobot):
    """Keeps what it was sent."""

    def __init__(self, arm: ScriptedArm) -> None:
        super().__init__(arm)
        self.sent: list[FloatArray] = []

    def send(self, command: FloatArray) -> None:
        self.sent.append(command)
        super().send(command)


class Degrees(ScriptedRobot):
    """Sends degrees."""

    def send(self, command: FloatArray) -> None:
        super().send(np.degrees(command))


@pytest.fixture
def arm(clock: VirtualClock) -> ScriptedArm:
    """An arm in memory."""
    return ScriptedArm(clock)


def bench_of(robot: ScriptedRobot, may_move: bool = True) -> Bench:
    return Bench(lambda: robot, robot.arm.clock, may_move=may_move)


@pytest.mark.parametrize(
    ("axis", "by", "unit", "seen"),
    [
        ("elbow", 0.2, "rad", "+11.46 degrees"),
        ("shoulder", -0.05, "rad", "-2.86"),
        ("gripper", 0.02, "m", "+20.0 mm"),
    ],
)
def test_one_axis_moves_as_far_as_told_and_slowly(
    arm: ScriptedArm, axis: str, by: float, unit: str, seen: str
) -> None:
    robot = Watched(arm)
    before = arm.position.copy()
    done = jog(bench_of(robot), axis, by, unit)
    moved = arm.position - before
    number = robot.spec.axes.index(axis)
    assert moved[number] == pytest.approx(by, rel=0.02)
    assert np.abs(np.delete(moved, number)).max() < 1e-9
    assert done.after - done.before == pytest.approx(by, rel=0.02)
    assert seen in str(done)
    path = np.array(robot.sent)
    speed = np.abs(np.diff(path, axis=0)).max(axis=0) * robot.spec.rate_hz
    assert speed[number] <= 1.01 * FASTEST[unit]
    assert np.abs(path[0] - before).max() == 0.0


@pytest.mark.parametrize(
    ("axis", "by", "unit", "said"),
    [
        ("wrist", 0.1, "rad", "no axis 'wrist'; scripted has shoulder, elbow, gripper"),
        ("gripper", 0.01, "rad", "moves in m: give --by-m"),
        ("elbow", 0.01, "m", "moves in rad: give --by-rad"),
        ("elbow", 0.3, "rad", "got 0.3, expected up to 0.2"),
        ("elbow", 0.0, "rad", "not zero"),
        ("elbow", nan, "rad", "got nan"),
        ("elbow", -inf, "rad", "got -inf"),
        ("gripper", -0.02001, "m", "expected up to 0.02"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_sent(
    arm: ScriptedArm, axis: str, by: float, unit: str, said: str
) -> None:
    with pytest.raises(RobotError, match=said):
        jog(bench_of(ScriptedRobot(arm)), axis, by, unit)
    assert arm.written == 0


@pytest.mark.parametrize(
    ("start", "by", "moves"), [(1.95, 0.1, False), (1.95, -0.1, True), (2.05, -0.01, True)]
)
def test_no_axis_is_led_out_of_its_limits_and_one_that_is_outside_is_led_in(
    clock: VirtualClock, start: float, by: float, moves: bool
) -> None:
    arm = ScriptedArm(clock, (start, 0.0, 0.0))
    if moves:
        jog(bench_of(ScriptedRobot(arm)), "shoulder", by, "rad")
        assert arm.position[0] == pytest.approx(start + by, abs=1e-3)
    else:
        with pytest.raises(RobotError, match="would lead it out of -2 to 2 rad"):
            jog(bench_of(ScriptedRobot(arm)), "shoulder", by, "rad")
        assert arm.written == 0


def test_without_consent_nothing_is_sent(arm: ScriptedArm) -> None:
    with pytest.raises(RobotError, match="--i-am-at-the-stop"):
        jog(bench_of(ScriptedRobot(arm), may_move=False), "elbow", 0.1, "rad")
    assert arm.written == 0


def test_an_arm_that_goes_elsewhere_is_stopped_at_once(arm: ScriptedArm) -> None:
    before = arm.position.copy()
    with pytest.raises(RobotError, match="astray"):
        jog(bench_of(Degrees(arm)), "elbow", 0.1, "rad")
    assert np.abs(arm.position - before).max() < 0.1
