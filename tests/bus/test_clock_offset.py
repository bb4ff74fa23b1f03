"""How far apart two clocks are: bounds that hold whatever the network does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bus.clock_offset import MOST_DRIFT_PPM, Exchange, OffsetEstimator
from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import MessageError

ways = st.tuples(
    st.integers(0, 80 * NS_PER_MS), st.integers(0, 300 * NS_PER_MS), st.integers(0, 80 * NS_PER_MS)
)


class Peer:
    """A machine whose clock is ahead by an offset that grows."""

    def __init__(self, offset_ns: int, drift_ppm: float = 0.0) -> None:
        self._offset_ns = offset_ns
        self._drift_ppm = drift_ppm

    def offset_at(self, t_ns: int) -> int:
        return self._offset_ns + round(t_ns * self._drift_ppm / 1e6)

    def exchange(self, sent_ns: int, up_ns: int, there_ns: int, down_ns: int) -> Exchange:
        received_ns, answered_ns = sent_ns + up_ns, sent_ns + up_ns + there_ns
        return Exchange(
            sent_ns,
            received_ns + self.offset_at(received_ns),
            answered_ns + self.offset_at(answered_ns),
            answered_ns + down_ns,
        )


@pytest.mark.fault_row(15)
@given(
    st.integers(-(10**15), 10**15),
    st.floats(-MOST_DRIFT_PPM * 0.9, MOST_DRIFT_PPM * 0.9),
    st.lists(ways, min_size=1, max_size=60),
)
def test_the_true_offset_is_within_the_uncertainty_however_unequal_the_ways_are(
    offset_ns: int, drift_ppm: float, trips: list[tuple[int, int, int]]
) -> None:
    peer, estimator = Peer(offset_ns, drift_ppm), OffsetEstimator()
    now_ns = 0
    for trip in trips:
        # Time that passes there is measured by their clock: with drift it may seem to contradict ours.
        try:
            exchange = peer.exchange(now_ns, *trip)
        except MessageError:
            assert trip[0] + trip[2] <= sum(trip) * MOST_DRIFT_PPM / 1e6 + 1
            continue
        estimator.add(exchange)
        estimate = estimator.estimate(exchange.returned_ns)
        assert estimate is not None
        error_ns = abs(estimate.offset_ns - peer.offset_at(exchange.returned_ns))
        assert error_ns <= estimate.uncertainty_ns + 2
        split = estimator.split(exchange)
        assert split is not None
        assert split.up_ns >= 0
        assert split.down_ns >= 0
        assert split.up_ns + split.there_ns + split.down_ns == exchange.returned_ns - exchange.sent_ns
        now_ns = exchange.returned_ns + NS_PER_S // 10
    assert estimator.steps == 0


def test_one_quick_exchange_counts_more_than_many_slow_ones() -> None:
    peer, estimator = Peer(5 * NS_PER_S), OffsetEstimator()
    for number in range(50):
        estimator.add(peer.exchange(number * NS_PER_S // 10, 60 * NS_PER_MS, 0, 2 * NS_PER_MS))
    skewed = estimator.estimate(5 * NS_PER_S)
    estimator.add(peer.exchange(5 * NS_PER_S, NS_PER_MS, 0, NS_PER_MS))
    exact = estimator.estimate(5 * NS_PER_S + 2 * NS_PER_MS)
    assert skewed is not None
    assert exact is not None
    assert skewed.uncertainty_ns > 25 * NS_PER_MS
    assert exact.uncertainty_ns <= 2 * NS_PER_MS
    assert abs(exact.offset_ns - 5 * NS_PER_S) <= exact.uncertainty_ns


def test_what_is_known_grows_less_certain_with_time() -> None:
    peer, estimator = Peer(0), OffsetEstimator()
    estimator.add(peer.exchange(0, NS_PER_MS, 0, NS_PER_MS))
    estimates = [estimator.estimate(second * NS_PER_S) for second in (1, 10, 30)]
    widths = [estimate.uncertainty_ns for estimate in estimates if estimate is not None]
    assert all(later > earlier for earlier, later in pairwise(widths))
    assert widths[-1] - widths[0] == 29 * NS_PER_S * MOST_DRIFT_PPM // 10**6


@pytest.mark.parametrize("drift_ppm", [-100.0, 0.0, 40.0, 150.0])
def test_the_drift_is_found_within_its_uncertainty(drift_ppm: float) -> None:
    peer, estimator = Peer(-3 * NS_PER_S, drift_ppm), OffsetEstimator()
    for number in range(300):
        up_ns = (2 + 17 * number % 13) * NS_PER_MS
        estimator.add(peer.exchange(number * NS_PER_S // 5, up_ns, 50 * NS_PER_MS, 3 * NS_PER_MS))
    estimate = estimator.estimate(60 * NS_PER_S)
    assert estimate is not None
    assert estimate.drift_ppm is not None
    assert estimate.drift_uncertainty_ppm < 200
    assert abs(estimate.drift_ppm - drift_ppm) <= estimate.drift_uncertainty_ppm


@pytest.mark.fault_row(15)
def test_a_clock_that_was_set_is_noticed_and_followed() -> None:
    estimator = OffsetEstimator()
    for number in range(20):
        estimator.add(Peer(0).exchange(number * NS_PER_S, NS_PER_MS, 0, NS_PER_MS))
    assert estimator.steps == 0
    after = Peer(-NS_PER_S).exchange(20 * NS_PER_S, NS_PER_MS, 0, NS_PER_MS)
    estimator.add(after)
    assert estimator.steps == 1
    estimate = estimator.estimate(after.returned_ns)
    assert estimate is not None
    assert abs(estimate.offset_ns + NS_PER_S) <= estimate.uncertainty_ns


def test_old_exchanges_are_forgotten() -> None:
    estimator = OffsetEstimator(window_ns=NS_PER_S)
    for number in range(2000):
        estimator.add(Peer(0).exchange(number * NS_PER_S // 100, NS_PER_MS, 0, NS_PER_MS))
    assert len(estimator._exchanges) <= 101


def test_stamps_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(MessageError, match="-1 ns pass there during 10 ns here"):
        Exchange(0, 6, 5, 10)
    with pytest.raises(MessageError, match="20 ns pass there during 10 ns here"):
        Exchange(0, 0, 20, 10)


def test_nothing_is_known_before_the_first_exchange() -> None:
    assert OffsetEstimator().estimate(0) is None
    assert OffsetEstimator().split(Exchange(0, 0, 0, 0)) is None
