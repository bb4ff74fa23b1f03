"""Time and pacing."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import (
    NS_PER_S,
    Pacer,
    VirtualClock,
    WallClock,
    calendar_stamp,
    nanoseconds,
    period_ns,
    seconds,
)


class LateClock(VirtualClock):
    """Wakes up late by the durations that it is given."""

    def __init__(self, late_ns: list[int]) -> None:
        super().__init__(1000)
        self._late_ns = late_ns

    def sleep_until_ns(self, deadline_ns: int) -> None:
        super().sleep_until_ns(deadline_ns)
        self.advance_ns(self._late_ns.pop(0))


@given(st.integers(-(2**53) // NS_PER_S, 2**53 // NS_PER_S))
def test_whole_seconds_convert_exactly(duration_s: int) -> None:
    assert nanoseconds(duration_s) == duration_s * NS_PER_S
    assert seconds(nanoseconds(duration_s)) == duration_s


@given(st.integers(0, 2**52))
def test_nanoseconds_survive_the_way_through_seconds(duration_ns: int) -> None:
    assert abs(nanoseconds(seconds(duration_ns)) - duration_ns) <= 1


@given(st.floats(1e-3, 1e9))
def test_a_period_is_at_least_a_nanosecond_and_fits_its_rate(rate_hz: float) -> None:
    period = period_ns(rate_hz)
    assert period >= 1
    assert abs(period - NS_PER_S / rate_hz) <= 0.5


@pytest.mark.parametrize("rate_hz", [0, -1, math.nan, math.inf, -math.inf, 1e10])
def test_a_rate_without_a_period_is_refused(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="rate_hz must be positive"):
        period_ns(rate_hz)


def test_the_wall_clock_never_wakes_early_and_never_runs_backwards() -> None:
    clock = WallClock()
    before_ns = clock.now_ns()
    for wait_ns in (-5, 0, 1, 200_000):
        deadline_ns = clock.now_ns() + wait_ns
        clock.sleep_until_ns(deadline_ns)
        assert clock.now_ns() >= deadline_ns
    assert clock.now_ns() >= before_ns


@pytest.mark.fault_row(16)
def test_the_time_that_a_machine_is_suspended_has_passed() -> None:
    # No test suspends a machine. A time namespace is told how long one was.
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("time namespaces need root and util-linux")
    code = "from dualsys.clock import WallClock; print(WallClock().now_ns())"
    suspended = ["unshare", "--fork", "--time", "--boottime", "3600", sys.executable, "-c", code]
    done = subprocess.run(suspended, capture_output=True, text=True, timeout=60, check=False)
    if "unshare: " in done.stderr:
        pytest.skip(f"no time namespaces here: {done.stderr.strip()}")
    ahead_ns = int(done.stdout) - WallClock().now_ns()
    assert 3500 * NS_PER_S < ahead_ns <= 3600 * NS_PER_S


def test_the_virtual_clock_moves_only_when_told_to() -> None:
    clock = VirtualClock(5)
    assert clock.now_ns() == clock.now_ns() == 5
    clock.sleep_until_ns(3)
    assert clock.now_ns() == 5
    clock.sleep_until_ns(9)
    clock.advance_ns(1)
    assert clock.now_ns() == 10
    with pytest.raises(ValueError, match="must not be negative"):
        clock.advance_ns(-1)


@given(st.integers(1, 1000), st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_pacing_keeps_its_grid_whatever_the_work_takes(period: int, work_ns: list[int]) -> None:
    clock = VirtualClock(123)
    pacer = Pacer(clock, period)
    previous, missed = 0, 0
    for busy_ns in work_ns:
        announced_ns = pacer.next_deadline_ns
        clock.advance_ns(busy_ns)
        tick = pacer.wait()
        assert tick.deadline_ns == 123 + tick.index * period
        assert tick.index == previous + 1 + tick.missed
        assert tick.deadline_ns == announced_ns + tick.missed * period
        assert 0 <= tick.late_ns < period
        assert clock.now_ns() == tick.deadline_ns + tick.late_ns
        previous, missed = tick.index, missed + tick.missed
    assert pacer.missed_total == missed


@given(st.integers(1, 1000), st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_no_period_gets_two_ticks_however_late_they_wake(period: int, late_ns: list[int]) -> None:
    clock = LateClock(list(late_ns))
    pacer = Pacer(clock, period)
    previous = 0
    for late in late_ns:
        tick = pacer.wait()
        assert tick.late_ns == late
        assert clock.now_ns() == tick.deadline_ns + late
        assert tick.index == (clock.now_ns() - 1000) // period
        assert tick.index == previous + 1 + tick.missed
        previous = tick.index


def test_an_overrun_within_the_next_period_misses_nothing() -> None:
    clock = VirtualClock()
    pacer = Pacer(clock, 10)
    pacer.wait()
    clock.advance_ns(15)
    tick = pacer.wait()
    assert (tick.index, tick.late_ns, tick.missed) == (2, 5, 0)
    assert pacer.wait().deadline_ns == 30


def test_a_long_overrun_is_skipped_and_counted() -> None:
    clock = VirtualClock()
    pacer = Pacer(clock, 10)
    pacer.wait()
    clock.advance_ns(37)
    tick = pacer.wait()
    assert (tick.index, tick.late_ns, tick.missed) == (4, 7, 2)
    assert pacer.missed_total == 2


@pytest.mark.parametrize("period", [0, -1])
def test_a_period_must_be_positive(period: int) -> None:
    with pytest.raises(ValueError, match="period must be positive"):
        Pacer(VirtualClock(), period)


def test_calendar_stamps_sort_by_time() -> None:
    assert re.fullmatch(r"\d{8}-\d{6}", calendar_stamp())
