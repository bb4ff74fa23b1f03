"""What the planner has to know of an arm: its kinematics, its axes, and where its tool may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dualsys.robots.kinematics import PANDA
from dualsys.robots.profiles import GRIPPER_OPEN_M, PANDA_JOINTS

if TYPE_CHECKING:
    from dualsys.fast.planner.arm import Kinematics

Point = tuple[float, float, float]
"""x, y and z, m, base frame."""


class Cartesian:
    """Kinematics of an arm whose three axes are x, y and z of its tool, m: the tool is where the axes are.

    Args:
        rest_m: [3], the preferred place; of no consequence, since there is no posture to choose.
    """

    def __init__(self, rest_m: ArrayLike = (0.0, 0.0, 0.0)) -> None:
        self.rest_rad: NDArray[np.float64] = np.array(rest_m, dtype=np.float64)
        """[3], m here: the axes are no joints."""

    def forward(self, q_rad: ArrayLike, /) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Tool position [..., 3] and rotation [..., 3, 3], always the identity, of axes [..., 3] in m."""
        position = np.array(q_rad, dtype=np.float64)
        return position, np.broadcast_to(np.eye(3), (*position.shape[:-1], 3, 3))

    def inverse(
        self,
        position_m: ArrayLike,
        rotation: ArrayLike,
        q_start_rad: ArrayLike,
        rest_rad: ArrayLike | None = None,
        /,
    ) -> NDArray[np.float64]:
        """Axes [N, 3], m, at tool positions [N, 3]; no rotation can be asked for."""
        del rotation, q_start_rad, rest_rad
        return np.array(position_m, dtype=np.float64).reshape(-1, 3)


@dataclass(frozen=True)
class ArmGeometry:
    """An arm as the planner drives it.

    Attributes:
        kinematics: Its geometry.
        axes: Name of each axis, as control and robot must have them too.
        low_m, high_m: The box in which the commanded tool is kept, base frame.
        open_m: Opening of the open gripper.
    """

    kinematics: Kinematics
    axes: tuple[str, ...]
    low_m: Point
    high_m: Point
    open_m: float


TABLETOP_PANDA: Final = ArmGeometry(
    PANDA, (*PANDA_JOINTS, "gripper_opening"), (0.30, -0.34, 0.012), (0.70, 0.34, 0.30), GRIPPER_OPEN_M
)
"""A Panda with its tool pointing down, in the box above the table that it reaches everywhere."""


def tabletop_panda(options: Mapping[str, object]) -> ArmGeometry:
    """The geometry of every driver that names none, whatever its options."""
    del options
    return TABLETOP_PANDA
