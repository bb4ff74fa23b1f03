"""The instructions that a recorded scene is shown with, and what they mean there, as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dualsys_sim import arena
from dualsys_sim.episode import instructions_for_table
from dualsys_sim.state import Goal, ObjectTable

TRAINED_TASKS = ("around", "conveyor", "follow", "intercept", "pick", "place", "push", "touch")
"""The tasks that the networks are trained on, in the order of their classes: a task that is added to the
simulator changes neither the words nor the classes nor the draws of training before it is named here."""

ANYWHERE = frozenset({"follow", "pick", "push", "touch"})
"""Tasks that every scene without a wall offers; the others need a bowl, a belt, a wall or a push."""
RARE_SHARE = 0.5
"""Share of the instructions of a scene that are of tasks which few scenes offer, where it offers any."""
ABSENT_SHARE = 0.25
"""Share of training instructions that name an object which is not there."""

IGNORED = -100
"""Class label of what a loss should leave out."""

MAX_WORDS = 16
DIRECTIONS = ("", "left", "right", "away")
FILLERS = frozenset({"the", "please", "up", "your", "now", "of"})
"""Words that an instruction can lose and keep its meaning."""
LOSS_SHARE = 0.15
"""Share of training instructions that lose one filler."""


def class_counts() -> dict[str, int]:
    """Sizes of the auxiliary heads of System 2."""
    return {
        "tasks": len(TRAINED_TASKS),
        "directions": len(DIRECTIONS),
        "colours": len(arena.COLOURS),
        "shapes": 2,
    }


def draw_variants(
    table: ObjectTable, rng: np.random.Generator, count: int, moving: int, belt: bool
) -> list[tuple[str, Goal]]:
    """`count` instructions for a scene; what few scenes offer, and absent objects, come up often enough.

    None where there is nothing to ask, as when no block is left behind a wall.
    """
    pairs = instructions_for_table(table, rng, "seen", 1, moving, belt, TRAINED_TASKS)
    if not pairs:
        return []
    by_task: dict[str, list[tuple[str, Goal]]] = {}
    for text, goal in pairs:
        by_task.setdefault(goal.task, []).append((text, goal))
    tasks = sorted(by_task)
    rare = np.array([task not in ANYWHERE for task in tasks])
    mixed = rare.any() and not rare.all()
    chances = np.where(rare, RARE_SHARE / rare.sum(), (1 - RARE_SHARE) / (~rare).sum()) if mixed else None
    drawn = []
    for task in rng.choice(tasks, count, p=chances):
        options = by_task[task]
        absent = [pair for pair in options if pair[1].target_index < 0]
        present = [pair for pair in options if pair[1].target_index >= 0]
        pool = absent if not present or (absent and rng.random() < ABSENT_SHARE) else present
        drawn.append(pool[int(rng.integers(len(pool)))])
    return drawn


def word_indices(
    text: str, vocabulary: Sequence[str], rng: np.random.Generator | None = None
) -> NDArray[np.int16]:
    """Indices `[MAX_WORDS]` of the words, 0 for padding; with `rng`, sometimes one filler word is lost."""
    words = text.split()
    if rng is not None and rng.random() < LOSS_SHARE:
        fillers = [position for position, word in enumerate(words) if word in FILLERS]
        if fillers:
            del words[fillers[int(rng.integers(len(fillers)))]]
    indices = np.zeros(MAX_WORDS, dtype=np.int16)
    indices[: len(words)] = [vocabulary.index(word) for word in words]
    return indices


def second_place(goal: Goal, table: ObjectTable) -> NDArray[np.float32]:
    """Where the named object is to go, or the middle of the wall before it, `[3]` m, base frame; or NaN."""
    if goal.goal_index >= 0:
        return table.position_m[goal.goal_index].astype(np.float32)
    wall = table.wall
    if wall is not None and goal.target_index >= 0:
        return np.array([wall.x_m, wall.y_m, wall.height_m / 2], dtype=np.float32)
    return np.full(3, np.nan, dtype=np.float32)


def meaning(text: str, goal: Goal, table: ObjectTable) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """What an instruction means in a scene: places `[6]` (m, base frame, NaN for none) and classes `[5]`.

    The places are those of the named object and of what it is to be brought to, or what is in the way of it.
    Classes are present, task, direction, colour, shape; colour and shape follow the words for an absent
    object, and an unspoken shape of an absent object is `IGNORED`.
    """
    places = np.full(6, np.nan, dtype=np.float32)
    target = goal.target_index
    if target >= 0:
        places[:3] = table.position_m[target]
        colour, shape = int(table.colour[target]), int(table.kind[target])
    else:
        words = text.split()
        colour = next(arena.COLOURS.index(word) for word in words if word in arena.COLOURS)
        shape = next((arena.KINDS.index(word) for word in words if word in ("cube", "cylinder")), IGNORED)
    places[3:] = second_place(goal, table)
    return places, np.array(
        [target >= 0, TRAINED_TASKS.index(goal.task), DIRECTIONS.index(goal.direction), colour, shape],
        dtype=np.int8,
    )
