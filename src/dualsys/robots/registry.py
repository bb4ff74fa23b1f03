"""Robot drivers by name: those that come with dualsys, and those that installed packages offer.

A package offers a driver with an entry point of the group `dualsys.robots`: its name is the driver's name,
and it points to a `RobotDriver`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from dualsys.bus.gate import Protection
from dualsys.clock import Clock
from dualsys.errors import RobotError
from dualsys.plugins import Option, Plugins, installed, unknown_options
from dualsys.robots.contract import CONTRACT_VERSION, Robot
from dualsys.robots.geometry import ArmGeometry, tabletop_panda

GROUP: Final = "dualsys.robots"

BUILT_IN: Final = {
    "dynamixel": "dualsys.robots.dynamixel:DRIVER",
    "feetech": "dualsys.robots.feetech:DRIVER",
    "gymnasium": "dualsys.robots.gymnasium:DRIVER",
    "franka": "dualsys.robots.franka:DRIVER",
    "link": "dualsys.robots.link:DRIVER",
    "pybullet": "dualsys.robots.simulated:DRIVER",
    "ur": "dualsys.robots.ur:DRIVER",
    "xarm": "dualsys.robots.xarm:DRIVER",
}
"""Name to `module:object`; imported only when asked for."""

TABLE_WORLD: Final = "dualsys_sim.server"
"""Runs the simulated table, with its tasks."""


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
        options: What the driver itself wants to be told, such as a serial port: `robot.options` of the
            configuration. A driver refuses what it does not know.
    """

    state_endpoint: str
    command_endpoint: str
    service_endpoint: str
    connect_timeout_s: float
    clock: Clock
    protection: Protection | None = None
    options: Mapping[str, Option] = field(default_factory=dict)

    def require_options(self, *known: str) -> None:
        """Refuse options that a driver does not know.

        Raises:
            RobotError: There is another one; names those that are known.
        """
        if fault := unknown_options(self.options, known):
            raise RobotError(f"robot.options: {fault}")


@dataclass(frozen=True)
class RobotDriver:
    """What is known of a driver before it is used. Libraries of its arm are best loaded by `open` only.

    Attributes:
        says: What it reaches, in a line for people.
        open: Makes the robot; it is not connected yet.
        simulated: The arm is one that `dualsys sim` simulates. A run starts that process, has it build
            and judge every scene, and resumes the arm by itself after a fault. A run of any other arm has no
            judge, and waits for a person.
        contract: Version of the contract that the driver was written for. Say it when it is not the first.
        world: Module whose `serve` runs that process.
        geometry: From the options to what the planner has to know of the arm.
        library: Top-level module of the arm's library, such as `dynamixel_sdk`; empty if it needs none.
        install: How to get that library, such as `pip install 'dualsys[dynamixel]'`.
        tried: Arms that it was tried on, with versions and dates; empty if it never moved a real one.
    """

    says: str
    open: Callable[[RobotSettings], Robot]
    simulated: bool = False
    contract: int = 1
    world: str = TABLE_WORLD
    geometry: Callable[[Mapping[str, Option]], ArmGeometry] = tabletop_panda
    library: str = ""
    install: str = ""
    tried: str = ""

    @property
    def at_table(self) -> bool:
        """Whether the arm is at the simulated table, where the tasks of `dualsys list tasks` are done."""
        return self.simulated and self.world == TABLE_WORLD

    @property
    def hardware(self) -> bool:
        """There is an arm at all behind it."""
        return not self.simulated

    @property
    def usable(self) -> bool:
        """Whether its library is installed, or it needs none."""
        return installed(self.library)


ROBOTS: Final = Plugins(GROUP, BUILT_IN, RobotDriver, "robot.driver", CONTRACT_VERSION, RobotError)


def driver_named(name: str) -> RobotDriver:
    """Load a driver.

    Raises:
        RobotError: There is none of that name, two packages offer it, it cannot be loaded, or it was written
            for another version of the contract.
    """
    return ROBOTS.named(name)


def open_robot(name: str, settings: RobotSettings) -> Robot:
    """Make the robot of a driver; it is not connected yet.

    Raises:
        RobotError: As `driver_named`.
    """
    return driver_named(name).open(settings)
