"""Cameras: what an image cannot show is left out of it, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.robots.kinematics import PANDA, TOOL_DOWN
from dualsys_sim import cameras
from dualsys_sim.episode import make_episode
from dualsys_sim.physics import pybullet
from dualsys_sim.world import World

SHAPE = (64, 64, 3)
POSE = cameras.CameraPose((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 90.0)
"""Looks straight down from 1 m: at z = 0 the picture reaches from -1 to 1 m."""


def is_out_of_sight(centre_m: tuple[float, float, float], half_m: float = 0.1) -> bool:
    """Whether a cube is, for a camera that stands 1 m over the origin and looks down."""
    view = pybullet.computeViewMatrix(POSE.eye_m, POSE.target_m, (1.0, 0.0, 0.0))
    x, y, z = centre_m
    box = ((x - half_m, y - half_m, z - half_m), (x + half_m, y + half_m, z + half_m))
    (hidden,) = cameras.out_of_sight([box], view, cameras.projection(SHAPE, POSE.fov_deg, 0.2, 2.5))
    return hidden


@pytest.mark.parametrize("centre_m", [(0.0, 0.0, 0.0), (1.05, 0.0, 0.0), (0.0, -1.05, 0.0), (0.0, 0.0, 1.05)])
def test_what_reaches_into_the_picture_or_up_to_the_eye_is_in_sight(
    centre_m: tuple[float, float, float],
) -> None:
    assert not is_out_of_sight(centre_m)


@pytest.mark.parametrize(
    "centre_m", [(1.4, 0.0, 0.0), (-1.4, 0.0, 0.0), (0.0, 1.4, 0.0), (0.0, -1.4, 0.0), (0.0, 0.0, 1.2)]
)
def test_what_lies_beyond_a_side_or_behind_the_eye_is_out_of_sight(
    centre_m: tuple[float, float, float],
) -> None:
    assert is_out_of_sight(centre_m)


@pytest.mark.parametrize("task", ["place", "conveyor"])
def test_leaving_out_what_is_out_of_sight_changes_no_pixel(
    world: World, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    poses = rng.uniform((0.3, -0.34, 0.012), (0.7, 0.34, 0.3), (6, 3))
    joints = PANDA.inverse(poses, TOOL_DOWN, PANDA.rest_rad) + rng.normal(0.0, 0.1, (6, 7))

    def pictures() -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
        world.reset(make_episode(task, 11))
        found = []
        for q_rad in joints:
            world.place_arm(q_rad, 0.05)
            found += [world.render("wrist"), world.render("fixed")]
        return found

    spared = pictures()
    assert any(world._hidden)
    monkeypatch.setattr(cameras, "out_of_sight", lambda boxes, *_: [False] * len(boxes))
    for mine, full in zip(spared, pictures(), strict=True):
        np.testing.assert_array_equal(mine, full)
