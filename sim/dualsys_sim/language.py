"""Words: how an object of a scene may be named, and how an instruction is put together."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from dualsys_sim import arena
from dualsys_sim.state import Goal, ObjectTable
from dualsys_sim.task import Task
from dualsys_sim.tasks import all_tasks

DIRECTION_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "": ("",),
    "left": ("to the left", "left"),
    "right": ("to the right", "right"),
    "away": ("away", "forward"),
}


def names_of(objects: ObjectTable, index: int, moving: int = -1) -> list[str]:
    """Every name that fits this object and no other of the scene, most general first.

    "block" stands for either shape where the colour is unique among the blocks, and "one" where it is unique
    among all objects. The object in row `moving` may be called moving.
    """
    kind, colour = int(objects.kind[index]), int(objects.colour[index])
    if kind == arena.BOWL:
        return [f"the {arena.COLOURS[colour]} bowl"]
    nouns = [arena.KINDS[kind]]
    if int(np.count_nonzero((objects.colour == colour) & (objects.kind != arena.BOWL))) == 1:
        nouns.insert(0, "block")
    if list(objects.colour).count(colour) == 1:
        nouns.append("one")
    names = [f"the {arena.COLOURS[colour]} {noun}" for noun in nouns]
    if index == moving:
        names += [f"the moving {arena.COLOURS[colour]} {noun}" for noun in nouns]
    return names


def absent_names(objects: ObjectTable) -> list[str]:
    """Names of blocks that the scene lacks: colours that no block has, and the other shape of one it has."""
    blocks = [(int(k), int(c)) for k, c in zip(objects.kind, objects.colour, strict=True) if k != arena.BOWL]
    present = {colour for _, colour in blocks}
    names = []
    for colour, word in enumerate(arena.COLOURS):
        if colour not in present:
            names += [f"the {word} {noun}" for noun in ("block", "cube", "cylinder", "one")]
        else:
            names += [f"the {word} {arena.KINDS[kind]}" for kind in (0, 1) if (kind, colour) not in blocks]
    return names


def say(
    task: Task,
    goal: Goal,
    objects: ObjectTable,
    rng: np.random.Generator,
    phrasing: str = "seen",
    moving: int = -1,
) -> str:
    """An instruction for the goal, in a random wording of the given phrasing ("seen" or "unseen")."""
    target = _pick(names_of(objects, goal.target_index, moving), rng)
    return _fill(task, target, goal, objects, rng, phrasing)


def say_absent(
    task: Task, goal: Goal, objects: ObjectTable, rng: np.random.Generator, phrasing: str = "seen"
) -> str:
    """An instruction like the goal's, naming a block that is not there; usually one of an absent colour."""
    names = absent_names(objects)
    strangers = [name for name in names if name.split()[1] not in _block_colours(objects)]
    return _fill(task, _pick(strangers if rng.random() < 0.75 else names, rng), goal, objects, rng, phrasing)


def vocabulary(tasks: Collection[str] | None = None) -> list[str]:
    """Every word that an instruction of these tasks can hold, sorted; of all tasks by default."""
    words = {"block", "one", "moving", *arena.KINDS, *arena.COLOURS, "the"}
    for phrases in DIRECTION_WORDS.values():
        words.update(word for phrase in phrases for word in phrase.split())
    for task in all_tasks().values():
        for template in task.seen if tasks is None or task.name in tasks else ():
            words.update(word for word in template.split() if not word.startswith("{"))
    return sorted(words)


def _block_colours(objects: ObjectTable) -> set[str]:
    return {arena.COLOURS[c] for k, c in zip(objects.kind, objects.colour, strict=True) if k != arena.BOWL}


def _fill(
    task: Task, target: str, goal: Goal, objects: ObjectTable, rng: np.random.Generator, phrasing: str
) -> str:
    template = _pick(task.seen if phrasing == "seen" else task.unseen, rng)
    bowl = names_of(objects, goal.goal_index)[0] if goal.goal_index >= 0 else ""
    return template.format(target=target, goal=bowl, direction=_pick(DIRECTION_WORDS[goal.direction], rng))


def _pick(choices: tuple[str, ...] | list[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
