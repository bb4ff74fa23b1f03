"""Around: touch the named block behind a wall without touching the wall or passing over it.

Two ways lead there, left and right, and halfway between them lies the wall: the mean of two good actions is a
bad one. Which way the expert takes is the toss of a coin as long as the tool is near the middle of the wall
(`ExpertState.side`); once it is to one side, the expert goes on there whatever the coin says. So a run, or a
chunk, keeps to one way, while the labels of a state near the middle hold both.
"""

from __future__ import annotations

import math
from typing import Final

from dualsys_sim import arena
from dualsys_sim.clearance import FINGERS_HALF_X_M, FINGERS_HALF_Y_M, fault, hidden
from dualsys_sim.skills import CLOSE, approach, clear_gripper
from dualsys_sim.state import ExpertState, Goal, ObjectTable, Snapshot, Wall
from dualsys_sim.task import Action, SceneRule, Task, Verdict
from dualsys_sim.tasks import touch

UNDECIDED_M: Final = 0.03
"""Distance from the wall's middle, along it, within which the coin decides."""

TRAVEL_Z_M: Final = 0.10
"""The fingertips are below the top of the wall there, and the hand above it."""

MARGIN_M: Final = 0.03
"""Room between the fingers and the wall at the corners of the way round."""

FREE_M: Final = 0.018
"""Room that a straight way needs to count as free."""


def goals(objects: ObjectTable) -> list[Goal]:
    """The blocks that lie behind the wall."""
    if objects.wall is None:
        return []
    return [
        Goal("around", index)
        for index, (kind, (x, y, _)) in enumerate(zip(objects.kind, objects.position_m.tolist(), strict=True))
        if kind != arena.BOWL and hidden(objects.wall, x, y)
    ]


class AroundJudge(touch.TouchJudge):
    """A touch, unless the fingers or the hand come to the wall or over it before."""

    def update(self, snapshot: Snapshot) -> Verdict | None:
        """Take in one instant."""
        wall = snapshot.objects.wall
        if wall is not None:
            x, y, z = snapshot.tool_m.tolist()
            wrong = fault(wall, (x, y, z), snapshot.width_m)
            if wrong:
                return Verdict(False, wrong, {})
        return super().update(snapshot)


def expert(state: ExpertState, goal: Goal) -> Action:
    """Close the fingers, go round the wall at a height below its top, and touch the block."""
    corner = None if state.wall is None else _corner(state, state.wall, goal.target_index)
    if corner is None:
        return touch.expert(state, goal)
    hindered = clear_gripper(state)
    return approach(state, *corner, TRAVEL_Z_M, CLOSE, clearance=0.0) if hindered is None else hindered


def _corner(state: ExpertState, wall: Wall, target: int) -> tuple[float, float] | None:
    """Where the way round the wall turns next, in the base frame; None if the way to the block is free."""
    along, across = wall.to_wall(state.command[0], state.command[1])
    to_along, to_across = wall.to_wall(*state.position[target][:2])
    reach_along, reach_across = wall.reach_m(FINGERS_HALF_X_M, FINGERS_HALF_Y_M + state.width / 2)
    box = (reach_along + FREE_M, reach_across + FREE_M)
    if _free((along, across), (to_along, to_across), box):
        return None
    undecided = abs(along) < UNDECIDED_M and state.side != 0
    side = state.side if undecided else math.copysign(1.0, along)
    beyond = math.copysign(1.0, to_across)
    near = (side * (reach_along + MARGIN_M), -beyond * (reach_across + MARGIN_M))
    far = (near[0], -near[1])
    round_the_end = across * beyond > 0.0 or abs(along) > reach_along
    return wall.to_base(*(far if round_the_end or _free((along, across), far, box) else near))


def _free(start: tuple[float, float], end: tuple[float, float], half: tuple[float, float]) -> bool:
    """Whether a straight way misses the rectangle of half extents `half` about the origin (slab method)."""
    enter, leave = 0.0, 1.0
    for begin, finish, reach in zip(start, end, half, strict=True):
        travel = finish - begin
        if abs(travel) < 1e-9:
            if abs(begin) >= reach:
                return True
            continue
        first, last = sorted(((-reach - begin) / travel, (reach - begin) / travel))
        enter, leave = max(enter, first), min(leave, last)
    return enter >= leave


TASK: Final = Task(
    name="around",
    timeout_s=12.0,
    scene=SceneRule(wall=True),
    seen=(
        "go around the wall and touch {target}",
        "touch {target} behind the wall",
        "reach around the wall to {target}",
        "please touch {target} behind the wall",
        "go past the wall to {target}",
        "touch {target} without touching the wall",
        "go around the wall to {target} and touch it",
        "reach {target} behind the wall",
        "go past the wall and touch {target}",
        "touch {target} past the wall",
        "go to {target} around the wall",
        "reach past the wall to {target}",
    ),
    unseen=(
        "reach around the wall and touch {target}",
        "please go around the wall to {target}",
        "go to {target} behind the wall",
        "reach past the wall and touch {target}",
    ),
    goals=goals,
    judge=AroundJudge,
    expert=expert,
)
