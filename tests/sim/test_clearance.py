"""Clearance: what counts as touching a wall holds every touch that the physics knows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.robots.kinematics import PANDA, TOOL_DOWN
from dualsys_sim import arena
from dualsys_sim.clearance import fault
from dualsys_sim.episode import make_episode
from dualsys_sim.physics import pybullet
from dualsys_sim.state import Wall
from dualsys_sim.world import World

WALL = Wall(0.45, 0.0, 0.0, 0.16, 0.10)

walls = st.builds(
    Wall,
    st.floats(0.4, 0.5),
    st.floats(-0.1, 0.1),
    st.floats(-0.5, 0.5),
    st.floats(0.1, 0.2),
    st.floats(0.1, 0.11),
)
places = st.tuples(st.floats(0.3, 0.7), st.floats(-0.34, 0.34))


@given(walls, places)
def test_a_place_seen_from_the_wall_and_back_is_the_same_place(
    wall: Wall, place: tuple[float, float]
) -> None:
    np.testing.assert_allclose(wall.to_base(*wall.to_wall(*place)), place, atol=1e-12)


@given(walls, places, st.floats(0.005, 0.1), st.floats(0.005, 0.1))
def test_the_gap_is_never_more_than_the_distance_between_the_boxes(
    wall: Wall, place: tuple[float, float], half_x: float, half_y: float
) -> None:
    grid = np.linspace(-1.0, 1.0, 9)
    box = np.array([(place[0] + a * half_x, place[1] + b * half_y) for a in grid for b in grid])
    face = arena.WALL_THICKNESS_M / 2
    solid = np.array([wall.to_base(a * wall.length_m / 2, b * face) for a in grid for b in grid])
    nearest = np.linalg.norm(box[:, None] - solid[None], axis=2).min()
    assert wall.gap_m(*place, half_x, half_y) <= nearest + 1e-12


def test_the_gap_is_exact_beside_a_face() -> None:
    assert WALL.gap_m(0.40, 0.02, 0.01, 0.03) == pytest.approx(0.05 - 0.01 - arena.WALL_THICKNESS_M / 2)
    assert WALL.gap_m(0.45, 0.20, 0.01, 0.03) == pytest.approx(0.20 - 0.03 - 0.08)


def test_left_of_the_wall_is_left_of_the_arm() -> None:
    along, across = Wall(0.45, 0.0, 0.3, 0.16, 0.10).to_wall(0.45, 0.1)
    assert along == pytest.approx(0.1 * math.cos(0.3))
    assert across == pytest.approx(0.1 * math.sin(0.3))


@pytest.mark.parametrize(
    ("tool", "width", "wrong"),
    [
        ((0.36, 0.0, 0.10), 0.08, ""),
        ((0.45, 0.0, 0.10), 0.0, "touched the wall"),
        ((0.45, 0.0, 0.20), 0.0, "passed over the wall"),
        ((0.45, 0.12, 0.10), 0.0, ""),
        ((0.45, 0.12, 0.10), 0.08, "touched the wall"),
        ((0.48, 0.0, 0.10), 0.0, ""),
        ((0.48, 0.0, 0.05), 0.0, "touched the wall"),
        ((0.45, 0.15, 0.10), 0.0, ""),
        ((0.45, 0.15, 0.05), 0.0, "touched the wall"),
    ],
)
def test_fingers_keep_off_at_any_height_and_the_hand_where_it_is_low(
    tool: tuple[float, float, float], width: float, wrong: str
) -> None:
    assert fault(WALL, tool, width) == wrong


def test_whatever_touches_the_wall_in_the_physics_is_a_fault(world: World) -> None:
    rng = np.random.default_rng(4)
    touches = faults = 0
    for seed in range(4):
        episode = make_episode("around", seed)
        wall = episode.wall
        assert wall is not None
        world.reset(episode)
        client = world._client
        count = pybullet.getNumBodies(physicsClientId=client)
        bodies = [pybullet.getBodyUniqueId(row, physicsClientId=client) for row in range(count)]
        middle = (wall.x_m, wall.y_m, wall.height_m / 2)
        solid = next(
            body
            for body in bodies
            if math.dist(pybullet.getBasePositionAndOrientation(body, physicsClientId=client)[0], middle)
            < 1e-6
        )
        for _ in range(60):
            x, y = wall.to_base(float(rng.uniform(-0.22, 0.22)), float(rng.uniform(-0.14, 0.14)))
            tool = (max(0.31, x), y, float(rng.uniform(0.012, 0.10)))
            width = float(rng.uniform(0.0, arena.GRIPPER_OPEN_M))
            world.place_arm(PANDA.inverse(tool, TOOL_DOWN, PANDA.rest_rad)[0], width)
            touching = bool(pybullet.getClosestPoints(world._body.body, solid, 0.0, physicsClientId=client))
            wrong = fault(wall, tool, width)
            assert wrong or not touching, (seed, tool, width)
            touches, faults = touches + touching, faults + bool(wrong)
    assert touches > 25
    assert faults < 2 * touches
