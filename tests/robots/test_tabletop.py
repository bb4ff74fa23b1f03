"""The arms that can stand at the simulated table."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.errors import ConfigError
from dualsys.fast.control.limits import FloatArray
from dualsys.plugins import Option
from dualsys.robots.kinematics import TOOL_DOWN
from dualsys.robots.profiles import PROFILES
from dualsys.robots.registry import driver_named
from dualsys.robots.tabletop import ARMS, TABLE_PANDA, TabletopArm, arm_of, arm_with

every_arm = pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())


@every_arm
def test_an_arm_has_the_joints_ranges_and_speeds_of_its_profile_and_one_gripper(arm: TabletopArm) -> None:
    profile, spec = PROFILES[arm.name], arm.spec
    joints = arm.chain.joints
    assert spec.axes == arm.geometry.axes == (*profile.axes, "gripper_opening")
    assert spec.limits.joints == joints == len(spec.axes) - 1
    for name in ("lower", "upper", "velocity", "acceleration", "jerk"):
        np.testing.assert_array_equal(getattr(spec.limits, name)[:joints], getattr(profile.limits, name))
    np.testing.assert_array_equal(arm.chain.lower_rad, profile.limits.lower)
    np.testing.assert_array_equal(arm.chain.upper_rad, profile.limits.upper)


@every_arm
def test_the_hand_is_the_same_on_every_arm(arm: TabletopArm) -> None:
    hand, first = arm.spec.limits, TABLE_PANDA.spec.limits
    for name in ("lower", "upper", "velocity", "acceleration"):
        assert getattr(hand, name)[-1] == getattr(first, name)[-1]
    assert arm.geometry.open_m == TABLE_PANDA.geometry.open_m


@every_arm
def test_the_tool_of_the_limits_is_that_of_the_kinematics(arm: TabletopArm) -> None:
    *frames, tool = arm.spec.limits.frames
    np.testing.assert_array_equal(frames, arm.chain.joint_frames)
    np.testing.assert_array_equal(tool, arm.chain.tool_frame)
    assert arm.geometry.kinematics is arm.chain


def missed(
    arm: TabletopArm, wanted_m: FloatArray, q_start_rad: FloatArray
) -> tuple[float, float, FloatArray]:
    """Greatest distance in m, greatest difference of a rotation, and the joints."""
    joints = arm.chain.inverse(wanted_m, TOOL_DOWN, q_start_rad)
    place, turned = arm.chain.forward(joints)
    return float(np.abs(place - wanted_m).max()), float(np.abs(turned - TOOL_DOWN).max()), joints


@every_arm
def test_an_arm_reaches_all_of_its_box_with_the_tool_pointing_down(
    rng: np.random.Generator, arm: TabletopArm
) -> None:
    low, high = np.array(arm.geometry.low_m), np.array(arm.geometry.high_m)
    corners = low + (high - low) * np.stack(np.meshgrid(*[(0.0, 1.0)] * 3), axis=-1).reshape(-1, 3)
    for wanted in (corners, rng.uniform(low, high, (300, 3))):
        off_m, off, _ = missed(arm, wanted, arm.chain.rest_rad)
        assert off_m < 1e-4
        assert off < 1e-3


@every_arm
def test_an_arm_goes_through_its_box_without_a_jump_to_another_posture(arm: TabletopArm) -> None:
    low, high = np.array(arm.geometry.low_m), np.array(arm.geometry.high_m)
    # As the planner does: each step starts where the last one ended. Steps are of 15 mm at most.
    turn = np.linspace(0.0, 2 * np.pi, 400)
    wave = np.stack((np.sin(turn), np.sin(2 * turn), np.cos(3 * turn)), axis=-1)
    way = (low + high) / 2 + 0.98 * (high - low) / 2 * wave
    joints = missed(arm, way[0], arm.chain.rest_rad)[2][0]
    for place in way[1:]:
        off_m, _, found = missed(arm, place, joints)
        assert off_m < 1e-4
        assert np.abs(found[0] - joints).max() < 0.25, place
        joints = found[0]


@every_arm
def test_the_places_that_objects_are_put_in_lie_within_the_box(arm: TabletopArm) -> None:
    arena = pytest.importorskip("dualsys_sim.arena")
    low, high = np.array(arm.geometry.low_m), np.array(arm.geometry.high_m)
    assert (low[:2] < arena.WORK_LOW_M).all()
    assert (high[:2] > arena.WORK_HIGH_M).all()
    assert low[2] == arena.COMMAND_LOW_M[2]
    assert (np.add(arena.START_TOOL_M, (0.04, 0.06, 0.04)) < high).all()


@pytest.mark.parametrize("driver", ["pybullet", "link"])
def test_the_option_arm_tells_the_planner_which_arm_it_leads(driver: str) -> None:
    geometry = driver_named(driver).geometry
    for name, arm in ARMS.items():
        assert geometry({"arm": name}) is arm.geometry
        assert arm_with(arm.geometry) is arm
    assert geometry({}) is TABLE_PANDA.geometry


@pytest.mark.parametrize("name", ["iiwa7", "", None, 7])
def test_an_arm_that_is_not_there_is_refused_with_those_that_are(name: Option) -> None:
    with pytest.raises(
        ConfigError, match=r"robot\.options\.arm: got .*, expected one of panda, iiwa14, xarm6"
    ):
        arm_of({"arm": name})
