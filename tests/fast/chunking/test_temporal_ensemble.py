from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.fast.chunking.requests import Plain
from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.chunking.temporal_ensemble import TemporalEnsemble, ensemble_weights
from dualsys.fast.planner.track import Box, Chunk, Track

STEP_NS = 40_000_000
FOUR = np.ones((4, 1), np.bool_)


def test_the_weights_of_four_predictions_have_the_values_of_act() -> None:
    weights = ensemble_weights(FOUR, 0.01)[:, 0]
    np.testing.assert_allclose(weights, [0.253762, 0.251237, 0.248738, 0.246263], atol=1e-6)


def test_the_order_can_be_reversed() -> None:
    weights = ensemble_weights(FOUR, 0.01, newest_first=True)[:, 0]
    np.testing.assert_allclose(weights, [0.246263, 0.248738, 0.251237, 0.253762], atol=1e-6)


def test_predictions_that_do_not_cover_a_step_get_neither_weight_nor_number() -> None:
    covers = np.array([[True], [False], [True]])
    one = math.exp(-0.5)
    expected = [1 / (1 + one), 0, one / (1 + one)]
    np.testing.assert_allclose(ensemble_weights(covers, 0.5)[:, 0], expected)


def test_any_decay_has_weights_that_sum_to_one_over_each_step() -> None:
    covers = np.array([[True, False], [True, True], [True, True]])
    for newest_first in (False, True):
        weights = ensemble_weights(covers, 1e300, newest_first=newest_first)
        np.testing.assert_array_equal(weights.sum(axis=0), 1.0)
        assert weights[2 if newest_first else 0, 0] == 1.0


def test_it_always_wants_a_plan_and_never_asks_for_guidance(resting: Track) -> None:
    strategy = TemporalEnsemble()
    assert strategy.wants_plan(0, resting)
    assert strategy.request(Overlap(np.zeros((16, 4), np.float32), 16, 1)) == Plain()


def test_the_first_chunk_is_played_as_it_is(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    chunk = chunk_of([0.1, 0.5, -0.3, 0.2])
    track = TemporalEnsemble().merge(resting, chunk, 0, everywhere)
    actions, valid = track.displacements(0, STEP_NS, 4, chunk.scale_m)
    assert valid == 4
    np.testing.assert_allclose(actions, chunk.actions, atol=1e-6)


def test_the_oldest_prediction_weighs_most_unless_the_newest_comes_first(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    share = 1 / (1 + math.exp(-1.0))
    for newest_first, expected in ((False, share), (True, 1 - share)):
        strategy = TemporalEnsemble(decay=1.0, newest_first=newest_first)
        track = strategy.merge(resting, chunk_of([1.0] * 8), 0, everywhere)
        track = strategy.merge(track, chunk_of([0.0] * 8, step=2), 2 * STEP_NS, everywhere)
        moved_m = track.at(3 * STEP_NS)[0][0] - track.at(2 * STEP_NS)[0][0]
        assert moved_m == pytest.approx(0.012 * expected)


def test_steps_that_only_the_newest_covers_are_its_own(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = TemporalEnsemble()
    track = strategy.merge(resting, chunk_of([1.0] * 8), 0, everywhere)
    track = strategy.merge(track, chunk_of([-1.0] * 8, step=4), 4 * STEP_NS, everywhere)
    assert track.at(12 * STEP_NS)[0][0] - track.at(8 * STEP_NS)[0][0] == pytest.approx(-4 * 0.012)


@given(
    st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8),
    st.floats(0.0, 7.0, exclude_max=True),
)
def test_a_chunk_that_agrees_with_the_last_changes_nothing_wherever_it_starts(
    values: list[float], start: float
) -> None:
    everywhere = Box((-9.0, -9.0, -9.0), (9.0, 9.0, 9.0))
    actions = np.array([[value, 0, 0, 1] for value in values], np.float32)
    first = Chunk(0, STEP_NS, actions, (0.012, 0.012, 0.012))
    start_ns = round(start * STEP_NS)
    again, valid = first.path().displacements(start_ns, STEP_NS, 8, first.scale_m)
    strategy = TemporalEnsemble()
    track = strategy.merge(Track.holding(0, np.zeros(3), 1.0), first, 0, everywhere)
    merged = strategy.merge(track, Chunk(start_ns, STEP_NS, again, first.scale_m), start_ns, everywhere)
    for step in range(valid + 1):
        time_ns = start_ns + step * STEP_NS
        np.testing.assert_allclose(merged.at(time_ns)[0], track.at(time_ns)[0], atol=1e-7)


def test_a_chunk_that_is_over_is_neither_played_nor_remembered(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = TemporalEnsemble(decay=0.0)
    assert strategy.merge(resting, chunk_of([1.0] * 8), 8 * STEP_NS, everywhere) is resting
    track = strategy.merge(resting, chunk_of([0.0] * 8, step=8), 8 * STEP_NS, everywhere)
    assert track.at(9 * STEP_NS)[0][0] == 0.5


def test_a_reset_forgets_all_predictions(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = TemporalEnsemble()
    strategy.merge(resting, chunk_of([1.0] * 8), 0, everywhere)
    strategy.reset()
    track = strategy.merge(resting, chunk_of([0.0] * 8, step=1), STEP_NS, everywhere)
    assert track.at(3 * STEP_NS)[0][0] == 0.5
