"""The referee: changes of goal, absent objects, wrong objects, time limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dualsys_sim.episode import Episode, make_episode
from dualsys_sim.judging import object_name
from dualsys_sim.referee import Referee
from dualsys_sim.runner import Step, expert_actor, run_episode
from dualsys_sim.state import Goal, ObjectTable, Snapshot
from dualsys_sim.world import World


def at(episode: Episode, time_s: float, tool: object = None, lifted: int = -1) -> Snapshot:
    """An instant of an episode's scene, with one block lifted under the tool if wanted."""
    table = episode.table()
    place = np.array(episode.start_tool_m if tool is None else tool, dtype=float)
    if lifted >= 0:
        table.position_m[lifted] = place
    return Snapshot(time_s, place, 0.041 if lifted >= 0 else 0.08, 0.0, table)


def test_lifting_the_wrong_block_is_reported_by_name() -> None:
    episode = make_episode("pick", 3)
    wrong = 0 if episode.goal.target_index != 0 else 1
    referee = Referee(episode)
    referee.update(at(episode, 0.0))
    referee.update(at(episode, 1.0, lifted=wrong))
    verdict = referee.update(at(episode, episode.timeout_s))
    assert verdict is not None
    assert not verdict.success
    assert verdict.reason == "timeout"
    assert verdict.metrics["wrong_object"] == object_name(episode.table(), wrong)


def test_what_was_lifted_before_a_change_is_not_wrong_after_it() -> None:
    episode = make_episode("pick", 3, event="changed")
    assert episode.change is not None
    referee = Referee(episode)
    old = episode.goal.target_index
    referee.update(at(episode, 0.0))
    for time_s in np.arange(0.5, episode.change.time_s + 0.3, 0.04):
        assert referee.update(at(episode, float(time_s), lifted=old)) is None
    assert referee.goal == episode.change.goal
    assert referee.wrong_object == ""
    referee.update(at(episode, 4.0))
    referee.update(at(episode, 5.0, lifted=old))
    assert referee.wrong_object != ""


def test_the_old_goal_does_not_count_once_a_change_is_coming() -> None:
    episode = make_episode("pick", 3, event="changed")
    assert episode.change is not None
    referee = Referee(episode)
    for time_s in np.arange(0.0, episode.change.time_s, 0.04):
        assert referee.update(at(episode, float(time_s), lifted=episode.goal.target_index)) is None
    new = episode.change.goal.target_index
    for time_s in np.arange(episode.change.time_s, episode.change.time_s + 0.3, 0.04):
        assert referee.update(at(episode, float(time_s))) is None
    verdict = None
    for time_s in np.arange(4.0, 4.6, 0.04):
        verdict = verdict or referee.update(at(episode, float(time_s), lifted=new))
    assert verdict is not None
    assert verdict.success
    assert verdict.metrics["time_to_success_s"] == pytest.approx(4.4 - episode.change.time_s, abs=0.05)


def test_an_absent_object_asks_for_staying_put() -> None:
    episode = make_episode("pick", 3, event="absent")
    patient, hasty = Referee(episode), Referee(episode)
    assert patient.update(at(episode, 0.0)) is None
    assert hasty.update(at(episode, 0.0)) is None
    moved = hasty.update(at(episode, 1.0, tool=np.add(episode.start_tool_m, (0.04, 0.0, 0.0))))
    assert moved is not None
    assert not moved.success
    stayed = patient.update(at(episode, 5.0, tool=np.add(episode.start_tool_m, (0.02, 0.0, 0.0))))
    assert stayed is not None
    assert stayed.success


def test_touching_the_wrong_block_is_reported(world: World) -> None:
    episode = make_episode("touch", 6)
    wrong = 0 if episode.goal.target_index != 0 else 1

    def act(step: Step) -> np.ndarray:
        return expert_actor(replace(step, goal=Goal("touch", wrong)))

    verdict = run_episode(world, replace(episode, timeout_s=4.0), act).verdict
    assert not verdict.success
    assert verdict.metrics["wrong_object"] == object_name(episode.table(), wrong)


def test_names_are_colour_and_kind() -> None:
    table = ObjectTable(
        np.array([1], dtype=np.int8), np.array([4], dtype=np.int8), np.zeros((1, 3)), np.zeros((1, 3))
    )
    assert object_name(table, 0) == "purple cylinder"
