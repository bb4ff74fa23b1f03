"""Conveyor: lift the named block off a belt that starts, stops, turns back and changes speed."""

from __future__ import annotations

from typing import Final

from dualsys_sim import arena
from dualsys_sim.state import Goal, ObjectTable
from dualsys_sim.task import SceneRule, Task
from dualsys_sim.tasks.pick import LiftJudge, expert


def goals(objects: ObjectTable) -> list[Goal]:
    """Blocks that rest on the belt."""
    return [
        Goal("conveyor", index)
        for index, kind in enumerate(objects.kind)
        if kind != arena.BOWL and abs(objects.position_m[index, 0] - arena.BELT_X_M) < arena.BELT_WIDTH_M / 2
    ]


TASK: Final = Task(
    name="conveyor",
    timeout_s=15.0,
    scene=SceneRule(belt=True),
    seen=(
        "grab {target} from the belt",
        "pick up {target} from the belt",
        "take {target} off the belt",
        "lift {target} off the conveyor",
        "please take {target} from the conveyor",
        "catch {target} on the belt",
        "catch {target} on the conveyor belt",
    ),
    unseen=(
        "catch {target} from the conveyor",
        "please grab {target} off the belt",
        "pick {target} up off the conveyor belt",
        "lift {target} from the belt",
    ),
    goals=goals,
    judge=LiftJudge,
    expert=expert,
)
