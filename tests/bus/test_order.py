"""Which frames are news."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bus.order import HEADER_BYTES, Order, header
from dualsys.errors import MessageError

frames = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=80)


@pytest.mark.fault_row(7, 27)
@given(frames)
def test_the_numbers_of_each_publisher_only_rise_and_every_frame_is_accounted_for(
    arrivals: list[tuple[int, int]],
) -> None:
    order = Order()
    admitted = [arrival for arrival in arrivals if order.admit(memoryview(header(*arrival) + b"x"))]
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
    recorded = [memoryview(header(*arrival)) for arrival in arrivals]
    for frame in recorded:
        order.admit(frame)
    assert not any(order.admit(frame) for frame in recorded)


@given(st.binary(max_size=HEADER_BYTES - 1))
def test_a_frame_without_a_whole_header_is_refused(frame: bytes) -> None:
    with pytest.raises(MessageError, match="has no header"):
        Order().admit(memoryview(frame))
