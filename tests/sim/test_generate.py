"""Data: complete, consistent, reproducible, and resumed where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualsys_sim import arena
from dualsys_sim.demonstrations import (
    GoalSequence,
    demonstrate,
    draw_episode,
    feasible,
    goal_of,
    goal_row,
    trajectory_arrays,
)
from dualsys_sim.disturbance import Disturbance
from dualsys_sim.episode import make_episode
from dualsys_sim.generate import Job, Options, episode_arrays, jobs_of, make_shard
from dualsys_sim.runner import Step, Trajectory
from dualsys_sim.scenes import scene_arrays
from dualsys_sim.shards import read_shard, shard_paths, write_shard
from dualsys_sim.state import Goal
from dualsys_sim.world import World


@pytest.fixture(scope="module")
def demonstrations(world: World) -> list[Trajectory]:
    """Two demonstrations."""
    return [demonstrate(world, seed, duration_s=3.0) for seed in (21, 22)]


def test_a_shard_of_demonstrations_is_consistent(demonstrations: list[Trajectory]) -> None:
    arrays, texts = episode_arrays(demonstrations)
    steps, episodes = len(arrays["step"]), 2
    assert steps == sum(len(trajectory.steps) for trajectory in demonstrations)
    shapes = {
        "wrist_image": (64, 64, 3), "tool_m": (3,), "command_m": (3,), "width_m": (), "width_speed_m_s": (),
        "gripper": (), "q_rad": (7,), "position_m": (8, 3), "velocity_m_s": (8, 3), "goal": (4,),
        "chunk": (16, 4), "action": (4,), "wanted": (4,), "instruction": (), "episode": (), "fixed_row": (),
    }  # fmt: skip
    for name, shape in shapes.items():
        assert arrays[name].shape == (steps, *shape), name
    assert arrays["kind"].shape == arrays["colour"].shape == (episodes, arena.MAX_OBJECTS)
    assert arrays["fixed_image"].shape[1:] == (96, 128, 3)
    assert arrays["fixed_row"].max() == len(arrays["fixed_image"]) - 1
    assert (np.diff(arrays["fixed_row"]) >= 0).all()
    assert arrays["instruction"].max() < len(texts)
    assert not any(array.dtype == object for array in arrays.values())


def test_the_first_labelled_action_is_what_the_expert_wanted(demonstrations: list[Trajectory]) -> None:
    for trajectory in demonstrations:
        arrays = trajectory_arrays(trajectory)
        slow = np.abs(arrays["velocity_m_s"]).max(axis=(1, 2)) < arena.MOVER_SPEED_M_S
        np.testing.assert_allclose(arrays["chunk"][slow, 0], arrays["wanted"][slow], atol=1e-5)


def test_the_command_is_the_sum_of_the_actions(demonstrations: list[Trajectory]) -> None:
    arrays = trajectory_arrays(demonstrations[0])
    moved = arrays["command_m"][:-1] + arena.ACTION_STEP_M * arrays["action"][:-1, :3]
    inside = np.clip(moved, arena.COMMAND_LOW_M, arena.COMMAND_HIGH_M)
    np.testing.assert_allclose(arrays["command_m"][1:], inside, atol=1e-6)


def test_a_demonstration_is_a_function_of_its_seed(world: World, demonstrations: list[Trajectory]) -> None:
    again = demonstrate(world, 22, duration_s=3.0)
    np.testing.assert_array_equal(again.array("wrist_image"), demonstrations[1].array("wrist_image"))
    np.testing.assert_array_equal(again.array("action"), demonstrations[1].array("action"))
    assert again.instructions == demonstrations[1].instructions


def test_another_actor_may_drive(world: World) -> None:
    def frozen(step: Step) -> np.ndarray:
        assert step.images["wrist"].shape == (64, 64, 3)
        return np.array([0.0, 0.0, 0.0, step.gripper])

    arrays = trajectory_arrays(demonstrate(world, 23, frozen, 2.0))
    assert np.abs(arrays["wanted"][:, :3]).max() == 0.0
    assert np.abs(arrays["chunk"][:, :, :3]).max() > 0.1


def test_goals_survive_their_row() -> None:
    for goal in (Goal("push", 3, -1, "away"), Goal("place", 0, 4), Goal("touch", -1)):
        assert goal_of(np.array(goal_row(goal), dtype=np.int8)) == goal


def test_new_goals_are_feasible(world: World) -> None:
    episode = make_episode("place", 31)
    world.reset(episode)
    sequence = GoalSequence(np.random.default_rng(0), episode)
    table = world.objects()
    for _ in range(20):
        drawn = sequence._draw(table)
        assert drawn is not None
        assert feasible(table, drawn[1])


def test_a_block_in_a_bowl_or_out_of_reach_is_no_goal() -> None:
    episode = make_episode("place", 31)
    table = episode.table()
    bowl = next(i for i, kind in enumerate(table.kind) if kind == arena.BOWL)
    assert feasible(table, Goal("pick", 0))
    table.position_m[0, :2] = table.position_m[bowl, :2]
    assert not feasible(table, Goal("pick", 0))
    table.position_m[0, :2] = (0.72, 0.0)
    assert not feasible(table, Goal("pick", 0))


def test_training_episodes_vary_and_repeat() -> None:
    episodes = [draw_episode(seed) for seed in range(60)]
    assert {episode.task for episode in episodes} == {"conveyor", "follow", "pick", "place", "push", "touch"}
    assert any(episode.goal.target_index < 0 for episode in episodes)
    assert any(episode.hand is not None for episode in episodes)
    assert episodes[7] == draw_episode(7)


def test_disturbances_are_brief_and_bounded() -> None:
    disturbance = Disturbance(np.random.default_rng(3))
    steady = np.array([0.0, 0.0, 0.0, 1.0])
    done = np.array([disturbance.apply(steady) for _ in range(3000)])
    flipped = done[:, 3] < 0.0
    assert 0.01 < flipped.mean() < 0.08
    assert np.abs(done[:, :3]).max() < 1.8
    assert np.abs(done[:, :3].mean(axis=0)).max() < 0.03
    assert (steady == [0.0, 0.0, 0.0, 1.0]).all()


def test_still_scenes_are_reproducible_and_complete(world: World) -> None:
    arrays = scene_arrays(world, 5, 10)
    assert arrays["fixed_image"].shape == (10, 96, 128, 3)
    assert arrays["position_m"].shape == (10, arena.MAX_OBJECTS, 3)
    assert ((arrays["kind"] >= 0).sum(axis=1) >= 3).all()
    assert (arrays["position_m"][arrays["kind"] < 0] == 0.0).all()
    for name, array in scene_arrays(world, 5, 10).items():
        np.testing.assert_array_equal(array, arrays[name])


def test_only_missing_shards_are_made(world: World, tmp_path: Path) -> None:
    options = Options(tmp_path, episodes=45, scenes=3, seed=2)
    jobs = list(jobs_of(options))
    assert [(job.kind, job.count) for job in jobs] == [
        ("episodes", 20), ("episodes", 20), ("episodes", 5), ("scenes", 3),
    ]  # fmt: skip
    make_shard(world, jobs[-1])
    assert [job.kind for job in jobs_of(options)] == ["episodes"] * 3
    arrays, texts = read_shard(shard_paths(tmp_path, "scenes")[0])
    assert len(arrays["fixed_image"]) == 3
    assert texts == []


def test_a_half_written_shard_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "episodes_00000.part").mkdir()
    assert shard_paths(tmp_path, "episodes") == []
    write_shard(tmp_path / "episodes_00000", {"x": np.arange(3)}, ["pick up the red block"])
    arrays, texts = read_shard(tmp_path / "episodes_00000")
    np.testing.assert_array_equal(arrays["x"], [0, 1, 2])
    assert texts == ["pick up the red block"]
    assert not (tmp_path / "episodes_00000.part").exists()
    assert Job(tmp_path, "scenes", 0, 1).count == 1
