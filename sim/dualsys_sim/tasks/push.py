"""Push: slide the named block left, right or away along the table, to the edge of the work area.

Directions are the robot's own: left is +y, right is -y, away is +x.
"""

from __future__ import annotations

from typing import Final

from dualsys_sim import arena
from dualsys_sim.judging import Lasting
from dualsys_sim.skills import APPROACH_GAIN, CLOSE, CLOSED_ENOUGH_M, approach, clear_gripper, rise, toward
from dualsys_sim.state import ExpertState, Goal, ObjectTable, Snapshot
from dualsys_sim.task import Action, SceneRule, Task, Verdict

AXES: Final[dict[str, tuple[float, float]]] = {"left": (0.0, 1.0), "right": (0.0, -1.0), "away": (1.0, 0.0)}
LINES_M: Final = {"left": 0.20, "right": 0.20, "away": 0.63}
"""How far along its direction a block is pushed; along "right" this is y = -0.20."""

ROOM_M: Final = {"left": 0.11, "right": 0.11, "away": 0.12}
DISTANCE_M: Final = 0.08
DEVIATION_M: Final = 0.04
BEHIND_M: Final = 0.056
PUSH_Z_M: Final = 0.020
PUSH_SPEED: Final = 0.5
STEERING: Final = 0.1
RETREAT_Z_M: Final = 0.15
HOLD_S: Final = 0.2


def _along(direction: str, x: float, y: float) -> tuple[float, float]:
    """Components of (x, y) along the direction and to its left."""
    ux, uy = AXES[direction]
    return x * ux + y * uy, y * ux - x * uy


def goals(objects: ObjectTable) -> list[Goal]:
    """Blocks with enough way to go in a direction, and nothing in the way or where the fingers come down."""
    return [
        Goal("push", index, -1, direction)
        for index, kind in enumerate(objects.kind)
        if kind != arena.BOWL
        for direction in AXES
        if _has_room(objects, index, direction)
    ]


def _has_room(objects: ObjectTable, index: int, direction: str) -> bool:
    x, y, _ = objects.position_m[index].tolist()
    start, side = _along(direction, x, y)
    if LINES_M[direction] - start < ROOM_M[direction]:
        return False
    for other, (other_x, other_y, _) in enumerate(objects.position_m.tolist()):
        along, across = _along(direction, other_x, other_y)
        width = 0.11 if objects.kind[other] == arena.BOWL else 0.062
        in_way = start - 0.11 < along < LINES_M[direction] + 0.07 and abs(across - side) < width
        if other != index and in_way:
            return False
    return True


class PushJudge:
    """Success once the target lies `DISTANCE_M` further along, less than `DEVIATION_M` to the side."""

    def __init__(self, goal: Goal, first: Snapshot) -> None:
        self._goal = goal
        self._start = first.objects.position_m[goal.target_index].copy()
        self._there = Lasting(HOLD_S)

    def update(self, snapshot: Snapshot) -> Verdict | None:
        """Take in one instant."""
        moved = snapshot.objects.position_m[self._goal.target_index] - self._start
        along, across = _along(self._goal.direction, float(moved[0]), float(moved[1]))
        good = along >= DISTANCE_M and abs(across) < DEVIATION_M and abs(float(moved[2])) < 0.02
        if self._there.update(good, snapshot.time_s):
            return Verdict(True, "pushed", {"distance_m": along, "deviation_m": across})
        return None


def expert(state: ExpertState, goal: Goal) -> Action:
    """Close the fingers, come down behind the block, push it over the line, and rise."""
    hindered = clear_gripper(state, keep=goal.target_index if state.width < 0.024 else -1)
    if hindered is not None:
        return hindered
    direction = goal.direction
    ux, uy = AXES[direction]
    x, y, _ = state.position[goal.target_index]
    reached, side = _along(direction, x, y)
    left_over = LINES_M[direction] - reached
    if left_over < 0.0:
        return rise(state, RETREAT_Z_M, CLOSE)
    tool_along, tool_side = _along(direction, state.tool[0], state.tool[1])
    behind, aside = reached - tool_along, side - tool_side
    if state.tool[2] < 0.034 and 0.015 < behind < 0.085 and abs(aside) < 0.016:
        command_along, command_side = _along(direction, state.command[0], state.command[1])
        speed = min(PUSH_SPEED, 0.15 + 8.0 * left_over) * arena.ACTION_STEP_M
        ahead = command_along + speed / APPROACH_GAIN
        beyond = command_side + STEERING * aside / APPROACH_GAIN
        x, y = ux * ahead - uy * beyond, uy * ahead + ux * beyond
        return toward(state, x, y, PUSH_Z_M, CLOSE, speed=PUSH_SPEED + 0.2)
    floor = 0.09 if state.width > CLOSED_ENOUGH_M else 0.0
    return approach(state, x - BEHIND_M * ux, y - BEHIND_M * uy, PUSH_Z_M, CLOSE, floor=floor)


TASK: Final = Task(
    name="push",
    timeout_s=12.0,
    scene=SceneRule(),
    seen=(
        "push {target} {direction}",
        "slide {target} {direction}",
        "shove {target} {direction}",
        "please push {target} {direction}",
        "nudge {target} {direction}",
        "move {target} {direction}",
        "push {target} along the table {direction}",
        "go to {target} and push it {direction}",
        "reach {target} and move it {direction}",
        "please move {target} {direction}",
    ),
    unseen=(
        "please slide {target} {direction}",
        "shove {target} along the table {direction}",
        "please nudge {target} {direction}",
        "touch {target} and push it {direction}",
    ),
    goals=goals,
    judge=PushJudge,
    expert=expert,
)
