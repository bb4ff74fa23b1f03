"""The tasks. Each module here defines `TASK`; a new file is a new task."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from dualsys_sim.skills import still
from dualsys_sim.state import ExpertState, Goal
from dualsys_sim.task import Action, Task


@cache
def all_tasks() -> dict[str, Task]:
    """Every task by name, in alphabetical order."""
    names = sorted(module.name for module in iter_modules(__path__))
    return {name: import_module(f"{__name__}.{name}").TASK for name in names}


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    tasks = all_tasks()
    if name not in tasks:
        raise ValueError(f"no task {name!r}; there are {', '.join(tasks)}")
    return tasks[name]


def expert_action(state: ExpertState, goal: Goal) -> Action:
    """What the goal's scripted expert does in this state; stay put for a goal whose object is not there."""
    if goal.target_index < 0:
        return still(state)
    return all_tasks()[goal.task].expert(state, goal)
