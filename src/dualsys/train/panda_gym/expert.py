"""How often the scripted expert succeeds by itself: `python -m dualsys.train.panda_gym.expert --task pick`.

It knows the truth of the scene; what learns from it can hardly do better.
"""

from __future__ import annotations

import sys

from dualsys.train.entry import PANDA_GYM, start

if __name__ == "__main__":
    sys.exit(start("dualsys.train.panda_gym.expert", "the expert of panda-gym", PANDA_GYM))

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.command_line import read
from dualsys.config import load_config
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys.train.panda_gym.data import fingers_width_m, step_towards
from dualsys.train.panda_gym.tasks import STEP_M, TOOL_HIGH_M, TOOL_LOW_M, Scene, TaskName, expert_action
from dualsys_sim.environment import make_environment


@dataclass(frozen=True)
class Arguments:
    """What to run.

    Attributes:
        task: `reach` or `pick`.
        episodes: How many.
        seed: Of the first one.
    """

    task: TaskName = "reach"
    episodes: int = 100
    seed: int = 10_000_000


def steps_to_success(env: Any, task: TaskName, seed: int, most: int) -> int | None:
    """Steps that the expert takes in an episode of panda-gym; None if `most` are too few."""
    env.reset(seed=seed)
    base: Any = env.unwrapped
    command = np.array(base.robot.get_ee_position())
    for step in range(most + 1):
        achieved, goal = np.array(base.task.get_achieved_goal()), np.array(base.task.goal)
        if base.task.is_success(achieved, goal):
            return step
        tool = np.array(base.robot.get_ee_position())
        cube = None if task == "reach" else achieved
        action = expert_action(task, Scene(command, tool, fingers_width_m(base), goal, cube))
        command = np.clip(command + STEP_M * action[:3], TOOL_LOW_M, TOOL_HIGH_M)
        step_towards(base, command, float(action[3]))
    return None


def main() -> None:
    """Run the episodes of the command line and tell how many succeeded."""
    given = read(Arguments, description=__doc__)
    config = load_config(Path(f"configs/panda_gym_{given.task}.yaml"))
    options = EnvironmentOptions.of(config.robot.options)
    env = make_environment(options)
    taken = []
    try:
        for seed in range(given.seed, given.seed + given.episodes):
            steps = steps_to_success(env, given.task, seed, options.steps)
            if steps is None:
                print(f"seed {seed}: not within {options.steps} steps", flush=True)
            else:
                taken.append(steps)
    finally:
        env.close()
    median = f"; median {np.median(taken):g} steps" if taken else ""
    print(f"{len(taken)} of {given.episodes} within {options.steps} steps{median}")
