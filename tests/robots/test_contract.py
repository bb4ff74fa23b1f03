"""What a robot says it is must be consistent, and only what can be sent is sent."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest

from dualsys.errors import RobotError, SpecError
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.contract import RobotSpec
from dualsys.robots.profiles import PANDA_JOINTS, PANDA_LIMITS

AXES = (*PANDA_JOINTS, "gripper")
SPEC = RobotSpec("arm", AXES, PANDA_LIMITS, 250.0)


def test_each_axis_has_a_name_of_its_own() -> None:
    with pytest.raises(SpecError, match="8 different axis names"):
        RobotSpec("arm", PANDA_JOINTS, PANDA_LIMITS, 250.0)
    with pytest.raises(SpecError, match="8 different axis names"):
        RobotSpec("arm", ("gripper",) * 8, PANDA_LIMITS, 250.0)


@pytest.mark.parametrize("name", ["", "the gripper", " gripper"])
def test_a_name_of_an_axis_is_one_word(name: str) -> None:
    with pytest.raises(SpecError, match="without blanks"):
        RobotSpec("arm", (*PANDA_JOINTS, name), PANDA_LIMITS, 250.0)


def test_a_robot_has_a_name() -> None:
    with pytest.raises(SpecError, match="expected a name"):
        RobotSpec(" ", AXES, PANDA_LIMITS, 250.0)


@pytest.mark.parametrize("value", [0.0, -1.0, inf, nan])
@pytest.mark.parametrize("name", ["rate_hz", "rest_s"])
def test_a_rate_and_the_time_to_rest_are_positive_and_finite(name: str, value: float) -> None:
    with pytest.raises(SpecError, match=name):
        RobotSpec("arm", AXES, PANDA_LIMITS, **{"rate_hz": 250.0, name: value})


def test_joints_are_in_radians_and_gripper_openings_in_metres() -> None:
    assert SPEC.units == ("rad",) * 7 + ("m",)


@pytest.mark.parametrize("axis", range(8))
@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_set_point_that_is_no_number_is_refused_by_the_name_of_its_axis(axis: int, value: float) -> None:
    command = np.zeros(8)
    command[axis] = value
    with pytest.raises(RobotError, match=f"for {AXES[axis]}: nothing was sent"):
        SPEC.require_command(command)


@pytest.mark.parametrize("command", [np.zeros(7), np.zeros(9), np.zeros((1, 8)), np.array(0.0)])
def test_a_set_point_of_another_shape_is_refused(command: FloatArray) -> None:
    with pytest.raises(RobotError, match="each of 8 axes"):
        SPEC.require_command(command)


def test_any_other_set_point_is_handed_back() -> None:
    command = np.full(8, 1e9)
    assert SPEC.require_command(command) is command
