"""What a task is: a scene to ask for, goals that make sense in it, words, a judge, a scripted expert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from dualsys_sim.state import ExpertState, Goal, ObjectTable, Snapshot

Action = tuple[float, float, float, float]
"""(dx, dy, dz, gripper) in [-1, 1]: `arena.ACTION_STEP_M` of commanded travel each; +1 open, -1 close."""


@dataclass(frozen=True)
class SceneRule:
    """What a task needs on the table: how many bowls, and whether there is a belt, a wandering block, a wall
    with blocks behind it, or a block that is given a push.
    """

    bowls: int = 0
    belt: bool = False
    wander: bool = False
    wall: bool = False
    glide: bool = False


@dataclass(frozen=True)
class Verdict:
    """The end of an episode: whether the task was done, why, and what was measured on the way."""

    success: bool
    reason: str
    metrics: dict[str, float | str] = field(default_factory=dict)


class Judge(Protocol):
    """Watches one goal, tick by tick."""

    def update(self, snapshot: Snapshot) -> Verdict | None:
        """Take in one instant; the verdict once there is one."""
        ...


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: unique, and the name of its file.
        timeout_s: the longest an episode lasts.
        scene: what it needs on the table.
        seen: instruction templates for training, with {target}, {goal} and {direction} where they apply.
        unseen: templates kept from training, made of words that occur in some seen template.
        goals: the goals of this task that make sense in a scene.
        judge: a new judge for a goal, from the instant the goal was given.
        expert: the scripted expert, a function of state and goal alone.
        heading: where the expert takes the tool first, x, y, z in m, base frame, for a goal whose target is
            there; None where that is the target, or what it is brought to. System 1 learns to tell it.
    """

    name: str
    timeout_s: float
    scene: SceneRule
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    goals: Callable[[ObjectTable], list[Goal]]
    judge: Callable[[Goal, Snapshot], Judge]
    expert: Callable[[ExpertState, Goal], Action]
    heading: Callable[[ExpertState, Goal], tuple[float, float, float]] | None = None
