"""What a network line does to bytes."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bus.link_model import PACKET_BYTES, RETRANSMIT_NS, Conditions, Line, Schedule
from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import ConfigError


def line(*steps: Conditions, seed: int = 1) -> Line:
    return Line(Schedule(steps), random.Random(seed))


conditions = st.builds(
    Conditions,
    delay_ms=st.floats(0, 300),
    jitter_ms=st.floats(0, 100),
    loss=st.floats(0, 1),
    burst=st.floats(1, 10),
    bandwidth_mbit_s=st.none() | st.floats(0.1, 1000),
)


@given(conditions, st.lists(st.tuples(st.integers(0, NS_PER_S), st.integers(1, 20_000)), max_size=30))
def test_nothing_overtakes_nothing_comes_early_and_the_same_seed_does_the_same(
    state: Conditions, writes: list[tuple[int, int]]
) -> None:
    first, again = line(state), line(state)
    writes = sorted(writes)
    arrivals = [first.arrival_ns(*write) for write in writes]
    assert arrivals == sorted(arrivals)
    for (entered_ns, size), arrived_ns in zip(writes, arrivals, strict=True):
        rate = state.bandwidth_mbit_s
        sending_ns = 0 if rate is None else size * 8000 / rate
        assert arrived_ns >= entered_ns + state.delay_ms * NS_PER_MS + sending_ns - 2
    assert arrivals == [again.arrival_ns(*write) for write in writes]
    assert first.carried_bytes == sum(size for _, size in writes)


def test_a_perfect_line_passes_everything_at_once() -> None:
    assert line().arrival_ns(5, 10_000) == 5


def test_delay_and_jitter_add_up_within_their_bounds() -> None:
    jittery = line(Conditions(delay_ms=40, jitter_ms=10))
    trips = [jittery.arrival_ns(t, 100) - t for t in range(0, 100 * NS_PER_S, NS_PER_S)]
    assert min(trips) >= 40 * NS_PER_MS
    assert max(trips) <= 50 * NS_PER_MS
    assert max(trips) - min(trips) > 5 * NS_PER_MS


def test_a_narrow_line_makes_what_comes_later_wait() -> None:
    narrow = line(Conditions(bandwidth_mbit_s=8))
    # A megabyte a second: each of these takes 10 ms to send.
    arrivals = [narrow.arrival_ns(0, 10_000) for _ in range(5)]
    assert [b - a for a, b in pairwise([0, *arrivals])] == [10 * NS_PER_MS] * 5


def test_a_lost_packet_comes_late_and_what_follows_waits_for_it() -> None:
    lossy = line(Conditions(loss=1.0), Conditions(at_s=1.0))
    assert lossy.arrival_ns(0, PACKET_BYTES) == RETRANSMIT_NS
    assert lossy.losses == 1
    behind = line(Conditions(loss=1.0), Conditions(at_s=0.001))
    behind.arrival_ns(0, 100)
    assert behind.arrival_ns(2 * NS_PER_MS, 100) == RETRANSMIT_NS


def test_losses_come_in_bursts_of_the_given_mean() -> None:
    bursty = line(Conditions(loss=0.01, burst=8.0), seed=3)
    lost = []
    for t in range(20_000):
        before = bursty.losses
        bursty.arrival_ns(t, 100)
        lost.append(bursty.losses > before)
    begins = sum(now and not before for before, now in pairwise([False, *lost]))
    assert sum(lost) / begins == pytest.approx(8, rel=0.25)
    assert begins / (len(lost) - sum(lost)) == pytest.approx(0.01, rel=0.25)


def test_nothing_passes_a_blackhole_until_it_ends() -> None:
    cut = line(Conditions(delay_ms=40), Conditions(at_s=1, blackhole=True), Conditions(at_s=3))
    assert cut.arrival_ns(0, 10) == 40 * NS_PER_MS
    # Under way when the line is cut, or sent meanwhile: both come when it is mended.
    assert cut.arrival_ns(980 * NS_PER_MS, 10) == 3 * NS_PER_S
    assert cut.arrival_ns(2 * NS_PER_S, 10) == 3 * NS_PER_S
    never = line(Conditions(blackhole=True))
    assert never.arrival_ns(0, 10) > 10**6 * NS_PER_S


def test_a_schedule_tells_the_conditions_and_the_next_change() -> None:
    schedule = Schedule([Conditions(at_s=1, delay_ms=5), Conditions(at_s=2, delay_ms=7)])
    assert [schedule.at(t * NS_PER_S // 2).delay_ms for t in (0, 1, 2, 3, 4, 9)] == [0, 0, 5, 5, 7, 7]
    assert schedule.next_change_ns(0) == NS_PER_S
    assert schedule.next_change_ns(NS_PER_S) == 2 * NS_PER_S
    assert schedule.next_change_ns(2 * NS_PER_S) is None


def test_what_is_repeated_begins_anew_each_turn() -> None:
    steps = [Conditions(delay_ms=5), Conditions(at_s=2, blackhole=True), Conditions(at_s=3, delay_ms=7)]
    turning = Schedule(steps, repeat_s=4)
    for t, delay_ms in ((0, 5), (3, 7), (4, 5), (7, 7), (400_001, 5)):
        assert turning.at(t * NS_PER_S).delay_ms == delay_ms
    assert [turning.next_change_ns(t * NS_PER_S) for t in (0, 2, 3, 4, 402)] == [
        t * NS_PER_S for t in (2, 3, 4, 6, 403)
    ]
    cut = Line(turning, random.Random(1))
    assert cut.arrival_ns(402 * NS_PER_S, 10) == 403 * NS_PER_S + 7 * NS_PER_MS
    late = Line(Schedule([Conditions(at_s=1, delay_ms=5)], repeat_s=2), random.Random(1))
    assert late.arrival_ns(2 * NS_PER_S, 10) == 2 * NS_PER_S, "before the first step it is perfect each turn"


def test_something_passes_in_each_turn() -> None:
    with pytest.raises(ConfigError, match="repeat_s: got 3, expected a step in which something passes"):
        Schedule([Conditions(blackhole=True), Conditions(at_s=1, blackhole=True)], repeat_s=3)
    with pytest.raises(ConfigError, match="repeat_s: got 3, expected more than 3"):
        Schedule([Conditions(at_s=3)], repeat_s=3)


@given(st.floats(0.1, 50), st.floats(1.2, 100))
def test_jitter_with_a_tail_has_the_given_median_and_the_given_last_percent(
    median: float, ratio: float
) -> None:
    tail = median * ratio
    state = Conditions(jitter_ms=median, jitter_p99_ms=tail)
    # Far apart, so that nothing waits for what was sent before it.
    lone = [line(state, seed=seed).arrival_ns(0, 100) / NS_PER_MS for seed in range(400)]
    below, within = (sum(one <= bound for one in lone) / len(lone) for bound in (median, tail))
    # Six standard deviations of a binomial with 400 draws.
    assert below == pytest.approx(0.5, abs=0.15)
    assert within >= 0.99 - 0.03


@pytest.mark.parametrize("tail", [0.0, 2.0, 1e6, float("nan")])
def test_a_tail_is_longer_than_the_median(tail: float) -> None:
    (fault,) = Conditions(jitter_ms=2, jitter_p99_ms=tail).faults()
    assert fault.startswith("jitter_p99_ms: got ")
    assert Conditions(jitter_p99_ms=3).faults(), "there is no median"


def test_nobody_learns_of_a_loss_in_less_than_a_round_trip() -> None:
    far = line(Conditions(delay_ms=300, loss=1.0))
    assert far.arrival_ns(0, 100) == (300 + 600) * NS_PER_MS


def test_schedules_are_equal_by_what_they_say_and_tell_it_as_plain_values() -> None:
    steps = [Conditions(delay_ms=4, loss=0.1), Conditions(at_s=1.5, blackhole=True)]
    one, other = (Schedule(steps, repeat_s=2) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Schedule(steps)
    told = [{"at_s": 0.0, "delay_ms": 4.0, "loss": 0.1}, {"at_s": 1.5, "blackhole": True}]
    assert one.describe() == {"steps": told, "repeat_s": 2.0}
    assert one.words() == (
        "from 0 s on 4 ms each way, 10 % of packets lost; from 1.5 s on nothing passes; from 2 s on again"
    )
    assert Schedule([Conditions()]).words() == "perfect"


def test_every_fault_of_a_schedule_is_named_at_once() -> None:
    steps = [
        Conditions(delay_ms=-1, loss=float("nan")),
        Conditions(burst=0.5, bandwidth_mbit_s=0),
        Conditions(at_s=-3),
    ]
    with pytest.raises(ConfigError) as caught:
        Schedule(steps)
    text = "\n".join(caught.value.faults)
    for part in ("0.delay_ms: got -1", "0.loss: got nan", "1.burst", "1.bandwidth_mbit_s", "2.at_s: got -3"):
        assert part in text
    assert "1.at_s: got 0, expected more than the one before" in text
