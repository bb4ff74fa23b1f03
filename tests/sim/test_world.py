"""The world: deterministic, true to its command, and honest about bad ones."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.robots.kinematics import PANDA, TOOL_DOWN
from dualsys_sim import arena
from dualsys_sim.bodies import rest_height_m
from dualsys_sim.cameras import CameraPose
from dualsys_sim.episode import Episode, make_episode
from dualsys_sim.world import World


def play(world: World, episode: Episode, ticks: int) -> list[bytes]:
    """Reset, play a wave of commands, and return everything the world says as bytes."""
    world.reset(episode)
    command = world.start_command()
    for tick in range(ticks):
        world.step(command + 0.1 * np.sin(tick / 40.0))
    arm, objects = world.measure(), world.objects()
    numbers = (arm.q_rad, arm.dq_rad_s, objects.position_m, objects.velocity_m_s)
    return [array.tobytes() for array in numbers] + [
        world.render(name).tobytes() for name in ("fixed", "wrist")
    ]


@pytest.mark.parametrize("task", ["place", "conveyor", "follow"])
def test_the_same_seed_and_commands_give_the_same_bits_whatever_came_before(world: World, task: str) -> None:
    episode = make_episode(task, 7)
    first = play(world, episode, 150)
    play(world, make_episode("push", 3), 60)
    assert play(world, episode, 150) == first
    with World() as fresh:
        assert play(fresh, episode, 150) == first


def test_a_reset_puts_the_tool_where_the_episode_says(world: World) -> None:
    episode = make_episode("pick", 11)
    world.reset(episode)
    assert np.abs(world.snapshot().tool_m - episode.start_tool_m).max() < 1e-3
    assert world.measure().width_m == pytest.approx(episode.start_width_m)
    assert world.time_s == 0.0


def test_objects_stay_where_they_were_put(world: World) -> None:
    episode = make_episode("place", 5)
    world.reset(episode)
    for _ in range(100):
        world.step(world.start_command())
    assert world.time_s == pytest.approx(0.4)
    objects = world.objects()
    resting = [rest_height_m(spec.kind) for spec in episode.objects]
    places = np.array([spec.xy_m for spec in episode.objects])
    np.testing.assert_allclose(objects.position_m[:, :2], places, atol=1e-3)
    np.testing.assert_allclose(objects.position_m[:, 2], resting, atol=1e-3)


def test_the_arm_follows_its_command_with_a_small_lag(world: World) -> None:
    episode = make_episode("pick", 2)
    world.reset(episode)
    start = world.start_command()
    goal = start.copy()
    goal[:7] = PANDA.inverse(np.add(episode.start_tool_m, (0.06, 0.04, -0.06)), TOOL_DOWN, start[:7])[0]
    for tick in range(100):
        world.step(start + (goal - start) * min(1.0, tick / 75.0))
        if tick == 40:
            behind = np.abs(world.measure().q_rad - (start + (goal - start) * tick / 75.0)[:7]).max()
            assert 1e-4 < behind < 0.02
    assert np.abs(world.measure().q_rad - goal[:7]).max() < 1e-3


def test_a_joint_that_was_held_back_returns_no_faster_than_its_motor_turns(world: World) -> None:
    world.reset(make_episode("pick", 2))
    away = world.start_command()
    away[:7] += [0.2, -0.2, 0.2, 0.2, -0.2, 0.3, 0.3]
    rated_rad_s = world.arm.spec.limits.velocity[:7]
    fastest_rad_s = np.zeros(7)
    for _ in range(80):
        world.step(away)
        fastest_rad_s = np.maximum(fastest_rad_s, np.abs(world.measure().dq_rad_s))
    assert (fastest_rad_s <= 1.05 * rated_rad_s).all()
    assert (fastest_rad_s >= 0.8 * rated_rad_s).all()
    assert np.abs(world.measure().q_rad - away[:7]).max() < 5e-3


def test_the_fingers_open_and_close_within_half_a_second(world: World) -> None:
    episode = make_episode("pick", 2)
    world.reset(episode)
    command = world.start_command()
    for width, expected in ((0.0, 0.0), (arena.GRIPPER_OPEN_M, arena.GRIPPER_OPEN_M)):
        command[7] = width
        for _ in range(125):
            world.step(command)
        assert world.measure().width_m == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("command", [np.zeros(7), np.full(8, np.nan)])
def test_a_command_that_makes_no_sense_is_refused(world: World, command: np.ndarray) -> None:
    world.reset(make_episode("pick", 1))
    with pytest.raises(ValueError, match="8 finite numbers"):
        world.step(command)


def test_cameras_give_pictures_of_their_own_shape(world: World) -> None:
    world.reset(make_episode("place", 4))
    assert world.render("fixed").shape == (96, 128, 3)
    assert world.render("wrist").shape == (64, 64, 3)
    assert world.render("fixed").dtype == np.uint8
    with pytest.raises(KeyError):
        world.render("ceiling")


def test_a_photograph_from_where_a_camera_is_shows_what_it_shows_and_changes_nothing(world: World) -> None:
    world.reset(make_episode("place", 4))
    fixed, wrist = world.render("fixed"), world.render("wrist")
    same = world.photograph(world.episode.fixed_camera, (96, 128, 3))
    # The renderer rounds single pixels now and then.
    assert np.abs(same.astype(int) - fixed).max() <= 8
    away = CameraPose((-2.0, 0.0, 0.5), (-3.0, 0.0, 0.5), 40.0)
    assert world.photograph(away, (30, 40, 3)).shape == (30, 40, 3)
    assert np.abs(world.render("fixed").astype(int) - fixed).max() <= 8
    assert np.abs(world.render("wrist").astype(int) - wrist).max() <= 8


def test_every_object_shows_its_colour_to_the_fixed_camera(world: World) -> None:
    for seed in range(8):
        episode = make_episode("place", seed)
        world.reset(episode)
        world.place_arm(PANDA.rest_rad + np.array([2.0, 0, 0, 0, 0, 0, 0]), 0.08)
        picture = world.render("fixed").reshape(-1, 3).astype(float)
        shades = picture / np.maximum(picture.max(axis=1, keepdims=True), 1.0)
        for spec in episode.objects:
            own = np.array(spec.rgba[:3]) / max(spec.rgba[:3])
            assert (np.abs(shades - own).max(axis=1) < 0.12).sum() >= 15, (seed, spec)


def test_closing_twice_does_no_harm() -> None:
    world = World()
    world.close()
    world.close()
