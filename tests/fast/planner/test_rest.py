"""While System 2 says that there is nothing to do, the arm comes to rest and stays there."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dualsys.clock import NS_PER_MS
from dualsys.fast.chunking.delay import WINDOW
from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.planner.rest import FADE_STEPS, rest_chunk

T0 = 10**9
STEP_NS = 40 * NS_PER_MS
HORIZON = 16


def overlap(previous: np.ndarray, valid: int, delay_steps: int) -> Overlap:
    return Overlap(previous.astype(np.float32), valid, delay_steps)


def test_an_arm_that_does_not_move_is_told_exactly_nothing() -> None:
    for valid in (0, 5, HORIZON):
        chunk = rest_chunk(overlap(np.zeros((HORIZON, 4)), valid, 2), grip=-1.0)
        assert not chunk[:, :3].any()
        assert (chunk[:, 3] == -1.0).all()
        assert chunk.dtype == np.float32


@given(
    arrays(np.float32, (HORIZON, 4), elements=st.floats(-1, 1, width=32)),
    st.integers(0, HORIZON),
    st.integers(0, 8),
)
def test_a_motion_under_way_dies_down_and_never_grows(
    previous: np.ndarray, valid: int, delay_steps: int
) -> None:
    chunk = rest_chunk(overlap(previous, valid, delay_steps), grip=1.0)
    assert not chunk[delay_steps + FADE_STEPS :, :3].any()
    speed = np.linalg.norm(chunk[delay_steps:, :3], axis=1)
    assert (np.diff(speed) <= 1e-6).all()
    if valid > delay_steps:
        np.testing.assert_allclose(chunk[: delay_steps + 1, :3], previous[: delay_steps + 1, :3])


def test_system_1_is_not_asked_and_the_arm_stays_where_it_is(make_bench: Any) -> None:
    bench = make_bench()
    bench.core.start_episode(0, "pick the purple block")
    bench.see(T0)
    bench.latent(T0, act=False)
    plan = bench.plan(T0)
    assert not bench.policy.conditions
    setpoints = plan.setpoints.array()
    np.testing.assert_allclose(setpoints, np.broadcast_to(setpoints[0], setpoints.shape), atol=1e-9)
    assert bench.core.statistics().rest_jobs == bench.core.statistics().jobs == 1


def test_only_what_system_1_takes_counts_as_its_delay(make_bench: Any) -> None:
    bench = make_bench()
    bench.core.start_episode(0, "pick the purple block")
    bench.see(T0)
    bench.latent(T0, act=False)
    bench.plan(T0)
    # The first time that System 1 is asked contains its warm-up, whatever was planned without it before.
    bench.latent(T0 + STEP_NS)
    bench.see(T0 + STEP_NS)
    bench.plan(T0 + STEP_NS, delay_ns=7 * STEP_NS)
    assert bench.core.statistics().delay_steps == 1
    bench.see(T0 + 30 * STEP_NS)
    bench.plan(T0 + 30 * STEP_NS, delay_ns=3 * STEP_NS)
    # Nor is it any faster for an arm that rests.
    bench.core.instruct("pick the green block")
    for step in range(60, 60 + 2 * WINDOW):
        bench.see(T0 + step * STEP_NS)
        bench.latent(T0 + step * STEP_NS, act=False)
        bench.plan(T0 + step * STEP_NS)
    statistics = bench.core.statistics()
    assert (statistics.rest_jobs, statistics.delay_steps) == (1 + 2 * WINDOW, 3)


def test_an_arm_that_is_told_of_something_absent_on_its_way_comes_to_rest(make_bench: Any) -> None:
    bench = make_bench()
    bench.ready(T0)
    moving = bench.plan(T0).setpoints.array()
    assert moving[-1, 0] - moving[0, 0] > 0.1
    now_ns = T0 + 2 * STEP_NS
    bench.core.instruct("pick the purple block")
    bench.see(now_ns)
    bench.latent(now_ns, act=False)
    x_m = bench.plan(now_ns).setpoints.array()[:, 0]
    assert 0.0 < x_m[-1] - x_m[0] < 0.012 * (FADE_STEPS + 1)
    assert (np.diff(x_m) >= -1e-9).all()


def test_system_1_goes_on_by_itself_once_it_has_set_off(make_bench: Any) -> None:
    bench = make_bench()
    bench.ready(T0)
    for step in range(1, 4):
        bench.latent(T0 + step * STEP_NS)
    bench.latent(T0 + 4 * STEP_NS, act=False)
    bench.see(T0 + 4 * STEP_NS)
    bench.plan(T0 + 4 * STEP_NS)
    assert bench.policy.conditions
    assert bench.core.statistics().rest_jobs == 0
