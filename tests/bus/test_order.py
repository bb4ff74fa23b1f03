"""Which frames are news."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bus.order import HEADER_BYTES, NUMBER, Order, header, layout

frames = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=80)


@pytest.mark.fault_row(7, 27)
@given(frames)
def test_the_numbers_of_each_publisher_only_rise_and_every_frame_is_accounted_for(
    arrivals: list[tuple[int, int]],
) -> None:
    order = Order()
    admitted = [arrival for arrival in arrivals if order.admit(*arrival)]
    for publisher in range(3):
        numbers = [number for who, number in admitted if who == publisher]
        assert numbers == sorted(set(numbers))
        if numbers:
            # What is newest when it comes is never dropped.
            assert numbers[-1] == max(number for who, number in arrivals if who == publisher)
    assert len(admitted) + order.outdated == len(arrivals)
    spans = {who: [n for w, n in admitted if w == who] for who in range(3)}
    assert order.superseded == sum(ns[-1] - ns[0] + 1 - len(ns) for ns in spans.values() if ns)


@given(frames)
def test_playing_everything_again_adds_nothing(arrivals: list[tuple[int, int]]) -> None:
    order = Order()
    for arrival in arrivals:
        order.admit(*arrival)
    assert not any(order.admit(*arrival) for arrival in arrivals)


@given(frames, st.integers(1, 3))
def test_publishers_that_sent_something_new_longest_ago_are_forgotten_and_no_others(
    arrivals: list[tuple[int, int]], remembered: int
) -> None:
    order = Order(remembered)
    last: OrderedDict[int, int] = OrderedDict()
    for publisher, number in arrivals:
        news = number > last.get(publisher, -1)
        assert order.admit(publisher, number) == news
        if news:
            last[publisher] = number
            last.move_to_end(publisher)
        if len(last) > remembered:
            last.popitem(last=False)


@given(st.binary(max_size=20), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_header_is_read_as_it_was_written_and_its_number_can_be_written_anew(
    prefix: bytes, publisher: int, number: int
) -> None:
    frame = bytearray(prefix + header(publisher, 0))
    NUMBER.pack_into(frame, len(frame) - NUMBER.size, number)
    assert frame == prefix + header(publisher, number)
    begin = layout(len(prefix))
    assert begin.size == len(frame) == len(prefix) + HEADER_BYTES
    assert begin.unpack_from(frame) == (prefix, publisher, number)
