"""How far the gripper is from a wall. The gripper points straight down and never turns, so it is two boxes.

The boxes hold the gripper's collision shapes with two to three millimetres to spare on every side.
"""

from __future__ import annotations

from typing import Final

from dualsys_sim.state import Wall

FINGERS_HALF_X_M: Final = 0.0145
FINGERS_HALF_Y_M: Final = 0.0305
"""Half the extent of the closed fingers; open ones take half the width between them more along y."""

FINGERTIPS_M: Final = 0.0115
"""How far the fingertips reach below the tool point."""

HAND_HALF_X_M: Final = 0.036
HAND_HALF_Y_M: Final = 0.108
HAND_ABOVE_M: Final = 0.034
"""Height of the hand's underside over the tool point."""

HAND_MARGIN_M: Final = 0.03
"""Room that the hand has, beside the wall, over a block that counts as hidden behind it."""


def fingers_gap_m(wall: Wall, x_m: float, y_m: float, width_m: float) -> float:
    """Lower bound on the distance, seen from above, from the fingers about (x, y) to the wall."""
    return wall.gap_m(x_m, y_m, FINGERS_HALF_X_M, FINGERS_HALF_Y_M + width_m / 2)


def hand_gap_m(wall: Wall, x_m: float, y_m: float) -> float:
    """The same for the hand."""
    return wall.gap_m(x_m, y_m, HAND_HALF_X_M, HAND_HALF_Y_M)


def fault(wall: Wall, tool_m: tuple[float, float, float], width_m: float) -> str:
    """What the gripper does wrong at this tool point (base frame); an empty string if it keeps clear.

    The room above the wall counts as wall for the fingers: there is a way round, but none over it.
    """
    x, y, z = tool_m
    if fingers_gap_m(wall, x, y, width_m) < 0.0:
        return "passed over the wall" if z - FINGERTIPS_M > wall.height_m else "touched the wall"
    if hand_gap_m(wall, x, y) < 0.0 and z + HAND_ABOVE_M < wall.height_m:
        return "touched the wall"
    return ""


def hidden(wall: Wall, x_m: float, y_m: float) -> bool:
    """Whether a block at (x, y) lies behind the wall as seen from the arm, with room for the hand over it."""
    along, across = wall.to_wall(x_m, y_m)
    return across > 0.0 and abs(along) < wall.length_m / 2 and hand_gap_m(wall, x_m, y_m) > HAND_MARGIN_M
