"""Other arms at the table: the same tool, the same pictures, and tasks done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS
from dualsys.errors import InstructionError
from dualsys.messages import ArmCommand
from dualsys.robots.kinematics import TOOL_DOWN
from dualsys.robots.tabletop import TABLE_IIWA14, TABLE_XARM6

pytest.importorskip("pybullet")

from dualsys_sim.episode import make_episode
from dualsys_sim.runner import run_episode
from dualsys_sim.table import TableCore
from dualsys_sim.world import World


@pytest.fixture(scope="module", params=[TABLE_IIWA14, TABLE_XARM6], ids=lambda arm: arm.name)
def other(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world with another arm than the Panda."""
    with World(arm=request.param) as made:
        yield made


def test_the_tool_starts_where_that_of_the_panda_does(world: World, other: World) -> None:
    for seed in range(4):
        episode = make_episode("touch", seed)
        places = []
        for one in (world, other):
            one.reset(episode)
            places.append(one.snapshot().tool_m)
        np.testing.assert_allclose(places[1], episode.start_tool_m, atol=1e-3)
        np.testing.assert_allclose(places[1], places[0], atol=1e-3)


@pytest.mark.parametrize("camera", ["fixed", "wrist"])
def test_the_cameras_see_the_same_objects_and_the_same_fingers(
    world: World, other: World, camera: str
) -> None:
    for seed in range(3):
        pictures = []
        for one in (world, other):
            one.reset(make_episode("touch", seed))
            pictures.append(one.render(camera).astype(int))
        same = (np.abs(pictures[0] - pictures[1]).max(axis=2) < 12).mean()
        # What differs is the arm's own base and links, at the edge of the picture.
        assert same > 0.94, (seed, same)


@pytest.mark.parametrize("task", ["touch", "follow", "pick"])
def test_the_expert_does_the_task_with_another_arm(other: World, task: str) -> None:
    verdict = run_episode(other, make_episode(task, 5)).verdict
    assert verdict.success, verdict


def test_the_same_commands_give_the_same_bits_with_another_arm(other: World) -> None:
    episode = replace(make_episode("pick", 4), timeout_s=1.2)
    first, again = (run_episode(other, episode) for _ in range(2))
    for name in ("q_rad", "tool_m", "position_m"):
        assert first.array(name).tobytes() == again.array(name).tobytes()


def test_an_episode_that_starts_out_of_reach_is_refused_and_changes_nothing(other: World) -> None:
    episode = make_episode("touch", 1)
    other.reset(episode)
    before = other.measure().q_rad
    with pytest.raises(InstructionError, match=r"task 'touch', seed 1: .* \(robot\.options\.arm\)"):
        other.reset(replace(episode, start_tool_m=(0.1, 0.0, 0.3)))
    assert other.episode is episode
    np.testing.assert_array_equal(other.measure().q_rad, before)


def test_the_table_takes_commands_of_the_arm_and_no_others(other: World) -> None:
    core = TableCore(other, 50 * NS_PER_MS)
    reading = core.tick()
    axes = len(other.arm.spec.axes)
    assert len(reading.position) == len(reading.velocity) == axes
    assert core.on_command(ArmCommand(seq=0, position=reading.position))
    assert not core.on_command(ArmCommand(seq=1, position=(*reading.position, 0.0)))
    assert core.last_fault.startswith(f"command: expected {axes} finite numbers")
    _, rotation = other.arm.chain.forward(reading.position[:-1])
    np.testing.assert_allclose(rotation, TOOL_DOWN, atol=1e-2)


def test_a_table_that_refuses_an_episode_goes_on_with_the_one_it_had() -> None:
    with World(arm=TABLE_IIWA14) as world:
        core = TableCore(world, 50 * NS_PER_MS)
        before = core.reset({"task": "touch", "seed": "4"})
        # It begins between the arm and a wall, too near for this elbow.
        with pytest.raises(InstructionError, match=r"seed 38: .* which the arm 'iiwa14' misses by"):
            core.reset({"task": "around", "seed": "38"})
        assert core.scene() == before
