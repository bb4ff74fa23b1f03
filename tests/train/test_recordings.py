"""Recordings: every array tells of the same step, and shards are kept, counted through and repeatable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from dualsys.train import recordings, shards, variants
from dualsys.train.recordings import VARIANTS, record
from dualsys.train.scenes import vocabulary_list
from dualsys.train.shards import Arrays, load_shards
from dualsys.train.variants import FILLERS, MAX_WORDS, draw_variants
from dualsys_sim import arena
from dualsys_sim.episode import Episode, make_episode
from dualsys_sim.runner import Step, Trajectory, run_episode
from dualsys_sim.state import Goal
from dualsys_sim.task import Verdict
from dualsys_sim.tasks import intercept
from dualsys_sim.world import World

STEPS = 25
Given = list[tuple[str, Goal]]


@pytest.fixture(scope="module")
def recorded(world: World) -> tuple[Trajectory, Given, Arrays]:
    """One second of a disturbed expert, whose goal changes at its tenth step, and its arrays."""
    rng = np.random.default_rng(5)
    episode = replace(make_episode("pick", 12), timeout_s=1.0)
    given = [(episode.instruction, episode.goal)]
    given += draw_variants(episode.table(), rng, VARIANTS - 1, -1, False)

    def regoal(step: Step, _: Verdict | None) -> tuple[str, Goal] | None:
        return given[3] if step.index == 10 else None

    trajectory = run_episode(world, episode, disturb=rng, cameras=True, regoal=regoal)
    return trajectory, given, recordings._arrays(trajectory, given, rng)


def test_shapes_and_types_are_those_that_training_reads(recorded: tuple[Trajectory, Given, Arrays]) -> None:
    frames = -(-STEPS // 2)
    assert {name: (array.dtype.name, array.shape) for name, array in recorded[2].items()} == {
        "wrist": ("uint8", (STEPS, 64, 64, 3)),
        "proprioception": ("float32", (STEPS, 9)),
        "chunks": ("float16", (STEPS, VARIANTS, 16, 4)),
        "played": ("float32", (STEPS, 4)),
        "aims": ("float32", (STEPS, VARIANTS, 8)),
        "tossed": ("bool", (STEPS, VARIANTS)),
        "active": ("int8", (STEPS,)),
        "fixed": ("uint8", (frames, 96, 128, 3)),
        "words": ("int16", (frames, VARIANTS, MAX_WORDS)),
        "places": ("float32", (frames, VARIANTS, 6)),
        "classes": ("int8", (frames, VARIANTS, 5)),
    }


def test_the_active_variant_is_the_goal_in_force(recorded: tuple[Trajectory, Given, Arrays]) -> None:
    trajectory, given, arrays = recorded
    assert [given[index][1] for index in arrays["active"]] == trajectory.goals
    assert given[arrays["active"][-1]][1] == given[3][1]


def test_the_state_is_what_the_arm_measured(recorded: tuple[Trajectory, Given, Arrays]) -> None:
    trajectory, _, arrays = recorded
    state = arrays["proprioception"]
    np.testing.assert_allclose(state[:, :3], trajectory.array("tool_m"), atol=1e-6)
    np.testing.assert_allclose(state[:, :3] + state[:, 3:6], trajectory.array("command_m"), atol=1e-6)
    np.testing.assert_allclose(state[:, 6], trajectory.array("width_m"), atol=1e-6)
    assert set(np.unique(state[:, 8])) <= {-1.0, 1.0}


def test_what_was_played_takes_the_command_from_each_step_to_the_next(
    recorded: tuple[Trajectory, Given, Arrays],
) -> None:
    _, _, arrays = recorded
    state = arrays["proprioception"].astype(np.float64)
    command = state[:, :3] + state[:, 3:6]
    played = arrays["played"].astype(np.float64)
    np.testing.assert_allclose(np.diff(command, axis=0), arena.ACTION_STEP_M * played[:-1, :3], atol=1e-6)
    np.testing.assert_array_equal(np.sign(played[:-1, 3]), state[1:, 8])


def test_the_chunk_of_the_active_variant_begins_with_what_the_expert_wanted(
    recorded: tuple[Trajectory, Given, Arrays],
) -> None:
    trajectory, _, arrays = recorded
    begun = arrays["chunks"][np.arange(STEPS), arrays["active"], 0].astype(np.float64)
    np.testing.assert_allclose(begun, trajectory.array("wanted"), atol=1e-3)


def test_places_are_where_the_objects_are_in_that_frame(recorded: tuple[Trajectory, Given, Arrays]) -> None:
    trajectory, given, arrays = recorded
    positions = trajectory.array("position_m")[::2]
    for column, (_, goal) in enumerate(given):
        if goal.target_index < 0:
            assert np.isnan(arrays["places"][:, column, :3]).all()
            assert not arrays["classes"][:, column, 0].any()
        else:
            seen = arrays["places"][:, column, :3]
            np.testing.assert_allclose(seen, positions[:, goal.target_index], atol=1e-6)
            assert arrays["classes"][:, column, 0].all()


def test_the_words_of_a_variant_are_its_instruction_but_for_a_filler(
    recorded: tuple[Trajectory, Given, Arrays],
) -> None:
    _, given, arrays = recorded
    known = vocabulary_list()
    for column, (text, _) in enumerate(given):
        spelt = [known[index] for index in arrays["words"][0, column] if index]
        said = text.split()
        shortened = [said[:at] + said[at + 1 :] for at, word in enumerate(said) if word in FILLERS]
        assert spelt in [said, *shortened]
        assert (arrays["words"][:, column] == arrays["words"][0, column]).all()


def test_labels_hold_both_ways_round_a_wall(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "TRAINED_TASKS", ("around", "pick"))
    episode = replace(make_episode("around", 3), timeout_s=0.8)
    assert episode.wall is not None
    # The words are another task's: training has none for this one.
    given = [
        ("touch the red block", episode.goal),
        ("pick the red block", replace(episode.goal, task="pick")),
    ]
    trajectory = run_episode(world, episode, lambda _: np.array([0.0, 0.0, 0.0, 1.0]), cameras=True)
    arrays = recordings._arrays(trajectory, given, np.random.default_rng(5))
    np.testing.assert_array_equal(arrays["tossed"], np.tile([True, False], (len(arrays["tossed"]), 1)))
    ways = np.sign(arrays["chunks"][:, 0, :, 1].astype(np.float64).sum(axis=1))
    assert 0.2 < (ways > 0.0).mean() < 0.8


def test_an_aim_tells_where_the_expert_takes_the_tool_where_that_is_neither_target_nor_goal(
    world: World,
) -> None:
    episode = replace(make_episode("intercept", 3), timeout_s=0.2)
    given = [("touch the red block", episode.goal)]
    trajectory = run_episode(world, episode, lambda _: np.array([0.0, 0.0, 0.0, 1.0]), cameras=True)
    aims = recordings._arrays(trajectory, given, np.random.default_rng(5))["aims"]
    np.testing.assert_allclose(aims[0, 0, 3:6], intercept.READY_M, atol=1e-6)
    assert np.isfinite(aims[0, 0]).all()


class InProcess:
    """A pool that does the work here and now."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.map: Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]] = map

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to stop."""


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two short episodes for each shard, and no processes."""
    draw = recordings._draw_episode

    def draw_short(*arguments: Any) -> Episode:
        return replace(draw(*arguments), timeout_s=0.2, change=None)

    monkeypatch.setattr(recordings, "_draw_episode", draw_short)
    monkeypatch.setattr(recordings, "EPISODES_PER_SHARD", 2)
    monkeypatch.setattr(shards, "ProcessPoolExecutor", InProcess)


@pytest.mark.usefixtures("_short")
def test_shards_are_counted_through_when_loaded(tmp_path: Path) -> None:
    record(tmp_path, 3, seed=40, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000", "0001"]
    shown = load_shards(tmp_path)
    steps, frames = len(shown["wrist"]), len(shown["fixed"])
    first_step, first_frame = shown["first_step"], shown["first_frame"]
    starts = np.unique(first_step)
    assert len(starts) == len(np.unique(first_frame)) == 4
    assert (starts == np.flatnonzero(first_step == np.arange(steps))).all()
    # The newest frame of every step exists and belongs to the step's own episode.
    newest = first_frame + (np.arange(steps) - first_step) // 2
    assert newest.max() == frames - 1
    assert (np.unique(newest) == np.arange(frames)).all()
    assert all(len(array) in (steps, frames) for array in shown.values())


@pytest.mark.usefixtures("_short")
def test_shards_that_are_there_are_kept_and_missing_ones_are_the_same_again(tmp_path: Path) -> None:
    record(tmp_path, 4, seed=40, workers=1)
    whole = load_shards(tmp_path)
    kept = (tmp_path / "0000" / "wrist.npy").stat().st_mtime_ns
    (tmp_path / "0001").rename(tmp_path / "0001.partial")
    assert len(load_shards(tmp_path)["wrist"]) < len(whole["wrist"])
    record(tmp_path, 4, seed=40, workers=1)
    assert (tmp_path / "0000" / "wrist.npy").stat().st_mtime_ns == kept
    for name, array in load_shards(tmp_path).items():
        np.testing.assert_array_equal(array, whole[name], err_msg=name)


@pytest.mark.usefixtures("_short")
def test_another_driver_is_labelled_by_the_experts(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    drivers = recordings.Bundles(tmp_path / "one", tmp_path / "two")
    asked = []

    def policy(system1: Path, system2: Path, _: np.random.Generator) -> Callable[[Step], np.ndarray]:
        asked.append((system1, system2))
        return lambda step: np.array([0.0, 0.0, 0.0, step.gripper])

    monkeypatch.setattr(recordings, "policy_actor", policy)
    arrays = recordings._record_episode(world, 44, drivers)
    assert asked == [(drivers.system1, drivers.system2)]
    assert np.abs(arrays["chunks"][..., :3]).max() > 0.1
