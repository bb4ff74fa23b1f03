"""The simulated arm, reached as a real one would be: over the robot link, in another process and clock."""

from __future__ import annotations

from typing import Final

from dualsys.robots.link import LinkRobot
from dualsys.robots.registry import RobotDriver, RobotSettings
from dualsys.robots.tabletop import TABLE_PANDA, arm_of, geometry_of

SIMULATED_PANDA: Final = TABLE_PANDA.spec


class SimulatedRobot(LinkRobot):
    """The robot link with a simulated arm at its other end.

    Args:
        settings: Where it is; the option `arm` says which arm it is.

    Raises:
        ConfigError: There is no such arm.
        RobotError: An option is unknown.
    """

    def __init__(self, settings: RobotSettings) -> None:
        super().__init__(settings, arm_of(settings.options).spec)


DRIVER: Final = RobotDriver(
    "a simulated arm at a table, a Panda unless told otherwise, in a process of its own",
    open=SimulatedRobot,
    simulated=True,
    geometry=geometry_of,
)
