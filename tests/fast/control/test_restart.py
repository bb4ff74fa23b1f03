"""A control that has just started, perhaps while a planner is in an episode, moves nothing unasked."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.errors import RobotError
from dualsys.fast.control.core import Ages, ControlCore
from dualsys.fast.control.modes import Mode
from dualsys.robots.contract import ArmReading

from .conftest import HOME, JOINT_1, PERIOD_NS, Rig


@pytest.fixture
def restarted() -> Rig:
    """A control that has just started, next to a planner in the midst of an episode."""
    made = Rig(latched=True)
    made.tick()
    made.core.begin_session(9)
    return made


@pytest.mark.fault_row(8)
def test_a_control_that_has_just_started_follows_no_plan_before_it_is_told_to(restarted: Rig) -> None:
    for _ in range(20):
        assert not restarted.give(restarted.plan(session=9, rate=0.5 * JOINT_1))
        output = restarted.tick(5)
    assert (output.mode, output.reason.split(":")[0]) == (Mode.WAITING, "control has just started")
    np.testing.assert_array_equal(restarted.arm, HOME)
    stale = restarted.plan(session=9)
    assert restarted.core.resume(restarted.now_ns) == 1
    assert not restarted.give(stale)
    assert restarted.give(restarted.plan(session=9))
    assert restarted.tick().mode is Mode.RUNNING


def test_a_control_that_has_just_started_is_led_by_a_new_episode(restarted: Rig) -> None:
    assert restarted.core.new_epoch() == 1
    assert restarted.give(restarted.plan(session=9))


@pytest.mark.fault_row(8)
def test_a_control_that_has_just_started_is_resumed_with_fresh_data_only(restarted: Rig) -> None:
    with pytest.raises(RobotError, match="no plan has come since control started"):
        restarted.core.resume(restarted.now_ns)
    restarted.give(restarted.plan(session=9))
    restarted.tick(200)
    with pytest.raises(RobotError, match=r"newest plan is 800 ms old"):
        restarted.core.resume(restarted.now_ns)


@pytest.mark.fault_row(8)
def test_a_control_that_has_just_started_is_not_resumed_once_the_arm_is_moved(restarted: Rig) -> None:
    there = HOME + 0.2 * JOINT_1
    restarted.tick(3, lambda: ArmReading(restarted.now_ns, there.copy(), 0 * there))
    np.testing.assert_array_equal(restarted.arm, there)
    restarted.give(restarted.plan(session=9))
    with pytest.raises(RobotError, match=r"the arm was moved by 0\.200 rad"):
        restarted.core.resume(restarted.now_ns)


def test_epochs_begin_where_they_are_told_to(rig: Rig) -> None:
    core = ControlCore(rig.limits, Ages(), PERIOD_NS, session=1, first_epoch=70)
    assert (core.epoch, core.new_epoch()) == (70, 71)
