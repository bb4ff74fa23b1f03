"""The simulated table as a robot: what it follows, what it refuses, when it rests, how it judges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dualsys.bus.codec import from_image
from dualsys.clock import NS_PER_MS
from dualsys.errors import InstructionError
from dualsys.fast.control.readings import Tolerances
from dualsys.messages import ArmCommand, ArmState

pytest.importorskip("pybullet")

from dualsys_sim.episode import instructions_for, make_episode
from dualsys_sim.table import TICK_NS, TableCore, meaning_of
from dualsys_sim.world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One world for all tests; each resets it."""
    with World() as made:
        yield made


@pytest.fixture
def table(world: World) -> TableCore:
    """A table that nobody judges, just switched on."""
    return TableCore(world, 50 * NS_PER_MS)


def command(seq: int, state: ArmState, *, joint_1: float = 0.0) -> ArmCommand:
    """The measured pose, with the first joint moved, rad."""
    first, *rest = state.position
    return ArmCommand(seq=seq, position=(first + joint_1, *rest))


def test_without_commands_the_arm_stays_and_reports_the_watchdog(table: TableCore) -> None:
    first = table.tick()
    for _ in range(100):
        state = table.tick()
    assert (first.status, state.status, state.command_seq) == ("watchdog", "watchdog", -1)
    np.testing.assert_allclose(state.position, first.position, atol=2e-3)
    assert (state.seq, state.t_robot_ns) == (101, 101 * TICK_NS)


def test_commands_are_followed_and_acknowledged_and_their_absence_trips_the_watchdog(
    table: TableCore,
) -> None:
    start = table.tick()
    state = start
    for seq in range(50):
        assert table.on_command(command(seq, start, joint_1=0.002 * seq))
        state = table.tick()
        assert state.status == "ok"
    assert state.command_seq == 49
    assert state.position[0] - start.position[0] == pytest.approx(0.098, abs=0.02)
    statuses = [table.tick().status for _ in range(14)]
    assert statuses.index("watchdog") == 11
    resting = table.tick().position[0]
    for _ in range(50):
        last = table.tick()
    assert last.position[0] == pytest.approx(resting, abs=5e-3)
    assert table.on_command(command(50, last))
    assert table.tick().status == "ok"


@pytest.mark.parametrize(
    "position", [(0.0,) * 7, (0.0,) * 9, (), (float("nan"), *(0.0,) * 7), (float("inf"), *(0.0,) * 7)]
)
def test_a_command_that_is_not_eight_numbers_is_rejected_counted_and_changes_nothing(
    table: TableCore, position: tuple[float, ...]
) -> None:
    before = table.tick()
    assert not table.on_command(ArmCommand(seq=0, position=position))
    after = table.tick()
    assert table.counters["rejected"] == 1
    assert "expected 8 finite numbers" in table.last_fault
    assert after.command_seq == -1
    np.testing.assert_allclose(after.position, before.position, atol=1e-3)


def test_a_command_that_jumps_is_refused(table: TableCore) -> None:
    state = table.tick()
    assert not table.on_command(command(0, state, joint_1=0.5))
    assert table.counters["jumps"] == 1
    assert "jumps by 0.500 rad" in table.last_fault


def test_a_protective_stop_holds_until_it_is_released(table: TableCore) -> None:
    state = table.tick()
    table.stop("door opened")
    table.on_command(command(0, state, joint_1=0.1))
    stopped = table.tick()
    assert stopped.status == "protective_stop"
    assert (stopped.detail, table.status()["stopped"]) == ("door opened", "door opened")
    for _ in range(50):
        stopped = table.tick()
    assert stopped.position[0] == pytest.approx(state.position[0], abs=5e-3)
    table.recover()
    table.on_command(command(1, stopped))
    going = table.tick()
    assert (going.status, going.detail) == ("ok", "")
    for reason, told in (("x" * 300, "x" * 252 + " ..."), ("\n", "stopped")):
        table.stop(reason)
        assert table.tick().detail == told


def test_a_reset_builds_the_episode_of_task_and_seed_and_says_what_to_do(table: TableCore) -> None:
    episode = make_episode("place", 11)
    scene = table.reset({"task": "place", "seed": "11"})
    assert scene["instruction"] == episode.instruction
    assert scene["judged"] == "yes"
    assert float(scene["timeout_s"]) == episode.timeout_s
    assert table.tick().status == "watchdog"


def test_an_episode_is_judged_to_its_end_and_the_verdict_stays(table: TableCore) -> None:
    scene = table.reset({"task": "pick", "seed": "2"})
    assert table.verdict() == {"verdict": "", "reason": ""}
    for _ in range(round(float(scene["timeout_s"]) / 0.004) + 2):
        table.tick()
    verdict = table.verdict()
    assert (verdict["verdict"], verdict["reason"]) == ("failure", "timeout")
    assert "metrics.time_s" in verdict
    table.tick()
    assert table.verdict() == verdict
    table.reset({"task": "pick", "seed": "3"})
    assert table.verdict()["verdict"] == ""


def test_a_free_scene_is_never_judged(table: TableCore) -> None:
    assert table.reset({"task": "free", "seed": "2"})["judged"] == "no"
    for _ in range(20):
        table.tick()
    assert table.status()["verdict"] == ""


def test_an_episode_that_changes_its_mind_says_so_when_it_does(table: TableCore) -> None:
    episode = make_episode("pick", 5, event="changed")
    assert episode.change is not None
    table.reset({"task": "pick", "seed": "5", "event": "changed"})
    assert table.scene()["instruction"] == episode.instruction
    for _ in range(round(episode.change.time_s / 0.004) + 2):
        table.tick()
    assert table.scene()["instruction"] == episode.change.instruction


def test_other_words_are_judged_by_what_they_mean(table: TableCore) -> None:
    episode = make_episode("pick", 7)
    for words, goal in instructions_for(episode, "unseen"):
        assert meaning_of(words, episode) is not None, words
        scene = table.reset({"task": "pick", "seed": "7", "instruction": words})
        assert (scene["instruction"], scene["judged"]) == (words, "yes")
        del goal
    assert table.reset({"task": "pick", "seed": "7", "instruction": "sing"})["judged"] == "no"


def test_words_in_the_middle_of_an_episode_change_the_goal(table: TableCore) -> None:
    episode = make_episode("pick", 7)
    table.reset({"task": "pick", "seed": "7"})
    words = next(words for words, _ in instructions_for(episode) if words != episode.instruction)
    table.tick()
    table.say(words)
    assert table.scene()["instruction"] == words
    with pytest.raises(InstructionError, match="means nothing"):
        table.say("sing")


def test_words_from_outside_outlast_those_that_the_episode_would_have_said_later(table: TableCore) -> None:
    episode = make_episode("pick", 5, event="changed")
    assert episode.change is not None
    scripted = {episode.instruction, episode.change.instruction}
    words, goal = next(pair for pair in instructions_for(episode) if pair[0] not in scripted)
    assert goal not in (episode.goal, episode.change.goal)
    table.reset({"task": "pick", "seed": "5", "event": "changed"})
    table.tick()
    table.say(words)
    for _ in range(round(episode.change.time_s / 0.004) + 2):
        table.tick()
        assert table._referee.goal == goal
    assert table.scene()["instruction"] == words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "cook"}, r"no task 'cook'; there are .*pick.*free"),
        ({"task": "pick", "seed": "-1"}, "seed must be a whole number"),
        ({"task": "pick", "phrasing": "rude"}, "phrasing is one of seen, unseen"),
        ({"task": "pick", "event": "fire"}, "event is one of moved, changed, absent"),
        ({"task": "push", "event": "moved"}, "suits"),
        ({"task": "pick", "speed": "1"}, "unknown speed"),
    ],
)
def test_a_wrong_reset_is_refused_with_what_is_known_and_changes_nothing(
    table: TableCore, arguments: dict[str, str], message: str
) -> None:
    before = table.reset({"task": "place", "seed": "4"})
    with pytest.raises(InstructionError, match=message):
        table.reset(arguments)
    assert table.scene() == before


def test_each_camera_has_its_size_and_counts_its_frames(table: TableCore) -> None:
    table.tick()
    for name, shape in (("fixed", (96, 128, 3)), ("wrist", (64, 64, 3))):
        frames = [table.look(name) for _ in range(2)]
        assert from_image(frames[0].image).shape == shape
        assert [frame.seq for frame in frames] == [1, 2]
        assert (frames[0].camera, frames[0].t_robot_ns) == (name, table.time_ns)


def test_a_command_from_before_a_reset_does_not_yank_the_arm(table: TableCore) -> None:
    table.reset({"task": "pick", "seed": "3"})
    state = table.tick()
    assert not table.on_command(command(1, state, joint_1=0.2))
    assert table.counters["jumps"] == 1
    assert table.on_command(command(2, state))
    assert table.on_command(command(3, state, joint_1=0.2))


def test_a_reset_that_control_does_not_notice_does_not_shut_its_commands_out(table: TableCore) -> None:
    # Control goes on from its own command unless the arm is farther away than this.
    unnoticed_rad = Tolerances().moved_rad
    table.reset({"task": "pick", "seed": "3"})
    state = table.tick()
    assert not table.on_command(command(1, state, joint_1=unnoticed_rad + 0.005))
    assert table.on_command(command(2, state, joint_1=unnoticed_rad - 0.005))
