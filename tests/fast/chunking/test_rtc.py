from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dualsys.fast.chunking.delay import DelayEstimator
from dualsys.fast.chunking.masks import soft_mask
from dualsys.fast.chunking.requests import Guidance, Jacobian, Plain
from dualsys.fast.chunking.rtc import RealTimeChunking
from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.planner.track import Box, Chunk, Track

STEP_NS = 40_000_000


def overlap(valid: int, delay_steps: int, horizon: int = 10) -> Overlap:
    actions = np.arange(4 * horizon, dtype=np.float32).reshape(horizon, 4)
    return Overlap(actions, valid, delay_steps)


def test_guidance_follows_the_overlap_with_the_soft_mask_of_the_paper() -> None:
    guidance = RealTimeChunking(beta=3.0).request(overlap(valid=6, delay_steps=2))
    assert isinstance(guidance, Guidance)
    assert guidance.beta == 3.0
    expected = [1, 1, 0.570589, 0.287072, 0.114492, 0.025770, 0, 0, 0, 0]
    np.testing.assert_allclose(guidance.weights, expected, atol=1e-6)
    np.testing.assert_array_equal(guidance.previous[:6], overlap(6, 2).previous[:6])


def test_the_overlap_ends_no_later_than_the_execution_horizon_allows() -> None:
    guidance = RealTimeChunking(mask="ones", execution_horizon=4).request(overlap(valid=10, delay_steps=2))
    assert isinstance(guidance, Guidance)
    np.testing.assert_array_equal(guidance.weights, [1] * 6 + [0] * 4)


def test_only_real_actions_are_followed_and_the_rest_repeats_the_last_one() -> None:
    guidance = RealTimeChunking(mask="ones").request(overlap(valid=3, delay_steps=2))
    assert isinstance(guidance, Guidance)
    np.testing.assert_array_equal(guidance.weights, [1, 1, 1] + [0] * 7)
    np.testing.assert_array_equal(guidance.previous[3:], np.tile(guidance.previous[2], (7, 1)))


def test_without_planned_motion_the_chunk_is_sampled_plainly_and_that_is_no_fault() -> None:
    strategy = RealTimeChunking()
    assert strategy.request(overlap(valid=0, delay_steps=2)) == Plain()
    assert strategy.statistics() == {"infeasible_requests": 0}


def test_a_delay_beyond_the_planned_motion_is_refused_and_counted() -> None:
    strategy = RealTimeChunking(execution_horizon=4)
    assert strategy.request(overlap(valid=10, delay_steps=6)) != Plain()
    assert strategy.request(overlap(valid=10, delay_steps=7)) == Plain()
    assert strategy.request(overlap(valid=3, delay_steps=4)) == Plain()
    strategy.reset()
    assert strategy.statistics() == {"infeasible_requests": 2}


def test_the_next_job_waits_for_the_execution_horizon_to_begin(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = RealTimeChunking(execution_horizon=3)
    assert strategy.wants_plan(0, resting)
    track = strategy.merge(resting, chunk_of([1.0] * 8), 0, everywhere)
    assert not strategy.wants_plan(2 * STEP_NS, track)
    assert strategy.wants_plan(2 * STEP_NS + 1, track)
    strategy.reset()
    assert strategy.wants_plan(0, track)


def test_an_exhausted_track_always_wants_a_plan(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = RealTimeChunking(execution_horizon=7)
    track = strategy.merge(resting, chunk_of([1.0] * 4), 0, everywhere)
    assert strategy.wants_plan(4 * STEP_NS, track)


def test_an_inference_runs_as_in_the_trace_of_algorithm_1(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    # H 50, s_min 25, one past delay of 6 ticks: inference starts at tick 25 with s 25 and d 6, is done at 31.
    strategy, delay = RealTimeChunking(execution_horizon=25), DelayEstimator(STEP_NS)
    for delay_steps in (40, 6):
        delay.observe(delay_steps * STEP_NS)
    track = strategy.merge(resting, chunk_of([0.5] * 50), 0, everywhere)
    assert not strategy.wants_plan(24 * STEP_NS, track)
    assert strategy.wants_plan(25 * STEP_NS, track)
    previous, valid = track.displacements(25 * STEP_NS, STEP_NS, 50, (0.012, 0.012, 0.012))
    guidance = strategy.request(Overlap(previous, valid, delay.steps))
    assert isinstance(guidance, Guidance)
    np.testing.assert_array_equal(guidance.weights, soft_mask(6, 25, 50))
    delay.observe(6 * STEP_NS)
    assert delay.steps == 6
    merged = strategy.merge(track, chunk_of([1.0] * 50, step=25), 31 * STEP_NS, everywhere)
    # Six actions of the new chunk are over: what was executed meanwhile is the old one.
    assert merged.at(31 * STEP_NS)[0][0] == pytest.approx(0.5 + 31 * 0.006)
    assert merged.end_ns == 75 * STEP_NS
    assert merged.at(75 * STEP_NS)[0][0] == pytest.approx(0.5 + 31 * 0.006 + 44 * 0.012)
    assert not strategy.wants_plan(49 * STEP_NS, merged)
    assert strategy.wants_plan(50 * STEP_NS, merged)


def test_a_chunk_later_than_its_estimate_is_played_from_where_the_track_is(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = RealTimeChunking()
    track = strategy.merge(resting, chunk_of([1.0] * 16), 0, everywhere)
    merged = strategy.merge(track, chunk_of([-1.0] * 16, step=2), 9 * STEP_NS, everywhere)
    assert merged.at(9 * STEP_NS)[0][0] == pytest.approx(0.5 + 9 * 0.012)
    assert merged.at(18 * STEP_NS)[0][0] == pytest.approx(0.5)


def test_the_variants_reach_the_sampler() -> None:
    guidance = RealTimeChunking(jacobian="constant_velocity", sigma_d=0.2).request(overlap(6, 2))
    assert isinstance(guidance, Guidance)
    assert (guidance.jacobian, guidance.sigma_d) == ("constant_velocity", 0.2)
    np.testing.assert_array_equal(guidance.schedule(5), [5, 5, 5, 5, 5])


@pytest.mark.parametrize(
    ("jacobian", "needs"),
    [("exact", {"sampler", "guided", "velocity"}), ("constant_velocity", {"sampler", "velocity"})],
)
def test_a_pulled_path_reaches_the_sampler_and_needs_the_velocity(
    jacobian: Jacobian, needs: set[str]
) -> None:
    strategy = RealTimeChunking(jacobian=jacobian, pull="path")
    guidance = strategy.request(overlap(6, 2))
    assert isinstance(guidance, Guidance)
    assert guidance.jacobian == jacobian
    assert guidance.led is not None
    np.testing.assert_array_equal(guidance.led.weights, guidance.weights)
    assert guidance.led.planned == 6
    assert strategy.needs == needs
    plain = RealTimeChunking(jacobian=jacobian).request(overlap(6, 2))
    assert isinstance(plain, Guidance)
    assert plain.led is None


@pytest.mark.parametrize(
    ("valid", "delay_steps", "led"),
    [
        (11, 5, [1] * 5 + [6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7] + [0] * 5),
        (9, 7, [1] * 7 + [4 / 5, 3 / 5, 2 / 5, 1 / 5] + [0] * 5),
        (8, 8, [1] * 8 + [4 / 5, 3 / 5, 2 / 5, 1 / 5] + [0] * 4),
        (14, 14, [1] * 14 + [2 / 3, 1 / 3]),
    ],
)
def test_what_the_frozen_actions_are_off_is_made_good_over_several_even_if_few_are_planned_behind_them(
    valid: int, delay_steps: int, led: list[float]
) -> None:
    guidance = RealTimeChunking(pull="path", mask="linear").request(overlap(valid, delay_steps, horizon=16))
    assert isinstance(guidance, Guidance)
    assert guidance.led is not None
    np.testing.assert_allclose(guidance.led.weights, led, atol=1e-6)
    assert guidance.led.planned == valid
    assert (guidance.weights[valid:] == 0.0).all()
