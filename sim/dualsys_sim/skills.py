"""Movements that scripted experts are made of.

All are functions of the present state alone (m, m/s, base frame).
"""

from __future__ import annotations

import math
from typing import Final

from dualsys_sim import arena
from dualsys_sim.state import ExpertState
from dualsys_sim.task import Action

OPEN: Final = 1.0
CLOSE: Final = -1.0

APPROACH_GAIN: Final = 0.35
TOP_SPEED: Final = 0.85
LEAD_S: Final = 0.07
TRAVEL_CLEARANCE_M: Final = 0.085
CONE_SLOPE: Final = 2.5
ALIGNED_M: Final = 0.012
OPEN_ENOUGH_M: Final = 0.066
CLOSED_ENOUGH_M: Final = 0.02
GRIPPED_M: Final = (0.024, 0.062)
"""Finger widths between which a block may be held; a turned cube jams at up to 57 mm."""

GRIP_SPEED_M_S: Final = 0.06
HALF_BLOCK_M: Final = arena.BLOCK_SIZE_M / 2


def toward(
    state: ExpertState, x: float, y: float, z: float, gripper: float, vx: float = 0.0, vy: float = 0.0,
    speed: float = TOP_SPEED, freedom: float = 1.0,
) -> Action:  # fmt: skip
    """Move the command towards a point that itself moves with (vx, vy), slowing down near it.

    `freedom` is the share of the horizontal travel that is allowed now.
    """
    command_x, command_y, command_z = state.command
    step = arena.ACTION_STEP_M
    feed = arena.POLICY_STEP_S / step
    dx = freedom * (vx * feed + APPROACH_GAIN * (x - command_x) / step)
    dy = freedom * (vy * feed + APPROACH_GAIN * (y - command_y) / step)
    dz = APPROACH_GAIN * (z - command_z) / step
    scale = min(1.0, speed / (math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9))
    return dx * scale, dy * scale, dz * scale, gripper


def still(state: ExpertState) -> Action:
    """Stay, with the gripper as it is."""
    return 0.0, 0.0, 0.0, OPEN if state.width > 0.06 else CLOSE


def ground_velocity(state: ExpertState, index: int) -> tuple[float, float]:
    """How fast an object travels by itself, zero once it has left the table.

    It is no faster than a mover, or than a glide if it is the block that glides.
    """
    if state.position[index][2] > HALF_BLOCK_M + 0.012:
        return 0.0, 0.0
    vx, vy, _ = state.velocity[index]
    fastest = arena.GLIDE_SPEED_M_S[1] if index == state.glider else arena.MOVER_SPEED_M_S
    scale = min(1.0, fastest / (math.hypot(vx, vy) + 1e-9))
    return vx * scale, vy * scale


def led_place(state: ExpertState, index: int) -> tuple[float, float, float, float]:
    """Where a moving object will be when the next command takes effect, and its velocity: x, y, vx, vy."""
    vx, vy = ground_velocity(state, index)
    x, y, _ = state.position[index]
    return x + LEAD_S * vx, y + LEAD_S * vy, vx, vy


def offset(state: ExpertState, index: int) -> tuple[float, float]:
    """Horizontal and signed vertical distance from an object's centre to the tool."""
    tool, place = state.tool, state.position[index]
    return math.hypot(tool[0] - place[0], tool[1] - place[1]), tool[2] - place[2]


def straddled(state: ExpertState, index: int) -> bool:
    """Whether a block stands between or right beside the fingers."""
    tool, place = state.tool, state.position[index]
    return (
        state.kind[index] != arena.BOWL
        and abs(tool[0] - place[0]) < 0.032
        and abs(tool[1] - place[1]) < 0.045
        and -0.03 < tool[2] - place[2] < 0.036
    )


def gripped(state: ExpertState, index: int) -> bool:
    """Whether the fingers hold the block: it is between them, and they have stopped on something its size."""
    tool, place = state.tool, state.position[index]
    return (
        state.kind[index] != arena.BOWL
        and GRIPPED_M[0] < state.width < GRIPPED_M[1]
        and abs(state.width_speed) < GRIP_SPEED_M_S
        and abs(tool[0] - place[0]) < 0.028
        and abs(tool[1] - place[1]) < 0.024
        and abs(tool[2] - place[2]) < 0.03
    )


def dangling(state: ExpertState, index: int) -> bool:
    """Whether a block hangs on an open finger: in the air between the fingers, but not gripped."""
    tool, place = state.tool, state.position[index]
    return (
        state.width > GRIPPED_M[1]
        and place[2] > HALF_BLOCK_M + 0.03
        and abs(state.velocity[index][2]) < 0.25
        and abs(tool[0] - place[0]) < 0.024
        and abs(tool[2] - place[2]) < 0.028
        and straddled(state, index)
    )


def gripped_other(state: ExpertState, index: int) -> bool:
    """Whether the fingers hold some block that is not this one."""
    if not GRIPPED_M[0] < state.width < GRIPPED_M[1]:
        return False
    return any(other != index and gripped(state, other) for other in range(len(state.kind)))


def put_down(state: ExpertState) -> Action:
    """Lower what the fingers hold to the table, or to whatever stops it, and let go."""
    x, y, z = state.command
    if state.tool[2] < 0.03 or z < state.tool[2] - 0.016:
        return 0.0, 0.0, 0.0, OPEN
    return toward(state, x, y, arena.COMMAND_LOW_M[2], CLOSE, speed=0.6)


def rise(state: ExpertState, z: float, gripper: float) -> Action:
    """Go straight up (or down) to height z and stay."""
    x, y, _ = state.command
    return toward(state, x, y, z, gripper)


def approach(
    state: ExpertState, x: float, y: float, z: float, gripper: float, vx: float = 0.0, vy: float = 0.0,
    floor: float = 0.0, clearance: float = TRAVEL_CLEARANCE_M,
) -> Action:  # fmt: skip
    """Come to a point from above, down a cone over it; rise first where the way there is too low.

    `floor` keeps the command above that height whatever the cone allows.
    """
    tool_off = math.hypot(x - state.tool[0], y - state.tool[1])
    command_off = math.hypot(x - state.command[0], y - state.command[1])
    distance = max(tool_off, command_off)
    wanted = max(floor, z + min(clearance, max(0.0, CONE_SLOPE * (distance - ALIGNED_M))))
    low_by = wanted - 0.018 - min(state.tool[2], state.command[2])
    freedom = 1.0 if distance < 0.02 else min(1.0, max(0.0, 1.0 - low_by / 0.02))
    return toward(state, x, y, wanted, gripper, vx, vy, freedom=freedom)


def grasp(state: ExpertState, index: int) -> Action:
    """Get the fingers around a block that they do not hold yet, and close them."""
    if dangling(state, index):
        return 0.0, 0.0, 0.0, CLOSE
    x, y, vx, vy = led_place(state, index)
    place = state.position[index]
    z = max(place[2], arena.COMMAND_LOW_M[2])
    across, above = offset(state, index)
    closing = state.width_speed < -0.02 and across < 0.022 and abs(above) < 0.022
    ready = (
        across < ALIGNED_M + 0.2 * math.hypot(vx, vy) * 0.5
        and abs(above) < 0.011
        and state.width_speed < 0.01
    )
    if closing or (ready and state.width > CLOSED_ENOUGH_M):
        return toward(state, x, y, z, CLOSE, vx, vy)
    open_now = state.width > OPEN_ENOUGH_M or straddled(state, index)
    return approach(state, x, y, z, OPEN, vx, vy, floor=0.0 if open_now else place[2] + 0.07)


def clear_gripper(state: ExpertState, keep: int = -1) -> Action | None:
    """What closed fingers must do before they travel: put down or leave a block; None if they are free."""
    if gripped_other(state, keep):
        return put_down(state)
    if state.width > CLOSED_ENOUGH_M:
        for index in range(len(state.kind)):
            if dangling(state, index):
                return 0.0, 0.0, 0.0, CLOSE
            if index != keep and straddled(state, index):
                return rise(state, state.position[index][2] + 0.08, OPEN)
    return None
