"""The arms that can stand at the simulated table: what each one is, and how the planner leads it.

The base frame of every one of them is that of the table: the table top is the plane z = 0, and the arm stands
at the table's edge and looks along +x. Each carries the same hand, so that the tool is the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dualsys.errors import ConfigError
from dualsys.plugins import Option
from dualsys.robots.contract import RobotSpec
from dualsys.robots.geometry import TABLETOP_PANDA, ArmGeometry
from dualsys.robots.kinematics import PANDA, Chain
from dualsys.robots.profiles import SIMULATED_PANDA_LIMITS

TABLE_RATE_HZ: Final = 250.0
"""Set-points per second that the simulated table expects: one for each step of its physics."""

DEFAULT_ARM: Final = "panda"


@dataclass(frozen=True)
class TabletopArm:
    """One arm at the simulated table.

    Attributes:
        name: Short name, that of its profile.
        chain: Its kinematics, from the frame of the table to the point between the fingertips.
        geometry: What the planner has to know; its kinematics are `chain`.
        spec: What it says of itself over the robot link.
    """

    name: str
    chain: Chain
    geometry: ArmGeometry
    spec: RobotSpec


TABLE_PANDA: Final = TabletopArm(
    "panda",
    PANDA,
    TABLETOP_PANDA,
    RobotSpec("simulated_panda", TABLETOP_PANDA.axes, SIMULATED_PANDA_LIMITS, TABLE_RATE_HZ),
)
"""The Franka Panda, which the bundled models were trained on."""

ARMS: Final[Mapping[str, TabletopArm]] = MappingProxyType({arm.name: arm for arm in (TABLE_PANDA,)})
"""Every arm by its short name."""


def arm_of(options: Mapping[str, Option]) -> TabletopArm:
    """The arm that the option `arm` names; the Panda where there is none.

    Raises:
        ConfigError: There is no such arm.
    """
    name = options.get("arm", DEFAULT_ARM)
    if not isinstance(name, str) or name not in ARMS:
        raise ConfigError(
            "the simulated table", [f"robot.options.arm: got {name!r}, expected one of {', '.join(ARMS)}"]
        )
    return ARMS[name]


def arm_with(geometry: ArmGeometry) -> TabletopArm:
    """The arm of that geometry; the Panda where it is that of a robot elsewhere."""
    return next((arm for arm in ARMS.values() if arm.geometry is geometry), TABLE_PANDA)


def geometry_of(options: Mapping[str, Option]) -> ArmGeometry:
    """How the planner leads the arm that the options name.

    Raises:
        ConfigError: There is no such arm.
    """
    return arm_of(options).geometry
