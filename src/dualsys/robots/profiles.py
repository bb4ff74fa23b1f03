"""Limits of arms, with their sources."""

from __future__ import annotations

from typing import Final

import numpy as np

from dualsys.fast.control.limits import Limits

PANDA_JOINTS: Final = tuple(f"panda_joint{number}" for number in range(1, 8))

GRIPPER_OPEN_M: Final = 0.08
"""Distance between the fingertips of an open Franka Hand."""

HAND_SPEED_M_S: Final = 0.1
"""Rate of that distance: two fingers of 50 mm/s each (Franka Hand data sheet)."""

HAND_ACCELERATION_M_S2: Final = 2.0
"""Not published; full speed within 50 ms."""


def panda_limits(hand_speed_m_s: float, hand_acceleration_m_s2: float) -> Limits:
    """Limits of the Franka Emika Panda (FER) with a two-finger hand, A = 8.

    Joint figures: Franka Control Interface documentation, "Robot and interface specifications", joint space
    limits of the Franka Emika Robot. The limits compiled into newer libfranka releases are those of the FR3
    and do not apply.
    """
    return Limits(
        lower=np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973, 0.0]),
        upper=np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973, GRIPPER_OPEN_M]),
        velocity=np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61, hand_speed_m_s]),
        acceleration=np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0, hand_acceleration_m_s2]),
        joints=7,
    )


PANDA_LIMITS: Final = panda_limits(HAND_SPEED_M_S, HAND_ACCELERATION_M_S2)
"""The real Panda with its Franka Hand."""

SIMULATED_PANDA_LIMITS: Final = panda_limits(2 * HAND_SPEED_M_S, 2 * HAND_ACCELERATION_M_S2)
"""The simulated Panda: its fingers are twice as fast."""
