"""An arm that stands still where System 2 sees nothing steps back to where it began, and looks again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dualsys.clock import NS_PER_MS
from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.planner.lookout import (
    EASE,
    PATIENCE_NS,
    RISE_M,
    SPEED,
    STILL_M,
    Lookout,
    step_back_chunk,
)
from dualsys.fast.planner.records import PlannerSettings

T0 = 10**9
STEP_NS = 40 * NS_PER_MS
HORIZON = 16
SCALE_M = (0.012, 0.012, 0.012)
HOME = np.array([0.45, 0.0, 0.2])
AWAY = np.array([0.6, 0.1, 0.05])
BLIND, SEEN, UNSURE = (False, False), (True, True), (False, True)


@pytest.fixture
def stuck() -> Lookout:
    """It began at HOME, stands at AWAY, and has seen nothing since T0."""
    lookout = Lookout()
    assert lookout.place_m(T0 - 1, HOME, SEEN) is None
    assert lookout.place_m(T0, AWAY, BLIND) is None
    return lookout


def test_it_goes_back_after_it_stood_still_and_saw_nothing_for_the_whole_patience(stuck: Lookout) -> None:
    assert stuck.place_m(T0 + PATIENCE_NS - 1, AWAY, BLIND) is None
    assert not stuck.looking
    np.testing.assert_array_equal(stuck.place_m(T0 + PATIENCE_NS, AWAY, BLIND), HOME)
    assert stuck.looking


def test_it_stays_there_until_two_latents_in_a_row_say_what_to_do(stuck: Lookout) -> None:
    stuck.place_m(T0 + PATIENCE_NS, AWAY, BLIND)
    for later, said in enumerate((UNSURE, BLIND, BLIND), start=1):
        assert stuck.place_m(T0 + (1 + later) * PATIENCE_NS, HOME, said) is not None
    assert stuck.place_m(T0 + 5 * PATIENCE_NS, HOME, SEEN) is None
    assert not stuck.looking


def test_one_latent_that_sees_something_begins_the_patience_anew(stuck: Lookout) -> None:
    half_ns = PATIENCE_NS // 2
    assert stuck.place_m(T0 + half_ns, AWAY, UNSURE) is None
    assert stuck.place_m(T0 + PATIENCE_NS, AWAY, BLIND) is None
    assert stuck.place_m(T0 + PATIENCE_NS + half_ns, AWAY, BLIND) is None
    assert stuck.place_m(T0 + 2 * PATIENCE_NS, AWAY, BLIND) is not None


def test_an_arm_that_is_on_its_way_is_not_called_back(stuck: Lookout) -> None:
    for step in range(1, 80):
        moved = AWAY + step * np.array([0.5 * STILL_M, 0.0, 0.0])
        assert stuck.place_m(T0 + step * STEP_NS, moved, BLIND) is None


def test_an_arm_that_never_left_stays_where_it_is() -> None:
    lookout = Lookout()
    for step in range(200):
        drifted = HOME + min(step, 60) * np.array([0.9 * STILL_M / 60, 0.0, 0.0])
        assert lookout.place_m(T0 + step * STEP_NS, drifted, BLIND) is None


directions = arrays(np.float64, 3, elements=st.floats(-0.25, 0.25))


@given(
    directions,
    arrays(np.float32, (HORIZON, 4), elements=st.floats(-1, 1, width=32)),
    st.integers(0, HORIZON),
    st.integers(0, 8),
)
def test_a_way_back_keeps_what_is_played_meanwhile_and_changes_speed_gently(
    way_m: np.ndarray, previous: np.ndarray, valid: int, delay_steps: int
) -> None:
    chunk = step_back_chunk(Overlap(previous, valid, delay_steps), way_m, SCALE_M, grip=-1.0)
    assert chunk.dtype == np.float32
    assert (chunk[:, 3] == -1.0).all()
    kept = min(valid, delay_steps + 1)
    np.testing.assert_array_equal(chunk[:kept, :3], previous[:kept, :3])
    before = np.vstack([previous[kept - 1 : kept, :3] if kept else np.zeros((1, 3)), chunk[kept:, :3]])
    assert (np.abs(np.diff(before, axis=0)) <= EASE + 1e-6).all()


@given(directions)
def test_a_way_back_arrives_at_rest_where_it_leads_and_rises_before_it_goes_sideways(
    way_m: np.ndarray,
) -> None:
    left_m, height_left_m = way_m.copy(), []
    previous = np.zeros((HORIZON, 4), np.float32)
    for _ in range(20):
        chunk = step_back_chunk(Overlap(previous, HORIZON, 1), left_m, SCALE_M, grip=1.0)
        for action in chunk[:4]:
            if abs(action[:2]).max() > EASE:
                height_left_m.append(left_m[2])
            left_m = left_m - action[:3] * SCALE_M
        assert np.abs(chunk[:, :3]).max(initial=0.0) <= SPEED + 1e-6
        previous = np.concatenate([chunk[4:], np.zeros((4, 4), np.float32)])
    assert max(height_left_m, default=0.0) <= RISE_M + 1e-6
    np.testing.assert_allclose(left_m, 0.0, atol=2e-3)
    assert np.abs(previous[:4, :3]).max() < 0.05


@pytest.mark.parametrize("look_again", [True, False])
def test_an_arm_that_is_not_to_step_back_waits_where_it_is(make_bench: Any, look_again: bool) -> None:
    bench = make_bench(settings=PlannerSettings(look_again=look_again))
    bench.ready(T0)
    bench.plan(T0)
    away = np.array([0.54, 0.0, 0.22])
    for step in range(1, 60):
        bench.see(T0 + step * STEP_NS, away)
        bench.latent(T0 + step * STEP_NS, act=step < 4)
        bench.plan(T0 + step * STEP_NS)
    assert (bench.core.statistics().look_jobs > 0) == look_again
    assert (len(bench.policy.conditions) == 60) == (not look_again)


def test_system_1_is_not_asked_while_the_arm_steps_back_and_is_asked_again_afterwards(
    make_bench: Any,
) -> None:
    bench = make_bench()
    bench.ready(T0)
    now_ns = T0
    bench.plan(now_ns)
    for step in range(1, 4):
        bench.latent(T0 + step * STEP_NS)
    # The arm has come to rest far from where it began, and nothing is seen there.
    away = np.array([0.54, 0.0, 0.22])
    statistics = bench.core.statistics
    for step in range(10, 60):
        now_ns = T0 + step * STEP_NS
        bench.see(now_ns, away)
        bench.latent(now_ns, act=False)
        plan = bench.plan(now_ns)
        if statistics().look_jobs:
            break
    assert statistics().look_jobs == 1
    asked = len(bench.policy.conditions)
    x_m = plan.setpoints.array()[:, 0]
    assert x_m[-1] < x_m[-5] - 0.01
    for step in (1, 2):
        bench.see(now_ns + step * STEP_NS, away)
        bench.latent(now_ns + step * STEP_NS)
        bench.plan(now_ns + step * STEP_NS)
    assert len(bench.policy.conditions) == asked + 1
    assert statistics().look_jobs == 2
