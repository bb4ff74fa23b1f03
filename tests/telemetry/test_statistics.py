"""Rules of the small statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import NS_PER_S
from dualsys.telemetry.statistics import Rate, Streaming, percentiles, success_line, wilson_interval

COUNTS = st.integers(0, 2000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))
FINITE = st.floats(-1e9, 1e9)


def test_the_wilson_interval_has_its_published_values() -> None:
    # Newcombe 1998, table I, method 3.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(COUNTS)
def test_the_interval_contains_the_rate_and_is_symmetric_in_success_and_failure(
    counts: tuple[int, int],
) -> None:
    successes, trials = counts
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= high <= 1
    if trials:
        assert low <= successes / trials <= high
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_before_the_first_trial_nothing_is_known() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert success_line(0, 0) == "0 of 0"


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (1, 0)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes must be from 0 to trials"):
        wilson_interval(successes, trials)


def test_the_success_line_says_rate_and_interval() -> None:
    assert success_line(7, 10) == "7 of 10 (70%, 95 % interval 40 to 89%)"


@given(st.lists(FINITE, min_size=1, max_size=50))
def test_percentiles_are_ordered_and_reach_the_extremes(samples: list[float]) -> None:
    low, middle, high = percentiles(samples, (0, 50, 100))
    assert low == min(samples)
    assert high == max(samples)
    assert low <= middle <= high


def test_percentiles_of_nothing_are_not_numbers_and_nonsense_is_refused() -> None:
    assert all(math.isnan(value) for value in percentiles([]))
    with pytest.raises(ValueError, match="from 0 to 100"):
        percentiles([1.0], (101,))
    with pytest.raises(ValueError, match="finite"):
        percentiles([math.nan])


@given(st.lists(FINITE, min_size=1, max_size=100))
def test_the_stream_agrees_with_the_whole(samples: list[float]) -> None:
    stream = Streaming()
    for sample in samples:
        stream.add(sample)
    assert (stream.count, stream.minimum, stream.maximum) == (len(samples), min(samples), max(samples))
    assert stream.mean == pytest.approx(float(np.mean(samples)), rel=1e-9, abs=1e-3)


def test_an_empty_stream_says_so_and_a_bad_sample_is_refused() -> None:
    stream = Streaming()
    assert stream.summary() == {"count": 0, "minimum": None, "mean": None, "maximum": None}
    with pytest.raises(ValueError, match="finite"):
        stream.add(math.inf)
    assert stream.count == 0


@given(rate_hz=st.integers(1, 500), duration_s=st.integers(1, 20))
def test_a_steady_counter_has_its_rate(rate_hz: int, duration_s: int) -> None:
    rate = Rate()
    for index in range(rate_hz * duration_s + 1):
        rate.update(index * NS_PER_S // rate_hz, index)
    assert rate.per_second == pytest.approx(rate_hz, rel=0.01)


def test_a_counter_that_starts_anew_is_not_a_negative_rate() -> None:
    rate = Rate()
    for second, total in enumerate([1000, 1010, 0, 10]):
        rate.update(second * NS_PER_S, total)
    assert rate.per_second == pytest.approx(10)


def test_a_rate_forgets_what_is_older_than_its_window() -> None:
    rate = Rate(2 * NS_PER_S)
    for second, total in enumerate([0, 100, 200, 201, 202, 203]):
        rate.update(second * NS_PER_S, total)
    assert rate.per_second == pytest.approx(1)
