"""Limits of known arms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.errors import SpecError
from dualsys.fast.control.limits import stopping_speed
from dualsys.robots.contract import RobotSpec
from dualsys.robots.kinematics import PANDA
from dualsys.robots.profiles import (
    FR3,
    PANDA_LIMITS,
    PROFILES,
    SIMULATED_PANDA_LIMITS,
    ArmProfile,
    fr3_velocity_limits,
)


def test_the_simulated_arm_has_the_joints_of_the_real_one_and_a_faster_hand() -> None:
    for name in ("lower", "upper"):
        np.testing.assert_array_equal(getattr(PANDA_LIMITS, name), getattr(SIMULATED_PANDA_LIMITS, name))
    for name in ("velocity", "acceleration"):
        real, simulated = getattr(PANDA_LIMITS, name), getattr(SIMULATED_PANDA_LIMITS, name)
        np.testing.assert_array_equal(real[:7], simulated[:7])
        assert simulated[7] == 2 * real[7]


def test_the_rest_posture_of_the_kinematics_is_within_the_limits() -> None:
    assert (PANDA_LIMITS.lower[:7] < PANDA.rest_rad).all()
    assert (PANDA_LIMITS.upper[:7] > PANDA.rest_rad).all()


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
def test_a_profile_makes_a_robot_and_names_its_sources(profile: ArmProfile) -> None:
    spec = RobotSpec(profile.name, profile.axes, profile.limits, profile.rate_hz)
    assert spec.limits.axes == len(profile.axes)
    assert profile.sources
    unpublished = np.isinf(profile.limits.jerk).any()
    assert not unpublished or "jerk" in profile.assumed


def test_published_figures_are_those_of_the_documents() -> None:
    xarm, kuka = PROFILES["xarm7"].limits, PROFILES["iiwa14"].limits
    np.testing.assert_allclose(np.degrees(xarm.velocity), 180)
    np.testing.assert_allclose(np.degrees(xarm.jerk), 28647)
    np.testing.assert_allclose(np.degrees(kuka.velocity), (85, 85, 100, 75, 130, 135, 135))
    np.testing.assert_allclose(
        np.degrees(PROFILES["iiwa7"].limits.velocity), (98, 98, 100, 130, 140, 180, 180)
    )
    np.testing.assert_allclose(PROFILES["panda"].limits.jerk, (7500, 3750, 5000, 6250, 7500, 10000, 10000))
    np.testing.assert_allclose(np.degrees(PROFILES["ur5e"].limits.velocity), 180)


def test_the_velocity_limit_of_the_fr3_is_the_full_one_midway_and_none_at_the_stop() -> None:
    lowest, fastest = fr3_velocity_limits(np.zeros(7) + 0.5 * np.array([0, 0, 0, -3.2, 0, 5.0, 0]))
    np.testing.assert_allclose(fastest, FR3.limits.velocity)
    np.testing.assert_allclose(lowest, -FR3.limits.velocity)
    _, fastest = fr3_velocity_limits(np.array([2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159]))
    np.testing.assert_allclose(fastest, 0.0, atol=0.02)


@given(st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7), st.sampled_from((0.001, 0.004)))
def test_the_fr3_is_never_faster_than_its_published_limit_at_its_position(
    fractions: list[float], dt_s: float
) -> None:
    limits = FR3.limits
    q = limits.lower + np.array(fractions) * (limits.upper - limits.lower)
    lowest, fastest = fr3_velocity_limits(q)
    rise = np.minimum(stopping_speed(limits.upper - q, limits.braking, dt_s), limits.velocity)
    fall = np.minimum(stopping_speed(q - limits.lower, limits.braking, dt_s), limits.velocity)
    assert (rise <= fastest + 1e-9).all()
    assert (-fall >= lowest - 1e-9).all()


def test_a_gripper_can_be_added_to_an_arm() -> None:
    profile = PROFILES["ur5e"].with_gripper("gripper_opening", 0.085, 0.15, 1.0)
    assert profile.axes[-1] == "gripper_opening"
    assert (profile.limits.axes, profile.limits.joints) == (7, 6)
    assert profile.limits.upper[-1] == 0.085
    with pytest.raises(SpecError, match=r"limits\.velocity"):
        PROFILES["ur5e"].with_gripper("gripper_opening", 0.085, 0.0, 1.0)
