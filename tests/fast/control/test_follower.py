"""Which plans are followed, which are refused, and which stop the arm."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.fast.control.modes import Mode
from dualsys.messages import Tensor

from .conftest import HOME, JOINT_1, PERIOD_NS, Rig, obeys


@pytest.mark.fault_row(6, 7, 18, 20, 21, 23)
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("session", {"session": 8}),
        ("epoch", {"epoch": 1}),
        ("seq", {"seq": 0}),
        ("shape", {"setpoints": Tensor.of(np.zeros((17, 7)))}),
        ("shape", {"setpoints": Tensor.of(np.zeros((17, 8), np.float32))}),
        ("finite", {"setpoints": Tensor.of(np.full((17, 8), np.nan))}),
        ("times", {"t_ns": Tensor.of(np.full(17, 10**12, np.int64))}),
        ("past", {"t_ns": Tensor.of(np.arange(17, dtype=np.int64))}),
        ("stamp", {"t_latent_ns": 10**15}),
        ("stamp", {"t_latent_ns": -1}),
        ("stamp", {"t_observation_ns": 10**15}),
        ("start", {"setpoints": Tensor.of(np.broadcast_to(HOME + 0.2, (17, 8)))}),
    ],
)
def test_a_plan_that_cannot_be_trusted_is_refused_whole_counted_and_changes_nothing(
    rig: Rig, kind: str, changes: dict[str, object]
) -> None:
    rig.give(rig.plan(rate=0.02 * JOINT_1))
    rig.tick(2)
    rate = rig.arm - rig.commands[-2]
    assert not rig.give(rig.plan(**changes))
    assert rig.count(f"rejected_{kind}") == rig.count("rejected_plans") == 1
    assert kind == "start" or "plan." in rig.core.last_refusal
    before = rig.arm
    rig.tick()
    np.testing.assert_allclose(rig.arm - before, rate, atol=1e-12)


@pytest.mark.fault_row(22)
def test_set_points_beyond_the_position_limits_are_moved_to_them_and_counted(rig: Rig) -> None:
    assert rig.give(rig.plan(rate=5 * JOINT_1))
    rig.tick(120)
    assert rig.count("clamped_setpoints") == 1
    assert rig.count("clamped_velocity") > 0
    assert rig.arm[0] <= rig.limits.upper[0]
    obeys(rig.limits, rig.commands, PERIOD_NS)


@pytest.mark.fault_row(7)
def test_plans_that_come_twice_or_out_of_order_are_refused(rig: Rig) -> None:
    first, second, third = rig.plan(), rig.plan(), rig.plan()
    assert [rig.give(plan) for plan in (first, third, second, third)] == [True, True, False, False]
    assert rig.count("rejected_seq") == 2


@pytest.mark.fault_row(20)
@pytest.mark.parametrize("fault", ["setpoints", "t_ns"])
def test_three_malformed_plans_in_a_row_brake_and_stop(rig: Rig, fault: str) -> None:
    broken = {"setpoints": Tensor.of(np.full((17, 8), np.inf)), "t_ns": Tensor.of(np.zeros(17, np.int64))}
    rig.give(rig.plan(rate=0.5 * JOINT_1, duration_ms=2000))
    rig.tick(50)
    for _ in range(2):
        assert not rig.give(rig.plan(**{fault: broken[fault]}))
        assert rig.tick().mode is Mode.RUNNING
    assert not rig.give(rig.plan(**{fault: broken[fault]}))
    output = rig.tick()
    assert (output.mode, output.command is None) == (Mode.STOPPED, False)
    assert "3 malformed plans in a row: plan." in output.reason
    rig.tick(100)
    assert rig.output is not None
    assert rig.output.command is None
    obeys(rig.limits, rig.commands, PERIOD_NS)


@pytest.mark.fault_row(20)
def test_a_good_plan_in_between_forgives_malformed_ones(rig: Rig) -> None:
    for _ in range(4):
        for _ in range(2):
            rig.give(rig.plan(setpoints=Tensor.of(np.full((17, 8), np.nan))))
        assert rig.give()
    assert rig.tick().mode is Mode.RUNNING


@pytest.mark.fault_row(22, 36)
@pytest.mark.parametrize(
    ("setpoints", "says"),
    [
        (HOME + np.linspace(0, 200, 17)[:, None] * JOINT_1, "rad outside its limits"),
        (np.degrees(HOME) + np.zeros((17, 1)), "rad outside its limits"),
        (HOME + np.array([0.0] * 8 + [0.9] * 9)[:, None] * JOINT_1, "farther apart than a joint can move"),
    ],
)
def test_a_plan_far_beyond_what_the_arm_can_do_brakes_and_stops(
    rig: Rig, setpoints: np.ndarray[tuple[int, ...], np.dtype[np.float64]], says: str
) -> None:
    rig.give(rig.plan(rate=0.5 * JOINT_1, duration_ms=2000))
    rig.tick(50)
    assert not rig.give(rig.plan(setpoints=Tensor.of(setpoints)))
    assert says in rig.core.last_refusal
    output = rig.tick(100)
    assert (output.mode, output.command, rig.count("rejected_gross")) == (Mode.STOPPED, None, 1)
    obeys(rig.limits, rig.commands, PERIOD_NS)


def test_a_gripper_may_be_told_to_close_further_than_it_can(rig: Rig) -> None:
    squeeze = HOME - np.array([0.0] * 7 + [5.0])
    assert rig.give(rig.plan(setpoints=Tensor.of(np.linspace(HOME, squeeze, 17))))
