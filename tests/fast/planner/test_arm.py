from __future__ import annotations

import numpy as np
import pytest

from dualsys.fast.planner.arm import POSTURE_BLEND_NS, ArmModel, ArmView
from dualsys.fast.planner.track import Track
from dualsys.messages import ControlState
from dualsys.robots.kinematics import PANDA, TOOL_DOWN


def arm_at(model: ArmModel, q_rad: np.ndarray, opening_m: float = 0.08) -> ArmView:
    pose = (*q_rad.tolist(), opening_m)
    return model.read(
        ControlState(
            session=0,
            seq=0,
            t_ns=0,
            position=pose,
            velocity=(0.0,) * 8,
            command=pose,
            mode="RUNNING",
            reason="",
            epoch=0,
            plan_seq=-1,
            latent_age_ns=-1,
            plan_age_ns=-1,
            counters={},
        )
    )


@pytest.fixture
def model() -> ArmModel:
    return ArmModel(PANDA, TOOL_DOWN, 0.08)


def test_the_tool_is_where_forward_kinematics_says(model: ArmModel) -> None:
    arm = arm_at(model, PANDA.rest_rad)
    expected = PANDA.forward(PANDA.rest_rad)[0]
    np.testing.assert_allclose(arm.tool_m, expected)
    np.testing.assert_allclose(arm.commanded_tool_m, expected)


@pytest.mark.parametrize(("opening_m", "grip"), [(0.08, 1.0), (0.05, 1.0), (0.03, -1.0), (0.0, -1.0)])
def test_an_opening_is_told_as_open_or_closed(model: ArmModel, opening_m: float, grip: float) -> None:
    assert model.grip_of(opening_m) == grip


def test_setpoints_start_in_the_posture_that_the_arm_was_found_in(model: ArmModel) -> None:
    found = PANDA.inverse(np.array([[0.5, 0.1, 0.2]]), TOOL_DOWN, PANDA.rest_rad, PANDA.rest_rad + 0.3)[0]
    arm = arm_at(model, found)
    model.anchor(arm, 0)
    setpoints, reachable = model.setpoints(Track.holding(0, arm.commanded_tool_m, 1.0), arm)
    assert reachable
    np.testing.assert_allclose(setpoints[0, :7], found, atol=5e-3)


def test_later_the_posture_depends_on_the_pose_alone(model: ArmModel) -> None:
    position_m = np.array([[0.5, 0.1, 0.2]])
    solutions = []
    for offset_rad in (-0.3, 0.3):
        found = PANDA.inverse(position_m, TOOL_DOWN, PANDA.rest_rad, PANDA.rest_rad + offset_rad)[0]
        arm = arm_at(model, found)
        model.anchor(arm, 0)
        late = Track.holding(POSTURE_BLEND_NS, arm.commanded_tool_m, 1.0)
        solutions.append(model.setpoints(late, arm)[0][0, :7])
    np.testing.assert_allclose(solutions[0], solutions[1], atol=5e-3)


def test_a_position_out_of_reach_is_told(model: ArmModel) -> None:
    arm = arm_at(model, PANDA.rest_rad)
    assert not model.setpoints(Track.holding(0, np.array([1.5, 0.0, 0.2]), 1.0), arm)[1]
