"""Intercept: get in the way of the named block, which glides after a push, and stop it on the mat."""

from __future__ import annotations

import math
from typing import Final

from dualsys_sim import arena
from dualsys_sim.judging import Lasting
from dualsys_sim.skills import CLOSE, CLOSED_ENOUGH_M, approach, clear_gripper, led_place
from dualsys_sim.state import ExpertState, Goal, ObjectTable, Snapshot
from dualsys_sim.task import Action, SceneRule, Task, Verdict

READY_M: Final = (0.42, 0.0, 0.12)
"""Where the tool waits for the push: behind the middle of the mat, and so high that the arm hides nothing on
it from the fixed camera. Lower and further ahead ways are shorter, and part of the mat is out of sight."""

LOW_Z_M: Final = 0.020
CLEARANCE_M: Final = 0.045
"""How much higher the tool travels: over the other blocks."""

MOVING_M_S: Final = 0.04
AT_REST_M_S: Final = 0.01
TOOL_SPEED_M_S: Final = 0.20
"""Speed at which the expert counts on reaching a place, slowing down at its end included."""

DESCENT_S: Final = 0.35
TOUCHING_M: Final = 0.03
"""The block's centre is further ahead of the tool point than this when the fingers stop it."""

BESIDE_M: Final = 0.03
"""Further room for the fingers to come down in front of the block."""

EDGE_M: Final = 0.03
"""The block is met at least this far from the edge of the mat."""

REACH_M: Final = (0.05, 0.07, 0.05)
"""Largest offset (x, y, z) of the tool point from a block that the fingers hold back."""

HOLD_S: Final = 0.3


def goals(objects: ObjectTable) -> list[Goal]:
    """The block that is given a push."""
    return [] if objects.glider < 0 else [Goal("intercept", objects.glider)]


def _at_block(tool: list[float], place: list[float]) -> bool:
    """Whether the fingers are beside the block, down where they can hold it back."""
    return all(abs(a - b) < reach for a, b, reach in zip(tool, place, REACH_M, strict=True))


def _way_left_m(x: float, y: float, ux: float, uy: float) -> float:
    """How far it is from a place on the mat to its edge in the direction (ux, uy)."""
    ways = [math.inf]
    for value, along, low, high in zip((x, y), (ux, uy), arena.MAT_LOW_M, arena.MAT_HIGH_M, strict=True):
        if abs(along) > 1e-9:
            ways.append(((high if along > 0.0 else low) - value) / along)
    return min(ways)


class InterceptJudge:
    """Success once the target, having moved by itself, has rested at the tool for `HOLD_S`.

    A target that leaves the mat is a failure.
    """

    def __init__(self, goal: Goal, first: Snapshot) -> None:
        self._index = goal.target_index
        self._start_m: list[float] = first.objects.position_m[self._index].tolist()
        self._moved = False
        self._stopped = Lasting(HOLD_S)

    def update(self, snapshot: Snapshot) -> Verdict | None:
        """Take in one instant."""
        place: list[float] = snapshot.objects.position_m[self._index].tolist()
        speed = math.hypot(*snapshot.objects.velocity_m_s[self._index, :2].tolist())
        at_tool = _at_block(snapshot.tool_m.tolist(), place)
        self._moved = self._moved or (speed > MOVING_M_S and not at_tool)
        metrics: dict[str, float | str] = {"travelled_m": math.dist(place[:2], self._start_m[:2])}
        on_mat = all(
            low < value < high
            for low, value, high in zip(arena.MAT_LOW_M, place[:2], arena.MAT_HIGH_M, strict=True)
        )
        if not on_mat:
            return Verdict(False, "left the mat", metrics)
        if self._stopped.update(self._moved and at_tool and speed < AT_REST_M_S, snapshot.time_s):
            return Verdict(True, "stopped", metrics)
        return None


def expert(state: ExpertState, goal: Goal) -> Action:
    """Wait with closed fingers, get down in the block's way ahead of it, and stay once it rests."""
    hindered = clear_gripper(state)
    if hindered is not None:
        return hindered
    moving = _moving(state, goal)
    if not moving and _at_block(state.tool, state.position[goal.target_index]):
        return 0.0, 0.0, 0.0, CLOSE
    x, y, z = heading(state, goal)
    if not moving:
        return approach(state, x, y, z, CLOSE, clearance=0.0)
    floor = LOW_Z_M + CLEARANCE_M if state.width > CLOSED_ENOUGH_M else 0.0
    return approach(state, x, y, z, CLOSE, floor=floor, clearance=CLEARANCE_M)


def heading(state: ExpertState, goal: Goal) -> tuple[float, float, float]:
    """Where the tool is to be, m: where it meets the block; before the push, `READY_M`; at rest, here."""
    if _moving(state, goal):
        return *_meeting(state, *led_place(state, goal.target_index)), LOW_Z_M
    if _at_block(state.tool, state.position[goal.target_index]):
        return state.command[0], state.command[1], LOW_Z_M
    return READY_M


def _moving(state: ExpertState, goal: Goal) -> bool:
    _, _, vx, vy = led_place(state, goal.target_index)
    return math.hypot(vx, vy) > MOVING_M_S


def _meeting(state: ExpertState, x: float, y: float, vx: float, vy: float) -> tuple[float, float]:
    """Where to meet a block at (x, y) that travels with (vx, vy): the first place on its way that the tool
    reaches, gets down to and still is ahead of the block, not behind where the tool is already.

    With the tool `ahead` of the block and `aside` of its way, the place `a` ahead must satisfy
    a >= room + speed * (hypot(a - ahead, aside) / TOOL_SPEED_M_S); where the tool's own `ahead` does not, the
    larger root of the quadratic that equality gives is taken.
    """
    speed = math.hypot(vx, vy)
    ux, uy = vx / speed, vy / speed
    off_x, off_y = state.command[0] - x, state.command[1] - y
    ahead, aside = off_x * ux + off_y * uy, off_y * ux - off_x * uy
    up = min(1.0, max(0.0, (state.tool[2] - LOW_Z_M) / CLEARANCE_M))
    room = TOUCHING_M + up * (BESIDE_M + speed * DESCENT_S)
    ratio = speed / TOOL_SPEED_M_S
    meet = ahead
    if ahead < room + ratio * abs(aside):
        square = 1.0 - ratio * ratio
        half = room - ratio * ratio * ahead
        rest = room * room - ratio * ratio * (ahead * ahead + aside * aside)
        meet = (half + math.sqrt(max(0.0, half * half - square * rest))) / square
    meet = min(meet, _way_left_m(x, y, ux, uy) - EDGE_M)
    return x + meet * ux, y + meet * uy


TASK: Final = Task(
    name="intercept",
    timeout_s=8.0,
    scene=SceneRule(glide=True),
    seen=(
        "stop {target}",
        "please stop {target}",
        "intercept {target}",
        "get in the way of {target}",
        "stop {target} before it leaves the table",
        "do not let {target} leave",
        "keep {target} on the table",
    ),
    unseen=(
        "please intercept {target}",
        "do not let {target} leave the table",
        "intercept {target} before it leaves",
        "please get in the way of {target}",
        "stop {target} on the table",
    ),
    goals=goals,
    judge=InterceptJudge,
    expert=expert,
    heading=heading,
)
