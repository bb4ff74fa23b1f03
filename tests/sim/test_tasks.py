"""The tasks: experts that do them, recover, and come to rest; judges that tell done from not done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dualsys_sim import arena
from dualsys_sim.episode import Event, make_episode
from dualsys_sim.runner import run_episode
from dualsys_sim.state import ExpertState, Goal, ObjectTable, Snapshot
from dualsys_sim.tasks import all_tasks, expert_action, task_named
from dualsys_sim.world import World

TASKS = sorted(all_tasks())
BLOCK = (0.5, 0.1, 0.02)


def snapshot(
    time_s: float, tool: tuple[float, float, float], width: float, *blocks: tuple[float, float, float]
) -> Snapshot:
    """An instant with cubes at the given places; a block at z = 0 is a bowl instead."""
    position = np.array(blocks)
    kind = np.where(position[:, 2] == 0.0, arena.BOWL, arena.CUBE).astype(np.int8)
    table = ObjectTable(kind, np.arange(len(blocks), dtype=np.int8), position, np.zeros_like(position))
    return Snapshot(time_s, np.array(tool), width, 0.0, table)


def test_there_is_one_task_for_each_file() -> None:
    assert TASKS == ["around", "conveyor", "follow", "intercept", "pick", "place", "push", "touch"]
    assert all(task_named(name).name == name for name in TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_does_its_task(world: World, task: str) -> None:
    for seed in range(3 if task != "follow" else 1):
        verdict = run_episode(world, make_episode(task, seed)).verdict
        assert verdict.success, (task, seed, verdict)


@pytest.mark.parametrize(
    ("task", "event"),
    [
        ("pick", "moved"),
        ("place", "changed"),
        ("conveyor", "changed"),
        ("push", "absent"),
        ("around", "changed"),
        ("intercept", "absent"),
    ],
)
def test_the_expert_copes_with_events(world: World, task: str, event: Event) -> None:
    verdict = run_episode(world, make_episode(task, 5, event=event)).verdict
    assert verdict.success, (task, event, verdict)
    assert "wrong_object" not in verdict.metrics


@pytest.mark.parametrize("task", ["pick", "place", "push", "touch"])
def test_the_expert_recovers_from_disturbances(world: World, task: str) -> None:
    verdict = run_episode(world, make_episode(task, 9), disturb=np.random.default_rng(9)).verdict
    assert verdict.success, (task, verdict)


@pytest.mark.parametrize("tool", [(0.5, 0.1, 0.03), (0.36, -0.2, 0.015), (0.6, 0.2, 0.29)])
@pytest.mark.parametrize("width", [0.0, 0.08])
def test_the_expert_starts_from_anywhere(
    world: World, tool: tuple[float, float, float], width: float
) -> None:
    episode = make_episode("pick", 12)
    clear = np.abs(episode.table().position_m[:, :2] - tool[:2]).max(axis=1).min() > 0.06 or tool[2] > 0.1
    if not clear:
        tool = (tool[0], tool[1], 0.12)
    assert run_episode(world, replace(episode, start_tool_m=tool, start_width_m=width)).verdict.success


@pytest.mark.parametrize("task", ["around", "intercept", "pick", "place", "push", "touch"])
def test_the_expert_comes_to_rest_when_done(world: World, task: str) -> None:
    trajectory = run_episode(world, make_episode(task, 4), linger_s=2.0)
    assert trajectory.verdict.success
    last = trajectory.array("action")[-5:]
    assert np.abs(last[:, :3]).max() < 0.05
    assert np.ptp(last[:, 3]) == 0.0


def test_the_expert_puts_down_a_block_it_was_not_asked_for(world: World) -> None:
    episode = make_episode("pick", 8)
    other = next(goal for goal in task_named("pick").goals(episode.table()) if goal != episode.goal)
    given: list[int] = []

    def switch(step: object, verdict: object) -> tuple[str, Goal] | None:
        del step
        if verdict is None or given:
            return None
        given.append(1)
        return "pick up the other one", other

    end = run_episode(world, episode, regoal=switch)
    heights = end.array("position_m")[-1, :, 2]
    assert heights[other.target_index] > 0.15
    assert heights[episode.goal.target_index] < 0.03


@pytest.mark.parametrize("task", TASKS)
def test_actions_stay_within_one(task: str, rng: np.random.Generator) -> None:
    for seed in range(20):
        episode = make_episode(task, seed)
        tool = rng.uniform(arena.COMMAND_LOW_M, arena.COMMAND_HIGH_M)
        table = episode.table()
        table.velocity_m_s[:] = rng.normal(0.0, 0.3, table.velocity_m_s.shape)
        now = Snapshot(0.0, tool, float(rng.uniform(0.0, 0.08)), float(rng.normal(0.0, 0.1)), table)
        action = expert_action(ExpertState.of(tool + rng.normal(0.0, 0.02, 3), now), episode.goal)
        assert np.abs(action).max() <= 1.0
        assert action[3] in (-1.0, 1.0)


def test_an_expert_without_an_object_stays_and_keeps_its_gripper() -> None:
    for width, gripper in ((0.08, 1.0), (0.04, -1.0), (0.0, -1.0)):
        state = ExpertState.of(np.array([0.4, 0.0, 0.2]), snapshot(0.0, (0.4, 0.0, 0.2), width, BLOCK))
        assert expert_action(state, Goal("pick", -1)) == (0.0, 0.0, 0.0, gripper)


def test_a_lift_counts_only_when_high_long_and_held() -> None:
    judge = task_named("pick").judge(Goal("pick", 0), snapshot(0.0, BLOCK, 0.08, BLOCK))
    up = (0.5, 0.1, 0.12)
    assert judge.update(snapshot(0.1, up, 0.041, up)) is None
    assert judge.update(snapshot(0.3, BLOCK, 0.041, BLOCK)) is None
    assert judge.update(snapshot(0.4, up, 0.041, up)) is None
    assert judge.update(snapshot(0.7, up, 0.08, up)) is None
    assert judge.update(snapshot(0.8, up, 0.041, up)) is None
    verdict = judge.update(snapshot(1.21, up, 0.041, up))
    assert verdict is not None
    assert verdict.success


def test_a_touch_needs_closed_fingers_on_the_top() -> None:
    judge = task_named("touch").judge(Goal("touch", 0), snapshot(0.0, (0.4, 0, 0.2), 0.0, BLOCK))
    on = (0.505, 0.1, 0.05)
    assert judge.update(snapshot(0.1, on, 0.08, BLOCK)) is None
    assert judge.update(snapshot(0.4, on, 0.08, BLOCK)) is None
    assert judge.update(snapshot(0.5, on, 0.0, BLOCK)) is None
    verdict = judge.update(snapshot(0.71, on, 0.0, BLOCK))
    assert verdict is not None
    assert verdict.success


def test_a_block_is_placed_only_once_the_hand_has_let_go_and_left() -> None:
    bowl, inside = (0.6, -0.1, 0.0), (0.61, -0.1, 0.024)
    judge = task_named("place").judge(Goal("place", 0, 1), snapshot(0.0, BLOCK, 0.08, BLOCK, bowl))
    near, away = (0.61, -0.1, 0.03), (0.61, -0.1, 0.09)
    for time_s in (0.1, 0.5):
        assert judge.update(snapshot(time_s, near, 0.08, inside, bowl)) is None
    assert judge.update(snapshot(0.6, away, 0.08, inside, bowl)) is None
    verdict = judge.update(snapshot(0.81, away, 0.08, inside, bowl))
    assert verdict is not None
    assert verdict.success


@pytest.mark.parametrize(
    ("direction", "end", "success"),
    [
        ("left", (0.5, 0.19, 0.02), True),
        ("right", (0.5, 0.01, 0.02), True),
        ("away", (0.59, 0.1, 0.02), True),
        ("left", (0.5, 0.17, 0.02), False),
        ("left", (0.55, 0.19, 0.02), False),
        ("right", (0.5, 0.19, 0.02), False),
    ],
)
def test_a_push_is_judged_by_distance_and_deviation(
    direction: str, end: tuple[float, float, float], success: bool
) -> None:
    first = snapshot(0.0, (0.4, 0.0, 0.2), 0.0, BLOCK)
    judge = task_named("push").judge(Goal("push", 0, -1, direction), first)
    judge.update(snapshot(0.1, (0.4, 0.0, 0.2), 0.0, end))
    assert (judge.update(snapshot(0.4, (0.4, 0.0, 0.2), 0.0, end)) is not None) == success


def test_following_is_judged_by_the_share_of_the_time_above() -> None:
    for share, success in ((0.95, True), (0.8, False)):
        judge = task_named("follow").judge(Goal("follow", 0), snapshot(0.0, (0.4, 0.0, 0.2), 0.08, BLOCK))
        verdict = None
        for time_s in np.arange(0.0, 12.01, 0.04):
            above = time_s < 3.0 + 9.0 * share
            tool = (0.5, 0.11, 0.1) if above else (0.5, 0.2, 0.1)
            verdict = judge.update(snapshot(float(time_s), tool, 0.08, BLOCK))
        assert verdict is not None
        assert verdict.success == success
        assert verdict.metrics["fraction"] == pytest.approx(share, abs=0.01)


def test_a_push_needs_room_and_a_free_way() -> None:
    push = task_named("push")
    alone = push.goals(snapshot(0.0, BLOCK, 0.0, (0.45, 0.0, 0.02)).objects)
    assert {goal.direction for goal in alone} == {"left", "right", "away"}
    blocked = push.goals(snapshot(0.0, BLOCK, 0.0, (0.45, 0.0, 0.02), (0.46, 0.12, 0.02)).objects)
    assert {goal.direction for goal in blocked if goal.target_index == 0} == {"right", "away"}
    at_edge = push.goals(snapshot(0.0, BLOCK, 0.0, (0.60, 0.20, 0.02)).objects)
    assert {goal.direction for goal in at_edge} == {"right"}
