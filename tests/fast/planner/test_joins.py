"""How chunks join under every strategy and any delay, with a System 1 that offers all samplers.

Several rules are named after slips that executors of chunks are known for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualsys.clock import NS_PER_MS
from dualsys.errors import ConfigError
from dualsys.fast.chunking.requests import Guidance, Prefix, RollForward
from dualsys.fast.chunking.strategy import STRATEGIES, make_strategy
from dualsys.fast.planner.records import PlannerSettings
from dualsys.fast.planner.track import Box, Chunk, Track
from dualsys.messages import Plan

from ..policies.double import EVERYTHING, FieldPolicy

T0 = 10**9
STEP_NS = 40 * NS_PER_MS
SCALE_M = (0.012, 0.012, 0.012)
EVERYWHERE = Box((-9.0, -9.0, -9.0), (9.0, 9.0, 9.0))
QUIET = EVERYTHING - {"residual"}
UNMIXED = [name for name in STRATEGIES if name not in ("temporal_ensemble", "vote", "queue_aggregate")]
"""Strategies that play actions as they were predicted."""

JOBS = st.lists(st.tuples(st.integers(1, 3 * STEP_NS), st.integers(0, 20 * STEP_NS)), min_size=2, max_size=7)


def sampled(plan: Plan, t_ns: int) -> np.ndarray:
    times, setpoints = plan.t_ns.array(), plan.setpoints.array()
    return np.array([np.interp(t_ns - times[0], times - times[0], column) for column in setpoints.T])


@pytest.mark.parametrize("name", STRATEGIES)
@given(jobs=JOBS)
@settings(max_examples=12)
def test_the_position_never_jumps_and_no_step_exceeds_the_limit_however_late_chunks_are(
    make_bench: Callable[..., Any], name: str, jobs: list[tuple[int, int]]
) -> None:
    options = {"samples": 3} if name == "bid" else {"jacobian": "constant_velocity"} if name == "rtc" else {}
    options = {"jacobian": "constant_velocity"} if name == "hard_mask" else options
    bench = make_bench(name, policy=FieldPolicy(QUIET), **options)
    bench.ready(T0)
    now_ns, before = T0, None
    for gap_ns, delay_ns in jobs:
        now_ns += gap_ns
        bench.see(now_ns, np.array([0.42, 0.0, 0.22]) if before is None else sampled(before, now_ns)[:3])
        job = bench.core.begin(now_ns)
        if job is None:
            continue
        now_ns += delay_ns
        if delay_ns:
            bench.see(now_ns, np.array([0.42, 0.0, 0.22]) if before is None else sampled(before, now_ns)[:3])
        plan = bench.core.finish(job, bench.core.compute(job), now_ns)
        if plan is None:
            assert bench.core.statistics().expired_chunks > 0
            continue
        times, setpoints = plan.t_ns.array(), plan.setpoints.array()
        if before is not None:
            np.testing.assert_allclose(sampled(plan, now_ns)[:3], sampled(before, now_ns)[:3], atol=1e-9)
        speeds = np.abs(np.diff(setpoints[:, :3], axis=0)) / np.diff(times)[:, None]
        assert (speeds <= 0.012 / STEP_NS * (1 + 1e-6)).all()
        before = plan


def numbered(number: int, t0_ns: int) -> Chunk:
    """A chunk that moves all the time, whose gripper values tell which chunk and action they are of."""
    actions = np.zeros((16, 4), np.float32)
    actions[:, 0], actions[:, 3] = 1.0, number + np.arange(16) / 16
    return Chunk(t0_ns, STEP_NS, actions, SCALE_M)


@pytest.mark.parametrize("name", UNMIXED)
@given(jobs=JOBS)
@settings(max_examples=25)
def test_no_action_of_a_chunk_is_ever_played_twice_or_out_of_order_or_for_longer_than_its_step(
    name: str, jobs: list[tuple[int, int]]
) -> None:
    strategy = make_strategy(name)
    track, now_ns = Track.holding(0, np.zeros(3), 0.0), 0
    for number, (gap_ns, delay_ns) in enumerate(jobs, start=1):
        t0_ns = now_ns + gap_ns
        now_ns = t0_ns + delay_ns
        track = strategy.merge(track, numbered(number, t0_ns), now_ns, EVERYWHERE)
    moving = np.diff(track.tool[:, 0]) > 0.0
    # Chunks come one after the other, and so do their actions: each of them once, then a later one.
    assert (np.diff(track.grip[:-1][moving]) > 0.0).all()
    assert (np.diff(track.t_ns)[moving] <= STEP_NS).all()


@pytest.mark.parametrize("name", [name for name in UNMIXED if name != "synchronous"])
@given(jobs=JOBS)
@settings(max_examples=25)
def test_no_action_is_played_before_its_time_or_after_more_delay_than_was_stood_still(
    name: str, jobs: list[tuple[int, int]]
) -> None:
    strategy = make_strategy(name)
    track, now_ns = Track.holding(0, np.zeros(3), 0.0), 0
    for number, (gap_ns, delay_ns) in enumerate(jobs, start=1):
        t0_ns = now_ns + gap_ns
        now_ns = t0_ns + delay_ns
        chunk = numbered(number, t0_ns)
        before, track = track, strategy.merge(track, chunk, now_ns, EVERYWHERE)
        if track is before:
            assert now_ns >= chunk.end_ns
            continue
        stood_ns = max(0, now_ns - max(t0_ns, before.end_ns))
        index = round((track.at(now_ns)[1] - number) * 16)
        # The action that plays now is the one whose time it is, less the time that nothing was played.
        assert index == (now_ns - t0_ns - stood_ns) // STEP_NS


def test_a_first_chunk_skips_nothing_because_nothing_was_consumed(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.ready(T0)
    chunk = np.zeros((16, 4), np.float32)
    chunk[:, 0], chunk[:, 3] = np.linspace(0.1, 0.8, 16), 1.0
    bench.policy.chunks = [chunk]
    plan = bench.plan(T0, delay_ns=7 * STEP_NS)
    moves_m = np.diff(plan.setpoints.array()[:, 0])
    np.testing.assert_allclose(moves_m, chunk[:, 0] * 0.012, atol=1e-7)


@pytest.mark.parametrize(("estimated", "consumed"), [(2, 5), (5, 2), (3, 3)])
def test_the_index_follows_what_was_consumed_and_not_what_was_estimated(
    make_bench: Callable[..., Any], estimated: int, consumed: int
) -> None:
    bench = make_bench("rtc")
    bench.ready(T0)
    bench.plan(T0)
    now_ns = T0
    late = 0
    for delay_steps in (estimated, consumed):
        late = bench.core.statistics().late_chunks
        now_ns += STEP_NS
        bench.see(now_ns, np.array([0.42 + (now_ns - T0) / STEP_NS * 0.012, 0.0, 0.22]))
        plan = bench.plan(now_ns, delay_ns=delay_steps * STEP_NS)
        now_ns += delay_steps * STEP_NS
    assert plan.delay_steps == estimated
    assert bench.core.statistics().late_chunks - late == (consumed > estimated)
    assert len(plan.t_ns.array()) - 1 == 16 - consumed


def test_a_plan_that_ended_early_goes_on_with_the_first_action_that_was_not_played() -> None:
    strategy = make_strategy("naive_async")
    track = strategy.merge(Track.holding(0, np.zeros(3), 0.0), numbered(1, 0), 0, EVERYWHERE)
    late = numbered(2, 14 * STEP_NS)
    # Two actions of the old chunk are left when the job begins; it takes five steps.
    track = strategy.merge(track, late, 19 * STEP_NS, EVERYWHERE)
    assert track.at(19 * STEP_NS)[1] == 2 + 2 / 16
    assert track.at(18 * STEP_NS)[1] == pytest.approx(1 + 15 / 16)


def test_the_prefix_is_the_motion_that_will_be_played_meanwhile(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("rtc_prefix", policy=FieldPolicy(QUIET))
    bench.ready(T0)
    first = bench.plan(T0)
    bench.see(T0 + STEP_NS, sampled(first, T0 + STEP_NS)[:3])
    job = bench.begin(T0 + STEP_NS)
    assert isinstance(job.request, Prefix)
    chunk = bench.core.compute(job)
    assert chunk[:1].tobytes() == job.request.previous[:1].tobytes()
    plan = bench.core.finish(job, chunk, T0 + 2 * STEP_NS)
    assert plan is not None
    before, after = (sampled(one, T0 + 2 * STEP_NS)[:3] for one in (first, plan))
    np.testing.assert_allclose(after, before, atol=1e-9)


def test_the_state_is_rolled_forward_to_where_the_plan_leads_when_the_chunk_begins(
    make_bench: Callable[..., Any],
) -> None:
    settings_ = PlannerSettings(expected_delay_ns=3 * STEP_NS)
    bench = make_bench("vlash", settings=settings_)
    bench.ready(T0)
    bench.plan(T0)
    bench.latent(T0)
    # The tool is 5 mm behind the command, and will be.
    pose = (0.432, 0.0, 0.22, 0.1, 0.2, 0.3, 0.4, 0.08)
    bench.core.on_state(bench.state(T0 + STEP_NS, position=(0.427, *pose[1:]), command=pose))
    job = bench.begin(T0 + STEP_NS)
    assert job.request == RollForward(3)
    assert (job.t0_ns, job.grid_ns) == (T0 + STEP_NS, T0 + 4 * STEP_NS)
    np.testing.assert_allclose(job.proprioception[:4], [0.463, 0, 0.22, 0.005], atol=1e-6)
    assert job.latent_age_s[0] == pytest.approx(0.16)
    plan = bench.core.finish(job, bench.core.compute(job), T0 + 2 * STEP_NS)
    assert plan.splice_ns == T0 + 4 * STEP_NS
    assert plan.delay_ns == STEP_NS


def test_an_expected_delay_that_a_strategy_cannot_work_with_is_refused_when_the_planner_is_built(
    make_bench: Callable[..., Any],
) -> None:
    with pytest.raises(ConfigError, match="horizon 16, execution_horizon 1 and an expected delay of 9"):
        make_bench("rtc", settings=PlannerSettings(expected_delay_ns=9 * STEP_NS))
    bench = make_bench("rtc", settings=PlannerSettings(expected_delay_ns=3 * STEP_NS))
    assert bench.core.statistics().delay_steps == 3


def test_a_policy_that_lacks_a_sampler_is_refused_when_the_planner_is_built(
    make_bench: Callable[..., Any],
) -> None:
    with pytest.raises(ConfigError, match="chunk strategy rtc_prefix: 1 fault\n  needs prefix of System 1"):
        make_bench("rtc_prefix")


def test_the_guided_region_holds_real_actions_only(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("rtc")
    bench.ready(T0)
    bench.plan(T0)
    now_ns = T0 + 6 * STEP_NS
    bench.see(now_ns, np.array([0.42 + 6 * 0.012, 0.0, 0.22]))
    request = bench.begin(now_ns).request
    assert isinstance(request, Guidance)
    assert request.weights[9] > 0.0
    assert (request.weights[10:] == 0.0).all()
    np.testing.assert_allclose(request.previous[:, 0], 1.0, atol=1e-5)


def test_a_job_that_fails_leaves_the_planner_able_to_begin_the_next_one(
    make_bench: Callable[..., Any],
) -> None:
    for name in STRATEGIES:
        bench = make_bench(name, policy=FieldPolicy(QUIET))
        bench.ready(T0)
        bench.core.abandon(bench.begin(T0), "the runtime failed")
        assert bench.core.begin(T0 + 1) is not None


def test_a_scene_in_which_nothing_has_changed_is_shown_and_planned_for_all_the_same(
    make_bench: Callable[..., Any],
) -> None:
    # A filter that drops what looks like the last observation is blind to units and to images.
    bench = make_bench()
    bench.ready(T0)
    seen = [bench.core.observation(T0 + step, bench.fixed) for step in (1, 2, 3)]
    assert [one.seq for one in seen] == [1, 2, 3]
    for step in (1, 2, 3):
        bench.see(T0 + step)
        bench.plan(T0 + step)
    assert bench.core.statistics().plans == 3
