"""Follow: stay above the named block while it wanders over the table."""

from __future__ import annotations

import math
from typing import Final

from dualsys_sim import arena
from dualsys_sim.skills import OPEN, clear_gripper, led_place, toward
from dualsys_sim.state import ExpertState, Goal, ObjectTable, Snapshot
from dualsys_sim.task import Action, SceneRule, Task, Verdict

HOVER_Z_M: Final = 0.10
HOVER_RANGE_M: Final = (0.075, 0.125)
NEAR_M: Final = 0.03
GRACE_S: Final = 3.0
DURATION_S: Final = 12.0
ENOUGH: Final = 0.9


def goals(objects: ObjectTable) -> list[Goal]:
    """Every block can be followed, moving or not."""
    return [Goal("follow", index) for index, kind in enumerate(objects.kind) if kind != arena.BOWL]


class FollowJudge:
    """After a grace time, the fraction of the remaining time that the tool was above the target."""

    def __init__(self, goal: Goal, first: Snapshot) -> None:
        self._index = goal.target_index
        self._start_s = first.time_s
        self._above = 0
        self._seen = 0

    def update(self, snapshot: Snapshot) -> Verdict | None:
        """Take in one instant; the verdict comes at the end of the episode."""
        if snapshot.time_s - self._start_s >= GRACE_S:
            x, y, _ = (snapshot.tool_m - snapshot.objects.position_m[self._index]).tolist()
            low, high = HOVER_RANGE_M
            self._seen += 1
            self._above += math.hypot(x, y) < NEAR_M and low < float(snapshot.tool_m[2]) < high
        if snapshot.time_s < DURATION_S - 1e-6:
            return None
        fraction = self._above / max(1, self._seen)
        return Verdict(
            fraction >= ENOUGH, "followed" if fraction >= ENOUGH else "lost", {"fraction": fraction}
        )


def expert(state: ExpertState, goal: Goal) -> Action:
    """Stay over the block at hover height, fingers open."""
    hindered = clear_gripper(state)
    if hindered is not None:
        return hindered
    x, y, vx, vy = led_place(state, goal.target_index)
    return toward(state, x, y, HOVER_Z_M, OPEN, vx, vy)


TASK: Final = Task(
    name="follow",
    timeout_s=DURATION_S,
    scene=SceneRule(wander=True),
    seen=(
        "stay above {target}",
        "follow {target}",
        "keep above {target}",
        "please follow {target}",
        "stay over {target}",
        "hover above {target}",
        "keep your fingers over {target}",
    ),
    unseen=(
        "please stay over {target}",
        "hover over {target}",
        "follow {target} and stay above it",
        "please keep above {target}",
    ),
    goals=goals,
    judge=FollowJudge,
    expert=expert,
)
