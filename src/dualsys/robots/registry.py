"""Robot drivers by name: those that come with dualsys, and those that installed packages offer.

A package offers a driver with an entry point of the group `dualsys.robots`: its name is the driver's name,
and it points to a `RobotDriver`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from dualsys.bus.gate import Protection
from dualsys.clock import Clock
from dualsys.errors import RobotError
from dualsys.robots.contract import Robot

GROUP: Final = "dualsys.robots"

BUILT_IN: Final = {"simulated": "dualsys.robots.simulated:DRIVER"}
"""Name to `module:object`; imported only when asked for."""


@dataclass(frozen=True)
class RobotSettings:
    """What a driver needs to know to reach its robot.

    Attributes:
        state_endpoint: Where readings come from.
        command_endpoint: Where commands go to.
        service_endpoint: Where questions go to.
        connect_timeout_s: Longest wait for the first answer.
        clock: Stamps readings on arrival.
        protection: Which addresses are protected, and by which keys; None for no keys.
    """

    state_endpoint: str
    command_endpoint: str
    service_endpoint: str
    connect_timeout_s: float
    clock: Clock
    protection: Protection | None = None


@dataclass(frozen=True)
class RobotDriver:
    """What is known of a driver before it is used. Libraries of its arm are best loaded by `open` only.

    Attributes:
        says: What it reaches, in a line for people.
        open: Makes the robot; it is not connected yet.
        simulated: The arm is the one that `dualsys sim` simulates. A run starts that process, has it build
            and judge every scene, and resumes the arm by itself after a fault. A run of any other arm has no
            judge, and waits for a person.
    """

    says: str
    open: Callable[[RobotSettings], Robot]
    simulated: bool = False


def robot_names() -> tuple[str, ...]:
    """Every driver there is, in alphabetical order."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def driver_named(name: str) -> RobotDriver:
    """Load a driver.

    Raises:
        RobotError: There is none of that name, two packages offer it, or it cannot be loaded.
    """
    offered = [point for point in entry_points(group=GROUP) if point.name == name]
    if name in BUILT_IN:
        offered.append(EntryPoint(name, BUILT_IN[name], GROUP))
    if not offered:
        raise RobotError(f"robot.driver: no driver {name!r}; there are {', '.join(robot_names())}")
    if len(offered) > 1:
        origins = " and ".join(point.value for point in offered)
        raise RobotError(f"robot.driver: {name!r} is offered by {origins}: uninstall all but one")
    try:
        driver = offered[0].load()
    except (ImportError, AttributeError) as error:
        raise RobotError(
            f"robot.driver: {name!r} cannot be loaded from {offered[0].value}: {error}"
        ) from error
    if not isinstance(driver, RobotDriver):
        raise RobotError(
            f"robot.driver: {name!r} cannot be used: {offered[0].value} is no RobotDriver but a "
            f"{type(driver).__name__}"
        )
    return driver


def open_robot(name: str, settings: RobotSettings) -> Robot:
    """Make the robot of a driver; it is not connected yet.

    Raises:
        RobotError: As `driver_named`.
    """
    return driver_named(name).open(settings)
