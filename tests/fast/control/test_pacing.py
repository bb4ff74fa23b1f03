"""Pacing: which moments are ticks, whatever the waits do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import NS_PER_MS, Tick, VirtualClock
from dualsys.errors import RobotError
from dualsys.fast.control.pacing import (
    DevicePaced,
    Pacing,
    PacingName,
    Periodic,
    Punctuality,
    Simulated,
    make_pacing,
    spinning,
)

PERIOD_NS = 2 * NS_PER_MS
START_NS = 123_456_789


def ticks_of(pacing: Pacing, waits_ns: list[int], work_ns: int = 0) -> list[Tick]:
    """Ticks begun when each wait ends so long after (or, negative, before) what it was for."""
    now_ns, ticks = START_NS, []
    for late_ns in waits_ns:
        now_ns = max(now_ns, pacing.due_ns(now_ns) + late_ns)
        if (tick := pacing.begin(now_ns)) is not None:
            ticks.append(tick)
            now_ns += work_ns
    return ticks


@given(st.lists(st.integers(-PERIOD_NS, 10 * PERIOD_NS), min_size=1, max_size=40))
def test_no_grid_period_gets_two_ticks_and_all_lie_on_the_grid(waits_ns: list[int]) -> None:
    ticks = ticks_of(Periodic(PERIOD_NS), waits_ns)
    indices = [tick.index for tick in ticks]
    assert indices == sorted(set(indices))
    assert all((tick.deadline_ns - START_NS) % PERIOD_NS == 0 for tick in ticks)
    missed = sum(tick.missed for tick in ticks)
    assert not ticks or indices[-1] == len(ticks) + missed, "every period is a tick or a missed one"


@pytest.mark.fault_row(12)
@given(st.lists(st.integers(-PERIOD_NS + 1, 0), min_size=1, max_size=40))
def test_waking_early_neither_doubles_nor_halves_a_period(jitter_ns: list[int]) -> None:
    waits_ns = [late for early in jitter_ns for late in (early, 0)]
    ticks = ticks_of(Periodic(PERIOD_NS), waits_ns)
    assert all(tick.missed == 0 for tick in ticks)
    assert [tick.deadline_ns for tick in ticks] == [
        START_NS + PERIOD_NS * (1 + number) for number in range(len(ticks))
    ]


def test_waits_that_end_early_are_counted() -> None:
    pacing = Periodic(PERIOD_NS)
    ticks_of(pacing, [-5, 0, -7, -3, 0])
    assert pacing.counts() == {"woken_early": 3}


@pytest.mark.fault_row(10)
def test_an_overrun_is_skipped_and_counted_and_never_caught_up() -> None:
    late, following, after = ticks_of(Periodic(PERIOD_NS), [PERIOD_NS * 7 // 2, 0, 0])
    assert (late.index, late.missed) == (4, 3)
    assert (following.index, following.missed, following.late_ns) == (5, 0, 0)
    assert after.deadline_ns - following.deadline_ns == PERIOD_NS


@pytest.mark.fault_row(13)
@given(st.floats(-0.2, 0.2), st.integers(2, 200))
def test_a_device_whose_clock_drifts_is_followed_without_a_missed_tick(drift: float, cycles: int) -> None:
    pacing = DevicePaced(PERIOD_NS)
    cycle_ns = round(PERIOD_NS * (1 + drift))
    now_ns, ticks = START_NS, []
    for _ in range(cycles):
        assert pacing.due_ns(now_ns) > now_ns + cycle_ns, "control waits long enough for the cycle"
        now_ns += cycle_ns
        ticks.append(pacing.begin(now_ns))
    assert all(tick is not None and tick.missed == 0 for tick in ticks)
    assert pacing.counts()["beats"] == cycles - (cycles * cycle_ns) // PERIOD_NS
    assert pacing.counts()["device_silent"] == 0


def test_a_lost_cycle_of_the_device_is_a_missed_tick() -> None:
    pacing = DevicePaced(PERIOD_NS)
    pacing.due_ns(0)
    pacing.begin(PERIOD_NS)
    tick = pacing.begin(PERIOD_NS * 3 - PERIOD_NS // 10)
    assert tick is not None
    assert (tick.index, tick.missed) == (3, 1)
    assert tick.late_ns == PERIOD_NS * 9 // 10


def test_control_ticks_on_when_the_device_is_silent_and_counts_it() -> None:
    pacing = DevicePaced(PERIOD_NS)
    ticks = ticks_of(pacing, [0] * 5)
    assert [tick.deadline_ns + tick.late_ns - START_NS for tick in ticks] == [
        2 * PERIOD_NS * number for number in range(1, 6)
    ]
    assert pacing.counts()["device_silent"] == 5


def test_a_cycle_just_after_a_tick_is_left_out() -> None:
    pacing = DevicePaced(PERIOD_NS)
    pacing.due_ns(0)
    assert pacing.begin(2 * PERIOD_NS) is not None
    assert pacing.begin(2 * PERIOD_NS + PERIOD_NS // 10) is None
    assert pacing.begin(3 * PERIOD_NS) is not None
    assert pacing.counts()["woken_early"] == 1


def test_simulated_time_that_moves_by_itself_is_refused() -> None:
    pacing = Simulated(PERIOD_NS)
    due_ns = pacing.due_ns(START_NS)
    assert pacing.due_ns(START_NS) == due_ns == START_NS + PERIOD_NS
    assert pacing.begin(due_ns) == Tick(1, due_ns, 0, 0)
    with pytest.raises(RobotError, match="something else moves it"):
        pacing.begin(due_ns + PERIOD_NS + 1)


@pytest.mark.parametrize("name", ["periodic", "device_paced", "simulated"])
@pytest.mark.parametrize("rate_hz", [50, 100, 200, 250, 500, 1000])
def test_every_policy_holds_every_rate(name: PacingName, rate_hz: int) -> None:
    pacing = make_pacing(name, 1_000_000_000 // rate_hz)
    due_ns = pacing.due_ns(START_NS)
    assert pacing.begin(due_ns) is not None
    assert pacing.period_ns * rate_hz == 1_000_000_000


@pytest.mark.parametrize("name", ["periodic", "device_paced", "simulated"])
@pytest.mark.parametrize("rate_hz", [10, 49, 1001, 8000])
def test_a_rate_that_control_cannot_hold_is_refused(name: PacingName, rate_hz: int) -> None:
    with pytest.raises(RobotError, match="50 to 1000 Hz"):
        make_pacing(name, round(1e9 / rate_hz))


@pytest.mark.parametrize("pacing", [Periodic(PERIOD_NS), DevicePaced(PERIOD_NS), Simulated(PERIOD_NS)])
def test_nothing_begins_before_a_wait(pacing: Pacing) -> None:
    with pytest.raises(RobotError, match="pacing"):
        pacing.begin(START_NS)


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 9)), min_size=1, max_size=50))
def test_punctuality_counts_what_was_missed_after_the_first_tick(found: list[tuple[int, int]]) -> None:
    punctuality = Punctuality(samples=64)
    for number, (late_ns, missed) in enumerate(found, 1):
        punctuality.note(Tick(number, 0, late_ns, missed))
    after_first = [missed for _, missed in found[1:]]
    assert (punctuality.missed, punctuality.longest_miss) == (sum(after_first), max(after_first, default=0))
    late_us = punctuality.late_us()
    assert late_us["max"] == max(late_ns for late_ns, _ in found) / 1000
    assert late_us["p50"] == pytest.approx(np.median([late_ns for late_ns, _ in found]) / 1000)


def test_punctuality_remembers_the_newest_ticks_only() -> None:
    punctuality = Punctuality(samples=2)
    assert punctuality.late_us() == {}
    for number, late_us in enumerate((9, 1, 2), 1):
        punctuality.note(Tick(number, 0, late_us * 1000, 0))
    assert punctuality.late_us()["max"] == 2
    assert punctuality.ticks == 3


def test_punctuality_does_not_judge_the_periods_of_the_warm_up() -> None:
    punctuality = Punctuality(warm_up=10)
    for index, missed in ((1, 0), (9, 7), (12, 2), (15, 2)):
        punctuality.note(Tick(index, 0, index * 1000, missed))
    assert (punctuality.ticks, punctuality.missed, punctuality.longest_miss) == (2, 2, 2)
    assert punctuality.late_us()["max"] == 15


class RunningClock(VirtualClock):
    """A clock that moves by 1 us whenever it is read, and whose sleepers wake 30 us late."""

    def now_ns(self) -> int:
        self.advance_ns(1000)
        return super().now_ns()

    def sleep_until_ns(self, deadline_ns: int) -> None:
        super().sleep_until_ns(deadline_ns + 30_000)


def test_the_end_of_a_wait_is_spent_awake_so_that_waking_up_costs_nothing() -> None:
    clock = RunningClock(START_NS)
    deadline_ns = START_NS + PERIOD_NS
    spinning(clock, 50_000)(deadline_ns)
    assert deadline_ns <= clock.now_ns() <= deadline_ns + 2000
    spinning(clock, 0)(deadline_ns + PERIOD_NS)
    assert clock.now_ns() >= deadline_ns + PERIOD_NS + 30_000
    after_ns = clock.now_ns()
    spinning(clock, 50_000)(deadline_ns)
    assert clock.now_ns() <= after_ns + 40_000, "a deadline that has passed is not waited for"
