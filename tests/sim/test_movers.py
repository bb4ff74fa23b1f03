"""What moves by itself: at its own speed, within its bounds, and never out of the gripper's hold."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from dualsys_sim import arena
from dualsys_sim.episode import make_episode
from dualsys_sim.movers import Belt, BeltPlan, Hand, HandPlan
from dualsys_sim.state import ObjectTable
from dualsys_sim.world import World


def watch(world: World, task: str, seed: int, seconds: float, event: str | None = None) -> list[ObjectTable]:
    """The objects ten times a second while the arm stays where it starts, high up."""
    episode = make_episode(task, seed, event=event)  # type: ignore[arg-type]
    episode = replace(episode, start_tool_m=(0.3, 0.0, 0.28))
    world.reset(episode)
    seen = []
    for tick in range(int(seconds / arena.TICK_S)):
        if tick % 25 == 0:
            seen.append(world.objects())
        world.step(world.start_command())
    return seen


def test_a_belt_starts_gently_and_turns_back_at_its_end() -> None:
    belt = Belt(BeltPlan((0.0,), (0.06,)))
    speeds = [belt.velocity(tick * arena.TICK_S, [0.0])[1] for tick in range(100)]
    assert 0.0 < speeds[0] < 0.005
    assert math.isclose(speeds[-1], 0.06)
    for _ in range(200):
        speed = belt.velocity(1.0, [0.205])[1]
    assert math.isclose(speed, -0.06)


def test_a_belt_stops_when_told_to() -> None:
    belt = Belt(BeltPlan((0.0, 1.0), (0.06, 0.0)))
    for tick in range(500):
        speed = belt.velocity(tick * arena.TICK_S, [])[1]
    assert speed == 0.0


def test_blocks_ride_the_belt_at_its_speed_and_never_leave_it(world: World) -> None:
    for seed in range(2):
        seen = watch(world, "conveyor", seed, 6.0)
        riders = np.abs(seen[0].position_m[:, 0] - arena.BELT_X_M) < arena.BELT_WIDTH_M / 2
        speeds = np.array([np.abs(table.velocity_m_s[:, 1]) for table in seen])
        places = np.array([np.abs(table.position_m[:, 1]) for table in seen])
        assert speeds[:, riders].max() < 1.15 * arena.MOVER_SPEED_M_S
        assert speeds[:, riders].max() > 0.025
        assert places[:, riders].max() < arena.BELT_END_M + 0.03
        assert speeds[:, ~riders].max() < 1e-3


def test_a_wandering_block_is_slow_stays_inside_and_hits_nothing(world: World) -> None:
    for seed in range(2):
        seen = watch(world, "follow", seed, 8.0)
        index = make_episode("follow", seed).moving_index
        path = np.array([table.position_m for table in seen])
        speed = np.array([np.hypot(*table.velocity_m_s[index, :2]) for table in seen])
        others = np.delete(path, index, axis=1)
        assert speed.max() < 1.15 * 0.06
        assert (path[:, index, :2] > arena.WORK_LOW_M).all()
        assert (path[:, index, :2] < arena.WORK_HIGH_M).all()
        assert np.linalg.norm(path[:, index, None, :2] - others[:, :, :2], axis=-1).min() > 0.05
        assert np.abs(others[-1] - others[0]).max() < 2e-3
        assert np.ptp(path[:, index, :2], axis=0).max() > 0.05


def test_a_hand_takes_the_target_to_its_new_place(world: World) -> None:
    for seed in range(2):
        episode = make_episode("pick", seed, event="moved")
        assert episode.hand is not None
        seen = watch(world, "pick", seed, episode.hand.time_s + 1.0, event="moved")
        end = seen[-1].position_m[episode.hand.index, :2]
        assert np.hypot(*(end - episode.hand.to_xy_m)) < 0.01


def test_a_hand_does_not_take_what_is_held() -> None:
    hand = Hand(HandPlan(1.0, 0, (0.5, 0.1)))
    assert hand.velocity(0.9, (0.4, 0.0), held=False) is None
    assert hand.velocity(1.0, (0.4, 0.0), held=True) is None
    assert hand.velocity(1.1, (0.4, 0.0), held=False) is None
