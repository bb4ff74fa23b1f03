"""The box that the tool point has to stay in: plans that leave it are refused, commands that do are held."""

from __future__ import annotations

from typing import Final, Self

import numpy as np

from dualsys.fast.control.limits import FloatArray, Limits
from dualsys.fast.control.reference import PlanRefusedError
from dualsys.robots.kinematics import Chain

MARGIN_M: Final = 0.01
"""How far a command may be outside: between two set-points inside, joints do not move on a straight line."""


class Workspace:
    """A box in the base frame of the arm, and the kinematics that tell where the tool point is.

    Args:
        chain: The joints that move the tool point; the first ones of every array.
        box_m: [2, 3], lowest and highest x, y, z, m; infinite where there is no bound.
    """

    def __init__(self, chain: Chain, box_m: FloatArray) -> None:
        self._chain = chain
        self._lowest_m, self._highest_m = box_m

    @classmethod
    def of(cls, limits: Limits) -> Self | None:
        """The workspace of limits that have one."""
        if not limits.workspace.size:
            return None
        joints = len(limits.frames) - 1
        lower, upper = limits.lower[:joints], limits.upper[:joints]
        chain = Chain(limits.frames[:-1], limits.frames[-1], lower, upper, (lower + upper) / 2)
        return cls(chain, limits.workspace)

    def outside_m(self, position: FloatArray) -> FloatArray:
        """How far outside the tool point is, [...] in m, at joints and grippers [..., A]; 0 inside."""
        tool_m, _ = self._chain.forward(position[..., : self._chain.joints])
        beyond_m = np.maximum(np.maximum(self._lowest_m - tool_m, tool_m - self._highest_m), 0.0)
        distance: FloatArray = beyond_m.max(axis=-1)
        return distance

    def require_inside(self, setpoints: FloatArray, command: FloatArray) -> None:
        """Refuse set-points [N, A] that are outside, unless they lead the arm back in from `command` [A].

        Raises:
            PlanRefusedError: `workspace`.
        """
        outside_m = float(self.outside_m(setpoints).max())
        allowed_m = float(self.outside_m(command))
        if outside_m > allowed_m:
            raise PlanRefusedError(
                "workspace",
                f"plan.setpoints: the tool point would be {outside_m:.3f} m outside the workspace",
            )

    def is_left(self, position: FloatArray, command: FloatArray) -> bool:
        """Whether a command [A] is outside by more than the margin, and further than the one before it."""
        outside_m = float(self.outside_m(position))
        return outside_m > MARGIN_M and outside_m > float(self.outside_m(command))
