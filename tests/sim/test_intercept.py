"""Interception: a glide that leaves the mat unless something is in its way, and an expert that is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dualsys.robots.kinematics import PANDA, TOOL_DOWN
from dualsys_sim import arena
from dualsys_sim.episode import Episode, make_episode
from dualsys_sim.labels import advance, at_start, expert_chunk
from dualsys_sim.movers import Glide, GlidePlan
from dualsys_sim.runner import Step, run_episode
from dualsys_sim.state import ExpertState, Snapshot
from dualsys_sim.tasks import expert_action
from dualsys_sim.tasks.intercept import READY_M, InterceptJudge, heading
from dualsys_sim.world import World


def gliding(episode: Episode, tool: tuple[float, float, float], width: float = 0.0) -> ExpertState:
    """The scene just after the push, with the tool at rest somewhere."""
    assert episode.glide is not None
    table, place = episode.table(), np.array(tool)
    table.velocity_m_s[table.glider, :2] = episode.glide.velocity_m_s
    return at_start(ExpertState.of(place, Snapshot(0.0, place, width, 0.0, table)))


def snapshot(episode: Episode, time_s: float, xy: tuple[float, float], speed: float, near: bool) -> Snapshot:
    """An instant with the target somewhere, and the fingers down beside it or far above."""
    table = episode.table()
    table.position_m[table.glider, :2] = xy
    table.velocity_m_s[table.glider, 0] = speed
    tool = (xy[0] - 0.035, xy[1], 0.02) if near else (0.5, 0.0, 0.2)
    return Snapshot(time_s, np.array(tool), 0.0, 0.0, table)


def test_the_way_of_a_glide_is_free_and_off_the_mat_within_seconds() -> None:
    for seed in range(40):
        episode = make_episode("intercept", seed)
        assert episode.glide is not None
        assert episode.goal.target_index == episode.glide.index == episode.moving_index
        places = episode.table().position_m[:, :2]
        start, velocity = places[episode.glide.index], np.array(episode.glide.velocity_m_s)
        assert 0.08 <= np.hypot(*velocity) <= 0.16
        ways = np.array([start + velocity * time_s for time_s in np.arange(0.0, 4.05, 0.05)])
        inside = ((ways > arena.MAT_LOW_M) & (ways < arena.MAT_HIGH_M)).all(axis=1)
        assert 2.0 <= 0.05 * inside.sum() <= 4.05
        others = np.delete(places, episode.glide.index, axis=0)
        assert np.linalg.norm(ways[inside][:, None] - others[None], axis=2).min() > 0.08


def stay(_: Step) -> np.ndarray:
    """Do nothing."""
    return np.array([0.0, 0.0, 0.0, 1.0])


def test_nobody_stops_it_but_the_arm(world: World) -> None:
    for seed in range(2):
        episode = make_episode("intercept", seed)
        assert episode.glide is not None
        verdict = run_episode(world, episode, stay).verdict
        assert not verdict.success
        assert verdict.reason == "left the mat"
        assert 1.9 < float(verdict.metrics["time_s"]) - episode.glide.time_s < 4.3


def test_waiting_in_the_middle_is_not_enough(world: World) -> None:
    def wait(step: Step) -> np.ndarray:
        aside = np.array([0.5, 0.0, 0.02]) - step.command_m
        return np.append(np.clip(aside / arena.ACTION_STEP_M, -0.5, 0.5), -1.0)

    verdicts = [run_episode(world, make_episode("intercept", seed), wait).verdict for seed in (1, 3)]
    assert not any(verdict.success for verdict in verdicts)


def test_in_the_model_the_expert_stops_the_block_on_the_mat_wherever_it_waits() -> None:
    rng = np.random.default_rng(2)
    stopped = 0
    for seed in range(60):
        episode = make_episode("intercept", seed)
        x, y = np.array(READY_M[:2]) + rng.uniform(-0.06, 0.06, 2)
        state = gliding(episode, (float(x), float(y), float(rng.uniform(0.065, 0.15))))
        block = episode.goal.target_index
        for _ in range(110):
            advance(state, expert_action(state, episode.goal))
        x, y, _ = state.position[block]
        on_mat = 0.315 < x < 0.685 and abs(y) < 0.285
        stopped += on_mat and math.hypot(*state.velocity[block]) == 0.0
    assert stopped >= 57


def test_the_expert_leads_the_block() -> None:
    for seed in range(10):
        episode = make_episode("intercept", seed)
        assert episode.glide is not None
        state = gliding(episode, READY_M)
        start, way = np.array(state.position[0][:2]), np.array(episode.glide.velocity_m_s)
        way = way / np.hypot(*way)
        for _ in range(25):
            advance(state, expert_action(state, episode.goal))
        off = np.array(state.tool[:2]) - start
        assert abs(off[1] * way[0] - off[0] * way[1]) < 0.012
        assert off @ way > (np.array(state.position[0][:2]) - start) @ way + 0.02


def test_the_expert_takes_the_tool_to_its_heading() -> None:
    for seed in range(10):
        episode = make_episode("intercept", seed)
        state = gliding(episode, READY_M)
        to = np.array(heading(state, episode.goal)[:2]) - state.command[:2]
        step = np.array(expert_action(state, episode.goal)[:2])
        assert step @ to >= 0.999 * np.linalg.norm(step) * np.linalg.norm(to)
        state.velocity[episode.goal.target_index] = [0.0, 0.0, 0.0]
        assert heading(state, episode.goal) == READY_M
        state.tool = [*state.position[episode.goal.target_index][:2], 0.02]
        state.command = list(state.tool)
        assert heading(state, episode.goal)[:2] == tuple(state.command[:2])


def test_what_the_expert_does_depends_on_position_and_velocity_only() -> None:
    episode = make_episode("intercept", 2)
    state = gliding(episode, READY_M)
    moving = expert_action(state, episode.goal)
    state.velocity[episode.goal.target_index] = [0.0, 0.0, 0.0]
    assert expert_action(state, episode.goal) != moving
    other = gliding(replace(make_episode("intercept", 2), goal=episode.goal), READY_M)
    assert expert_action(other, episode.goal) == moving


def test_before_the_push_the_expert_waits_with_closed_fingers() -> None:
    episode = make_episode("intercept", 4)
    state = gliding(episode, episode.start_tool_m, 0.08)
    state.velocity[episode.goal.target_index] = [0.0, 0.0, 0.0]
    for _ in range(60):
        advance(state, expert_action(state, episode.goal))
    np.testing.assert_allclose(state.tool, READY_M, atol=0.003)
    assert state.width == 0.0


def test_an_arm_that_waits_hides_no_block_from_the_fixed_camera(world: World) -> None:
    def sizes(q_rad: np.ndarray) -> list[int]:
        """Pixels in the colour of each block, with the arm somewhere."""
        world.place_arm(q_rad, 0.0)
        picture = world.render("fixed").reshape(-1, 3).astype(float)
        shades = picture / np.maximum(picture.max(axis=1, keepdims=True), 1.0)
        own = [np.array(spec.rgba[:3]) / max(spec.rgba[:3]) for spec in world.episode.objects]
        return [int((np.abs(shades - one).max(axis=1) < 0.12).sum()) for one in own]

    turned_away = PANDA.rest_rad + np.array([2.0, 0, 0, 0, 0, 0, 0])
    waiting = PANDA.inverse(READY_M, TOOL_DOWN, PANDA.rest_rad)[0]
    for seed in range(12):
        world.reset(make_episode("intercept", seed))
        for there, hidden in zip(sizes(turned_away), sizes(waiting), strict=True):
            assert hidden >= 0.9 * there > 0, seed


def test_chunks_agree_with_what_the_expert_does_next(world: World) -> None:
    episode = make_episode("intercept", 5)
    assert episode.glide is not None
    trajectory = run_episode(world, episode, linger_s=0.7)
    done = trajectory.array("action")
    apart = []
    pushed = math.ceil((episode.glide.time_s + 0.25) / arena.POLICY_STEP_S)
    for first in range(pushed, len(done) - 16, 2):
        row = trajectory.steps[first]
        table = replace(episode.table(), position_m=row["position_m"], velocity_m_s=row["velocity_m_s"])
        now = Snapshot(0.0, row["tool_m"], float(row["width_m"]), float(row["width_speed_m_s"]), table)
        chunk = expert_chunk(ExpertState.of(row["command_m"], now), episode.goal)
        steps = np.cumsum(chunk[:, :3] - done[first : first + 16, :3], axis=0)
        apart.append(1000 * arena.ACTION_STEP_M * np.abs(steps).max())
    assert len(apart) > 8
    assert np.mean(apart) < 5.0
    assert np.max(apart) < 20.0


@pytest.mark.parametrize(
    ("coming", "beside", "end", "verdict"),
    [
        # Speed in m/s, and whether the fingers are beside it, on the way; beside it, and where, at the end.
        ((0.1, False), True, (0.55, 0.0), (True, "stopped")),
        ((0.0, True), True, (0.50, 0.0), None),
        ((0.1, True), True, (0.55, 0.0), None),
        ((0.1, False), False, (0.55, 0.0), None),
        ((0.1, False), False, (0.69, 0.0), (False, "left the mat")),
        ((0.1, False), True, (0.50, 0.29), (False, "left the mat")),
    ],
)
def test_only_a_block_that_came_by_itself_and_rests_at_the_fingers_is_stopped(
    coming: tuple[float, bool], beside: bool, end: tuple[float, float], verdict: tuple[bool, str] | None
) -> None:
    episode = make_episode("intercept", 1)
    judge = InterceptJudge(episode.goal, snapshot(episode, 0.0, (0.45, 0.0), 0.0, near=False))
    assert judge.update(snapshot(episode, 0.5, (0.50, 0.0), *coming)) is None
    given = [judge.update(snapshot(episode, time_s, end, 0.0, beside)) for time_s in (1.0, 1.2, 1.4)]
    found = next((one for one in given if one is not None), None)
    assert (None if found is None else (found.success, found.reason)) == verdict


def test_a_glide_gathers_speed_keeps_it_and_ends_for_good_when_it_is_stopped() -> None:
    glide = Glide(GlidePlan(1.0, 0, (0.06, 0.08)))
    assert glide.velocity(0.996, (0.5, 0.0), (0.0, 0.0), held=False) is None
    now = (0.0, 0.0)
    for tick in range(60):
        pushed = glide.velocity(1.0 + tick * arena.TICK_S, (0.5, 0.0), now, held=False)
        assert pushed is not None
        assert math.hypot(*pushed) <= min(0.1, math.hypot(*now) + 0.004) + 1e-9
        now = pushed
    assert now == pytest.approx((0.06, 0.08))
    assert glide.velocity(1.5, (0.5, 0.0), (0.04, 0.04), held=False) is not None
    assert glide.velocity(1.6, (0.5, 0.0), (0.02, 0.03), held=False) is None
    assert glide.velocity(1.7, (0.5, 0.0), (0.06, 0.08), held=False) is None


@pytest.mark.parametrize(("place", "held"), [((0.5, 0.0), True), ((0.76, 0.0), False)])
def test_a_glide_ends_in_the_gripper_and_off_the_mat(place: tuple[float, float], held: bool) -> None:
    glide = Glide(GlidePlan(0.0, 0, (0.1, 0.0)))
    assert glide.velocity(0.1, (0.5, 0.0), (0.1, 0.0), held=False) is not None
    assert glide.velocity(0.2, place, (0.1, 0.0), held=held) is None
    assert glide.velocity(0.3, (0.5, 0.0), (0.1, 0.0), held=False) is None
