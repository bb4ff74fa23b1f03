"""Readings: NaN, frozen, stale and impossible ones stop the arm; spikes and noise do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import SpecError
from dualsys.fast.control.core import MAX_REASON
from dualsys.fast.control.modes import Mode
from dualsys.fast.control.readings import Tolerances
from dualsys.robots.contract import ArmReading

from .conftest import HOME, JOINT_1, Rig


def changed(rig: Rig, **changes: NDArray[np.float64]) -> Callable[[], ArmReading]:
    """Readings that differ from the arm in some field."""

    def reading() -> ArmReading:
        true = rig.reading()
        fields = {"position": true.position, "velocity": true.velocity} | changes
        return ArmReading(true.t_ns, fields["position"], fields["velocity"])

    return reading


@pytest.mark.fault_row(24)
def test_a_reading_that_comes_from_the_future_stops(rig: Rig) -> None:
    """A driver that stamps by another clock: by ours, its readings would never be old."""
    ahead = ArmReading(rig.now_ns + 3600 * NS_PER_S, HOME, 0 * HOME)
    output = rig.tick(reading=lambda: ahead)
    assert (output.mode, output.command) == (Mode.STOPPED, None)
    assert "3599996 ms from now" in output.reason


@pytest.mark.fault_row(23, 24)
@pytest.mark.parametrize(
    "spike",
    [
        {"position": HOME + 2.9 * JOINT_1 + 3.0 * np.eye(8)[1]},
        {"velocity": 0.2 * JOINT_1},
    ],
    ids=["beyond the limits", "of a moving arm"],
)
def test_commands_do_not_start_at_a_first_reading_that_is_no_pose_at_rest(
    spike: dict[str, NDArray[np.float64]],
) -> None:
    rig = Rig()
    output = rig.tick(reading=changed(rig, **spike))
    assert (output.mode, output.command) == (Mode.WAITING, None)
    assert not rig.give()
    assert rig.core.last_refusal == "the arm was not yet found at rest within its limits"
    np.testing.assert_array_equal(rig.tick().command, HOME)


@pytest.mark.fault_row(23, 24)
@pytest.mark.parametrize("epochs", [0, 1])
def test_one_reading_of_an_arm_elsewhere_moves_no_command(rig: Rig, epochs: int) -> None:
    for _ in range(epochs):
        rig.core.new_epoch()
    rig.tick(5)
    for _ in range(3):
        rig.tick(2, changed(rig, position=HOME + 0.5 * JOINT_1))
        rig.tick(2)
    rig.tick(5, changed(rig, position=HOME + 0.5 * JOINT_1, velocity=0.2 * JOINT_1))
    np.testing.assert_array_equal(rig.commands, np.broadcast_to(HOME, (len(rig.commands), 8)))
    assert rig.count("restarted") == 0


@pytest.mark.fault_row(24)
@pytest.mark.parametrize("name", ["position", "velocity"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_reading_that_is_not_finite_stops_at_once(rig: Rig, name: str, value: float) -> None:
    rig.give(rig.plan(rate=0.1 * JOINT_1))
    rig.tick(5)
    output = rig.tick(reading=changed(rig, **{name: np.full(8, value)}))
    assert (output.mode, output.command) == (Mode.STOPPED, None)
    assert "NaN" in output.reason
    assert all(np.isfinite(output.state.position))
    assert rig.tick(10).mode is Mode.STOPPED


@pytest.mark.fault_row(24)
def test_a_bad_first_reading_leads_to_no_command_at_all() -> None:
    rig = Rig()
    output = rig.tick(reading=changed(rig, position=np.full(8, np.nan)))
    assert (output.mode, output.command) == (Mode.STOPPED, None)


def test_a_reading_of_another_size_stops(rig: Rig) -> None:
    output = rig.tick(reading=changed(rig, position=np.zeros(7)))
    assert output.mode is Mode.STOPPED
    assert "[7]" in output.reason


@pytest.mark.fault_row(24)
def test_a_reading_beyond_the_limits_stops_and_names_the_axis(rig: Rig) -> None:
    beyond = HOME.copy()
    beyond[3] = rig.limits.upper[3] + 0.05
    output = rig.tick(3, changed(rig, position=beyond))
    assert output.mode is Mode.STOPPED
    assert "position of axis 3" in output.reason


@pytest.mark.fault_row(24)
def test_a_single_spike_of_the_measured_speed_does_not_stop_but_a_lasting_excess_does(rig: Rig) -> None:
    spike = changed(rig, velocity=4.0 * JOINT_1)
    rig.tick(2, spike)
    rig.tick()
    assert rig.tick(2, spike).mode is Mode.WAITING
    output = rig.tick(1, spike)
    assert output.mode is Mode.STOPPED
    assert "velocity of axis 0" in output.reason


def test_noise_just_outside_the_limits_is_tolerated_and_commands_stay_inside(rig: Rig) -> None:
    noisy = HOME.copy()
    noisy[7] = 0.0803
    rig = Rig()
    assert rig.tick(10, changed(rig, position=noisy)).mode is Mode.WAITING
    assert rig.commands[-1][7] == rig.limits.upper[7]


def test_silence_of_an_arm_that_waits_is_counted_and_refuses_nothing_later(rig: Rig) -> None:
    old = rig.reading()
    assert rig.tick(50, lambda: old).mode is Mode.WAITING
    assert rig.count("silent") == 25
    rig.tick()
    assert rig.give()
    assert rig.tick().mode is Mode.RUNNING


@pytest.mark.fault_row(24)
def test_readings_that_stay_away_stop(rig: Rig) -> None:
    rig.give(rig.plan(duration_ms=2000))
    old = rig.reading()
    assert rig.tick(12, lambda: old).mode is Mode.RUNNING
    output = rig.tick(13, lambda: old)
    assert (output.mode, output.reason) == (Mode.SLOWED, "the reading of the arm is more than 50 ms old")
    output = rig.tick(1, lambda: old)
    assert output.mode is Mode.STOPPED
    assert "no reading of the arm for 104 ms" in output.reason


@pytest.mark.fault_row(24)
def test_readings_that_do_not_change_while_motion_is_commanded_stop(rig: Rig) -> None:
    rig.give(rig.plan(rate=0.5 * JOINT_1, duration_ms=2000))
    frozen = HOME.copy()
    output = rig.tick(60, changed(rig, position=frozen))
    assert output.mode is Mode.STOPPED
    assert "frozen" in output.reason


@pytest.mark.fault_row(24)
def test_an_arm_that_does_not_follow_stops_though_its_readings_tremble(rig: Rig) -> None:
    tremble = np.random.default_rng(3).standard_normal
    led_rad = 0.0
    for tick in range(500):
        if tick % 10 == 0:
            rig.give(rig.plan(rate=0.5 * JOINT_1))
        output = rig.tick(reading=changed(rig, position=HOME + 1e-4 * tremble(8)))
        if output.command is None:
            break
        led_rad = output.command[0]
    assert output.mode is Mode.STOPPED
    # Led at 0.5 rad/s, it is 0.3 rad behind at some time, and 0.3 s later by half of that more.
    assert led_rad == pytest.approx(0.45, abs=0.01)
    assert "joint 1 is 0.45 rad from where it is led, and for 300 ms" in output.reason
    assert "the arm does not follow" in output.reason


@pytest.mark.fault_row(24)
def test_an_arm_that_lags_or_is_jolted_for_a_moment_is_not_stopped(rig: Rig) -> None:
    commands = [HOME] * 50
    for tick in range(250):
        if tick % 10 == 0:
            rig.give(rig.plan(rate=0.5 * JOINT_1))
        # 0.2 s behind, and jolted for 0.2 s of each second besides.
        jolt = 0.5 * JOINT_1 if tick % 250 < 50 else 0.0 * JOINT_1
        output = rig.tick(reading=changed(rig, position=commands[-50] + jolt))
        assert output.mode is Mode.RUNNING, output.reason
        assert output.command is not None
        commands.append(output.command)
    assert commands[-1][0] > 0.45


@pytest.mark.fault_row(24)
def test_who_moves_an_arm_that_is_not_led_stops_nothing(rig: Rig) -> None:
    tremble = np.random.default_rng(4).standard_normal
    rig.tick()
    for _ in range(200):
        output = rig.tick(reading=changed(rig, position=HOME + JOINT_1 + 1e-4 * tremble(8)))
        assert output.mode is Mode.WAITING, output.reason


@pytest.mark.fault_row(24)
def test_an_arm_at_rest_or_a_blocked_gripper_is_not_taken_for_frozen(rig: Rig) -> None:
    closing = np.zeros(8)
    closing[7] = -0.1
    for _ in range(5):
        rig.give(rig.plan(rig.core.step(rig.now_ns, rig.reading()).command, rate=closing))
        rig.tick(50, changed(rig, position=HOME))
    assert rig.core.mode is Mode.RUNNING


@pytest.mark.fault_row(26, 49)
@pytest.mark.parametrize("status", ["protective_stop", "emergency_stop"])
def test_a_robot_that_stopped_itself_stops_control(rig: Rig, status: str) -> None:
    output = rig.tick(1, lambda: ArmReading(rig.now_ns, HOME, 0 * HOME, status))  # type: ignore[arg-type]
    assert output.mode is Mode.STOPPED
    assert status in output.reason


def test_a_robot_that_stopped_itself_tells_why_in_one_bounded_line(rig: Rig) -> None:
    why = "elbow: 71 degrees C,\n\tat most 70" + 2000 * "!"
    output = rig.tick(1, lambda: ArmReading(rig.now_ns, HOME, 0 * HOME, "protective_stop", why))
    assert output.reason.startswith("the robot reports protective_stop: elbow: 71 degrees C, at most 70!")
    assert len(output.reason) == MAX_REASON
    assert output.state.reason == output.reason


def test_a_robot_that_goes_on_is_not_asked_why(rig: Rig) -> None:
    output = rig.tick(1, lambda: ArmReading(rig.now_ns, HOME, 0 * HOME, "ok", "elbow: 71 degrees C"))
    assert "elbow" not in output.reason


def test_tolerances_that_make_no_sense_are_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"tolerances\.frozen_ns"):
        Tolerances(frozen_ns=-NS_PER_MS)
