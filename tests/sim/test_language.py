"""Words: unambiguous names, and no word that training has never shown."""

from __future__ import annotations

import numpy as np

from dualsys_sim import arena
from dualsys_sim.language import absent_names, names_of, say, vocabulary
from dualsys_sim.state import ObjectTable
from dualsys_sim.tasks import all_tasks

CUBE, CYLINDER, BOWL = arena.CUBE, arena.CYLINDER, arena.BOWL


def table(*objects: tuple[int, str]) -> ObjectTable:
    """A table of (kind, colour word), all at the same place."""
    zeros = np.zeros((len(objects), 3))
    kinds = np.array([kind for kind, _ in objects], dtype=np.int8)
    colours = np.array([arena.COLOURS.index(word) for _, word in objects], dtype=np.int8)
    return ObjectTable(kinds, colours, zeros, zeros)


def test_a_colour_of_its_own_makes_a_block() -> None:
    scene = table((CUBE, "red"), (CUBE, "blue"))
    assert names_of(scene, 0) == ["the red block", "the red cube", "the red one"]


def test_a_shared_colour_needs_the_shape() -> None:
    scene = table((CUBE, "red"), (CYLINDER, "red"))
    assert names_of(scene, 0) == ["the red cube"]
    assert names_of(scene, 1) == ["the red cylinder"]


def test_a_bowl_of_the_same_colour_rules_out_the_red_one() -> None:
    scene = table((CUBE, "red"), (BOWL, "red"))
    assert names_of(scene, 0) == ["the red block", "the red cube"]
    assert names_of(scene, 1) == ["the red bowl"]


def test_only_a_wandering_block_may_be_called_moving() -> None:
    scene = table((CUBE, "red"), (CUBE, "blue"))
    assert "the moving red cube" in names_of(scene, 0, moving=0)
    assert not any("moving" in name for name in names_of(scene, 1, moving=0))


def test_absent_names_fit_nothing_in_the_scene() -> None:
    scene = table((CUBE, "red"), (CYLINDER, "blue"), (BOWL, "green"))
    names = absent_names(scene)
    assert "the green block" in names
    assert "the red cylinder" in names
    assert not {"the red block", "the red cube", "the blue block", "the blue cylinder"} & set(names)


def test_every_task_has_enough_wordings_and_no_shared_ones() -> None:
    for task in all_tasks().values():
        assert len(set(task.seen)) >= 6
        assert len(set(task.unseen)) >= 4
        assert not set(task.seen) & set(task.unseen)


def test_unseen_wordings_use_only_words_of_seen_ones() -> None:
    known = set(vocabulary())
    for task in all_tasks().values():
        for template in task.unseen:
            assert {word for word in template.split() if not word.startswith("{")} <= known, template


def test_instructions_use_only_words_of_the_vocabulary(rng: np.random.Generator) -> None:
    known = set(vocabulary())
    scene = table((CUBE, "red"), (CYLINDER, "blue"), (BOWL, "green"), (BOWL, "blue"))
    for task in all_tasks().values():
        for goal in task.goals(scene):
            for phrasing in ("seen", "unseen"):
                assert set(say(task, goal, scene, rng, phrasing, moving=0).split()) <= known
