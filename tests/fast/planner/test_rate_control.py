"""Adaptive observations: never out of bounds, as many as the line carries, few where it carries none."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualsys.bus.link_model import Conditions
from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.fast.planner.rate_control import REASONS, RateBounds, RateController

from .line_double import BOUNDS, drive, jpeg_bytes

WIDE = Conditions(delay_ms=20)
FULL_BYTES_S = jpeg_bytes(90) * 10


def narrow(mbit_s: float, at_s: float = 0.0) -> Conditions:
    return Conditions(at_s=at_s, delay_ms=20, bandwidth_mbit_s=mbit_s)


bounds = st.builds(
    lambda rate, more, quality, better, queue_ms, answer_ms: RateBounds(
        rate, rate * more, quality, min(100, quality + better), queue_ms * NS_PER_MS, answer_ms * NS_PER_MS
    ),
    rate=st.floats(0.1, 20),
    more=st.floats(1, 20),
    quality=st.integers(1, 100),
    better=st.integers(0, 99),
    queue_ms=st.integers(1, 1000),
    answer_ms=st.integers(1, 2000),
)
events = st.tuples(st.sampled_from(["send", "answer", "nonsense", "clock"]), st.integers(0, 3 * NS_PER_S))


@given(bounds, st.lists(events, max_size=60), st.lists(st.integers(-(10**15), 10**15), min_size=1))
def test_whatever_comes_back_the_choice_stays_within_its_bounds(
    limits: RateBounds, script: list[tuple[str, int]], stamps: list[int]
) -> None:
    controller = RateController(limits)
    now_ns = seq = 0
    for kind, wait_ns in script:
        now_ns += wait_ns
        if kind == "send":
            controller.sent(seq, wait_ns % 100_000, now_ns)
            seq += 1
        elif kind == "answer":
            controller.answered(wait_ns % (seq + 1), now_ns - wait_ns % NS_PER_S, now_ns)
        elif kind == "nonsense":
            controller.answered(wait_ns % (seq + 1), stamps[wait_ns % len(stamps)], now_ns)
        else:
            controller.forget_clock()
        choice = controller.choose(now_ns)
        assert limits.least_quality <= choice.quality <= limits.most_quality
        assert NS_PER_S / limits.most_rate_hz - 1 <= choice.period_ns <= NS_PER_S / limits.least_rate_hz + 1
        assert choice.reason in REASONS
        assert controller.queue_ns >= 0


def test_on_a_line_that_carries_it_all_is_soon_sent_and_stays_so() -> None:
    controller = RateController(BOUNDS)
    outcome = drive(controller, [WIDE], 12)
    assert {(one.quality, one.period_ns) for one in outcome.chosen(4, 12)} == {(90, NS_PER_S // 10)}
    assert (controller.cuts, controller.silences) == (0, 0)
    # Rate and age are those of fixed observations: 200 ms, a period of each, and the way.
    assert outcome.bytes_per_s(4, 12) == pytest.approx(FULL_BYTES_S, rel=0.02)
    assert outcome.worst_age_ms(4, 12) <= 200 + 200 + 100 + 2 * 20 + 20


@settings(max_examples=6, deadline=None)
@given(st.floats(0.06, 0.3), st.integers(0, 100))
def test_on_a_narrow_line_most_of_it_is_used_and_nothing_grows_old(mbit_s: float, delay_ms: int) -> None:
    controller = RateController(BOUNDS)
    line = Conditions(delay_ms=delay_ms, bandwidth_mbit_s=mbit_s)
    outcome = drive(controller, [line], 40)
    capacity = mbit_s * 1e6 / 8
    used = outcome.bytes_per_s(12, 40)
    assert 0.6 * min(capacity, FULL_BYTES_S) <= used <= 1.02 * capacity
    free_ms = 200 + 200 + 1000 / (capacity / jpeg_bytes(40)) + 2 * delay_ms + 1000 * jpeg_bytes(90) / capacity
    assert outcome.worst_age_ms(12, 40) <= free_ms + 600
    ages_ms = sorted(age for t_ns, age in outcome.ages_ms if t_ns >= 12 * NS_PER_S)
    assert ages_ms[len(ages_ms) // 2] <= free_ms


def test_what_is_chosen_does_not_swing_between_the_bounds() -> None:
    outcome = drive(RateController(BOUNDS), [narrow(0.2)], 60)
    qualities = [one.quality for one in outcome.chosen(15, 60)]
    assert max(qualities) - min(qualities) <= 30
    changes = sum(a != b for a, b in itertools.pairwise(qualities))
    assert changes <= len(qualities) / 10


def test_the_rate_is_kept_as_long_as_quality_can_be_lowered() -> None:
    outcome = drive(RateController(BOUNDS), [narrow(0.2)], 30)
    steady = [one for one in outcome.chosen(12, 30) if one.reason == "steady"]
    assert steady
    assert all(one.period_ns == NS_PER_S // 10 for one in steady if one.quality > BOUNDS.least_quality)


def test_fixed_observations_on_the_same_line_grow_old() -> None:
    fixed = RateBounds(10.0, 10.0, 90, 90, BOUNDS.queue_ns, BOUNDS.answer_ns)
    outcome = drive(RateController(fixed), [narrow(0.2)], 20)
    assert outcome.worst_age_ms(15, 20) > 4000


def test_in_a_blackout_little_is_sent_and_soon_afterwards_all_is_as_before() -> None:
    controller = RateController(BOUNDS)
    steps = [narrow(0.3), Conditions(at_s=12, blackhole=True), narrow(0.3, at_s=18)]
    outcome = drive(controller, steps, 32)
    assert controller.silences == 1
    assert {one.reason for one in outcome.chosen(14, 18)} == {"silence"}
    # One observation a second, of the least size: that is all that stands in the line when it is mended.
    assert outcome.bytes_per_s(14, 18) <= 1.1 * jpeg_bytes(40)
    assert outcome.worst_age_ms(22, 32) < 1500
    assert outcome.bytes_per_s(26, 32) >= 0.5 * outcome.bytes_per_s(6, 12)


def test_a_line_that_becomes_wider_is_found_to_be() -> None:
    outcome = drive(RateController(BOUNDS), [narrow(0.1), Conditions(at_s=16, delay_ms=20)], 40)
    assert max(one.quality for one in outcome.chosen(10, 16)) < 90
    assert {one.quality for one in outcome.chosen(36, 40)} == {90}


def test_a_line_that_becomes_narrower_is_followed_within_seconds() -> None:
    outcome = drive(RateController(BOUNDS), [WIDE, narrow(0.15, at_s=10)], 30)
    assert outcome.worst_age_ms(18, 30) < 1200


def test_single_losses_cost_nothing_and_many_only_some() -> None:
    few = drive(RateController(BOUNDS), [Conditions(delay_ms=30, jitter_ms=40, loss=0.01)], 30)
    many = drive(RateController(BOUNDS), [Conditions(delay_ms=30, loss=0.1, burst=2)], 30)
    assert few.bytes_per_s(5, 30) > 0.9 * FULL_BYTES_S
    assert 0.4 * FULL_BYTES_S < many.bytes_per_s(5, 30) <= 1.02 * FULL_BYTES_S
    assert many.worst_age_ms(5, 30) < 1500


def test_a_longer_way_is_not_taken_for_a_queue_for_ever() -> None:
    outcome = drive(RateController(BOUNDS), [WIDE, Conditions(at_s=8, delay_ms=250)], 60)
    assert {one.quality for one in outcome.chosen(50, 60)} == {90}


def test_a_clock_that_was_set_is_no_queue() -> None:
    controller = RateController(BOUNDS)
    for seq in range(40):
        now_ns = seq * 100 * NS_PER_MS
        controller.choose(now_ns)
        controller.sent(seq, 4000, now_ns)
        ahead_ns = 0 if seq < 20 else NS_PER_S
        if seq == 20:
            controller.forget_clock()
        controller.answered(seq, now_ns + 20 * NS_PER_MS + ahead_ns, now_ns + 50 * NS_PER_MS)
    assert controller.cuts == 0


def test_what_is_not_used_is_not_believed_to_be_carried() -> None:
    controller = RateController(BOUNDS)
    for seq in range(100):
        now_ns = seq * 2 * NS_PER_S
        controller.choose(now_ns)
        controller.sent(seq, 2000, now_ns)
        controller.answered(seq, now_ns + 20 * NS_PER_MS, now_ns + 50 * NS_PER_MS)
    assert controller.budget == pytest.approx((2000 * 40.0) ** 0.5 * 2000**0.5, rel=0.3)


def test_without_jpeg_only_the_rate_is_adapted() -> None:
    raw = RateBounds(1.0, 10.0, 90, 90, BOUNDS.queue_ns, BOUNDS.answer_ns)
    outcome = drive(RateController(raw), [narrow(1.0)], 30, size=lambda quality: 37_000 + 0 * quality)
    assert {one.quality for one in outcome.choices[5][1:]} == {90}
    assert 0.5 * 125_000 < outcome.bytes_per_s(12, 30) <= 1.02 * 125_000
    assert outcome.worst_age_ms(12, 30) < 2500


def test_a_late_image_is_made_up_for_and_a_long_pause_is_not() -> None:
    controller = RateController(RateBounds(10.0, 10.0, 90, 90, BOUNDS.queue_ns, BOUNDS.answer_ns))
    period_ns = NS_PER_S // 10
    assert controller.due(0)
    assert not controller.due(period_ns - 1)
    assert controller.due(period_ns + period_ns // 2)
    assert controller.due(2 * period_ns)
    assert controller.due(11 * period_ns)
    assert controller.due(11 * period_ns + 1)
    assert not controller.due(11 * period_ns + 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"least_rate_hz": 11.0}, "rates"),
        ({"least_rate_hz": 0.0}, "rates"),
        ({"least_quality": 91}, "qualities"),
        ({"most_quality": 101}, "qualities"),
        ({"queue_ns": 0}, "positive times"),
    ],
)
def test_bounds_that_leave_no_room_are_refused(changes: dict[str, float], words: str) -> None:
    known = {name: getattr(BOUNDS, name) for name in BOUNDS.__dataclass_fields__}
    with pytest.raises(ValueError, match=words):
        RateBounds(**(known | changes))


def test_where_few_observations_are_needed_they_may_be_better() -> None:
    controller = RateController(BOUNDS)
    turns = seq = 0
    for now_ns in range(0, 20 * NS_PER_S, 5 * NS_PER_MS):
        if not controller.due(now_ns):
            continue
        turns += 1
        if turns % 4:
            controller.spared()
            continue
        controller.sent(seq, jpeg_bytes(controller.choose(now_ns).quality), now_ns)
        controller.answered(seq, now_ns + 20 * NS_PER_MS, now_ns + 50 * NS_PER_MS)
        seq += 1
    # All of them would be too much for what is known to be carried: at most a quarter of it was ever sent.
    assert controller.budget < FULL_BYTES_S / 2
    assert controller.choose(20 * NS_PER_S).quality >= 80
    assert controller.choose(20 * NS_PER_S).period_ns == NS_PER_S // 10
