"""Kinematics of a serial arm in plain numpy: forward, Jacobian, and a batched inverse.

Every function is pure and deterministic. Positions are metres in the base frame, rotations are 3 x 3 matrices
whose columns are the tool axes in the base frame, and joint angles are radians.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

POSITION_TOLERANCE_M = 2e-5
ROTATION_TOLERANCE_RAD = 2e-4
REST_TOLERANCE_RAD = 2e-3
MAX_ITERATIONS = 24
MAX_JOINT_STEP_RAD = 0.6
REST_GAIN = 0.7


class KinematicsError(ValueError):
    """An input that no kinematic function can answer: NaN, infinity, or a wrong shape."""


def rotation_from_rpy(roll_rad: float, pitch_rad: float, yaw_rad: float) -> FloatArray:
    """Rotation matrix [3, 3] of URDF's fixed-axis roll, pitch, yaw."""
    (cr, cp, cy), (sr, sp, sy) = (
        np.cos([roll_rad, pitch_rad, yaw_rad]),
        np.sin([roll_rad, pitch_rad, yaw_rad]),
    )
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def transform(xyz_m: Sequence[float], rpy_rad: Sequence[float] = (0.0, 0.0, 0.0)) -> FloatArray:
    """Homogeneous transform [4, 4] of a URDF `origin` element."""
    result = np.eye(4)
    result[:3, :3] = rotation_from_rpy(*rpy_rad)
    result[:3, 3] = xyz_m
    return result


@dataclass(frozen=True)
class Chain:
    """A serial chain of J revolute joints, each turning about the z axis of its own frame.

    Attributes:
        joint_frames: [J, 4, 4], the frame of each joint at angle zero in the frame of the joint before it.
        tool_frame: [4, 4], the tool in the frame of the last joint.
        lower_rad: [J], lower joint limits.
        upper_rad: [J], upper joint limits.
        rest_rad: [J], the posture that the inverse prefers where the tool pose leaves a choice.
    """

    joint_frames: FloatArray
    tool_frame: FloatArray
    lower_rad: FloatArray
    upper_rad: FloatArray
    rest_rad: FloatArray
    _columns: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # A joint turns the x and y columns of its frame into each other: T(q) = F * (A + cos q * B + sin q *
        # C).
        joints = len(self.joint_frames)
        columns = np.zeros((3, joints, 4, 4))
        columns[0, :, :, 2:] = self.joint_frames[:, :, 2:]
        columns[1, :, :, :2] = self.joint_frames[:, :, :2]
        columns[2, :, :, 0] = self.joint_frames[:, :, 1]
        columns[2, :, :, 1] = -self.joint_frames[:, :, 0]
        object.__setattr__(self, "_columns", columns)

    @property
    def joints(self) -> int:
        """Number of joints J."""
        return len(self.lower_rad)

    def forward(self, q_rad: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Tool position [..., 3] (m) and rotation [..., 3, 3] in the base frame at angles [..., J] (rad)."""
        frames, tool = self._frames(self._checked(q_rad, (self.joints,), "q_rad"))
        del frames
        return tool[..., :3, 3], tool[..., :3, :3]

    def jacobian(self, q_rad: ArrayLike) -> FloatArray:
        """Geometric Jacobian [..., 6, J], base frame: three rows of m/rad, then three rows of rad/rad."""
        return self._jacobian(*self._frames(self._checked(q_rad, (self.joints,), "q_rad")))

    def inverse(
        self,
        position_m: ArrayLike,
        rotation: ArrayLike,
        q_start_rad: ArrayLike,
        rest_rad: ArrayLike | None = None,
        max_iterations: int = MAX_ITERATIONS,
    ) -> FloatArray:
        """Joint angles [N, J] (rad) that put the tool at each of N poses, all solved at once from one start.

        Damped least squares with a null-space pull to the rest posture: run to convergence the answer is the
        pose's own posture nearest to rest, so that it depends on the pose and not on the path that led there.
        Out of reach, the nearest pose found within the joint limits is returned; compare with `forward` where
        that matters.

        Args:
            position_m: [N, 3], tool positions in the base frame.
            rotation: [3, 3] for all poses, or [N, 3, 3].
            q_start_rad: [J], where the search starts, usually the joints commanded last.
            rest_rad: [J], the preferred posture; the chain's own by default.
            max_iterations: upper bound on the iterations; a warm start needs two to five.

        Raises:
            KinematicsError: an argument holds NaN or infinity, or has a wrong shape.
        """
        position = np.atleast_2d(self._checked(position_m, (3,), "position_m"))
        target_rotation = self._checked(rotation, (3, 3), "rotation")
        rest = self.rest_rad if rest_rad is None else self._checked(rest_rad, (self.joints,), "rest_rad")
        start = self._checked(q_start_rad, (self.joints,), "q_start_rad")
        q = np.broadcast_to(
            np.clip(start, self.lower_rad, self.upper_rad), (len(position), self.joints)
        ).copy()
        for _ in range(max_iterations):
            step, error = self._step(q, position, target_rotation, rest)
            q = np.clip(q + step, self.lower_rad, self.upper_rad)
            if (
                np.abs(error[:, :3]).max() < POSITION_TOLERANCE_M
                and np.abs(error[:, 3:]).max() < ROTATION_TOLERANCE_RAD
                and np.abs(step).max() < REST_TOLERANCE_RAD
            ):
                break
        return q

    def _step(
        self, q: FloatArray, position: FloatArray, rotation: FloatArray, rest: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """One damped step [N, J] towards the poses and, in their null space, to rest; the error [N, 6]."""
        frames, tool = self._frames(q)
        jacobian = self._jacobian(frames, tool)
        error = np.empty((len(q), 6))
        error[:, :3] = position - tool[:, :3, 3]
        error[:, 3:] = _rotation_error(tool[:, :3, :3], rotation)
        pull = REST_GAIN * (rest - q)
        transposed = np.swapaxes(jacobian, 1, 2)
        gram = jacobian @ transposed
        damping = 1e-7 + 0.02 * np.einsum("ni,ni->n", error, error)
        gram[:, range(6), range(6)] += damping[:, None]
        wanted = error - (jacobian @ pull[:, :, None])[:, :, 0]
        step = pull + (transposed @ np.linalg.solve(gram, wanted[:, :, None]))[:, :, 0]
        largest = np.abs(step).max(axis=1, keepdims=True)
        return step * np.minimum(1.0, MAX_JOINT_STEP_RAD / np.maximum(largest, 1e-12)), error

    def _frames(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Joint frames [..., J, 4, 4] and tool frame [..., 4, 4] in the base frame."""
        fixed, cosine, sine = self._columns
        local = fixed + np.cos(q)[..., None, None] * cosine + np.sin(q)[..., None, None] * sine
        frames = np.empty_like(local)
        frames[..., 0, :, :] = local[..., 0, :, :]
        for joint in range(1, self.joints):
            np.matmul(frames[..., joint - 1, :, :], local[..., joint, :, :], out=frames[..., joint, :, :])
        return frames, frames[..., -1, :, :] @ self.tool_frame

    def _jacobian(self, frames: FloatArray, tool: FloatArray) -> FloatArray:
        axis = frames[..., :3, 2]
        lever = tool[..., None, :3, 3] - frames[..., :3, 3]
        result = np.empty((*frames.shape[:-3], 6, self.joints))
        result[..., 0, :] = axis[..., 1] * lever[..., 2] - axis[..., 2] * lever[..., 1]
        result[..., 1, :] = axis[..., 2] * lever[..., 0] - axis[..., 0] * lever[..., 2]
        result[..., 2, :] = axis[..., 0] * lever[..., 1] - axis[..., 1] * lever[..., 0]
        result[..., 3:, :] = np.swapaxes(axis, -1, -2)
        return result

    @staticmethod
    def _checked(values: ArrayLike, trailing: tuple[int, ...], name: str) -> FloatArray:
        array = np.asarray(values, dtype=np.float64)
        if array.shape[-len(trailing) :] != trailing:
            raise KinematicsError(f"{name} must end in shape {trailing}, found {array.shape}")
        if not np.isfinite(array).all():
            raise KinematicsError(f"{name} holds NaN or infinity: {array}")
        return array


def _rotation_error(current: FloatArray, target: FloatArray) -> FloatArray:
    """Small-angle rotation [N, 3] (rad, base frame) to the target: half the sum of crossed columns."""
    skew = target @ np.swapaxes(current, -1, -2)
    result = np.empty((len(current), 3))
    result[:, 0] = skew[:, 2, 1] - skew[:, 1, 2]
    result[:, 1] = skew[:, 0, 2] - skew[:, 2, 0]
    result[:, 2] = skew[:, 1, 0] - skew[:, 0, 1]
    return 0.5 * result


_QUARTER_TURN_RAD = np.pi / 2

PANDA = Chain(
    joint_frames=np.stack(
        [
            transform((0.0, 0.0, 0.333)),
            transform((0.0, 0.0, 0.0), (-_QUARTER_TURN_RAD, 0.0, 0.0)),
            transform((0.0, -0.316, 0.0), (_QUARTER_TURN_RAD, 0.0, 0.0)),
            transform((0.0825, 0.0, 0.0), (_QUARTER_TURN_RAD, 0.0, 0.0)),
            transform((-0.0825, 0.384, 0.0), (-_QUARTER_TURN_RAD, 0.0, 0.0)),
            transform((0.0, 0.0, 0.0), (_QUARTER_TURN_RAD, 0.0, 0.0)),
            transform((0.088, 0.0, 0.0), (_QUARTER_TURN_RAD, 0.0, 0.0)),
        ]
    ),
    tool_frame=transform((0.0, 0.0, 0.107 + 0.105), (0.0, 0.0, -np.pi / 4)),
    lower_rad=np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]),
    upper_rad=np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973]),
    rest_rad=np.array([0.0, -0.3, 0.0, -2.3, 0.0, 2.0, np.pi / 4]),
)
"""The Franka Panda; its tool is the point between the fingertips, z along them, y along their opening."""

IIWA14_FRAMES: FloatArray = np.stack(
    [
        transform((0.0, 0.0, 0.1575)),
        transform((0.0, 0.0, 0.2025), (_QUARTER_TURN_RAD, 0.0, np.pi)),
        transform((0.0, 0.2045, 0.0), (_QUARTER_TURN_RAD, 0.0, np.pi)),
        transform((0.0, 0.0, 0.2155), (_QUARTER_TURN_RAD, 0.0, 0.0)),
        transform((0.0, 0.1845, 0.0), (-_QUARTER_TURN_RAD, np.pi, 0.0)),
        transform((0.0, 0.0, 0.2155), (_QUARTER_TURN_RAD, 0.0, 0.0)),
        transform((0.0, 0.081, 0.0), (-_QUARTER_TURN_RAD, np.pi, 0.0)),
    ]
)
"""[7, 4, 4], joint frames of the KUKA LBR iiwa 14 R820 from its base on."""

IIWA14_FLANGE_M = 0.045
"""From its last joint to its flange, along z."""

XARM6_FRAMES: FloatArray = np.stack(
    [
        transform((0.0, 0.0, 0.267)),
        transform((0.0, 0.0, 0.0), (-_QUARTER_TURN_RAD, 0.0, 0.0)),
        transform((0.0535, -0.2845, 0.0)),
        transform((0.0775, 0.3425, 0.0), (-_QUARTER_TURN_RAD, 0.0, 0.0)),
        transform((0.0, 0.0, 0.0), (_QUARTER_TURN_RAD, 0.0, 0.0)),
        transform((0.076, 0.097, 0.0), (-_QUARTER_TURN_RAD, 0.0, 0.0)),
    ]
)
"""[6, 4, 4], joint frames of the UFACTORY xArm6 from its base on; its last joint is at the flange."""

TOOL_DOWN: FloatArray = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
"""Tool rotation [3, 3] that points straight down, with the fingers opening along the base frame's y axis."""
