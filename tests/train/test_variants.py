"""Instructions as arrays: what they mean in a scene, and how they are drawn and spelt."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dualsys.train.scenes import vocabulary_list
from dualsys.train.variants import (
    DIRECTIONS,
    FILLERS,
    IGNORED,
    LOSS_SHARE,
    MAX_WORDS,
    TRAINED_TASKS,
    class_counts,
    draw_variants,
    meaning,
    word_indices,
)
from dualsys_sim import arena
from dualsys_sim.episode import make_episode
from dualsys_sim.state import Goal, ObjectTable
from dualsys_sim.tasks import all_tasks

BUNDLES = Path(__file__).parents[2] / "bundles"
TABLE = ObjectTable(
    kind=np.array([arena.CUBE, arena.CYLINDER, arena.BOWL], dtype=np.int8),
    colour=np.array([0, 2, 3], dtype=np.int8),
    position_m=np.array([[0.4, 0.1, 0.02], [0.5, -0.1, 0.02], [0.6, 0.2, 0.0]]),
    velocity_m_s=np.zeros((3, 3)),
)


def spelt(indices: np.ndarray) -> str:
    """The words of indices, padding left out."""
    words = vocabulary_list()
    return " ".join(words[index] for index in indices if index)


def test_the_trained_tasks_are_in_alphabetical_order_and_exist() -> None:
    assert list(TRAINED_TASKS) == sorted(TRAINED_TASKS)
    assert set(TRAINED_TASKS) <= set(all_tasks())


def test_the_words_of_training_are_those_that_the_shipped_system_2_knows() -> None:
    manifest = json.loads((BUNDLES / "tabletop" / "system2" / "bundle.json").read_text())
    assert vocabulary_list() == manifest["vocabulary"]


def test_only_trained_tasks_are_drawn(rng: np.random.Generator) -> None:
    episode = make_episode("intercept", 3)
    drawn = draw_variants(episode.table(), rng, 60, episode.moving_index, False)
    assert {goal.task for _, goal in drawn} <= set(TRAINED_TASKS)


def test_a_named_object_and_its_goal_are_where_they_lie() -> None:
    places, classes = meaning("put the blue block in the yellow bowl", Goal("place", 1, 2), TABLE)
    np.testing.assert_allclose(places, [0.5, -0.1, 0.02, 0.6, 0.2, 0.0], atol=1e-6)
    assert classes.tolist() == [1, TRAINED_TASKS.index("place"), 0, 2, arena.CYLINDER]


def test_without_a_goal_its_place_is_unknown() -> None:
    places, classes = meaning("push the red cube to the left", Goal("push", 0, -1, "left"), TABLE)
    np.testing.assert_allclose(places[:3], [0.4, 0.1, 0.02], atol=1e-6)
    assert np.isnan(places[3:]).all()
    assert classes.tolist() == [1, TRAINED_TASKS.index("push"), DIRECTIONS.index("left"), 0, arena.CUBE]


@pytest.mark.parametrize(
    ("name", "shape"),
    [("cube", arena.CUBE), ("cylinder", arena.CYLINDER), ("block", IGNORED), ("one", IGNORED)],
)
def test_an_absent_object_has_no_place_and_is_what_the_words_say(name: str, shape: int) -> None:
    places, classes = meaning(f"pick up the purple {name}", Goal("pick", -1), TABLE)
    assert np.isnan(places).all()
    assert classes.tolist() == [0, TRAINED_TASKS.index("pick"), 0, arena.COLOURS.index("purple"), shape]


def test_every_meaning_fits_the_heads_of_system2(rng: np.random.Generator) -> None:
    counts = class_counts()
    sizes = [2, counts["tasks"], counts["directions"], counts["colours"], counts["shapes"]]
    for seed, task in enumerate(TRAINED_TASKS * 3):
        episode = make_episode(task, seed)
        table = episode.table()
        for text, goal in draw_variants(table, rng, 30, episode.moving_index, episode.belt is not None):
            places, classes = meaning(text, goal, table)
            assert places.shape == (6,)
            known = classes != IGNORED
            assert known[:4].all()
            assert (classes[known] >= 0).all()
            assert (classes < sizes).all()
            assert np.isnan(places[:3]).all() == (classes[0] == 0)
            assert spelt(word_indices(text, vocabulary_list())) == text


def test_indices_are_padded_with_zeros() -> None:
    indices = word_indices("touch the red cube", vocabulary_list())
    assert indices.shape == (MAX_WORDS,)
    assert indices.dtype == np.int16
    assert (indices[:4] > 0).all()
    assert not indices[4:].any()


def test_now_and_then_one_filler_is_lost_and_never_another_word(rng: np.random.Generator) -> None:
    text = "please pick up the red block now"
    heard = [spelt(word_indices(text, vocabulary_list(), rng)) for _ in range(3000)]
    lost = Counter(heard)
    whole = lost.pop(text)
    assert 1 - whole / 3000 == pytest.approx(LOSS_SHARE, abs=0.03)
    fillers = [word for word in text.split() if word in FILLERS]
    assert set(lost) == {" ".join(word for word in text.split() if word != filler) for filler in fillers}


def test_words_that_carry_the_meaning_stay(rng: np.random.Generator) -> None:
    for _ in range(300):
        assert spelt(word_indices("touch red cube", vocabulary_list(), rng)) == "touch red cube"


def test_half_of_the_instructions_are_of_what_few_scenes_offer_and_a_quarter_name_an_absent_object() -> None:
    episode = make_episode("place", 2)
    drawn = draw_variants(episode.table(), np.random.default_rng(1), 6000, -1, False)
    assert len(drawn) == 6000
    tasks = Counter(goal.task for _, goal in drawn)
    assert set(tasks) == {"follow", "pick", "place", "touch"}
    assert tasks["place"] / 6000 == pytest.approx(0.5, abs=0.03)
    for task in ("follow", "pick", "touch"):
        assert tasks[task] / 6000 == pytest.approx(1 / 6, abs=0.03)
    absent = np.mean([goal.target_index < 0 for _, goal in drawn])
    assert absent == pytest.approx(1 / 4, abs=0.03)


def test_where_nothing_is_rare_all_tasks_are_drawn_alike() -> None:
    drawn = draw_variants(make_episode("push", 4).table(), np.random.default_rng(1), 6000, -1, False)
    tasks = Counter(goal.task for _, goal in drawn)
    for count in tasks.values():
        assert count / 6000 == pytest.approx(1 / len(tasks), abs=0.03)


def test_where_no_block_is_left_behind_the_wall_there_is_nothing_to_ask() -> None:
    table = make_episode("around", 3).table()
    gone = replace(table, position_m=table.position_m + np.array([0.0, 0.0, -100.0]))
    gone.position_m[:, :2] = 0.3, -0.3
    assert draw_variants(gone, np.random.default_rng(1), 3, -1, False) == []


def test_the_same_generator_draws_the_same_instructions() -> None:
    table = make_episode("push", 4).table()
    one, other = (draw_variants(table, np.random.default_rng(9), 20, -1, False) for _ in range(2))
    assert one == other
