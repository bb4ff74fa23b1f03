"""The control core: what it follows, when it slows, holds and stops, and how it goes on."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS
from dualsys.errors import RobotError, SpecError
from dualsys.fast.control.core import Ages, ControlCore
from dualsys.fast.control.limiter import WindowLimiter
from dualsys.fast.control.limits import Step
from dualsys.fast.control.modes import Mode
from dualsys.messages import Tensor
from dualsys.robots.contract import ArmReading
from dualsys.robots.profiles import SIMULATED_PANDA_LIMITS

from .conftest import HOME, JOINT_1, PERIOD_NS, Rig, obeys

TICK_S = PERIOD_NS / 1e9


@pytest.mark.fault_row(4, 23)
def test_the_first_command_is_the_measured_pose_and_nothing_moves_without_a_plan(rig: Rig) -> None:
    output = rig.tick(100)
    assert output.mode is Mode.WAITING
    np.testing.assert_array_equal(np.array(rig.commands), np.broadcast_to(HOME, (101, 8)))


@pytest.mark.fault_row(4)
def test_no_watchdog_is_armed_before_the_first_plan(rig: Rig) -> None:
    assert rig.tick(2000).mode is Mode.WAITING
    assert rig.count("held") == 0


def test_a_plan_is_followed_along_straight_lines_between_its_knots(rig: Rig) -> None:
    rate = 0.02 * JOINT_1
    assert rig.give(rig.plan(rate=rate))
    start_ns = rig.now_ns
    output = rig.tick(50)
    assert (output.mode, output.reason) == (Mode.RUNNING, "")
    np.testing.assert_allclose(rig.arm, HOME + rate * (rig.now_ns - start_ns) * 1e-9, atol=1e-12)


def test_a_newer_plan_takes_over_at_its_first_knot(rig: Rig) -> None:
    slow, fast = 0.02 * JOINT_1, 0.03 * JOINT_1
    rig.give(rig.plan(rate=slow))
    rig.tick(5)
    join_ns = rig.now_ns + 40 * NS_PER_MS
    join = HOME + slow * (join_ns - rig.now_ns + 5 * PERIOD_NS) * 1e-9
    later = rig.plan(join, rate=fast, t_ns=Tensor.of(np.array([join_ns, join_ns + 400 * NS_PER_MS])),
                     setpoints=Tensor.of(np.stack([join, join + 0.4 * fast])))  # fmt: skip
    assert rig.give(later)
    rig.tick(9)
    np.testing.assert_allclose(rig.arm, join - slow * TICK_S, atol=1e-12)
    rig.tick(11)
    np.testing.assert_allclose(rig.arm, join + 10 * fast * TICK_S, atol=1e-12)


@pytest.mark.fault_row(30)
def test_the_first_plans_may_be_lost_and_the_arm_starts_with_one_that_arrives(rig: Rig) -> None:
    lost = [rig.plan(rate=0.1 * JOINT_1) for _ in range(3)]
    assert rig.tick(10).mode is Mode.WAITING
    assert rig.give(rig.plan(rate=0.02 * JOINT_1))
    assert not rig.give(lost[-1])
    assert (rig.tick().mode, rig.count("rejected_seq")) == (Mode.RUNNING, 1)


@pytest.mark.fault_row(17, 19)
def test_an_exhausted_plan_brakes_to_rest_and_the_next_plan_goes_on(rig: Rig) -> None:
    rig.give(rig.plan(rate=0.5 * JOINT_1, duration_ms=200))
    output = rig.tick(51)
    assert (output.mode, rig.count("starved")) == (Mode.HOLDING, 1)
    rig.tick(40)
    assert rig.core.at_rest
    held = rig.arm
    rig.tick(20)
    np.testing.assert_array_equal(rig.arm, held)
    obeys(rig.limits, rig.commands, PERIOD_NS)
    assert rig.give(rig.plan(rate=0.1 * JOINT_1))
    assert rig.tick().mode is Mode.RUNNING
    assert rig.count("starved") == 1


@pytest.mark.fault_row(2)
def test_an_old_latent_slows_the_arm_along_its_path_and_a_fresh_one_lets_it_catch_up(rig: Rig) -> None:
    rate = 0.1 * JOINT_1
    begun_ns, origin = rig.now_ns, rig.arm
    rig.give(rig.plan(rate=rate, latent_age_ms=900))
    rig.tick(25)
    assert rig.output is not None
    assert rig.output.mode is Mode.RUNNING
    assert rig.tick().mode is Mode.SLOWED
    said = {rig.tick().reason for _ in range(20)}
    assert said == {"latent is more than 1000 ms old"}, "said once: nothing in it changes from tick to tick"
    before = rig.arm
    rig.tick(10)
    np.testing.assert_allclose(rig.arm - before, 0.5 * rate * 10 * TICK_S, atol=1e-9)
    track = rig.plan(origin + rate * (rig.now_ns - begun_ns) * 1e-9, rate=rate, duration_ms=2000)
    assert rig.give(track)
    assert rig.tick().mode is Mode.RUNNING
    rig.tick(98)
    np.testing.assert_allclose(rig.arm, origin + rate * (rig.now_ns - begun_ns) * 1e-9, atol=1e-9)
    obeys(rig.limits, rig.commands, PERIOD_NS)
    assert rig.count("slowed") == 1


def test_while_slowed_a_plan_from_where_the_arm_is_replaces_the_one_it_lags_behind(rig: Rig) -> None:
    rate = 1.5 * JOINT_1
    rig.give(rig.plan(rate=rate, latent_age_ms=1001))
    rig.tick(75)
    assert rig.core.mode is Mode.SLOWED
    here = rig.arm
    assert rig.give(rig.plan(here, rate=0 * HOME, latent_age_ms=1200))
    rig.tick(75)
    assert abs(rig.arm - here).max() < 0.1


@pytest.mark.fault_row(3, 27, 28)
def test_a_latent_past_its_hard_age_holds_and_fresh_plans_do_not_undo_that(rig: Rig) -> None:
    rig.give(rig.plan(rate=0.3 * JOINT_1, latent_age_ms=1900))
    output = rig.tick(26)
    assert output.mode is Mode.HOLDING
    assert "latent" in output.reason
    rig.tick(60)
    held = rig.arm
    assert not rig.give()
    assert rig.tick(50).mode is Mode.HOLDING
    np.testing.assert_array_equal(rig.arm, held)
    obeys(rig.limits, rig.commands, PERIOD_NS)


@pytest.mark.fault_row(8, 9)
def test_silence_of_the_planner_past_the_hard_age_holds(rig: Rig) -> None:
    rig.give(rig.plan(duration_ms=2000))
    assert rig.tick(100).mode is Mode.RUNNING
    output = rig.tick(25)
    assert (output.mode, output.reason) == (Mode.SLOWED, "no plan for more than 400 ms")
    output = rig.tick(1)
    assert (output.mode, output.reason) == (Mode.HOLDING, "no plan for 504 ms, at most 500 ms")


@pytest.mark.fault_row(17, 19)
def test_a_starved_hold_becomes_a_latched_one_when_the_planner_stays_silent(rig: Rig) -> None:
    rig.give(rig.plan(duration_ms=80))
    rig.tick(30)
    assert "over" in rig.tick().reason
    assert "no plan for" in rig.tick(100).reason
    assert not rig.give()


def hold(rig: Rig) -> None:
    rig.give(rig.plan(latent_age_ms=1999))
    rig.tick(60)
    assert rig.core.mode is Mode.HOLDING


@pytest.mark.fault_row(3, 28)
def test_resume_raises_the_epoch_and_waits_for_a_plan_that_was_made_afterwards(rig: Rig) -> None:
    hold(rig)
    rig.give()
    stale = rig.plan()
    assert rig.core.resume(rig.now_ns) == 1
    assert rig.tick().mode is Mode.WAITING
    assert not rig.give(stale)
    assert rig.count("rejected_epoch") == 1
    assert rig.tick().mode is Mode.WAITING
    assert rig.give()
    assert rig.tick().mode is Mode.RUNNING


@pytest.mark.fault_row(3, 28)
def test_resume_is_refused_without_fresh_plans_and_says_so(rig: Rig) -> None:
    hold(rig)
    rig.tick(200)
    with pytest.raises(RobotError, match=r"newest plan is .* newest latent is"):
        rig.core.resume(rig.now_ns)
    rig.give(rig.plan(latent_age_ms=1500))
    with pytest.raises(RobotError, match=r"newest latent is 1500 ms old"):
        rig.core.resume(rig.now_ns)
    assert rig.core.mode is Mode.HOLDING


@pytest.mark.fault_row(3)
def test_resume_is_refused_when_the_arm_was_moved(rig: Rig) -> None:
    hold(rig)
    rig.give()
    pushed = rig.reading()
    moved = pushed.position + 0.2 * JOINT_1
    rig.tick(reading=lambda: type(pushed)(rig.now_ns, moved, pushed.velocity))
    with pytest.raises(RobotError, match=r"the arm was moved by 0\.200 rad"):
        rig.core.resume(rig.now_ns)


@pytest.mark.fault_row(3)
def test_resume_is_refused_when_another_planner_has_connected_and_made_no_plan_yet(rig: Rig) -> None:
    hold(rig)
    rig.give()
    rig.core.begin_session(9)
    with pytest.raises(RobotError, match="no plan has come since another planner has connected"):
        rig.core.resume(rig.now_ns)
    rig.give(rig.plan(session=9))
    assert rig.core.resume(rig.now_ns) == 1


def test_resume_without_a_hold_is_refused(rig: Rig) -> None:
    with pytest.raises(RobotError, match="nothing to resume"):
        rig.core.resume(rig.now_ns)


@pytest.mark.fault_row(48)
def test_a_new_epoch_refuses_older_plans_and_comes_to_rest(rig: Rig) -> None:
    rig.give(rig.plan(rate=0.5 * JOINT_1))
    rig.tick(50)
    stale = rig.plan()
    assert rig.core.new_epoch() == 1
    assert not rig.give(stale)
    assert rig.tick(50).mode is Mode.WAITING
    assert rig.core.at_rest
    obeys(rig.limits, rig.commands, PERIOD_NS)
    assert rig.tick(1000).mode is Mode.WAITING


@pytest.mark.fault_row(48)
def test_after_a_new_epoch_commands_go_on_from_where_a_reset_put_the_arm(rig: Rig) -> None:
    rig.give(rig.plan(rate=0.5 * JOINT_1))
    rig.tick(50)
    rig.core.new_epoch()
    rig.tick(100)
    there = HOME - 0.4 * JOINT_1
    # A single reading could be a spike, and nothing is left where it was for one.
    output = rig.tick(3, lambda: ArmReading(rig.now_ns, there.copy(), 0 * there))
    np.testing.assert_array_equal(output.command, there)
    assert rig.count("restarted") == 1


def test_an_arm_that_moves_without_a_new_epoch_is_not_followed(rig: Rig) -> None:
    rig.give()
    rig.tick(300)
    assert rig.core.mode is Mode.HOLDING
    rig.arm = HOME + 0.4 * JOINT_1
    np.testing.assert_array_equal(rig.tick().command, HOME)


@pytest.mark.fault_row(6, 37)
def test_another_session_takes_over_only_while_the_arm_is_not_led(rig: Rig) -> None:
    rig.give(rig.plan(rate=0.02 * JOINT_1))
    rig.tick(3)
    with pytest.raises(RobotError, match="stop it before"):
        rig.core.begin_session(9)
    rig.core.new_epoch()
    rig.core.begin_session(9)
    assert (rig.core.session, rig.core.epoch) == (9, 2)
    rig.tick()
    assert not rig.give()
    assert rig.give(rig.plan(session=9))


def test_a_requested_stop_brakes_within_the_limits_and_then_commands_nothing(rig: Rig) -> None:
    rig.give(rig.plan(rate=1.5 * JOINT_1))
    rig.tick(100)
    rig.core.request_stop("operator")
    output = rig.tick()
    assert (output.mode, output.reason) == (Mode.STOPPED, "operator")
    assert output.command is not None
    output = rig.tick(100)
    assert output.command is None
    obeys(rig.limits, rig.commands, PERIOD_NS)


@pytest.mark.fault_row(26, 49)
def test_a_stop_is_left_only_by_resume(rig: Rig) -> None:
    rig.core.request_stop("operator")
    rig.tick(10)
    assert not rig.give()
    with pytest.raises(RobotError, match="resume it"):
        rig.core.new_epoch()
    assert rig.core.resume(rig.now_ns) == 1
    output = rig.tick()
    assert output.mode is Mode.WAITING
    np.testing.assert_array_equal(output.command, HOME)


@pytest.mark.fault_row(26)
def test_after_a_stop_by_the_robots_own_means_commands_go_on_from_where_it_came_to_rest(rig: Rig) -> None:
    rig.give()
    rig.tick()
    rig.status = "protective_stop"
    output = rig.tick()
    assert (output.mode, output.command) == (Mode.STOPPED, None)
    rig.arm = HOME + 0.3 * JOINT_1
    with pytest.raises(RobotError, match="protective_stop"):
        rig.core.resume(rig.now_ns)
    rig.status = "ok"
    rig.tick(2)
    with pytest.raises(RobotError, match="do not agree on where it rests"):
        rig.core.resume(rig.now_ns)
    rig.tick()
    rig.core.resume(rig.now_ns)
    np.testing.assert_array_equal(rig.tick().command, HOME + 0.3 * JOINT_1)


@pytest.mark.fault_row(23)
def test_after_an_operators_stop_joints_go_on_from_where_they_are_and_a_gripper_keeps_its_grip(
    rig: Rig,
) -> None:
    rig.core.request_stop("operator")
    rig.tick(10)
    sagged = HOME + 0.03 * JOINT_1
    sagged[7] = 0.05
    rig.tick(3, lambda: ArmReading(rig.now_ns, sagged, 0 * sagged))
    rig.core.resume(rig.now_ns)
    output = rig.tick(reading=lambda: ArmReading(rig.now_ns, sagged, 0 * sagged))
    np.testing.assert_array_equal(output.command, [*sagged[:7], HOME[7]])


@pytest.mark.fault_row(11, 16)
def test_after_a_long_gap_between_ticks_the_plan_is_not_chased(rig: Rig) -> None:
    rig.give(rig.plan(rate=0.1 * JOINT_1, duration_ms=4000))
    rig.tick(10)
    before = rig.arm
    rig.now_ns += 300 * NS_PER_MS
    output = rig.tick()
    assert (output.mode, rig.count("suspended")) == (Mode.HOLDING, 1)
    assert "suspended" in output.reason
    np.testing.assert_array_equal(rig.arm, before)


@pytest.mark.fault_row(11)
def test_a_robot_that_receives_no_commands_is_held(rig: Rig) -> None:
    rig.give(rig.plan(duration_ms=4000))
    rig.status = "watchdog"
    output = rig.tick(60)
    assert output.mode is Mode.HOLDING
    assert "received no command" in output.reason


def test_the_state_tells_ages_command_and_counters(rig: Rig) -> None:
    state = rig.tick().state
    assert (state.latent_age_ns, state.plan_age_ns, state.plan_seq, state.epoch) == (-1, -1, -1, 0)
    plan = rig.plan(rate=0.02 * JOINT_1, latent_age_ms=300)
    rig.give(plan)
    state = rig.tick(3).state
    assert state.latent_age_ns == 300 * NS_PER_MS + 3 * PERIOD_NS
    assert (state.plan_age_ns, state.plan_seq) == (3 * PERIOD_NS, plan.seq)
    assert state.command == tuple(rig.arm)
    assert state.t_ns == rig.now_ns
    assert (state.counters["ticks"], state.counters["plans"], state.seq) == (5, 1, 5)


@pytest.mark.fault_row(10)
def test_missed_ticks_are_counted(rig: Rig) -> None:
    rig.core.step(rig.now_ns + 3 * PERIOD_NS, rig.reading(), missed=2)
    assert rig.count("missed") == 2


@pytest.mark.fault_row(24)
def test_an_old_observation_behind_fresh_plans_slows_and_then_holds(rig: Rig) -> None:
    """A camera that hands out old frames makes no difference to the stamps of latent and plan."""
    seen_ns = rig.now_ns
    modes = []
    for _ in range(40):
        rig.give(rig.plan(t_observation_ns=seen_ns))
        modes.append(rig.tick(20).mode)
    assert modes[17:20] == [Mode.RUNNING, Mode.SLOWED, Mode.SLOWED]
    assert modes[36:38] == [Mode.SLOWED, Mode.HOLDING]
    assert rig.output is not None
    assert "observation behind the plan" in rig.output.reason


@pytest.mark.fault_row(1)
def test_one_late_latent_changes_the_age_that_is_told_and_nothing_else(rig: Rig) -> None:
    rate = 0.1 * JOINT_1
    rig.give(rig.plan(rate=rate, latent_age_ms=100))
    rig.tick(50)
    rig.give(rig.plan(rate=rate, latent_age_ms=500))
    output = rig.tick(50)
    assert (output.mode, rig.count("slowed")) == (Mode.RUNNING, 0)
    assert output.state.latent_age_ns == 500 * NS_PER_MS
    np.testing.assert_allclose(np.diff(rig.commands[3:], axis=0)[:, 0], 0.1 * TICK_S, atol=1e-9)


@pytest.mark.fault_row(20)
def test_a_command_that_is_not_finite_is_never_sent(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.give(rig.plan(rate=0.1 * JOINT_1))
    rig.tick(5)
    broken = Step(np.full(8, np.nan), np.zeros(8), False, False, False)
    monkeypatch.setattr(WindowLimiter, "follow", lambda *_: broken)
    output = rig.tick()
    assert (output.mode, output.command, output.reason) == (Mode.STOPPED, None, "a command is not finite")


@pytest.mark.fault_row(23)
def test_the_first_command_is_where_the_joints_are_even_a_little_outside() -> None:
    outside = HOME.copy()
    outside[3] = SIMULATED_PANDA_LIMITS.upper[3] + 0.015
    rig = Rig(home=outside)
    rig.tick(5)
    np.testing.assert_array_equal(rig.commands, np.broadcast_to(outside, (5, 8)))
    assert rig.give(rig.plan(setpoints=Tensor.of(np.linspace(outside, HOME, 17))))
    rig.tick(400)
    assert rig.arm[3] < SIMULATED_PANDA_LIMITS.upper[3]
    obeys(rig.limits, rig.commands, PERIOD_NS)


@pytest.mark.fault_row(26)
def test_resume_is_refused_while_the_arm_still_moves(rig: Rig) -> None:
    hold(rig)
    rig.give()
    rig.velocity = 0.3 * JOINT_1
    rig.tick()
    with pytest.raises(RobotError, match=r"still moving at 0\.300 rad/s, at most 0\.1 rad/s"):
        rig.core.resume(rig.now_ns)
    rig.velocity = 0 * JOINT_1
    rig.tick()
    assert rig.core.resume(rig.now_ns) == 1


@pytest.mark.fault_row(14)
def test_only_differences_of_times_matter_so_that_no_clock_can_jump_under_control() -> None:
    def run(shift_ns: int) -> list[bytes]:
        rig = Rig()
        rig.now_ns += shift_ns
        rig.tick()
        for age_ms in (0, 600, 1100, 100):
            rig.give(rig.plan(rate=0.1 * JOINT_1, latent_age_ms=age_ms))
            rig.tick(30)
        return [command.tobytes() for command in rig.commands]

    assert run(0) == run(365 * 86_400 * 10**9)


@pytest.mark.fault_row(50)
def test_the_same_inputs_give_the_same_commands_to_the_bit() -> None:
    def run() -> list[bytes]:
        rig, rng = Rig(), np.random.default_rng(3)
        rig.tick()
        for _ in range(20):
            rig.give(rig.plan(rate=rng.normal(size=8)))
            rig.tick(7)
        return [command.tobytes() for command in rig.commands]

    assert run() == run()


def test_settings_that_make_no_sense_are_refused(rig: Rig) -> None:
    with pytest.raises(SpecError, match="slowed_fraction"):
        ControlCore(rig.limits, Ages(), PERIOD_NS, session=1, slowed_fraction=0.0)
