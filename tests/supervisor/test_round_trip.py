"""What is said of the way to System 2 and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from dualsys.clock import NS_PER_S
from dualsys.errors import PeerTimeoutError
from dualsys.supervisor.peers import Peer
from dualsys.supervisor.round_trip import RoundTrip, told, uplink_told

STATUS = {
    "trip.up_ms": "40.2",
    "trip.waited_ms": "190.0",
    "trip.computed_ms": "9.1",
    "trip.down_ms": "41.0",
    "trip.uncertainty_ms": "0.6",
    "trip.offset_ms": "1234.5",
}


class Scripted:
    """A planner that answers what it is told to, or not at all."""

    def __init__(self) -> None:
        self.asked = 0
        self.silent = False

    def ask(
        self, verb: str, arguments: Mapping[str, str] | None = None, timeout_s: float = 9.0
    ) -> dict[str, str]:
        """The status."""
        assert (verb, arguments) == ("status", None)
        assert timeout_s < 0.2, "whoever watches must not be held up"
        self.asked += 1
        if self.silent:
            raise PeerTimeoutError("the planner", "ipc://nowhere", timeout_s)
        return STATUS


def test_a_round_trip_is_told_in_its_parts_with_what_is_uncertain() -> None:
    assert told(STATUS) == "round trip 280 ms: up 40.2, waited 190.0, computed 9.1, down 41.0 (±0.6)"


def test_before_the_first_trip_nothing_is_told() -> None:
    assert told({name: "nan" for name in STATUS}) == ""
    assert told({}) == ""
    assert told(STATUS | {"trip.down_ms": "soon"}) == ""


def test_the_planner_is_asked_once_a_second() -> None:
    planner = Scripted()
    trip = RoundTrip(cast(Peer, planner))
    for now_ns in (0, NS_PER_S // 2, NS_PER_S - 1, NS_PER_S, 3 * NS_PER_S):
        trip.look(now_ns)
    assert planner.asked == 3
    assert trip.words.startswith("round trip 280 ms")


def test_of_a_planner_that_does_not_answer_nothing_is_told() -> None:
    planner = Scripted()
    trip = RoundTrip(cast(Peer, planner))
    trip.look(0)
    planner.silent = True
    trip.look(NS_PER_S)
    assert trip.words == ""


def test_what_goes_up_is_told_where_it_changes_by_itself() -> None:
    fixed = {"uplink.mode": "fixed", "uplink.rate_hz": "10.0", "uplink.jpeg_quality": "90"}
    adaptive = fixed | {
        "uplink.mode": "adaptive",
        "uplink.budget_bytes_s": "21400",
        "uplink.queue_ms": "12.4",
        "uplink.reason": "probing",
    }
    assert uplink_told(fixed) == uplink_told({}) == ""
    assert uplink_told(adaptive) == "uplink 10 Hz, JPEG 90, at most 21.4 kB/s, queue 12 ms (probing)"
    on_demand = fixed | {"demand.asked": "7", "demand.spared": "12"}
    assert uplink_told(on_demand) == "System 2 asked 7 times, spared 12"
