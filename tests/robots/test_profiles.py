"""Limits of known arms."""

from __future__ import annotations

import numpy as np

from dualsys.robots.kinematics import PANDA
from dualsys.robots.profiles import PANDA_LIMITS, SIMULATED_PANDA_LIMITS


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
