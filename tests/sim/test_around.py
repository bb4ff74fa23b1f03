"""Around a wall: two ways that are equally good, and nothing good between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dualsys_sim import arena
from dualsys_sim.clearance import fault, hidden
from dualsys_sim.episode import Episode, make_episode
from dualsys_sim.labels import advance, expert_chunk
from dualsys_sim.referee import Referee
from dualsys_sim.runner import Step, run_episode
from dualsys_sim.state import ExpertState, Snapshot, Wall
from dualsys_sim.tasks import expert_action
from dualsys_sim.tasks.around import UNDECIDED_M, AroundJudge
from dualsys_sim.world import World

REACHED_M = 0.015


def wall_of(episode: Episode) -> Wall:
    """The wall of an episode that has one."""
    assert episode.wall is not None
    return episode.wall


def state_at(episode: Episode, tool: tuple[float, float, float], width: float, side: int) -> ExpertState:
    """The scene of an episode with the tool at rest somewhere."""
    place = np.array(tool)
    return ExpertState.of(place, Snapshot(0.0, place, width, 0.0, episode.table()), side)


def roll_out(episode: Episode, state: ExpertState, steps: int = 120) -> tuple[str, list[float]]:
    """What goes wrong, or "reached", or "", and how far along the wall the tool is at each step before it."""
    wall, along = wall_of(episode), []
    for _ in range(steps):
        advance(state, expert_action(state, episode.goal))
        place = wall.to_wall(state.tool[0], state.tool[1])
        along += [place[0]] if place[1] < 0.0 else []
        x, y, z = state.tool
        if wrong := fault(wall, (x, y, z), state.width):
            return wrong, along
        target = state.position[episode.goal.target_index]
        if np.hypot(x - target[0], y - target[1]) < REACHED_M and z < 0.055 and state.width < 0.03:
            return "reached", along
    return "", along


def test_scenes_hide_at_least_two_blocks_and_start_before_the_middle_of_the_wall() -> None:
    for seed in range(30):
        episode = make_episode("around", seed)
        wall = wall_of(episode)
        assert sum(hidden(wall, *spec.xy_m) for spec in episode.objects) >= 2
        assert hidden(wall, *episode.objects[episode.goal.target_index].xy_m)
        along, across = wall.to_wall(*episode.start_tool_m[:2])
        assert abs(along) < UNDECIDED_M
        assert across < -0.07
        assert episode.start_tool_m[2] < 0.12
        assert fault(wall, episode.start_tool_m, arena.GRIPPER_OPEN_M) == ""


def test_both_sides_are_drawn_alike() -> None:
    sides = [make_episode("around", seed).side for seed in range(300)]
    assert set(sides) == {-1, 1}
    assert abs(np.mean(sides)) < 0.15


@pytest.mark.parametrize("side", [1, -1])
def test_the_expert_passes_on_the_side_of_the_coin(world: World, side: int) -> None:
    episode = replace(make_episode("around", 2), side=side)
    trajectory = run_episode(world, episode)
    assert trajectory.verdict.success, trajectory.verdict
    places = np.array([wall_of(episode).to_wall(x, y) for x, y, _ in trajectory.array("tool_m")])
    passing = np.flatnonzero(np.diff(np.sign(places[:, 1])))
    assert len(passing) == 1
    assert side * places[passing[0], 0] > wall_of(episode).length_m / 2


@pytest.mark.parametrize("side", [1, -1])
def test_the_expert_gets_there_from_anywhere_before_the_wall_and_keeps_to_its_side(side: int) -> None:
    rng = np.random.default_rng(6)
    for seed in range(40):
        episode = make_episode("around", seed)
        along = float(rng.uniform(-0.2, 0.2))
        x, y = wall_of(episode).to_base(along, float(rng.uniform(-0.12, -0.06)))
        z, width = float(rng.uniform(0.085, 0.2)), float(rng.choice([0.0, 0.04, 0.08]))
        tool = (max(0.30, x), y, z)
        if fault(wall_of(episode), tool, width):
            continue
        end, passed = roll_out(episode, state_at(episode, tool, width, side))
        assert end == "reached", (seed, tool, width, end)
        first = side if abs(along) < UNDECIDED_M else np.sign(along)
        assert min(first * step for step in passed) > -UNDECIDED_M


def test_to_one_side_the_coin_no_longer_matters_and_near_the_middle_it_decides() -> None:
    for seed in range(20):
        episode = make_episode("around", seed)
        for along, decided in ((0.05, True), (-0.05, True), (0.01, False), (-0.01, False)):
            x, y = wall_of(episode).to_base(along, -0.09)
            left, right = (
                expert_chunk(state_at(episode, (x, y, 0.1), 0.0, side), episode.goal) for side in (1, -1)
            )
            assert np.array_equal(left, right) == decided
            if not decided:
                assert left[:4, 1].min() > 0.3
                assert right[:4, 1].max() < -0.3


def test_without_a_coin_the_nearer_side_is_taken() -> None:
    episode = make_episode("around", 1)
    for along in (0.01, -0.01):
        x, y = wall_of(episode).to_base(along, -0.09)
        assert expert_action(state_at(episode, (x, y, 0.1), 0.0, 0), episode.goal)[1] * along > 0.0


def mean_chunk(state: ExpertState, episode: Episode) -> np.ndarray:
    """The mean of what the experts of the two sides do next."""
    chunks = []
    for side in (1, -1):
        one = state.copy()
        one.side = side
        chunks.append(expert_chunk(one, episode.goal))
    return np.mean(chunks, axis=0)


def play_means(episode: Episode, played: int) -> str:
    """What becomes of a tool that plays so many steps of every mean chunk, in the kinematic model."""
    state = state_at(episode, episode.start_tool_m, episode.start_width_m, 0)
    for _ in range(200 // played):
        for action in mean_chunk(state, episode)[:played].tolist():
            advance(state, tuple(action))
            if wrong := fault(wall_of(episode), tuple(state.tool), state.width):
                return wrong
            target = state.position[episode.goal.target_index]
            if np.hypot(state.tool[0] - target[0], state.tool[1] - target[1]) < REACHED_M:
                return "reached"
    return "stuck"


def test_the_mean_of_both_chunks_runs_into_the_wall() -> None:
    ends = [play_means(make_episode("around", seed), played=16) for seed in range(30)]
    assert ends.count("touched the wall") > 24
    assert "reached" not in ends


def test_the_mean_of_both_actions_never_gets_past_the_wall() -> None:
    assert {play_means(make_episode("around", seed), played=1) for seed in range(3)} == {"stuck"}


def test_the_mean_of_both_chunks_fails_in_the_physics_too(world: World) -> None:
    chunk = np.zeros((16, 4))

    def average(step: Step) -> np.ndarray:
        if step.index % 16 == 0:
            chunk[:] = mean_chunk(step.expert_state(), step.world.episode)
        return chunk[step.index % 16]

    verdict = run_episode(world, make_episode("around", 5), average).verdict
    assert not verdict.success
    assert verdict.reason == "touched the wall"


def test_chunks_agree_with_what_the_expert_does_next(world: World) -> None:
    episode = make_episode("around", 7)
    trajectory = run_episode(world, episode, linger_s=0.4)
    done = trajectory.array("action")
    apart = []
    for first in range(0, len(done) - 16, 4):
        row = trajectory.steps[first]
        snapshot = Snapshot(
            0.0,
            row["tool_m"],
            float(row["width_m"]),
            float(row["width_speed_m_s"]),
            replace(episode.table(), position_m=row["position_m"], velocity_m_s=row["velocity_m_s"]),
        )
        chunk = expert_chunk(ExpertState.of(row["command_m"], snapshot, episode.side), episode.goal)
        steps = np.cumsum(chunk[:, :3] - done[first : first + 16, :3], axis=0)
        apart.append(1000 * arena.ACTION_STEP_M * np.abs(steps).max())
    assert np.mean(apart) < 1.5
    assert np.max(apart) < 8.0


def test_the_judge_ends_an_attempt_at_the_wall_and_passes_a_touch_behind_it() -> None:
    episode = make_episode("around", 3)
    wall, table = wall_of(episode), episode.table()
    target = table.position_m[episode.goal.target_index]
    start = Snapshot(0.0, np.array(episode.start_tool_m), 0.0, 0.0, table)

    for height, reason in ((0.06, "touched the wall"), (0.2, "passed over the wall")):
        judge = AroundJudge(episode.goal, start)
        assert judge.update(start) is None
        verdict = judge.update(Snapshot(0.1, np.array([wall.x_m, wall.y_m, height]), 0.0, 0.0, table))
        assert verdict is not None
        assert (verdict.success, verdict.reason) == (False, reason)

    judge = AroundJudge(episode.goal, start)
    on = target + np.array([0.0, 0.0, 0.031])
    assert judge.update(Snapshot(0.1, on, 0.0, 0.0, table)) is None
    verdict = judge.update(Snapshot(0.4, on, 0.0, 0.0, table))
    assert verdict is not None
    assert verdict.success


def test_a_touch_of_the_wall_is_not_forgiven_when_the_words_change() -> None:
    episode = make_episode("around", 3, event="changed")
    wall = wall_of(episode)
    referee = Referee(episode)
    table = episode.table()
    assert referee.update(Snapshot(0.0, np.array(episode.start_tool_m), 0.0, 0.0, table)) is None
    verdict = referee.update(Snapshot(0.1, np.array([wall.x_m, wall.y_m, 0.05]), 0.0, 0.0, table))
    assert verdict is not None
    assert verdict.reason == "touched the wall"
