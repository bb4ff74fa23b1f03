"""Limits of arms, each figure with the document that it is published in.

Figures that the maker does not publish are named in `ArmProfile.assumed`: check them on your arm. Gripper
openings come last, in m; `ArmProfile.with_gripper` adds one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from dualsys.fast.control.limits import FloatArray, Limits
from dualsys.robots.kinematics import PANDA

PANDA_JOINTS: Final = tuple(f"panda_joint{number}" for number in range(1, 8))

GRIPPER_OPEN_M: Final = 0.08
"""Distance between the fingertips of an open Franka Hand."""

HAND_SPEED_M_S: Final = 0.1
"""Rate of that distance: two fingers of 50 mm/s each (Franka Hand data sheet)."""

HAND_ACCELERATION_M_S2: Final = 2.0
"""Not published; full speed within 50 ms."""

APPROACH_FRACTION: Final = 0.75
"""Part of the deceleration in a position-dependent velocity limit that is made use of, see `approach`."""


@dataclass(frozen=True)
class ArmProfile:
    """What an arm can do.

    Attributes:
        name: Model of the arm.
        axes: Name of each axis.
        limits: What the axes can do.
        rate_hz: Set-points per second that the arm expects.
        sources: Where the figures are published.
        assumed: Figures that are not published, and what was taken in their place; empty for none.
    """

    name: str
    axes: tuple[str, ...]
    limits: Limits
    rate_hz: float
    sources: tuple[str, ...]
    assumed: str = ""

    def with_gripper(
        self, axis: str, opening_m: float, speed_m_s: float, acceleration_m_s2: float
    ) -> ArmProfile:
        """The same arm with one more gripper, whose opening goes from zero to `opening_m`.

        Raises:
            SpecError: A number makes no sense.
        """
        limits = self.limits
        more = Limits(
            lower=np.append(limits.lower, 0.0),
            upper=np.append(limits.upper, opening_m),
            velocity=np.append(limits.velocity, speed_m_s),
            acceleration=np.append(limits.acceleration, acceleration_m_s2),
            joints=limits.joints,
            jerk=np.append(limits.jerk, np.inf),
            braking=np.append(limits.braking, np.inf),
            frames=limits.frames,
        )
        return replace(self, axes=(*self.axes, axis), limits=more)


def approach(
    lower_stop: ArrayLike,
    upper_stop: ArrayLike,
    offset: ArrayLike,
    twice_deceleration: ArrayLike,
    acceleration: ArrayLike,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Position limits and a braking that keep an axis below a velocity limit that depends on its position.

    The limit towards a stop s is -o + sqrt(c * (s - q)), with an offset o and c = 2 d. Braking with D < d
    before a wall at w = s - o^2 / (2 (d - D)) is the fastest approach with constant deceleration that stays
    below it everywhere: then max over v of (v + o)^2 / (2 d) - v^2 / (2 D) is o^2 / (2 (d - D)).

    Args:
        lower_stop, upper_stop: [J], s in either direction, rad.
        offset: [J], o, rad/s.
        twice_deceleration: [J], c, rad/s^2.
        acceleration: [J], largest acceleration, rad/s^2; D is never more.

    Returns:
        lower [J] and upper [J] position limits, rad, and the braking [J], rad/s^2.
    """
    deceleration = np.asarray(twice_deceleration, dtype=np.float64) / 2.0
    braking = np.minimum(APPROACH_FRACTION * deceleration, acceleration)
    setback = np.square(offset) / (2.0 * (deceleration - braking))
    return np.asarray(lower_stop) + setback, np.asarray(upper_stop) - setback, braking


# Franka Control Interface documentation, Robot and interface specifications, Limits for Panda, joint space.
# The limits compiled into libfranka's rate limiter are those of the FR3 and do not apply.
_PANDA_LOWER = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)
_PANDA_UPPER = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)
_PANDA_VELOCITY = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
_PANDA_ACCELERATION = (15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0)
_PANDA_JERK = (7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0)


def panda_limits(hand_speed_m_s: float, hand_acceleration_m_s2: float) -> Limits:
    """Limits of the Franka Emika Panda (FER) with a two-finger hand, A = 8."""
    return Limits(
        lower=np.array([*_PANDA_LOWER, 0.0]),
        upper=np.array([*_PANDA_UPPER, GRIPPER_OPEN_M]),
        velocity=np.array([*_PANDA_VELOCITY, hand_speed_m_s]),
        acceleration=np.array([*_PANDA_ACCELERATION, hand_acceleration_m_s2]),
        joints=7,
        jerk=np.array([*_PANDA_JERK, np.inf]),
        frames=np.concatenate((PANDA.joint_frames, PANDA.tool_frame[None])),
    )


PANDA_LIMITS: Final = panda_limits(HAND_SPEED_M_S, HAND_ACCELERATION_M_S2)
"""The real Panda with its Franka Hand."""

SIMULATED_PANDA_LIMITS: Final = panda_limits(2 * HAND_SPEED_M_S, 2 * HAND_ACCELERATION_M_S2)
"""The simulated Panda: its fingers are twice as fast."""

FRANKA_DOCUMENT: Final = (
    "Franka Control Interface documentation, Robot and interface specifications "
    "(https://frankarobotics.github.io/docs/control_parameters.html)"
)

# The same document, Limits for Franka Research 3: the velocity limit towards a stop depends on the position.
FR3_VELOCITY: Final = np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])
FR3_LOWER_STOP: Final = np.array([-2.7501, -1.7918, -2.9065, -3.0481, -2.8101, 0.54092, -3.0196])
FR3_UPPER_STOP: Final = np.array([2.7501, 1.7918, 2.9065, -0.1458, 2.8101, 4.5205, 3.0196])
FR3_OFFSET: Final = np.array([0.30, 0.20, 0.20, 0.30, 0.35, 0.35, 0.35])
FR3_TWICE_DECELERATION: Final = np.array([12.0, 5.17, 7.00, 8.00, 34.0, 11.0, 34.0])


def fr3_velocity_limits(q_rad: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest velocity [..., 7] of the Franka Research 3 at joints [..., 7], as published.

    dq_max = min(v, max(0, -o + sqrt(max(0, c * (s - q))))), and dq_min by mirror image.
    """
    q = np.asarray(q_rad, dtype=np.float64)
    up = np.sqrt(np.maximum(0.0, FR3_TWICE_DECELERATION * (FR3_UPPER_STOP - q))) - FR3_OFFSET
    down = np.sqrt(np.maximum(0.0, FR3_TWICE_DECELERATION * (q - FR3_LOWER_STOP))) - FR3_OFFSET
    fastest = np.minimum(FR3_VELOCITY, np.maximum(0.0, up))
    return -np.minimum(FR3_VELOCITY, np.maximum(0.0, down)), fastest


def _fr3() -> ArmProfile:
    acceleration = np.full(7, 10.0)
    lower, upper, braking = approach(
        FR3_LOWER_STOP, FR3_UPPER_STOP, FR3_OFFSET, FR3_TWICE_DECELERATION, acceleration
    )
    limits = Limits(lower, upper, FR3_VELOCITY, acceleration, 7, np.full(7, 5000.0), braking)
    axes = tuple(f"fr3_joint{number}" for number in range(1, 8))
    return ArmProfile("Franka Research 3", axes, limits, 1000.0, (FRANKA_DOCUMENT,))


def _degrees(*values: float) -> FloatArray:
    return np.radians(values)


def _alike(joints: int, value: float) -> FloatArray:
    return np.full(joints, value)


FER: Final = ArmProfile(
    "Franka Emika Panda (FER)",
    PANDA_JOINTS,
    Limits(
        np.array(_PANDA_LOWER),
        np.array(_PANDA_UPPER),
        np.array(_PANDA_VELOCITY),
        np.array(_PANDA_ACCELERATION),
        7,
        np.array(_PANDA_JERK),
    ),
    1000.0,
    (FRANKA_DOCUMENT,),
)

FR3: Final = _fr3()

UR5E: Final = ArmProfile(
    "UR5e",
    (
        "shoulder_pan_joint",
        "shoulder_lift_joint",
        "elbow_joint",
        "wrist_1_joint",
        "wrist_2_joint",
        "wrist_3_joint",
    ),
    Limits(
        -_degrees(360, 360, 180, 360, 360, 360),
        _degrees(360, 360, 180, 360, 360, 360),
        _alike(6, np.pi),
        _alike(6, np.pi),
        6,
    ),
    500.0,
    (
        "Universal Robots e-Series User Manual, UR5e, technical specifications: 360 degrees and "
        "180 degrees/s for every joint",
        "Universal_Robots_ROS2_Description, config/ur5e/joint_limits.yaml: 180 degrees for the elbow",
    ),
    "the acceleration, 180 degrees/s^2 as in that file; neither it nor a jerk is published by the maker",
)

_UFACTORY = (
    "UFACTORY xArm user manual: 180 degrees/s, 1145 degrees/s^2 and 28647 degrees/s^3 for every joint",
    "xArm-Python-SDK, xarm/core/config/x_config.py: joint ranges",
)

XARM6: Final = ArmProfile(
    "xArm6",
    tuple(f"joint{number}" for number in range(1, 7)),
    Limits(
        np.array([-2 * np.pi, -2.059488, -3.92699, -2 * np.pi, -1.692969, -2 * np.pi]),
        np.array([2 * np.pi, 2.094395, 0.191986, 2 * np.pi, np.pi, 2 * np.pi]),
        _alike(6, np.radians(180)),
        _alike(6, np.radians(1145)),
        6,
        _alike(6, np.radians(28647)),
    ),
    250.0,
    _UFACTORY,
)

XARM7: Final = ArmProfile(
    "xArm7",
    tuple(f"joint{number}" for number in range(1, 8)),
    Limits(
        np.array([-2 * np.pi, -2.059488, -2 * np.pi, -0.191986, -2 * np.pi, -1.692969, -2 * np.pi]),
        np.array([2 * np.pi, 2.094395, 2 * np.pi, 3.92699, 2 * np.pi, np.pi, 2 * np.pi]),
        _alike(7, np.radians(180)),
        _alike(7, np.radians(1145)),
        7,
        _alike(7, np.radians(28647)),
    ),
    250.0,
    _UFACTORY,
)

_KUKA = ("KUKA, LBR iiwa 7 R800, LBR iiwa 14 R820 Specification, axis data: range and velocity of each axis",)
_IIWA_AXES = tuple(f"A{number}" for number in range(1, 8))
_IIWA_RANGE = _degrees(170, 120, 170, 120, 170, 120, 175)
_IIWA_ASSUMED = "the acceleration, 5 rad/s^2; neither it nor a jerk is published"

IIWA7: Final = ArmProfile(
    "KUKA LBR iiwa 7 R800",
    _IIWA_AXES,
    Limits(-_IIWA_RANGE, _IIWA_RANGE, _degrees(98, 98, 100, 130, 140, 180, 180), _alike(7, 5.0), 7),
    200.0,
    _KUKA,
    _IIWA_ASSUMED,
)

IIWA14: Final = ArmProfile(
    "KUKA LBR iiwa 14 R820",
    _IIWA_AXES,
    Limits(-_IIWA_RANGE, _IIWA_RANGE, _degrees(85, 85, 100, 75, 130, 135, 135), _alike(7, 5.0), 7),
    200.0,
    _KUKA,
    _IIWA_ASSUMED,
)

SO101: Final = ArmProfile(
    "SO-101",
    # The gripper turns, so that it counts as a joint.
    ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"),
    Limits(
        np.array([-1.91986, -1.74533, -1.69, -1.65806, -2.74385, -0.17453]),
        np.array([1.91986, 1.74533, 1.69, 1.65806, 2.84121, 1.74533]),
        _alike(6, 4.71),
        _alike(6, 15.0),
        6,
    ),
    50.0,
    (
        "SO-ARM100, Simulation/SO101/so101_new_calib.xml: joint ranges",
        "Feetech STS3215 data sheet: 0.222 s per 60 degrees without load",
    ),
    "the acceleration, 15 rad/s^2; neither it nor a jerk is published, and the speed is that without load",
)

PROFILES: Final = MappingProxyType(
    {
        "panda": FER,
        "fr3": FR3,
        "ur5e": UR5E,
        "xarm6": XARM6,
        "xarm7": XARM7,
        "iiwa7": IIWA7,
        "iiwa14": IIWA14,
        "so101": SO101,
    }
)
"""Every profile by a short name."""
