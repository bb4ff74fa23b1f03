"""Touch: put the closed fingertips on top of the named block."""

from __future__ import annotations

import math
from typing import Final

from dualsys_sim import arena
from dualsys_sim.judging import Lasting
from dualsys_sim.skills import CLOSE, CLOSED_ENOUGH_M, HALF_BLOCK_M, approach, clear_gripper, led_place
from dualsys_sim.state import ExpertState, Goal, ObjectTable, Snapshot
from dualsys_sim.task import Action, SceneRule, Task, Verdict

ABOVE_TOP_M: Final = 0.011
"""Height of the tool point over the top of the block; the fingertips reach some 7 mm below that point."""

REACH_M: Final = 0.015
HOLD_S: Final = 0.2


def goals(objects: ObjectTable) -> list[Goal]:
    """Every block can be touched."""
    return [Goal("touch", index) for index, kind in enumerate(objects.kind) if kind != arena.BOWL]


def touches(snapshot: Snapshot, index: int) -> bool:
    """Whether closed fingertips are on top of the block."""
    x, y, z = (snapshot.tool_m - snapshot.objects.position_m[index]).tolist()
    return (
        math.hypot(x, y) < REACH_M
        and -0.005 < z - HALF_BLOCK_M < ABOVE_TOP_M + 0.01
        and snapshot.width_m < 0.03
    )


class TouchJudge:
    """Success once closed fingertips have stayed on top of the target for `HOLD_S`."""

    def __init__(self, goal: Goal, first: Snapshot) -> None:
        self._index = goal.target_index
        self._on = Lasting(HOLD_S)
        self._others = {
            index: Lasting(HOLD_S)
            for index, kind in enumerate(first.objects.kind)
            if kind != arena.BOWL and index != self._index and not touches(first, index)
        }
        self._strayed = -1

    @property
    def wrong_index(self) -> int:
        """Row of the first other block that was touched, or -1."""
        return self._strayed

    def update(self, snapshot: Snapshot) -> Verdict | None:
        """Take in one instant."""
        for index, watch in self._others.items():
            if watch.update(touches(snapshot, index), snapshot.time_s) and self._strayed < 0:
                self._strayed = index
        if self._on.update(touches(snapshot, self._index), snapshot.time_s):
            return Verdict(True, "touched", {})
        return None


def expert(state: ExpertState, goal: Goal) -> Action:
    """Close the fingers, come down on the block, and stay there."""
    hindered = clear_gripper(state)
    if hindered is not None:
        return hindered
    x, y, vx, vy = led_place(state, goal.target_index)
    top = state.position[goal.target_index][2] + HALF_BLOCK_M
    floor = top + 0.04 if state.width > CLOSED_ENOUGH_M else 0.0
    return approach(state, x, y, top + ABOVE_TOP_M, CLOSE, vx, vy, floor=floor, clearance=0.05)


TASK: Final = Task(
    name="touch",
    timeout_s=10.0,
    scene=SceneRule(),
    seen=(
        "touch {target}",
        "tap {target}",
        "point at {target}",
        "please touch {target}",
        "put your fingers on {target}",
        "touch the top of {target}",
        "go to {target} and touch it",
    ),
    unseen=(
        "please tap the top of {target}",
        "go and touch {target}",
        "put your fingers on the top of {target}",
        "tap on {target}",
    ),
    goals=goals,
    judge=TouchJudge,
    expert=expert,
)
