"""Episodes: a function of their arguments, with scenes that keep their promises."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from dualsys_sim import arena, layout
from dualsys_sim.episode import Event, instructions_for, instructions_for_table, make_episode
from dualsys_sim.tasks import all_tasks

TASKS = sorted(all_tasks())


@pytest.mark.parametrize("task", TASKS)
def test_the_same_arguments_give_the_same_episode(task: str) -> None:
    assert make_episode(task, 3, "unseen", "absent") == make_episode(task, 3, "unseen", "absent")
    assert make_episode(task, 3) != make_episode(task, 4)


@pytest.mark.parametrize("task", TASKS)
def test_scenes_hold_at_least_three_blocks_apart_from_each_other(task: str) -> None:
    for seed in range(40):
        episode = make_episode(task, seed)
        blocks = [spec for spec in episode.objects if spec.kind != arena.BOWL]
        bowls = [spec for spec in episode.objects if spec.kind == arena.BOWL]
        assert 3 <= len(blocks) <= 5
        assert len(bowls) == (2 if task == "place" else 0)
        names = {(spec.kind, spec.colour) for spec in episode.objects}
        assert len(names) == len(episode.objects)
        for one, other in combinations(episode.objects, 2):
            least = 0.09 if arena.BOWL not in (one.kind, other.kind) else 0.13
            assert np.hypot(*np.subtract(one.xy_m, other.xy_m)) >= least


def test_some_scenes_have_a_cube_and_a_cylinder_of_one_colour() -> None:
    shared = 0
    for seed in range(50):
        colours = [spec.colour for spec in make_episode("pick", seed).objects]
        shared += len(set(colours)) < len(colours)
    assert 8 < shared < 35


def test_more_blocks_can_be_asked_for() -> None:
    assert all(len(make_episode("pick", seed, min_blocks=5).objects) == 5 for seed in range(10))


@pytest.mark.parametrize("task", [task for task in TASKS if task != "intercept"])
def test_a_changed_episode_names_another_object_in_time(task: str) -> None:
    for seed in range(10):
        episode = make_episode(task, seed, event="changed")
        change = episode.change
        assert change is not None
        assert 0.7 <= change.time_s <= 2.0
        assert change.goal.target_index != episode.goal.target_index
        assert episode.goal_at(change.time_s - 0.01) == episode.goal
        assert episode.goal_at(change.time_s) == change.goal
        assert episode.instruction_at(change.time_s) == change.instruction


@pytest.mark.parametrize("task", TASKS)
def test_an_absent_object_really_is_absent(task: str) -> None:
    for seed in range(15):
        episode = make_episode(task, seed, event="absent")
        assert episode.goal.target_index == -1
        words = episode.instruction.split()
        here = {
            (arena.COLOURS[spec.colour], noun)
            for spec in episode.objects
            if spec.kind != arena.BOWL
            for noun in (arena.KINDS[spec.kind], "block")
        }
        named = {
            (colour, noun)
            for colour, noun in pairwise(words)
            if colour in arena.COLOURS and noun in ("cube", "cylinder", "block")
        }
        assert not named & here


def test_a_hand_is_given_a_free_place_far_enough_away() -> None:
    for seed in range(20):
        episode = make_episode("place", seed, event="moved")
        assert episode.hand is not None
        assert 0.4 <= episode.hand.time_s <= 1.2, "before the gripper has the object"
        places = episode.table().position_m[:, :2]
        assert np.hypot(*(places[episode.hand.index] - episode.hand.to_xy_m)) >= 0.09
        others = np.delete(places, episode.hand.index, axis=0)
        assert np.linalg.norm(others - episode.hand.to_xy_m, axis=1).min() >= 0.09


@pytest.mark.parametrize(
    ("task", "event"), [("follow", "moved"), ("around", "moved"), ("intercept", "changed")]
)
def test_an_event_that_does_not_suit_the_task_is_refused(task: str, event: Event) -> None:
    with pytest.raises(ValueError, match=event):
        make_episode(task, 0, event=event)


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"juggle.*pick"):
        make_episode("juggle", 0)


def test_instructions_cover_every_task_that_makes_sense_and_absent_objects() -> None:
    pairs = instructions_for(make_episode("place", 2))
    tasks = {goal.task for _, goal in pairs}
    assert {"pick", "place", "touch", "follow"} <= tasks
    assert "conveyor" not in tasks
    assert any(goal.target_index < 0 for _, goal in pairs)
    assert all("{" not in text for text, _ in pairs)


def test_the_conveyor_is_only_spoken_of_where_there_is_one() -> None:
    episode = make_episode("conveyor", 2)
    rng = np.random.default_rng(0)
    assert any(goal.task == "conveyor" for _, goal in instructions_for(episode))
    assert all(goal.task != "conveyor" for _, goal in instructions_for_table(episode.table(), rng))


def test_walls_and_glides_are_only_spoken_of_where_there_are_some() -> None:
    spoken = {
        task: {goal.task for _, goal in instructions_for(make_episode(task, 4))}
        for task in ("pick", "around", "intercept")
    }
    assert not {"around", "intercept"} & spoken["pick"]
    assert spoken["around"] == {"around"}
    assert {"intercept", "pick"} <= spoken["intercept"]


def test_wordings_do_not_depend_on_tasks_that_have_nothing_to_say() -> None:
    known = [task for task in TASKS if task not in ("around", "intercept")]
    for task in known:
        episode = make_episode(task, 6)
        draws = [
            instructions_for_table(
                episode.table(), np.random.default_rng(1), belt=episode.belt is not None, tasks=tasks
            )
            for tasks in (None, known)
        ]
        assert draws[0] == draws[1]


def test_a_belt_keeps_to_its_speeds(rng: np.random.Generator) -> None:
    for _ in range(20):
        plan = layout.draw_belt(rng)
        assert all(0.03 <= abs(speed) <= arena.MOVER_SPEED_M_S for speed in plan.speed_m_s if speed)
        assert list(plan.change_s) == sorted(plan.change_s)
