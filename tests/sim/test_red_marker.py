"""The red marker: seen apart from the cube, and nothing else is another than in panda-gym."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("panda_gym", reason="needs the extra panda-gym")

from dualsys.config import load_config
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys_sim.environment import draw_views, make_environment
from dualsys_sim.environment_moves import digest_of, step_with


def options_of(repository: Path, **changed: str) -> EnvironmentOptions:
    config = load_config(repository / "configs/panda_gym_pick.yaml")
    return EnvironmentOptions.of({**config.robot.options, **changed})


def test_the_configured_task_is_that_of_panda_gym_but_for_the_colour_of_its_marker(repository: Path) -> None:
    options = options_of(repository)
    ours = make_environment(options)
    theirs = make_environment(options_of(repository, environment="panda_gym:PandaPickAndPlace-v3"))
    views = options.cameras["fixed"]
    rng = np.random.default_rng(5)
    try:
        for seed in (3, 4):
            ours.reset(seed=seed)
            theirs.reset(seed=seed)
            for _ in range(5):
                action = rng.uniform(-1, 1, 4)
                (seen, *judged), (expected, *judged_there) = (
                    step_with(ours, action),
                    step_with(theirs, action),
                )
                assert digest_of(seen) == digest_of(expected)
                assert judged == judged_there
            red, green = (draw_views(env, views).astype(int) for env in (ours, theirs))
            marker = (red != green).any(axis=-1)
            assert marker.sum() > 10
            assert (red[marker][:, 0] > red[marker][:, 1] + 30).mean() > 0.8
            cube = (green[..., 1] > green[..., 0] + 60) & ~marker
            assert cube.any()
    finally:
        ours.close()
        theirs.close()
