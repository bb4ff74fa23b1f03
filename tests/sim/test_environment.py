"""A Gymnasium environment as a robot, in memory: options, set-points, readings, success, pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS
from dualsys.errors import ConfigError, InstructionError, MissingExtraError, RobotError
from dualsys.messages import ArmCommand
from dualsys.plugins import Option
from dualsys.robots.gymnasium import DRIVER, EnvironmentOptions

pytest.importorskip("gymnasium", reason="needs the extra gymnasium")
sys.path.insert(0, str(Path(__file__).parent))
import toy_environment

from dualsys_sim.environment import EnvironmentCore, make_environment
from dualsys_sim.environment_moves import Move, follow

POINT: dict[str, Option] = {
    "environment": "ToyPoint-v0",
    "axes": "x y z gripper_opening",
    "position": "0 1 2",
    "velocity": "3 4 5",
    "scale": "0.05 0.05 0.05",
    "lower": "-0.3 -0.3 0 0",
    "upper": "0.3 0.3 0.3 0.08",
    "speed": "2 2 2 2",
    "acceleration": "10 10 10 10",
    "instruction": "reach the dot",
    "camera.fixed": "offset=3 | offset=7",
}
PUSHED: dict[str, Option] = {
    "environment": "ToyPushed-v0",
    "action": "direct",
    "axes": "push",
    "joints": 1,
    "lower": -2,
    "upper": 2,
    "speed": 10,
    "acceleration": 100,
}
WATCHDOG_NS = 50 * NS_PER_MS


def core_of(options: dict[str, Option]) -> EnvironmentCore:
    return EnvironmentCore(EnvironmentOptions.of(options), WATCHDOG_NS)


def drive(core: EnvironmentCore, goal: tuple[float, ...], steps: int, most: float = 0.03) -> np.ndarray:
    """Lead the robot to a place, at most so far per step; returns where it is."""
    target = np.array(core.tick().position)
    reading = target
    for seq in range(steps):
        target = target + np.clip(np.array(goal) - target, -most, most)
        core.on_command(ArmCommand(seq=seq, position=tuple(target.tolist())))
        reading = np.array(core.tick().position)
    return reading


def test_a_robot_that_is_led_by_set_points_goes_where_they_lead() -> None:
    core = core_of(POINT)
    reading = drive(core, (-0.1, 0.2, 0.05, 0.03), 40)
    np.testing.assert_allclose(reading, (-0.1, 0.2, 0.05, 0.03), atol=1e-6)


def test_the_environment_tells_rate_and_success_and_what_it_lacks_reads_as_told() -> None:
    core = core_of(POINT)
    assert core.spec.rate_hz == 50
    assert core.tick_ns == 20 * NS_PER_MS
    assert core.reset({"task": "reach", "seed": "4"}) == {
        "task": "reach",
        "seed": "4",
        "instruction": "reach the dot",
        "judged": "yes",
        "timeout_s": "0.6",
    }
    assert core.tick().position[3] == 0.08
    drive(core, (*toy_environment.GOAL_M, 0.0), 12)
    assert core.verdict()["verdict"] == "success"
    assert core.tick().position[3] < 0.08


def test_after_the_verdict_the_robot_rests_until_the_next_reset() -> None:
    core = core_of(POINT)
    core.reset({"task": "reach"})
    before = drive(core, (-0.3, 0.3, 0.3, 0.08), 40)
    assert core.verdict() | {"metrics.return": ""} == {
        "verdict": "failure",
        "reason": "timeout",
        "metrics.return": "",
        "metrics.steps": "30",
    }
    assert core.tick().velocity == (0.0, 0.0, 0.0, 0.0)
    np.testing.assert_array_equal(drive(core, (0.0, 0.0, 0.0, 0.0), 3), before)
    core.reset({"task": "reach"})
    assert core.verdict()["verdict"] == ""


def test_a_scene_without_a_task_is_judged_by_nobody() -> None:
    core = core_of(POINT)
    assert core.scene()["judged"] == "no"
    drive(core, (*toy_environment.GOAL_M, 0.0), 40)
    assert core.verdict()["verdict"] == ""


def test_an_environment_that_tells_no_success_is_judged_by_nobody() -> None:
    core = core_of(PUSHED)
    assert core.reset({"task": "push"})["judged"] == "no"


def test_the_same_seed_and_set_points_give_the_same_readings_to_the_bit() -> None:
    runs = []
    for _ in range(2):
        core = core_of(POINT)
        core.reset({"task": "reach", "seed": "9"})
        runs.append([drive(core, (0.2, 0.2, 0.2, 0.0), count).tolist() for count in (1, 5, 9)])
    assert runs[0] == runs[1]


def test_where_actions_are_the_axes_a_reading_is_what_was_applied() -> None:
    core = core_of(PUSHED)
    core.on_command(ArmCommand(seq=0, position=(1.5,)))
    assert core.tick().position == (1.5,)
    assert core.env.unwrapped.place == 1.5
    core.on_command(ArmCommand(seq=1, position=(9.0,)))
    assert core.tick().position == (2.0,)


def test_a_position_is_mapped_to_the_range_of_its_action() -> None:
    core = core_of(POINT | {"action": "position"})
    core.on_command(ArmCommand(seq=0, position=(0.06, 0.0, 0.12, 0.06)))
    np.testing.assert_allclose(core.action(), (0.2, 0.0, -0.2), atol=1e-12)


@pytest.mark.parametrize(
    ("position", "counted"),
    [((0.1, 0.2), "rejected"), ((0.0, float("nan"), 0.0, 0.0), "rejected"), ((0.3, 0.3, 0.0, 0.0), "jumps")],
)
def test_a_set_point_that_is_none_or_leaps_is_refused_and_feeds_no_watchdog(
    position: tuple[float, ...], counted: str
) -> None:
    core = core_of(POINT | {"speed": "0.5 0.5 0.5 0.4"})
    before = core.tick()
    assert not core.on_command(ArmCommand(seq=0, position=position))
    after = core.tick()
    assert core.counters[counted] == 1
    assert core.last_fault
    assert after.position == before.position
    assert after.status == "watchdog"


def test_without_set_points_the_robot_rests_where_it_is_and_says_so() -> None:
    core = core_of(POINT)
    target = np.array(core.tick().position) + np.array([0.09, 0.0, 0.0, 0.0])
    core.on_command(ArmCommand(seq=7, position=tuple(target.tolist())))
    assert core.tick().status == "ok"
    readings = [core.tick() for _ in range(6)]
    assert readings[-1].status == "watchdog"
    assert readings[-1].velocity == (0.0, 0.0, 0.0, 0.0)
    assert readings[-1].command_seq == 7


def test_a_protective_stop_latches_until_it_is_released() -> None:
    core = core_of(POINT)
    before = core.tick().position
    core.stop("by hand")
    core.on_command(ArmCommand(seq=0, position=(*before[:3], 0.05)))
    assert core.tick().position == before
    stopped = core.tick()
    assert (stopped.status, stopped.detail) == ("protective_stop", "by hand")
    core.recover()
    core.on_command(ArmCommand(seq=1, position=(*before[:3], 0.07)))
    assert core.tick().position[3] == 0.07


def test_a_camera_draws_its_views_side_by_side() -> None:
    core = core_of(POINT | {"make.shade": 40})
    picture = core.picture("fixed")
    assert picture.shape == (8, 24, 3)
    assert picture[0, 0, 0] == 40
    assert (picture[0, 0, 2], picture[0, 23, 2]) == (3, 7)
    assert core.look("fixed").seq == 1
    with pytest.raises(RobotError, match="no 'wheel' to set"):
        core_of(POINT | {"camera.fixed": "wheel=1"}).picture("fixed")


def test_a_copy_goes_the_same_way_and_one_that_does_not_is_found_out() -> None:
    for drifts in (False, True):
        moves: list[Move] = []
        options = EnvironmentOptions.of(POINT | {"make.drifts": drifts})
        core = EnvironmentCore(options, WATCHDOG_NS, moves.append)
        core.reset({"task": "reach", "seed": "3"})
        drive(core, (0.2, 0.2, 0.2, 0.0), 5)
        copy = make_environment(options)

        def follow_all(copy: Any = copy, moves: list[Move] = moves) -> None:
            for move in moves:
                follow(copy, move)

        if drifts:
            with pytest.raises(RobotError, match="went another way"):
                follow_all()
        else:
            follow_all()
            assert copy.unwrapped.place.tolist() == core.env.unwrapped.place.tolist()


def test_every_option_that_is_wrong_is_told_at_once() -> None:
    wrong = POINT | {"axis": "x", "scale": "1 2", "lower": "a b c d", "action": "torque", "steps": -1}
    del wrong["environment"]
    with pytest.raises(ConfigError) as caught:
        EnvironmentOptions.of(wrong)
    told = "\n".join(caught.value.faults)
    for name in ("axis: unknown", "lower", "action", "steps", "environment: expected text"):
        assert f"robot.options.{name}" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"environment": "NoSuch-v0"}, "NoSuch"),
        ({"environment": "no_such_module:Any-v0"}, "no_such_module"),
        ({"make.wheels": 3}, "wheels"),
        ({"axes": "x y", "lower": "0 0", "upper": "1 1", "speed": "1 1", "acceleration": "1 1",
          "position": "0 1", "velocity": "3 4", "scale": "1 1"}, "axes: expected 3 or more"),
        ({"observation": "image"}, "there are desired_goal, observation"),
        ({"position": "0 1 6"}, "no entry 6: the observation has 6"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_the_environment_are_told(change: dict[str, Option], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make_environment(EnvironmentOptions.of(POINT | change))


def test_actions_that_are_no_flat_box_are_refused() -> None:
    options = EnvironmentOptions.of(PUSHED | {"environment": "CartPole-v1"})
    with pytest.raises(ConfigError, match="expected actions from a flat Box"):
        make_environment(options)


def test_a_reset_refuses_what_an_environment_does_not_know() -> None:
    core = core_of(POINT)
    with pytest.raises(InstructionError, match="unknown event"):
        core.reset({"task": "reach", "event": "moved"})
    with pytest.raises(InstructionError, match="seed must be"):
        core.reset({"seed": "-1"})


def test_without_gymnasium_the_error_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dualsys\[gymnasium\]'"):
        make_environment(EnvironmentOptions.of(POINT))
    assert DRIVER.install == "pip install 'dualsys[gymnasium]'"


def test_a_module_that_is_not_there_is_named() -> None:
    options = EnvironmentOptions.of({**POINT, "environment": "no_such_module:Point-v0"})
    with pytest.raises(ConfigError, match="'no_such_module:Point-v0' needs module 'no_such_module'"):
        make_environment(options)
