"""Pictures that are put together from layers, against what panda-gym draws, and where cameras see a place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("panda_gym", reason="needs the extra panda-gym")

from dualsys.config import load_config
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys.train.panda_gym.pictures import Layer, Studio, put_together
from dualsys.train.panda_gym.vision import Lookout
from dualsys_sim.environment import draw_views


def options_of(repository: Path, task: str = "reach") -> EnvironmentOptions:
    return EnvironmentOptions.of(load_config(repository / f"configs/panda_gym_{task}.yaml").robot.options)


def test_the_nearest_layer_is_seen() -> None:
    near = Layer(np.full((1, 2, 3), 9, np.uint8), np.array([[0.2, 0.9]], np.float32))
    far = Layer(np.full((1, 2, 3), 5, np.uint8), np.array([[0.5, 0.5]], np.float32))
    assert put_together([far, near])[0, :, 0].tolist() == [9, 5]


def test_layers_make_the_picture_that_the_environment_draws_and_the_cameras_see_the_marker_there(
    repository: Path,
) -> None:
    import pybullet

    options = options_of(repository)
    studio = Studio(options)
    lookout = Lookout(pybullet, options.cameras["fixed"], studio.height_px, studio.width_px)
    for seed in (4, 5):
        studio.env.reset(seed=seed)
        goal = np.array(studio.env.unwrapped.task.goal)
        drawn = draw_views(studio.env, options.cameras["fixed"])
        arm = studio.arm()
        np.testing.assert_array_equal(put_together([arm, studio.thing("target", goal)]), drawn)
        marker = (drawn != arm.colour).any(axis=-1)
        pixels = lookout.pixels(goal[None].astype(np.float32))[:, 0]
        for view, (row, column) in enumerate(pixels):
            seen = np.argwhere(marker[:, view * studio.width_px : (view + 1) * studio.width_px])
            if len(seen) > 3:
                np.testing.assert_allclose(seen.mean(axis=0), (row, column), atol=2.5)
    studio.close()


def test_a_cube_and_a_marker_make_the_picture_that_the_environment_draws(repository: Path) -> None:
    options = options_of(repository, "pick")
    studio = Studio(options)
    assert studio.things == ("object", "target")
    for seed in (4, 5):
        studio.env.reset(seed=seed)
        goal = np.array(studio.env.unwrapped.task.goal)
        cube = np.array(studio.sim.get_base_position("object"))
        drawn = draw_views(studio.env, options.cameras["fixed"])
        layers = [studio.arm(), studio.thing("target", goal), studio.thing("object", cube)]
        np.testing.assert_array_equal(put_together(layers), drawn)
    studio.close()
