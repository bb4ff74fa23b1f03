"""Where the age of a latent comes from."""

from __future__ import annotations

import math

import msgspec
import pytest

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.fast.planner.trips import Trips
from dualsys.messages import LatentPacket

AHEAD_NS = 7 * NS_PER_S
"""System 2's clock, minus ours."""

PACKET = LatentPacket(
    session=1,
    episode=0,
    seq=0,
    observation_seq=0,
    t_capture_ns=0,
    instruction="go",
    compute_ns=30 * NS_PER_MS,
    weights="w",
    kind="latent_sequence",
    tensors={},
)


def trip(trips: Trips, seq: int, sent_ms: int, up_ms: int, there_ms: int, down_ms: int) -> None:
    """One observation goes up, and its latent comes down."""
    sent_ns = sent_ms * NS_PER_MS
    received_ns = sent_ns + up_ms * NS_PER_MS
    left_ns = received_ns + there_ms * NS_PER_MS
    trips.sent(seq, sent_ns)
    packet = msgspec.structs.replace(
        PACKET, observation_seq=seq, t_received_ns=received_ns + AHEAD_NS, t_sent_ns=left_ns + AHEAD_NS
    )
    trips.answered(packet, left_ns + down_ms * NS_PER_MS)


def test_a_slow_way_up_is_told_from_a_slow_way_down() -> None:
    trips = Trips()
    for seq in range(20):
        trip(trips, seq, seq * 100, up_ms=2, there_ms=40, down_ms=2)
    trip(trips, 20, 2000, up_ms=60, there_ms=40, down_ms=2)
    slow_up = trips.statistics()
    trip(trips, 21, 2200, up_ms=2, there_ms=90, down_ms=45)
    slow_down = trips.statistics()
    assert slow_up.up_ms == pytest.approx(60, abs=slow_up.uncertainty_ms + 0.01)
    assert slow_up.down_ms == pytest.approx(2, abs=slow_up.uncertainty_ms + 0.01)
    assert slow_down.down_ms == pytest.approx(45, abs=slow_down.uncertainty_ms + 0.01)
    assert (slow_down.computed_ms, slow_down.waited_ms) == (30, 60)
    assert slow_down.uncertainty_ms < 3
    assert slow_down.offset_ms == pytest.approx(7000, abs=3)
    assert slow_down.clock_steps == slow_down.refused == 0


def test_stamps_that_contradict_each_other_are_counted_and_change_nothing() -> None:
    trips = Trips()
    trip(trips, 0, 0, 2, 40, 2)
    before = trips.statistics()
    trips.sent(1, NS_PER_S)
    lie = msgspec.structs.replace(PACKET, observation_seq=1, t_received_ns=5 * NS_PER_S, t_sent_ns=NS_PER_S)
    trips.answered(lie, NS_PER_S + 50)
    after = trips.statistics()
    assert after.refused == 1
    assert after.up_ms == before.up_ms


def test_a_latent_without_stamps_or_for_nothing_that_was_sent_says_nothing() -> None:
    trips = Trips()
    trips.sent(0, 0)
    trips.answered(PACKET, NS_PER_S)
    trips.answered(msgspec.structs.replace(PACKET, observation_seq=9, t_received_ns=1, t_sent_ns=2), NS_PER_S)
    assert math.isnan(trips.statistics().up_ms)
    assert trips.statistics().refused == 0


def test_the_memory_of_observations_is_bounded() -> None:
    trips = Trips()
    for seq in range(5000):
        trips.sent(seq, seq)
    assert len(trips._sent) <= 1024
