"""The arm as the planner sees it: state to proprioception, and tracks to joint set-points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dualsys.errors import SpecError
from dualsys.fast.planner.track import FloatArray, Track
from dualsys.fast.policies.policy import System1
from dualsys.messages import ControlState

PROPRIOCEPTION = 9
"""Length of: tool [3] m, commanded tool minus tool [3] m, gripper opening m, its rate m/s, gripper told +1 or
-1."""

POSTURE_BLEND_NS = 2_000_000_000
"""Time over which the arm drifts from the posture that it was found in to the preferred one."""

REACH_TOLERANCE_M = 0.005
"""Distance from a wanted tool position beyond which a solution counts as out of reach."""


class Kinematics(Protocol):
    """What the planner asks of the arm's geometry; J joints, base frame, m and rad."""

    @property
    def rest_rad(self) -> FloatArray:
        """Preferred posture [J]."""
        ...

    def forward(self, q_rad: ArrayLike, /) -> tuple[FloatArray, FloatArray]:
        """Tool position [..., 3] and rotation [..., 3, 3] at joint angles [..., J]."""
        ...

    def inverse(
        self,
        position_m: ArrayLike,
        rotation: ArrayLike,
        q_start_rad: ArrayLike,
        rest_rad: ArrayLike | None = None,
        /,
    ) -> FloatArray:
        """Joint angles [N, J] at tool positions [N, 3], rotation [3, 3]; `rest_rad` is [J] or [N, J]."""
        ...


@dataclass(frozen=True)
class ArmView:
    """A checked control state.

    Attributes:
        t_ns: When the arm was read.
        command: float64 `[A]`, last command: joints rad, then gripper opening m.
        tool_m: float64 `[3]`, measured tool.
        commanded_tool_m: float64 `[3]`, commanded tool.
        opening_m: Measured gripper opening.
        opening_speed_m_s: Its rate.
        source: The message.
    """

    t_ns: int
    command: FloatArray
    tool_m: FloatArray
    commanded_tool_m: FloatArray
    opening_m: float
    opening_speed_m_s: float
    source: ControlState


class ArmModel:
    """Forward and inverse kinematics with a gripper, for one tool orientation.

    Args:
        kinematics: Geometry of the arm.
        tool_rotation: [3, 3], the constant orientation of the tool.
        open_m: Opening of the open gripper.
    """

    def __init__(self, kinematics: Kinematics, tool_rotation: FloatArray, open_m: float) -> None:
        self._kinematics = kinematics
        self._rotation = tool_rotation
        self._open_m = open_m
        self._joints = len(kinematics.rest_rad)
        self._found_rad = kinematics.rest_rad
        self._found_ns = 0

    def read(self, state: ControlState) -> ArmView:
        """Check a control state and locate the tool.

        Raises:
            SpecError: A vector has a wrong length, or holds NaN or infinity.
        """
        axes = self._joints + 1
        vectors = {"position": state.position, "velocity": state.velocity, "command": state.command}
        for name, values in vectors.items():
            if len(values) != axes or not np.isfinite(values).all():
                raise SpecError(f"control_state.{name}: expected {axes} finite numbers, got {values}")
        joints = np.array([state.position[:-1], state.command[:-1]])
        tool_m, commanded_tool_m = self._kinematics.forward(joints)[0]
        return ArmView(
            t_ns=state.t_ns,
            command=np.array(state.command),
            tool_m=tool_m,
            commanded_tool_m=commanded_tool_m,
            opening_m=state.position[-1],
            opening_speed_m_s=state.velocity[-1],
            source=state,
        )

    def grip_of(self, opening_m: float) -> float:
        """The action, +1 or -1, that leads to an opening."""
        return 1.0 if opening_m > 0.5 * self._open_m else -1.0

    def anchor(self, arm: ArmView, t_ns: int) -> None:
        """Start from the posture that the arm is commanded to have at `t_ns`."""
        self._found_rad, self._found_ns = arm.command[:-1], t_ns

    def setpoints(self, track: Track, arm: ArmView) -> tuple[FloatArray, bool]:
        """Joint set-points at the knots of a track.

        An arm with more joints than a pose needs can reach it in many postures. Each knot takes the one
        nearest to a posture of its own, which moves from where the arm was found to the preferred one within
        `POSTURE_BLEND_NS`; so nothing jumps at the start, and later the posture depends on the pose alone.

        Returns:
            float64 `[n, A]`: joints rad, then gripper opening m; and whether every knot is within reach.
        """
        rest = self._kinematics.rest_rad
        blend = np.clip(1.0 - (track.t_ns - self._found_ns) / POSTURE_BLEND_NS, 0.0, 1.0)[:, None]
        posture = rest + blend * (self._found_rad - rest)
        joints = self._kinematics.inverse(track.tool, self._rotation, arm.command[:-1], posture)
        missed_m = np.linalg.norm(self._kinematics.forward(joints)[0] - track.tool, axis=-1)
        # A knot shows what the step that ends there has brought about; the first one, what holds from now on.
        grip = np.concatenate([track.grip[:1], track.grip[:-1]])
        opening_m = np.where(grip > 0.0, self._open_m, 0.0)
        return np.column_stack([joints, opening_m]), bool((missed_m <= REACH_TOLERANCE_M).all())


def proprioception(arm: ArmView, grip: float) -> NDArray[np.float32]:
    """The vector float32 `[9]` that both systems are shown; see `PROPRIOCEPTION`."""
    return np.array(
        [
            *arm.tool_m,
            *(arm.commanded_tool_m - arm.tool_m),
            arm.opening_m,
            arm.opening_speed_m_s,
            1.0 if grip > 0.0 else -1.0,
        ],
        dtype=np.float32,
    )


def rolled_forward(arm: ArmView, track: Track, t_ns: int) -> ArmView:
    """The arm as it will be at a time if it follows a track; the same arm unless that is later.

    The tool will be where the track leads, as far behind the command as it is now. The gripper is left as it
    is measured: how the fingers close depends on what is between them.
    """
    if t_ns <= arm.t_ns:
        return arm
    commanded_m = track.at(t_ns)[0]
    behind_m = arm.commanded_tool_m - arm.tool_m
    return replace(arm, tool_m=commanded_m - behind_m, commanded_tool_m=commanded_m)


def require_tool_actions(policy: System1) -> None:
    """Raise SpecError unless the policy moves a tool and reads the proprioception of this module."""
    action, state = policy.action, policy.specs.observation.proprioception
    if action.space != "tool_velocity" or len(action.names) != 4:
        raise SpecError(
            "action: expected space 'tool_velocity' with 4 dimensions, "
            f"got {action.space!r} with {len(action.names)}"
        )
    if state.shape != (PROPRIOCEPTION,) or state.dtype != "float32":
        raise SpecError(
            f"proprioception: expected float32[{PROPRIOCEPTION}], the policy has {state.describe()}"
        )
