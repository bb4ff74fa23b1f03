"""The planned motion: what a chunk continues, and where a fresh start begins."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS
from dualsys.fast.planner.arm import ArmModel
from dualsys.fast.planner.motion import PlannedMotion, come_to_rest
from dualsys.fast.planner.track import Track
from dualsys.robots.kinematics import TOOL_DOWN

from .conftest import START_M, GantryKinematics, at_tool, state

T0 = 10**9
MODEL = ArmModel(GantryKinematics(), TOOL_DOWN, 0.08)
ARM = MODEL.read(state(T0))


@pytest.fixture
def motion() -> PlannedMotion:
    """A tool that moves 40 mm along x within 400 ms, gripper closed."""
    made = PlannedMotion(MODEL, max_divergence_m=0.03)
    t_ns = np.array([T0, T0 + 400 * NS_PER_MS])
    made.track = Track(t_ns, START_M + np.array([[0, 0, 0], [0.04, 0, 0]]), np.array([-1.0, -1.0]))
    return made


def test_a_motion_that_control_follows_is_continued(motion: PlannedMotion) -> None:
    halfway = MODEL.read(at_tool(T0 + 200 * NS_PER_MS, START_M + np.array([0.02, 0, 0])))
    assert motion.track_from(T0 + 200 * NS_PER_MS, halfway) == (motion.track, "continued")


def test_a_motion_that_control_does_not_follow_starts_afresh_from_the_command(motion: PlannedMotion) -> None:
    elsewhere = MODEL.read(at_tool(T0 + 200 * NS_PER_MS, START_M + np.array([0.02, 0.031, 0])))
    track, start = motion.track_from(T0 + 200 * NS_PER_MS, elsewhere)
    assert start == "divergences"
    tool_m, grip = track.at(T0 + 300 * NS_PER_MS)
    np.testing.assert_allclose(tool_m, elsewhere.commanded_tool_m)
    assert grip == -1.0  # what the gripper was told does not change with the path


def test_a_motion_that_is_over_starts_afresh(motion: PlannedMotion) -> None:
    assert motion.track_from(T0 + 400 * NS_PER_MS, ARM)[1] == "fresh_starts"


def test_without_a_motion_the_gripper_stays_as_it_is_commanded() -> None:
    motion = PlannedMotion(MODEL, max_divergence_m=0.03)
    assert motion.grip(T0, None) == 1.0
    shut = (*ARM.source.command[:-1], 0.0)
    assert motion.grip(T0, MODEL.read(state(T0, command=shut))) == -1.0


def test_a_motion_that_ended_before_the_arm_was_read_rests_where_the_arm_was_led(
    motion: PlannedMotion,
) -> None:
    assert motion.track is not None
    assert come_to_rest(motion.track, ARM) is motion.track
    braked = MODEL.read(at_tool(T0 + 450 * NS_PER_MS, START_M + np.array([0.043, 0, 0])))
    rest = come_to_rest(motion.track, braked)
    np.testing.assert_allclose(rest.at(T0 + 500 * NS_PER_MS)[0], START_M + np.array([0.043, 0, 0]))
    assert rest.grip[-1] == -1.0


def test_an_adopted_track_is_told_from_the_knot_before_now_on_and_remembered_a_while() -> None:
    motion = PlannedMotion(MODEL, max_divergence_m=0.03)
    times_ns = T0 + np.array([0, 50, 900, 2000]) * NS_PER_MS
    track = Track(times_ns, np.tile(START_M, (4, 1)), np.ones(4))
    t_ns, setpoints, reachable = motion.adopt(track, T0 + 1100 * NS_PER_MS, ARM)
    assert t_ns.tolist() == times_ns[2:].tolist()
    assert setpoints.shape == (2, 8)
    assert reachable
    assert motion.track is not None
    assert motion.track.t_ns.tolist() == times_ns[1:].tolist()
