from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import NS_PER_MS
from dualsys.fast.chunking.delay import DelayEstimator

STEP_NS = 40 * NS_PER_MS


def test_before_any_sample_the_initial_answer_holds() -> None:
    assert DelayEstimator(STEP_NS).steps == 1
    assert DelayEstimator(STEP_NS, initial_steps=3).steps == 3


def test_the_first_sample_contains_warm_up_and_never_counts() -> None:
    delay = DelayEstimator(STEP_NS)
    delay.observe(5000 * NS_PER_MS)
    assert delay.steps == 1
    delay.observe(90 * NS_PER_MS)
    assert delay.steps == 3


@pytest.mark.parametrize(("delay_ms", "steps"), [(0, 0), (1, 1), (40, 1), (41, 2), (80, 2), (200, 5)])
def test_delays_are_counted_in_steps_that_have_begun(delay_ms: int, steps: int) -> None:
    assert DelayEstimator(STEP_NS).in_steps(delay_ms * NS_PER_MS) == steps


def test_an_outlier_is_forgotten_after_the_window() -> None:
    delay = DelayEstimator(STEP_NS)
    for delay_ms in (1, 500, *[10] * 9):
        delay.observe(delay_ms * NS_PER_MS)
    assert delay.steps == 13
    delay.observe(10 * NS_PER_MS)
    assert delay.steps == 1


@given(st.lists(st.integers(0, 2000), min_size=2))
def test_the_estimate_is_the_largest_of_the_last_ten(delays_ms: list[int]) -> None:
    delay = DelayEstimator(STEP_NS)
    for delay_ms in delays_ms:
        delay.observe(delay_ms * NS_PER_MS)
    assert delay.steps == max(-(-delay_ms // 40) for delay_ms in delays_ms[1:][-10:])


def test_a_negative_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        DelayEstimator(STEP_NS).observe(-1)


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="window 0"):
        DelayEstimator(STEP_NS, window=0)
