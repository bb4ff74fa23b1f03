from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import NS_PER_MS
from dualsys.fast.chunking.masks import guidance_schedule
from dualsys.messages import Plan
from dualsys.robots.kinematics import PANDA, TOOL_DOWN

SESSION = 77
T0 = 10**9
STEP_NS = 40 * NS_PER_MS
FIXED = {"fixed": np.zeros((6, 8, 3), np.uint8)}


def moving(x: float, grip: float = 1.0) -> np.ndarray:
    chunk = np.zeros((16, 4), np.float32)
    chunk[:, 0], chunk[:, 3] = x, grip
    return chunk


def knots(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    return plan.t_ns.array(), plan.setpoints.array()


def test_a_plan_starts_where_the_arm_is_commanded_to_be_and_follows_the_actions(bench: Any) -> None:
    plan = bench.plan(T0)
    t_ns, setpoints = knots(plan)
    assert t_ns.dtype == np.int64
    assert setpoints.dtype == np.float64
    np.testing.assert_array_equal(t_ns, T0 + STEP_NS * np.arange(17))
    np.testing.assert_allclose(setpoints[0], [0.42, 0, 0.22, 0.1, 0.2, 0.3, 0.4, 0.08])
    np.testing.assert_allclose(setpoints[:, 0], 0.42 + 0.012 * np.arange(17), atol=1e-6)


def test_a_late_plan_joins_on_the_way_and_not_at_its_start(bench: Any) -> None:
    first = bench.plan(T0)
    bench.see(T0 + STEP_NS, knots(first)[1][1, :3])
    bench.policy.chunks = [moving(-1.0)]
    plan = bench.plan(T0 + STEP_NS, delay_ns=3 * STEP_NS)
    t_ns, setpoints = knots(plan)
    assert t_ns[0] == T0 + 4 * STEP_NS
    assert setpoints[0, 0] == pytest.approx(0.42 + 4 * 0.012)
    assert setpoints[-1, 0] == pytest.approx(0.42 + (4 - 13) * 0.012)
    assert bench.core.statistics().late_chunks == 1


def test_the_gripper_opens_and_closes_as_told(bench: Any) -> None:
    chunk = moving(0.0)
    chunk[4:, 3] = -0.7
    bench.policy.chunks = [chunk]
    opening_m = knots(bench.plan(T0))[1][:, 7]
    np.testing.assert_array_equal(opening_m, [0.08] * 5 + [0.0] * 12)


def test_a_plan_that_is_over_is_followed_by_a_fresh_start_from_the_command(bench: Any) -> None:
    bench.plan(T0)
    later = T0 + 20 * STEP_NS
    bench.see(later)
    plan = bench.plan(later)
    assert knots(plan)[1][0, 0] == pytest.approx(0.42)
    assert bench.core.statistics().fresh_starts == 2


def test_a_plan_that_control_did_not_follow_is_given_up(bench: Any) -> None:
    bench.plan(T0)
    bench.see(T0 + 5 * STEP_NS)
    plan = bench.plan(T0 + 5 * STEP_NS)
    assert knots(plan)[1][0, 0] == pytest.approx(0.42)
    assert bench.core.statistics().divergences == 1


def test_a_fresh_start_blends_from_the_posture_that_the_arm_is_found_in(bench: Any) -> None:
    pose = (0.42, 0.0, 0.22, 1.1, 0.2, 0.3, 0.4, 0.08)
    bench.core.on_state(bench.state(T0, position=pose, command=pose))
    _, setpoints = knots(bench.plan(T0))
    assert setpoints[0, 3] == pytest.approx(1.1)
    np.testing.assert_allclose(np.diff(setpoints[:, 3]), -0.02, atol=1e-9)


def test_a_position_out_of_reach_is_counted(bench: Any) -> None:
    bench.see(T0 + 1, np.array([0.689, 0.0, 0.22]))
    bench.plan(T0 + 1)
    assert bench.core.statistics().unreachable_plans == 1


def test_the_tool_never_leaves_the_workspace(bench: Any) -> None:
    chunk = np.zeros((16, 4), np.float32)
    chunk[:, 2], chunk[:, 3] = -1.0, 1.0
    bench.policy.chunks = [chunk]
    lowest_m = 0.22
    for now_ns in range(T0 + 1, T0 + 68 * STEP_NS, 17 * STEP_NS):
        bench.see(now_ns, np.array([0.42, 0.0, lowest_m]))
        bench.latent(now_ns)
        lowest_m = float(knots(bench.plan(now_ns))[1][-1, 2])
    assert lowest_m == pytest.approx(0.012)


def test_rtc_guides_by_the_motion_under_way(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("rtc", beta=4.0)
    bench.ready(T0)
    bench.policy.chunks = [moving(0.5)]
    first = bench.plan(T0, delay_ns=STEP_NS // 2)
    assert bench.policy.guided_with == []
    bench.see(T0 + STEP_NS, knots(first)[1][1, :3])
    bench.plan(T0 + STEP_NS, delay_ns=STEP_NS // 2)
    previous, weights, guidance = bench.policy.guided_with[0]
    np.testing.assert_array_equal(guidance, guidance_schedule(4.0, 5))
    np.testing.assert_allclose(previous, moving(0.5), atol=1e-5)
    assert weights[0] == 1.0
    assert weights[15] == 0.0
    statistics = bench.core.statistics()
    assert (statistics.jobs, statistics.guided_jobs) == (2, 1)
    assert statistics.counters()["infeasible_requests"] == 0


def test_the_first_measured_delay_does_not_count(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.ready(T0)
    bench.plan(T0, delay_ns=10 * STEP_NS)
    assert bench.core.statistics().delay_steps == 1
    bench.see(T0 + 20 * STEP_NS)
    bench.plan(T0 + 20 * STEP_NS, delay_ns=3 * STEP_NS)
    assert bench.core.statistics().delay_steps == 3


def test_synchronous_waits_for_the_end_and_plays_the_whole_chunk(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("synchronous")
    bench.ready(T0)
    plan = bench.plan(T0, delay_ns=5 * STEP_NS)
    assert knots(plan)[0][0] == T0 + 5 * STEP_NS
    assert len(knots(plan)[0]) == 17
    bench.see(T0 + 10 * STEP_NS, np.array([0.42 + 5 * 0.012, 0, 0.22]))
    assert bench.core.begin(T0 + 10 * STEP_NS) is None
    bench.see(T0 + 21 * STEP_NS, np.array([0.42 + 16 * 0.012, 0, 0.22]))
    assert bench.core.begin(T0 + 21 * STEP_NS) is not None


@pytest.mark.parametrize("strategy", ["synchronous", "naive_async"])
def test_a_chunk_that_comes_after_the_motion_goes_on_from_where_the_arm_has_braked_to(
    make_bench: Callable[..., Any], strategy: str
) -> None:
    bench = make_bench(strategy)
    bench.ready(T0)
    plan = bench.plan(T0)
    end_ns, end_m = int(knots(plan)[0][-1]), float(knots(plan)[1][-1, 0])
    begun_ns = end_ns if strategy == "synchronous" else end_ns - STEP_NS
    bench.see(begun_ns, np.array([0.42 + (begun_ns - T0) / STEP_NS * 0.012, 0.0, 0.22]))
    job = bench.begin(begun_ns)
    # Control cannot stop where the plan ends: the arm comes to rest 9 mm beyond.
    bench.see(end_ns + 2 * STEP_NS, np.array([end_m + 0.009, 0.0, 0.22]))
    late = bench.core.finish(job, bench.core.compute(job), end_ns + 2 * STEP_NS)
    assert late is not None
    t_ns, setpoints = knots(late)
    assert t_ns[0] == end_ns + 2 * STEP_NS
    np.testing.assert_allclose(setpoints[0, :3], [end_m + 0.009, 0.0, 0.22], atol=1e-9)
    np.testing.assert_allclose(np.diff(setpoints[:6, 0]), 0.012, atol=1e-6)  # up to the edge of the box


def test_a_plan_that_is_played_for_long_is_repeated_unchanged_under_new_numbers(
    make_bench: Callable[..., Any],
) -> None:
    bench = make_bench("synchronous")
    bench.ready(T0)
    plan = bench.plan(T0)
    assert bench.core.repeat(T0 + 99 * NS_PER_MS) is None
    again = bench.core.repeat(T0 + 100 * NS_PER_MS)
    assert again == msgspec.structs.replace(plan, seq=1)
    assert bench.core.repeat(T0 + 150 * NS_PER_MS) is None
    assert bench.core.repeat(T0 + 16 * STEP_NS) is None
    statistics = bench.core.statistics()
    assert (statistics.plans, statistics.repeated_plans) == (1, 1)


def test_nothing_is_repeated_when_the_planner_lacks_something_fresh(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("synchronous")
    bench.ready(T0)
    bench.plan(T0)
    assert bench.core.begin(T0 + 200 * NS_PER_MS) is None
    assert bench.core.statistics().declined_no_state == 1
    assert bench.core.repeat(T0 + 200 * NS_PER_MS) is None


def test_nothing_is_repeated_in_another_epoch(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("synchronous")
    bench.ready(T0)
    bench.plan(T0)
    bench.core.on_state(bench.state(T0 + 200 * NS_PER_MS, epoch=1))
    assert bench.core.repeat(T0 + 200 * NS_PER_MS) is None


@given(
    st.sampled_from(["naive_async", "temporal_ensemble", "rtc"]),
    st.lists(
        st.tuples(st.integers(1, 3 * STEP_NS), st.integers(0, 6 * STEP_NS), st.integers(0, 2**32 - 1)),
        min_size=2,
        max_size=8,
    ),
)
def test_consecutive_plans_agree_where_they_join_however_late_they_are(
    make_bench: Callable[..., Any], strategy: str, jobs: list[tuple[int, int, int]]
) -> None:
    bench = make_bench(strategy)
    bench.ready(T0)
    now_ns, before = T0, None
    for gap_ns, delay_ns, seed in jobs:
        now_ns += gap_ns
        tool_m = np.array([0.42, 0.0, 0.22]) if before is None else sampled(before, now_ns)[:3]
        bench.see(now_ns, tool_m)
        bench.policy.chunks = [np.random.default_rng(seed).uniform(-1, 1, (16, 4)).astype(np.float32)]
        plan = bench.plan(now_ns, delay_ns)
        now_ns += delay_ns
        t_ns, setpoints = knots(plan)
        assert t_ns[0] == now_ns
        if before is not None:
            np.testing.assert_allclose(setpoints[0, :3], sampled(before, now_ns)[:3], atol=1e-9)
        speeds = np.abs(np.diff(setpoints[:, :3], axis=0)) / np.diff(t_ns)[:, None]
        assert (speeds <= 0.012 / STEP_NS * (1 + 1e-6)).all()
        before = plan


def sampled(plan: Plan, t_ns: int) -> np.ndarray:
    times, setpoints = knots(plan)
    return np.array([np.interp(t_ns - times[0], times - times[0], column) for column in setpoints.T])


def test_on_a_real_arm_nothing_jumps_at_the_start_and_the_tool_follows_the_actions(
    make_bench: Callable[..., Any],
) -> None:
    start_m = np.array([[0.42, 0.0, 0.22]])
    found = PANDA.inverse(start_m, TOOL_DOWN, PANDA.rest_rad, PANDA.rest_rad + 0.2)[0]
    bench = make_bench(kinematics=PANDA)
    bench.policy.chunks = [moving(0.5)]
    bench.core.start_episode(0, "go")
    pose = (*found.tolist(), 0.08)
    bench.core.on_state(bench.state(T0, position=pose, command=pose))
    bench.core.on_frame("wrist", np.zeros((4, 4, 3), np.uint8), T0)
    bench.latent(T0)
    joints = knots(bench.plan(T0))[1][:, :7]
    np.testing.assert_allclose(joints[0], found, atol=5e-3)
    assert np.abs(np.diff(joints, axis=0)).max() < 0.08
    expected_x_m = 0.42 + 0.006 * np.arange(17)
    np.testing.assert_allclose(PANDA.forward(joints)[0][:, 0], expected_x_m, atol=2e-4)
    assert bench.core.statistics().unreachable_plans == 0
