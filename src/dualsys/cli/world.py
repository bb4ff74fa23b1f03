"""The one place where the command line looks into the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualsys.errors import InstructionError, MissingExtraError

if TYPE_CHECKING:
    from dualsys_sim.task import Task


def tasks() -> dict[str, Task]:
    """Every task by name.

    Raises:
        MissingExtraError: The simulator is not installed.
    """
    try:
        from dualsys_sim.tasks import all_tasks
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pybullet"):
            raise MissingExtraError("pybullet", "sim", "the simulated world") from error
        raise
    return all_tasks()


def require_task(name: str) -> None:
    """Raise InstructionError, listing the tasks there are, unless `name` is one."""
    known = tasks()
    if name not in known:
        raise InstructionError(f"no task {name!r}; there are {', '.join(known)}")
