"""The one place where the command line looks into the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualsys.errors import InstructionError, MissingExtraError

_SCENES_PER_EPISODE = 40

if TYPE_CHECKING:
    from dualsys_sim.task import Task


def tasks() -> dict[str, Task]:
    """Every task by name.

    Raises:
        MissingExtraError: The simulator is not installed.
    """
    try:
        from dualsys_sim.tasks import all_tasks

        # Each task is a module that is imported here, and they lead to the physics engine.
        return all_tasks()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pybullet"):
            raise MissingExtraError("pybullet", "sim", "the simulated world") from error
        raise


def simulated_cameras() -> dict[str, tuple[int, int]]:
    """Name, height and width of each camera of the simulated table.

    Raises:
        MissingExtraError: The simulator is not installed.
    """
    tasks()
    from dualsys_sim.cameras import CAMERA_SHAPES

    return {name: (shape[0], shape[1]) for name, shape in CAMERA_SHAPES.items()}


def scenes_for(
    instruction: str, task: str | None, first_seed: int, episodes: int
) -> tuple[str, list[int]] | None:
    """Scenes in which an instruction makes sense, so that a typed wish is not met with an empty table.

    Args:
        instruction: What the robot will be told.
        task: Task whose scenes are searched; None: the one that would say it.
        first_seed: Where the search begins.
        episodes: How many scenes are wanted.

    Returns:
        A task and seeds, or None if no scene was found: then nobody can judge whether the robot does it.
    """
    from dualsys_sim.episode import make_episode
    from dualsys_sim.table import meaning_of

    for name in tasks() if task is None else (task,):
        seeds: list[int] = []
        for seed in range(first_seed, first_seed + _SCENES_PER_EPISODE * episodes):
            goal = meaning_of(instruction, make_episode(name, seed))
            if goal is not None and goal.target_index >= 0 and (task is not None or goal.task == name):
                seeds.append(seed)
            if len(seeds) == episodes:
                return name, seeds
    return None


def require_task(name: str) -> None:
    """Raise InstructionError, listing the tasks there are, unless `name` is one."""
    known = tasks()
    if name not in known:
        raise InstructionError(f"no task {name!r}; there are {', '.join(known)}")
