"""The hook for a residual head, with a scripted one: through the core and the track, as in a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS
from dualsys.errors import ConfigError, PolicyError
from dualsys.fast.planner.records import PlannerSettings
from dualsys.messages import Plan

from ..policies.double import EVERYTHING, FieldPolicy

T0 = 10**9
STEP_NS = 40 * NS_PER_MS
CORRECTED = PlannerSettings(residual=True)


class Still(FieldPolicy):
    """Plans to move at half speed along x, whatever the noise; the head adds what it is told to."""

    def sample(self, noise: np.ndarray, condition: Any) -> np.ndarray:
        del condition
        chunk = np.zeros_like(noise)
        chunk[:, 0], chunk[:, 3] = 0.5, 1.0
        return chunk


@pytest.fixture
def bench(make_bench: Callable[..., Any]) -> Any:
    """A synchronous planner with a residual head, in the middle of a chunk that began at T0."""
    made = make_bench("synchronous", policy=Still(nudge=(0.25, 0.0, -0.1, -2.0)), settings=CORRECTED)
    made.ready(T0)
    made.plan(T0)
    return made


def position_m(plan: Plan, t_ns: int) -> np.ndarray:
    times, setpoints = plan.t_ns.array(), plan.setpoints.array()
    return np.array([np.interp(t_ns - times[0], times - times[0], column) for column in setpoints.T])[:3]


def opening_m(plan: Plan, t_ns: int) -> float:
    # A knot shows what the step that ends there has brought about.
    times = plan.t_ns.array()
    return float(plan.setpoints.array()[np.searchsorted(times, t_ns, side="left"), 7])


def corrected(bench: Any, now_ns: int) -> Plan:
    plan = bench.core.repeat(now_ns)
    assert plan is not None
    return plan


def test_the_action_under_way_is_corrected_and_all_that_follows_moves_along(bench: Any) -> None:
    plan = corrected(bench, T0 + 3 * STEP_NS)
    start_m = np.array([0.42 + 3 * 0.006, 0.0, 0.22])
    np.testing.assert_allclose(position_m(plan, T0 + 3 * STEP_NS), start_m, atol=1e-7)
    after_m = start_m + np.array([0.75, 0, -0.1]) * 0.012
    np.testing.assert_allclose(position_m(plan, T0 + 4 * STEP_NS), after_m, atol=1e-7)
    end_m = after_m + np.array([12 * 0.006, 0, 0])
    np.testing.assert_allclose(position_m(plan, T0 + 16 * STEP_NS), end_m, atol=1e-7)
    assert opening_m(plan, T0 + 4 * STEP_NS) == 0.0
    assert opening_m(plan, T0 + 5 * STEP_NS) == 0.08


def test_in_the_middle_of_a_step_only_what_is_left_of_it_is_corrected(bench: Any) -> None:
    plan = corrected(bench, T0 + 3 * STEP_NS + STEP_NS // 4)
    moved_m = position_m(plan, T0 + 4 * STEP_NS) - position_m(plan, T0 + 3 * STEP_NS + STEP_NS // 4)
    np.testing.assert_allclose(moved_m, np.array([0.75, 0, -0.1]) * 0.75 * 0.012, atol=1e-7)


def test_each_step_is_corrected_once(bench: Any) -> None:
    corrected(bench, T0 + 3 * STEP_NS)
    assert bench.core.repeat(T0 + 3 * STEP_NS + 1) is None
    corrected(bench, T0 + 4 * STEP_NS)
    assert bench.core.statistics().corrected_plans == 2
    angles = [math.degrees(math.atan2(*heard["phase"])) for heard in bench.policy.heard]
    assert angles == pytest.approx([67.5, 90.0], abs=1e-4)


def test_the_head_is_shown_the_present_and_the_planned_action(bench: Any) -> None:
    now_ns = T0 + 2 * STEP_NS
    bench.see(now_ns, np.array([0.432, 0.0, 0.22]))
    bench.core.on_frame("wrist", np.full((4, 4, 3), 7, np.uint8), now_ns + 1)
    corrected(bench, now_ns + 1)
    (heard,) = bench.policy.heard
    np.testing.assert_allclose(heard["action"], [0.5, 0, 0, 1], atol=1e-5)
    np.testing.assert_allclose(heard["phase"], [math.sin(math.pi / 4), math.cos(math.pi / 4)], atol=1e-6)
    np.testing.assert_allclose(heard["age"], [0.08, 0.08], atol=1e-6)
    assert heard["wrist"].shape[0] == 2
    assert (heard["wrist"][0] == 7.0).all()
    assert (heard["wrist"][1] == 0.0).all()
    assert heard["state"][0] == pytest.approx(0.432)


def test_a_corrected_action_is_no_faster_than_any_action(bench: Any) -> None:
    bench.policy.nudge = (50.0, 0.0, 0.0, 0.0)
    plan = corrected(bench, T0 + 3 * STEP_NS)
    moved_m = position_m(plan, T0 + 4 * STEP_NS) - position_m(plan, T0 + 3 * STEP_NS)
    np.testing.assert_allclose(moved_m, [0.012, 0, 0], atol=1e-7)


def test_a_corrected_plan_keeps_the_stamps_of_what_it_came_from(bench: Any) -> None:
    plan = corrected(bench, T0 + 3 * STEP_NS)
    assert (plan.seq, plan.t_latent_ns, plan.t_observation_ns) == (1, T0, T0)
    assert (plan.splice_ns, plan.delay_ns) == (T0 + 3 * STEP_NS, 0)
    again = corrected(bench, T0 + 4 * STEP_NS)
    assert again.seq == 2


@pytest.mark.parametrize("nudge", [(np.nan, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_a_correction_that_cannot_be_used_is_counted_and_the_plan_stays(
    bench: Any, nudge: tuple[float, ...]
) -> None:
    bench.policy.nudge = nudge
    assert bench.core.repeat(T0 + STEP_NS) is None
    statistics = bench.core.statistics()
    assert (statistics.corrections_rejected, statistics.corrected_plans) == (1, 0)
    assert "residual" in statistics.last_fault


def test_a_head_that_fails_does_not_end_the_planner(bench: Any) -> None:
    def fail(*_: object) -> np.ndarray:
        raise PolicyError("the runtime failed")

    bench.policy.residual = fail
    assert bench.core.repeat(T0 + STEP_NS) is None
    assert bench.core.statistics().last_fault == "the runtime failed"
    assert bench.core.repeat(T0 + 3 * STEP_NS) is not None


@pytest.mark.parametrize(
    ("residual", "told"),
    [(lambda *_: [][1], "IndexError: list index"), (lambda *_: None, "AttributeError: ")],
)
def test_a_head_of_somebody_s_own_that_trips_does_not_end_the_planner(
    bench: Any, residual: Callable[..., Any], told: str
) -> None:
    bench.policy.residual = residual
    assert bench.core.repeat(T0 + STEP_NS) is None
    statistics = bench.core.statistics()
    assert statistics.corrections_rejected == 1
    assert f".Still failed: {told}" in statistics.last_fault


def test_corrected_motion_is_what_the_next_chunk_continues(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("naive_async", policy=Still(nudge=(0.25, 0.0, 0.0, 0.0)), settings=CORRECTED)
    bench.ready(T0)
    bench.plan(T0)
    first = corrected(bench, T0 + STEP_NS)
    bench.see(T0 + 2 * STEP_NS, position_m(first, T0 + 2 * STEP_NS))
    plan = bench.plan(T0 + 2 * STEP_NS, delay_ns=STEP_NS)
    np.testing.assert_allclose(
        position_m(plan, T0 + 3 * STEP_NS), position_m(first, T0 + 3 * STEP_NS), atol=1e-9
    )


def test_where_it_is_not_asked_for_nothing_is_corrected(make_bench: Callable[..., Any]) -> None:
    for offered in (EVERYTHING, EVERYTHING - {"residual"}):
        policy = Still(offered)
        bench = make_bench("synchronous", policy=policy)
        bench.ready(T0)
        bench.plan(T0)
        assert bench.core.repeat(T0 + STEP_NS) is None
        assert policy.heard == []


def test_a_correction_that_system_1_does_not_offer_is_refused_at_the_start(
    make_bench: Callable[..., Any],
) -> None:
    with pytest.raises(
        ConfigError, match=r"fast\.strategy\.residual: .* by hand has no residual head; export"
    ):
        make_bench("synchronous", policy=Still(EVERYTHING - {"residual"}), settings=CORRECTED)


def test_after_a_new_epoch_nothing_is_left_to_correct(bench: Any) -> None:
    bench.core.on_state(bench.state(T0 + 1, epoch=1))
    assert bench.core.repeat(T0 + STEP_NS) is None
    assert bench.policy.heard == []
