"""The limits of control: those of the arm, the part of them that is allowed, and the workspace."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.config import LimitsConfig, WorkspaceConfig
from dualsys.errors import SpecError
from dualsys.fast.control.process import limits_of
from dualsys.robots.profiles import PROFILES, SIMULATED_PANDA_LIMITS


def test_fractions_and_workspace_of_the_configuration_are_taken_over() -> None:
    config = LimitsConfig(speed_fraction=0.5, workspace=WorkspaceConfig(z_min_m=0.02, x_max_m=0.7))
    limits = limits_of(config, SIMULATED_PANDA_LIMITS)
    np.testing.assert_array_equal(limits.velocity, SIMULATED_PANDA_LIMITS.velocity / 2)
    np.testing.assert_array_equal(limits.workspace, [[-np.inf, -np.inf, 0.02], [0.7, np.inf, np.inf]])


def test_without_a_bound_there_is_no_workspace_and_no_kinematics_are_needed() -> None:
    assert limits_of(LimitsConfig(), PROFILES["ur5e"].limits).workspace.size == 0
    with pytest.raises(SpecError, match="kinematics of the arm have to be known"):
        limits_of(LimitsConfig(workspace=WorkspaceConfig(z_min_m=0.1)), PROFILES["ur5e"].limits)
