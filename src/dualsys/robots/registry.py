"""Robot drivers by name: those that come with dualsys, and those that installed packages offer.

A package offers a driver with an entry point of the group `dualsys.robots`: its name is the driver's name,
and it points to a function from `RobotSettings` to `Robot`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from dualsys.clock import Clock
from dualsys.errors import RobotError
from dualsys.robots.contract import Robot

GROUP: Final = "dualsys.robots"

BUILT_IN: Final = {"simulated": "dualsys.robots.simulated:open_simulated"}
"""Name to `module:function`; imported only when asked for."""


@dataclass(frozen=True)
class RobotSettings:
    """What a driver needs to know to reach its robot.

    Attributes:
        state_endpoint: Where readings come from.
        command_endpoint: Where commands go to.
        service_endpoint: Where questions go to.
        connect_timeout_s: Longest wait for the first answer.
        clock: Stamps readings on arrival.
    """

    state_endpoint: str
    command_endpoint: str
    service_endpoint: str
    connect_timeout_s: float
    clock: Clock


RobotFactory = Callable[[RobotSettings], Robot]


def robot_names() -> tuple[str, ...]:
    """Every driver that `open_robot` knows, in alphabetical order."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def open_robot(name: str, settings: RobotSettings) -> Robot:
    """Make a driver; it is not connected yet.

    Raises:
        RobotError: There is no driver of that name, two packages offer it, or it cannot be loaded.
    """
    offered = [point for point in entry_points(group=GROUP) if point.name == name]
    if name in BUILT_IN:
        offered.append(EntryPoint(name, BUILT_IN[name], GROUP))
    if not offered:
        raise RobotError(f"robot.driver: no driver {name!r}; there are {', '.join(robot_names())}")
    if len(offered) > 1:
        origins = " and ".join(point.value for point in offered)
        raise RobotError(f"robot.driver: {name!r} is offered by {origins}: uninstall all but one")
    module, _, function = offered[0].value.partition(":")
    try:
        factory: RobotFactory = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise RobotError(
            f"robot.driver: {name!r} cannot be loaded from {offered[0].value}: {error}"
        ) from error
    return factory(settings)
