from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import NS_PER_MS
from dualsys.errors import ConfigError
from dualsys.fast.chunking.delay import DelayEstimator, consumed_ns, played_from_ns, require_feasible

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


def test_only_what_was_played_meanwhile_is_consumed() -> None:
    assert consumed_ns(grid_ns=100, motion_end_ns=1000, now_ns=300) == 200
    assert consumed_ns(grid_ns=100, motion_end_ns=150, now_ns=300) == 50
    assert consumed_ns(grid_ns=100, motion_end_ns=100, now_ns=300) == 0
    assert consumed_ns(grid_ns=100, motion_end_ns=40, now_ns=300) == 0
    assert consumed_ns(grid_ns=400, motion_end_ns=1000, now_ns=300) == 0


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_action_played_now_is_the_first_that_was_not_consumed(grid: int, end: int, now: int) -> None:
    start = played_from_ns(grid, end, now)
    assert start >= grid
    assert max(0, now - start) == consumed_ns(grid, end, now)


def test_a_chunk_that_outlasts_its_delay_is_feasible_and_one_that_does_not_is_told_the_numbers() -> None:
    require_feasible("rtc", horizon=50, execution_horizon=25, delay_steps=25)
    with pytest.raises(ConfigError, match="horizon 50, execution_horizon 25 and an expected delay of 26"):
        require_feasible("rtc", horizon=50, execution_horizon=25, delay_steps=26)


def test_to_execute_less_is_advised_only_where_it_helps() -> None:
    with pytest.raises(ConfigError, match=r"shorten the delay or lower execution_horizon$"):
        require_feasible("rtc", horizon=16, execution_horizon=12, delay_steps=5)
    with pytest.raises(ConfigError, match=r"shorten the delay or choose synchronous$"):
        require_feasible("rtc", horizon=16, execution_horizon=12, delay_steps=9)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 60))
def test_feasible_means_that_the_delay_fits_into_what_is_left(
    horizon: int, execution_horizon: int, delay_steps: int
) -> None:
    executed = max(execution_horizon, delay_steps)
    fits = execution_horizon < horizon and delay_steps <= horizon - executed
    try:
        require_feasible("rtc", horizon, execution_horizon, delay_steps)
    except ConfigError:
        assert not fits
    else:
        assert fits
