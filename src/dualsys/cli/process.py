"""One process of a system by itself: `python -m dualsys.cli.process NAME CONFIG PARENT`.

Apart from the other commands so that nothing but the process's own code is loaded: no argument parser and no
terminal library next to the control loop.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dualsys.config import SystemConfig, load_config
from dualsys.errors import DualsysError, MissingExtraError
from dualsys.supervisor.lifeline import die_with


def serve_slow(config: SystemConfig) -> None:
    """System 2."""
    from dualsys.slow.server import serve

    serve(config)


def serve_planner(config: SystemConfig) -> None:
    """System 1 and the chunk strategy."""
    from dualsys.fast.planner.process import run_planner

    run_planner(config)


def serve_control(config: SystemConfig) -> None:
    """The control loop."""
    from dualsys.fast.control.process import run_control

    run_control(config)


def serve_sim(config: SystemConfig) -> None:
    """The simulated robot.

    Raises:
        MissingExtraError: The physics engine is not installed.
    """
    from importlib import import_module

    from dualsys.robots.registry import driver_named

    try:
        world = import_module(driver_named(config.robot.driver).world)
    except ModuleNotFoundError as error:
        if error.name in ("pybullet", "pybullet_data"):
            raise MissingExtraError("pybullet", "sim", "the simulated robot") from error
        raise
    world.serve(config)


def serve_recorder(config: SystemConfig) -> None:
    """The flight recorder."""
    from dualsys.recorder.process import run_recorder

    run_recorder(config)


def serve_line(config: SystemConfig) -> None:
    """The emulated line."""
    from dualsys.supervisor.line import run_line

    run_line(config)


PROCESSES: dict[str, Callable[[SystemConfig], None]] = {
    "sim": serve_sim,
    "slow": serve_slow,
    "control": serve_control,
    "planner": serve_planner,
    "recorder": serve_recorder,
    "line": serve_line,
}
"""What each process runs, until it is told to end."""


def process_command(name: str, config: Path) -> list[str]:
    """The command line that runs a process as a child of this one."""
    return [sys.executable, "-m", "dualsys.cli.process", name, str(config), str(os.getpid())]


def log_to_stderr() -> None:
    """Have log records written, with the time and who says it."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def main(arguments: Sequence[str]) -> int:
    """Run one process until it is told to end.

    Args:
        arguments: Name of the process, its configuration, and the process id of its parent.

    Returns:
        Exit code.
    """
    name, path, parent_pid = arguments
    die_with(int(parent_pid))
    if name != "control":
        # The control loop writes no log: whatever it has to say goes into its state and its counters.
        log_to_stderr()
    try:
        PROCESSES[name](load_config(path))
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
