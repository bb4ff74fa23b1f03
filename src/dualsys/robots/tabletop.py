"""The arms that can stand at the simulated table: what each one is, and how the planner leads it.

The base frame is that of the table for all of them: the table top is the plane z = 0, and the arm looks
along +x. Each carries the same hand, so that the tool is the same for all. The Panda stands at the origin,
the others where they reach the places that objects are put in with the tool pointing down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from dualsys.errors import ConfigError
from dualsys.plugins import Option
from dualsys.robots.contract import RobotSpec
from dualsys.robots.geometry import TABLETOP_PANDA, ArmGeometry, Point
from dualsys.robots.kinematics import (
    IIWA14_FLANGE_M,
    IIWA14_FRAMES,
    PANDA,
    XARM6_FRAMES,
    Chain,
    FloatArray,
    transform,
)
from dualsys.robots.profiles import (
    GRIPPER_OPEN_M,
    HAND_ACCELERATION_M_S2,
    HAND_SPEED_M_S,
    PROFILES,
    SIMULATED_PANDA_LIMITS,
)

TABLE_RATE_HZ: Final = 250.0
"""Set-points per second that the simulated table expects: one for each step of its physics."""

DEFAULT_ARM: Final = "panda"

HAND_TO_TOOL_M: Final = 0.105
"""From the flange that the hand is bolted to, to the point between the fingertips."""


@dataclass(frozen=True)
class TabletopArm:
    """One arm at the simulated table.

    Attributes:
        name: Short name, that of its profile.
        mount_m: Where its base stands.
        chain: Its kinematics, from the frame of the table to the point between the fingertips.
        geometry: What the planner has to know; its kinematics are `chain`.
        spec: What it says of itself over the robot link.
    """

    name: str
    mount_m: Point
    chain: Chain
    geometry: ArmGeometry
    spec: RobotSpec


TABLE_PANDA: Final = TabletopArm(
    "panda",
    (0.0, 0.0, 0.0),
    PANDA,
    TABLETOP_PANDA,
    RobotSpec("simulated_panda", TABLETOP_PANDA.axes, SIMULATED_PANDA_LIMITS, TABLE_RATE_HZ),
)
"""The Franka Panda, which the bundled models were trained on."""


def _standing(
    name: str,
    frames: FloatArray,
    hand_frame: FloatArray,
    rest_rad: tuple[float, ...],
    mount_m: Point,
    box_m: tuple[Point, Point],
) -> TabletopArm:
    """An arm of a profile with the Panda's hand.

    Args:
        name: Of the profile.
        frames: [J, 4, 4], joint frames from its base on.
        hand_frame: [4, 4], the hand in the frame of the last joint.
        rest_rad: [J], preferred posture.
        mount_m: Where its base stands.
        box_m: Lowest and highest place of the commanded tool.
    """
    profile = PROFILES[name]
    armed = profile.with_gripper(
        "gripper_opening", GRIPPER_OPEN_M, 2 * HAND_SPEED_M_S, 2 * HAND_ACCELERATION_M_S2
    )
    chain = Chain(
        joint_frames=np.concatenate(((transform(mount_m) @ frames[0])[None], frames[1:])),
        tool_frame=hand_frame @ transform((0.0, 0.0, HAND_TO_TOOL_M)),
        lower_rad=profile.limits.lower,
        upper_rad=profile.limits.upper,
        rest_rad=np.array(rest_rad),
    )
    limits = replace(armed.limits, frames=np.concatenate((chain.joint_frames, chain.tool_frame[None])))
    geometry = ArmGeometry(chain, armed.axes, *box_m, GRIPPER_OPEN_M)
    return TabletopArm(
        name, mount_m, chain, geometry, RobotSpec(f"simulated_{name}", armed.axes, limits, TABLE_RATE_HZ)
    )


TABLE_IIWA14: Final = _standing(
    "iiwa14",
    IIWA14_FRAMES,
    transform((0.0, 0.0, IIWA14_FLANGE_M), (0.0, 0.0, np.pi)),
    rest_rad=(0.0, 0.77, 0.0, -1.57, 0.0, 0.8, 0.0),
    mount_m=(-0.08, 0.0, 0.0),
    box_m=((0.345, -0.26, 0.012), (0.66, 0.26, 0.27)),
)
"""The KUKA LBR iiwa 14 R820. Its elbow bends by 120 degrees at most: standing, it does not reach all of the
Panda's box with the tool pointing down, wherever its base is. This box is smaller."""

TABLE_XARM6: Final = _standing(
    "xarm6",
    XARM6_FRAMES,
    transform((0.0, 0.0, 0.0)),
    rest_rad=(0.0, 0.19, -0.64, 0.0, 0.45, 0.0),
    mount_m=(0.10, 0.0, 0.09),
    box_m=(TABLETOP_PANDA.low_m, TABLETOP_PANDA.high_m),
)
"""The UFACTORY xArm6, nearer to the objects than the Panda because it is shorter, on a riser."""

ARMS: Final[Mapping[str, TabletopArm]] = MappingProxyType(
    {arm.name: arm for arm in (TABLE_PANDA, TABLE_IIWA14, TABLE_XARM6)}
)
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
