"""Whoever joins a channel late misses what was said before, gets what is said next, and takes no harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.sockets import ZmqContext
from dualsys.messages import ArmCommand

Until = Callable[[Callable[[], Any]], Any]
ANY_PORT = "tcp://127.0.0.1:*"
MISSED = 200
"""Messages that are sent before anybody listens."""


def subscriber(context: ZmqContext, endpoint: str, *, bind: bool) -> LatestSubscriber[ArmCommand]:
    return LatestSubscriber(context, endpoint, bind=bind, setting="in", types=(ArmCommand,))


def spoken(sender: LatestPublisher, count: int = 1) -> None:
    """Send messages that carry their number."""
    for _ in range(count):
        sender.send(ArmCommand(seq=sender.statistics().sent, position=(0.0,) * 8))


def heard(
    until: Until, sender: LatestPublisher, receiver: LatestSubscriber[ArmCommand], count: int
) -> list[int]:
    """Go on sending until so many messages have arrived; returns their numbers."""
    numbers: list[int] = []

    def attempt() -> bool:
        spoken(sender)
        if receiver.wait(0) and (message := receiver.receive()) is not None:
            numbers.append(message.seq)
        return len(numbers) >= count

    until(attempt)
    return numbers


@pytest.mark.fault_row(30)
def test_a_subscriber_that_joins_late_hears_what_is_said_next_and_nothing_from_before(
    context: ZmqContext, until: Until
) -> None:
    sender = LatestPublisher(context, ANY_PORT, bind=True, setting="out")
    spoken(sender, MISSED)
    late = subscriber(context, sender.endpoint, bind=False)
    numbers = heard(until, sender, late, 5)
    assert numbers[0] >= MISSED
    assert numbers == sorted(set(numbers))
    statistics = late.statistics()
    assert (statistics.rejected, statistics.outdated) == (0, 0), statistics


@pytest.mark.fault_row(30)
def test_a_publisher_that_speaks_before_it_is_connected_is_heard_as_soon_as_it_is(
    context: ZmqContext, until: Until
) -> None:
    owner = subscriber(context, ANY_PORT, bind=True)
    sender = LatestPublisher(context, owner.endpoint, bind=False, setting="out")
    spoken(sender, MISSED)
    numbers = heard(until, sender, owner, 5)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] >= MISSED
    statistics = owner.statistics()
    assert (statistics.rejected, statistics.outdated) == (0, 0), statistics
