"""What a robot says it is must be consistent."""

from __future__ import annotations

import pytest

from dualsys.errors import SpecError
from dualsys.robots.contract import RobotSpec
from dualsys.robots.profiles import PANDA_JOINTS, PANDA_LIMITS


def test_each_axis_has_a_name_of_its_own() -> None:
    with pytest.raises(SpecError, match="8 different axis names"):
        RobotSpec("arm", PANDA_JOINTS, PANDA_LIMITS, 250.0)
    with pytest.raises(SpecError, match="8 different axis names"):
        RobotSpec("arm", ("gripper",) * 8, PANDA_LIMITS, 250.0)


def test_a_rate_is_positive() -> None:
    with pytest.raises(SpecError, match="rate_hz"):
        RobotSpec("arm", (*PANDA_JOINTS, "gripper"), PANDA_LIMITS, 0.0)
