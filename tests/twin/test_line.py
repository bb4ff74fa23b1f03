"""The line of the twin: the larger a message and the more there are, the later it arrives."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bus.link_model import KERNEL_BYTES, PIECE_BYTES, Conditions, Line, Schedule
from dualsys.bus.link_profiles import PROFILES
from dualsys.clock import NS_PER_MS
from dualsys.errors import ConfigError
from dualsys.twin.line import Way

MS = NS_PER_MS


def narrow(mbit_s: float | None) -> Way:
    """A way with a bandwidth and nothing else."""
    return Way(Schedule([Conditions(bandwidth_mbit_s=mbit_s)]), random.Random(0))


def test_a_message_takes_its_size_over_the_bandwidth_and_waits_for_those_before_it() -> None:
    way = narrow(0.8)
    # 0.8 Mbit/s are 100 bytes in a millisecond.
    assert way.arrival_ns(0, 3000) == 30 * MS
    assert way.waiting_bytes(10 * MS) == 2000
    assert way.arrival_ns(10 * MS, 1000) == 40 * MS
    assert way.arrival_ns(100 * MS, 1000) == 110 * MS
    assert way.carried_bytes == 5000


def test_without_a_limit_everything_is_there_at_once() -> None:
    way = narrow(None)
    assert way.arrival_ns(7, 10**9) == 7
    assert way.arrival_ns(7, 10**9) == 7
    assert way.refused == 0


def test_what_finds_as_much_waiting_as_the_kernel_holds_is_not_sent_and_a_later_one_is() -> None:
    way = narrow(0.8)
    size = KERNEL_BYTES // 4
    for number in range(1, 5):
        assert way.arrival_ns(0, size) is not None
        assert way.waiting_bytes(0) == number * size
    assert way.arrival_ns(0, size) is None
    assert way.refused == 1
    one_ns = size * 8 * 1250
    assert way.arrival_ns(one_ns, size) == 5 * one_ns
    # One message by itself is sent, however large it is.
    assert narrow(0.8).arrival_ns(0, 2 * KERNEL_BYTES) == 2 * KERNEL_BYTES * 10_000


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 60_000)), max_size=60), st.floats(0.01, 100))
def test_messages_arrive_in_order_and_no_more_waits_than_the_kernel_holds(
    sent: list[tuple[int, int]], rate: float
) -> None:
    way, now_ns, last_ns = narrow(rate), 0, 0
    for pause_ns, size in sent:
        now_ns += pause_ns
        arrival_ns = way.arrival_ns(now_ns, size)
        if arrival_ns is None:
            continue
        assert arrival_ns >= max(last_ns, now_ns)
        # To the nanosecond, by which arrivals are rounded.
        assert way.waiting_bytes(now_ns) <= max(KERNEL_BYTES, size) + rate
        last_ns = arrival_ns


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), 1e9])
def test_a_rate_that_no_line_has_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="bandwidth_mbit_s"):
        narrow(rate)


def test_a_message_goes_in_pieces_as_on_the_line_that_the_relay_emulates() -> None:
    schedule = Schedule([Conditions(delay_ms=20, jitter_ms=5, jitter_p99_ms=40, loss=0.02)])
    way, line = (kind(schedule, random.Random(4)) for kind in (Way, Line))
    for number in range(50):
        now_ns, size = number * 100 * MS, 2 * PIECE_BYTES + 500
        arrivals = [line.arrival_ns(now_ns, piece) for piece in (PIECE_BYTES, PIECE_BYTES, 500)]
        assert way.arrival_ns(now_ns, size) == arrivals[-1]


def test_what_a_blackhole_keeps_waits_up_to_what_the_kernel_holds_and_comes_when_it_ends() -> None:
    way = Way(Schedule([Conditions(blackhole=True), Conditions(at_s=5)]), random.Random(0))
    size = KERNEL_BYTES // 4
    for number in range(1, 5):
        assert way.arrival_ns(number * 100 * MS, size) == 5000 * MS
        assert way.waiting_bytes(number * 100 * MS) == number * size
    assert way.arrival_ns(600 * MS, size) is None
    assert way.waiting_bytes(5000 * MS) == 0
    assert way.arrival_ns(5000 * MS, size) == 5000 * MS


def test_a_schedule_that_repeats_may_be_anywhere_in_its_turn_at_the_start() -> None:
    roam = PROFILES["wifi-roam"].schedule
    way = Way(roam, random.Random(0), start_ns=19_700 * MS)
    assert way.arrival_ns(0, 100) == pytest.approx(300 * MS, abs=200 * MS)
    assert way.arrival_ns(0, 100) >= 300 * MS, "what a handoff holds up comes after it"
    first = Way(roam, random.Random(0)).arrival_ns(0, 100)
    assert first is not None
    assert first < 100 * MS
