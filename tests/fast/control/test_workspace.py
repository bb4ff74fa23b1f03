"""The workspace: plans that lead the tool out of its box are refused, and commands that do are held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS
from dualsys.errors import SpecError
from dualsys.fast.control.limits import Limits
from dualsys.fast.control.modes import Mode
from dualsys.fast.control.workspace import MARGIN_M, Workspace
from dualsys.messages import Tensor
from dualsys.robots.kinematics import PANDA
from dualsys.robots.profiles import PROFILES, SIMULATED_PANDA_LIMITS

from .conftest import HOME, JOINT_1, PERIOD_NS, Rig, obeys

TOOL_M = PANDA.forward(HOME[:7])[0]
RADIUS_M = float(np.hypot(*TOOL_M[:2]))


def within(**bounds_m: float) -> Limits:
    """The limits of the simulated arm with bounds such as `y_max_m`."""
    lowest = [bounds_m.get(f"{axis}_min_m", -np.inf) for axis in "xyz"]
    highest = [bounds_m.get(f"{axis}_max_m", np.inf) for axis in "xyz"]
    return replace(SIMULATED_PANDA_LIMITS, workspace=np.array([lowest, highest]))


def rig_within(**bounds_m: float) -> Rig:
    """A rig whose tool may be where these bounds, such as `y_max_m`, say."""
    rig = Rig(limits=within(**bounds_m))
    rig.tick()
    return rig


@pytest.mark.fault_row(22, 36)
def test_a_plan_that_leaves_the_box_is_refused_and_the_one_before_it_goes_on() -> None:
    rig = rig_within(y_max_m=0.2 * RADIUS_M)
    assert rig.give(rig.plan(rate=0.02 * JOINT_1, duration_ms=1000))
    rig.tick(5)
    assert not rig.give(rig.plan(rate=1.0 * JOINT_1))
    assert rig.count("rejected_workspace") == 1
    assert "m outside the workspace" in rig.core.last_refusal
    before = rig.arm
    assert rig.tick().mode is Mode.RUNNING
    assert rig.arm[0] > before[0]


def test_a_plan_that_leads_back_into_the_box_is_followed() -> None:
    rig = rig_within(y_max_m=-0.1 * RADIUS_M)
    assert not rig.give(rig.plan(rate=0.1 * JOINT_1))
    assert rig.give(rig.plan(rate=-0.3 * JOINT_1))
    assert rig.tick(20).mode is Mode.RUNNING


@pytest.mark.fault_row(22)
def test_a_command_beyond_the_box_between_two_set_points_inside_is_braked_and_held() -> None:
    turned = HOME - 0.6 * JOINT_1
    x_max_m = float(PANDA.forward(turned[:7])[0][0]) + 0.005
    limits = within(x_max_m=x_max_m)
    rig = Rig(limits=limits, home=turned)
    rig.tick()
    times = rig.now_ns + np.array([0, 3000 * NS_PER_MS])
    sweep = np.stack((turned, turned + 1.2 * JOINT_1))
    assert rig.give(rig.plan(t_ns=Tensor.of(times), setpoints=Tensor.of(sweep)))
    while rig.core.mode is Mode.RUNNING:
        rig.tick()
    assert (rig.core.mode, rig.count("held")) == (Mode.HOLDING, 1)
    rig.tick(40)
    assert rig.core.at_rest
    assert PANDA.forward(rig.arm[:7])[0][0] < x_max_m + MARGIN_M + 0.02
    assert not rig.give()
    obeys(limits, rig.commands, PERIOD_NS)


def test_bounds_that_are_not_given_do_not_bind() -> None:
    workspace = Workspace.of(within(z_min_m=0.1))
    assert workspace is not None
    assert workspace.outside_m(HOME) == 0.0
    stretched = np.stack((HOME, HOME + np.array([0, 1.4, 0, 0.4, 0, 0, 0, 0])))
    below_m = 0.1 - PANDA.forward(stretched[1, :7])[0][2]
    np.testing.assert_allclose(workspace.outside_m(stretched), (0.0, max(0.0, below_m)))
    assert Workspace.of(SIMULATED_PANDA_LIMITS) is None


def test_a_workspace_needs_the_kinematics_of_the_arm_and_room() -> None:
    with pytest.raises(SpecError, match="kinematics of the arm have to be known"):
        replace(PROFILES["ur5e"].limits, workspace=np.array([[-1.0] * 3, [1.0] * 3]))
    with pytest.raises(SpecError, match="lowest below highest"):
        replace(SIMULATED_PANDA_LIMITS, workspace=np.zeros((2, 3)))
    with pytest.raises(SpecError, match=r"limits\.frames"):
        replace(SIMULATED_PANDA_LIMITS, frames=np.zeros((9, 4, 4)))
