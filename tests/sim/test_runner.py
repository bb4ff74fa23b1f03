"""Running an episode: what is recorded is what happened, and anything may drive."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dualsys_sim import arena
from dualsys_sim.cameras import CAMERA_SHAPES
from dualsys_sim.episode import make_episode
from dualsys_sim.labels import expert_chunk
from dualsys_sim.runner import Step, Trajectory, expert_actor, run_episode
from dualsys_sim.state import Goal
from dualsys_sim.task import Verdict
from dualsys_sim.world import World

OTHER = ("touch the red block", Goal("touch", 0))


def switching(step: Step, _: Verdict | None) -> tuple[str, Goal] | None:
    """Give another goal once, at the 30th step."""
    return OTHER if step.index == 30 else None


def record(world: World) -> Trajectory:
    """Two seconds of a disturbed expert with images and a change of goal."""
    episode = replace(make_episode("place", 21), timeout_s=2.0)
    disturb = np.random.default_rng(4)
    return run_episode(world, episode, disturb=disturb, cameras=True, regoal=switching)


@pytest.fixture(scope="module")
def trajectory(world: World) -> Trajectory:
    """One recorded run, shared by the tests that only read it."""
    return record(world)


def test_every_step_is_recorded_and_every_second_one_with_the_fixed_image(trajectory: Trajectory) -> None:
    steps = round(2.0 / arena.POLICY_STEP_S)
    assert len(trajectory.steps) == len(trajectory.instructions) == len(trajectory.goals) == steps
    assert trajectory.array("wrist_image").shape == (steps, *CAMERA_SHAPES["wrist"])
    assert trajectory.array("fixed_image").shape == (steps // 2, *CAMERA_SHAPES["fixed"])
    assert all(("fixed_image" in step) == (index % 2 == 0) for index, step in enumerate(trajectory.steps))
    assert trajectory.array("q_rad").shape == (steps, 7)


def test_the_command_is_the_sum_of_the_actions(trajectory: Trajectory) -> None:
    command, action = trajectory.array("command_m"), trajectory.array("action")
    moved = command[:-1] + arena.ACTION_STEP_M * action[:-1, :3]
    inside = np.clip(moved, arena.COMMAND_LOW_M, arena.COMMAND_HIGH_M)
    np.testing.assert_allclose(command[1:], inside, atol=1e-12)


def test_a_run_is_a_function_of_its_episode_and_seed(world: World, trajectory: Trajectory) -> None:
    again = record(world)
    for name in ("wrist_image", "fixed_image", "action", "tool_m"):
        np.testing.assert_array_equal(again.array(name), trajectory.array(name))


def test_a_new_goal_is_in_force_from_the_step_that_gave_it(trajectory: Trajectory) -> None:
    episode = trajectory.episode
    assert set(zip(trajectory.instructions[:30], trajectory.goals[:30], strict=True)) == {
        (episode.instruction, episode.goal)
    }
    assert set(zip(trajectory.instructions[30:], trajectory.goals[30:], strict=True)) == {OTHER}


def test_only_a_disturbance_tells_what_was_done_from_what_was_wanted(
    world: World, trajectory: Trajectory
) -> None:
    assert (trajectory.array("wanted") != trajectory.array("action")).any()
    assert np.abs(trajectory.array("action")).max() <= 1.0
    calm = run_episode(world, replace(trajectory.episode, timeout_s=0.4))
    np.testing.assert_array_equal(calm.array("action"), np.clip(calm.array("wanted"), -1.0, 1.0))


def test_the_first_labelled_action_is_what_the_expert_wants(world: World) -> None:
    def compare(step: Step) -> np.ndarray:
        wanted = expert_actor(step)
        np.testing.assert_allclose(expert_chunk(step.expert_state(), step.goal)[0], wanted, atol=1e-6)
        return wanted

    run_episode(world, make_episode("touch", 3), compare)


def test_another_actor_may_drive(world: World) -> None:
    def frozen(step: Step) -> np.ndarray:
        assert step.images["wrist"].shape == CAMERA_SHAPES["wrist"]
        return np.array([0.0, 0.0, 0.0, step.gripper])

    episode = replace(make_episode("pick", 23), timeout_s=0.6)
    run = run_episode(world, episode, frozen, cameras=True)
    assert not run.verdict.success
    np.testing.assert_array_equal(run.array("command_m"), np.tile(episode.start_tool_m, (15, 1)))


def test_a_run_lingers_after_its_verdict_for_as_long_as_asked(world: World) -> None:
    episode = make_episode("touch", 5)
    plain, longer = run_episode(world, episode), run_episode(world, episode, linger_s=0.4)
    assert plain.verdict.success
    assert len(longer.steps) - len(plain.steps) == round(0.4 / arena.POLICY_STEP_S)
