"""The simulated Panda, reached as a real arm would be: over the robot link, in another process and clock."""

from __future__ import annotations

from typing import Final

from dualsys.robots.contract import RobotSpec
from dualsys.robots.link import LinkRobot
from dualsys.robots.profiles import PANDA_JOINTS, SIMULATED_PANDA_LIMITS
from dualsys.robots.registry import RobotDriver, RobotSettings

SIMULATED_PANDA: Final = RobotSpec(
    name="simulated_panda",
    axes=(*PANDA_JOINTS, "gripper_opening"),
    limits=SIMULATED_PANDA_LIMITS,
    rate_hz=250.0,
)


class SimulatedRobot(LinkRobot):
    """The robot link with a simulated Panda at its other end.

    Args:
        settings: Where it is.
        spec: What it should be.
    """

    def __init__(self, settings: RobotSettings, spec: RobotSpec = SIMULATED_PANDA) -> None:
        super().__init__(settings, expected=spec)


DRIVER: Final = RobotDriver(
    "a Franka Panda at a table, in a process of its own", open=SimulatedRobot, simulated=True
)
