"""The expert in panda-gym itself: what is learned from has to succeed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("panda_gym", reason="needs the extra panda-gym")

from dualsys.config import load_config
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys.train.panda_gym.expert import steps_to_success
from dualsys.train.panda_gym.tasks import TaskName
from dualsys_sim.environment import make_environment


@pytest.mark.parametrize("task", ["reach", "pick"])
def test_the_expert_succeeds_in_what_it_teaches_and_not_before_it_has_moved(
    repository: Path, task: TaskName
) -> None:
    options = EnvironmentOptions.of(load_config(repository / f"configs/panda_gym_{task}.yaml").robot.options)
    env = make_environment(options)
    try:
        taken = [steps_to_success(env, task, seed, options.steps) for seed in (1, 2, 3)]
        assert all(taken), taken
        assert steps_to_success(env, task, 1, 1) is None
    finally:
        env.close()
