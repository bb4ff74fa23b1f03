"""The fixed facts of the simulated table: rates, places, sizes, colours.

The base frame is the arm's base, z up.

The table top is the plane z = 0, the arm looks along +x, and +y is to its left.
"""

from __future__ import annotations

from typing import Final

TICK_S: Final = 0.004
"""One step of the physics and of the control loop (250 Hz)."""

POLICY_TICKS: Final = 10
"""Ticks in one policy step (25 Hz)."""

POLICY_STEP_S: Final = TICK_S * POLICY_TICKS

ACTION_STEP_M: Final = 0.012
"""Travel of the commanded tool in one policy step for an action of one."""

WORK_LOW_M: Final = (0.35, -0.25)
WORK_HIGH_M: Final = (0.65, 0.25)
"""The rectangle (x, y) in which objects are placed."""

MAT_LOW_M: Final = (0.315, -0.285)
MAT_HIGH_M: Final = (0.685, 0.285)
"""The rectangle (x, y) whose edge is printed on the table, around where objects are placed. It tells how a
camera stands to the arm, whatever its jitter."""

COMMAND_LOW_M: Final = (0.30, -0.34, 0.012)
COMMAND_HIGH_M: Final = (0.70, 0.34, 0.30)
"""The box that the commanded tool never leaves; the whole of it is within reach."""

START_TOOL_M: Final = (0.42, 0.0, 0.22)

GRIPPER_OPEN_M: Final = 0.08
"""Distance between the fingertips when open; zero when closed."""

FINGER_FORCE_N: Final = 40.0
FINGER_SPEED_M_S: Final = 0.1
"""Largest speed of one finger; the width changes at twice this."""

BLOCK_SIZE_M: Final = 0.04
"""Edge of a cube; diameter and height of a cylinder."""

BLOCK_MASS_KG: Final = 0.08

BOWL_RADIUS_M: Final = 0.062
"""Inner radius of a bowl."""

BOWL_WALL_M: Final = 0.006
BOWL_HEIGHT_M: Final = 0.026
BOWL_FLOOR_M: Final = 0.004
BOWL_MASS_KG: Final = 1.0

BELT_X_M: Final = 0.5
BELT_WIDTH_M: Final = 0.07
BELT_END_M: Final = 0.21
"""The belt carries blocks between y = -BELT_END_M and y = BELT_END_M."""

MOVER_SPEED_M_S: Final = 0.07
"""No belt or wandering block is faster than this."""

GLIDE_SPEED_M_S: Final = (0.08, 0.16)
"""Speeds of a block that glides over the table after a push."""

WALL_THICKNESS_M: Final = 0.012

CUBE: Final = 0
CYLINDER: Final = 1
BOWL: Final = 2
KINDS: Final = ("cube", "cylinder", "bowl")

COLOURS: Final = ("red", "green", "blue", "yellow", "purple", "orange")

COLOUR_HSV: Final = {
    "red": (0.0, 0.95, 0.80),
    "green": (0.36, 0.90, 0.55),
    "blue": (0.61, 0.95, 0.80),
    "yellow": (0.155, 0.95, 0.95),
    "purple": (0.79, 0.75, 0.62),
    "orange": (0.075, 1.0, 1.0),
}
"""Hue, saturation and value of each colour name before the jitter of an episode."""
