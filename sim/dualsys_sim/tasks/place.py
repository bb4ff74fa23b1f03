"""Place: put the named block in the named bowl, let go, and draw back."""

from __future__ import annotations

import math
from typing import Final

from dualsys_sim import arena
from dualsys_sim.judging import Lasting
from dualsys_sim.skills import CLOSE, OPEN, approach, grasp, gripped, gripped_other, offset, put_down, rise
from dualsys_sim.state import ExpertState, Goal, ObjectTable, Snapshot
from dualsys_sim.task import Action, SceneRule, Task, Verdict

RELEASE_Z_M: Final = 0.05
RETREAT_Z_M: Final = 0.16
INSIDE_M: Final = 0.05
RETREATED_M: Final = 0.04
HOLD_S: Final = 0.2


def goals(objects: ObjectTable) -> list[Goal]:
    """Every block can go in every bowl."""
    blocks = [index for index, kind in enumerate(objects.kind) if kind != arena.BOWL]
    bowls = [index for index, kind in enumerate(objects.kind) if kind == arena.BOWL]
    return [Goal("place", block, bowl) for block in blocks for bowl in bowls]


class PlaceJudge:
    """Success once the target lies in the bowl, fingers open, and the tool is `RETREATED_M` above it."""

    def __init__(self, goal: Goal, first: Snapshot) -> None:
        del first
        self._block, self._bowl = goal.target_index, goal.goal_index
        self._done = Lasting(HOLD_S)

    def update(self, snapshot: Snapshot) -> Verdict | None:
        """Take in one instant."""
        block, bowl = snapshot.objects.position_m[[self._block, self._bowl]]
        off = math.hypot(*(block - bowl)[:2].tolist())
        inside = off < INSIDE_M and block[2] - bowl[2] < arena.BLOCK_SIZE_M
        clear = snapshot.width_m > 0.05 and snapshot.tool_m[2] - block[2] > RETREATED_M
        if self._done.update(bool(inside and clear), snapshot.time_s):
            return Verdict(True, "placed", {"off_centre_m": off})
        return None


def expert(state: ExpertState, goal: Goal) -> Action:
    """Grasp, carry over the bowl, let go, rise and stay there."""
    block, bowl = goal.target_index, goal.goal_index
    if gripped_other(state, block):
        return put_down(state)
    x, y, bowl_z = state.position[bowl]
    place = state.position[block]
    inside = (
        math.hypot(place[0] - x, place[1] - y) < INSIDE_M - 0.004 and place[2] - bowl_z < arena.BLOCK_SIZE_M
    )
    over = (
        math.hypot(state.tool[0] - x, state.tool[1] - y) < 0.022
        and state.tool[2] < bowl_z + RELEASE_Z_M + 0.01
    )
    holding = gripped(state, block)
    if inside and not holding:
        return rise(state, RETREAT_Z_M, OPEN)
    if (holding and (over or inside)) or (_letting_go(state, block) and over):
        return 0.0, 0.0, 0.0, OPEN
    if holding:
        return approach(state, x, y, bowl_z + RELEASE_Z_M, CLOSE, clearance=0.07)
    return grasp(state, block)


def _letting_go(state: ExpertState, block: int) -> bool:
    across, above = offset(state, block)
    return across < 0.035 and above < 0.04 and state.width_speed > 0.01


TASK: Final = Task(
    name="place",
    timeout_s=14.0,
    scene=SceneRule(bowls=2),
    seen=(
        "put {target} in {goal}",
        "place {target} in {goal}",
        "drop {target} into {goal}",
        "please put {target} into {goal}",
        "move {target} to {goal}",
        "pick up {target} and put it in {goal}",
        "take {target} and drop it in {goal}",
    ),
    unseen=(
        "grab {target} and place it in {goal}",
        "please drop {target} in {goal}",
        "place {target} into {goal}",
        "pick {target} up and drop it into {goal}",
    ),
    goals=goals,
    judge=PlaceJudge,
    expert=expert,
)
