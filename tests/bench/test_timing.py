"""Timing: candidates in turn, clocks of two kinds, medians and ratios."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bench.timing import (
    WARM_UP_ROUNDS,
    Runs,
    interleave,
    ratio_of,
    share_of_a_core,
    timing_of,
    together,
)
from dualsys.clock import VirtualClock

DURATIONS = st.lists(st.integers(1, 10**9), min_size=1, max_size=30)


def runs(*durations_ns: int) -> Runs:
    return Runs(durations_ns, durations_ns)


def test_every_round_runs_every_candidate_once_in_changing_order() -> None:
    computed, passed, calls = VirtualClock(), VirtualClock(), []

    def way(name: str, duration_ns: int) -> None:
        calls.append(name)
        computed.advance_ns(duration_ns)
        passed.advance_ns(3 * duration_ns)

    candidates = {"a": lambda: way("a", 10), "b": lambda: way("b", 20)}
    found = interleave(candidates, 12, computed, passed)
    assert found == {"a": Runs((10,) * 12, (30,) * 12), "b": Runs((20,) * 12, (60,) * 12)}
    rounds = [tuple(calls[index : index + 2]) for index in range(0, len(calls), 2)]
    assert len(rounds) == 12 + WARM_UP_ROUNDS
    assert set(rounds) == {("a", "b"), ("b", "a")}


def test_what_warms_up_is_not_counted() -> None:
    clock, slow = VirtualClock(), iter([10**9] * WARM_UP_ROUNDS)
    found = interleave({"a": lambda: clock.advance_ns(next(slow, 7))}, 3, clock, clock)
    assert found["a"].computed_ns == (7, 7, 7)


@given(DURATIONS)
def test_the_median_lies_between_the_quantiles(durations: list[int]) -> None:
    timing = timing_of(runs(*durations))
    assert timing.low_ms <= timing.median_ms <= timing.high_ms
    assert timing.median_ms == pytest.approx(np.median(durations) / 1e6)
    assert timing.runs == len(durations)


@given(DURATIONS, st.integers(2, 9))
def test_a_ratio_is_that_of_each_round(durations: list[int], factor: int) -> None:
    slower = runs(*(factor * duration for duration in durations))
    ratio = ratio_of(slower, runs(*durations))
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((factor,) * 3)


def test_a_round_in_which_the_machine_was_slow_for_both_does_not_move_the_ratio() -> None:
    assert ratio_of(runs(20, 2000, 20), runs(10, 1000, 10)).median == 2.0


def test_parts_of_a_plan_are_added_round_by_round() -> None:
    whole = together(Runs((1, 2), (3, 4)), Runs((10, 20), (30, 40)))
    assert whole == Runs((11, 22), (33, 44))


def test_the_share_of_a_core_is_what_was_computed_of_what_passed() -> None:
    assert share_of_a_core([Runs((10, 20), (10, 50)), Runs((20,), (40,))]) == 0.5
