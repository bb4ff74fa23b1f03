"""Pick: lift the named block off its support and hold it up."""

from __future__ import annotations

from typing import Final

from dualsys_sim import arena
from dualsys_sim.judging import Lasting, held
from dualsys_sim.skills import CLOSE, grasp, gripped, gripped_other, put_down, rise
from dualsys_sim.state import ExpertState, Goal, ObjectTable, Snapshot
from dualsys_sim.task import Action, SceneRule, Task, Verdict

HOLD_Z_M: Final = 0.20
LIFT_M: Final = 0.08
HOLD_S: Final = 0.4


def goals(objects: ObjectTable) -> list[Goal]:
    """Every block can be picked."""
    return [Goal("pick", index) for index, kind in enumerate(objects.kind) if kind != arena.BOWL]


class LiftJudge:
    """Success once the target has been held `LIFT_M` above where it was given, for `HOLD_S`."""

    def __init__(self, goal: Goal, first: Snapshot) -> None:
        self._index = goal.target_index
        self._support_m = min(float(first.objects.position_m[self._index, 2]), arena.BLOCK_SIZE_M)
        self._up = Lasting(HOLD_S)

    def update(self, snapshot: Snapshot) -> Verdict | None:
        """Take in one instant."""
        lift = float(snapshot.objects.position_m[self._index, 2]) - self._support_m
        if self._up.update(lift >= LIFT_M and held(snapshot, self._index), snapshot.time_s):
            return Verdict(True, "lifted and held", {"lift_m": lift})
        return None


def expert(state: ExpertState, goal: Goal) -> Action:
    """Grasp, then hold the block up where it was grasped."""
    if gripped_other(state, goal.target_index):
        return put_down(state)
    if gripped(state, goal.target_index):
        return rise(state, HOLD_Z_M, CLOSE)
    return grasp(state, goal.target_index)


TASK: Final = Task(
    name="pick",
    timeout_s=10.0,
    scene=SceneRule(),
    seen=(
        "pick up {target}",
        "lift {target}",
        "grab {target}",
        "please pick up {target}",
        "take {target} from the table",
        "hold {target} up",
        "grasp {target} and lift it",
        "please grasp {target}",
        "grasp {target} and hold it up",
        "raise {target}",
        "now {target}",
        "now pick up {target}",
    ),
    unseen=(
        "please lift {target} up",
        "grab {target} and raise it",
        "take hold of {target}",
        "pick {target} up from the table",
        "grasp {target}",
    ),
    goals=goals,
    judge=LiftJudge,
    expert=expert,
)
