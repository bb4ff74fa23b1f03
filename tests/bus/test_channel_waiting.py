"""Waiting for what a channel brings, over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import zmq

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.sockets import ZmqContext
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.messages import ArmCommand, Request

Until = Callable[[Callable[[], Any]], Any]
ANY_PORT = "tcp://127.0.0.1:*"


def publisher(context: ZmqContext, endpoint: str = ANY_PORT, bind: bool = True) -> LatestPublisher:
    return LatestPublisher(context, endpoint, bind=bind, setting="out")


def subscriber(
    context: ZmqContext, endpoint: str, bind: bool = False, publishers: int = 1
) -> LatestSubscriber[ArmCommand]:
    return LatestSubscriber(
        context, endpoint, bind=bind, setting="in", types=(ArmCommand,), publishers=publishers
    )


def command(seq: int) -> ArmCommand:
    return ArmCommand(seq=seq, position=(0.0,) * 8)


def joined(until: Until, sender: LatestPublisher, receiver: LatestSubscriber[ArmCommand]) -> None:
    """Send a message until it arrives: for the subscription has to come first."""

    def attempt() -> bool:
        sender.send(command(0))
        return receiver.wait(0) and receiver.receive() == command(0)

    until(attempt)


def test_waiting_ends_when_a_message_is_there(context: ZmqContext, until: Until) -> None:
    sender = publisher(context)
    receiver = subscriber(context, sender.endpoint)
    joined(until, sender, receiver)

    def newest() -> int:
        sender.send(command(5))
        message = receiver.receive() if receiver.wait(NS_PER_S) else None
        return 0 if message is None else message.seq

    # Those that were sent until the subscription had arrived may come first.
    assert until(newest) == 5


@pytest.mark.parametrize("receiver_binds", [True, False])
def test_a_message_can_be_waited_for_and_silence_ends_in_time(
    context: ZmqContext, until: Until, receiver_binds: bool
) -> None:
    clock = WallClock()
    if receiver_binds:
        receiver = subscriber(context, ANY_PORT, bind=True)
        sender = publisher(context, receiver.endpoint, bind=False)
    else:
        sender = publisher(context)
        receiver = subscriber(context, sender.endpoint)
    joined(until, sender, receiver)

    def waited_for() -> bool:
        sender.send(command(5))
        message = receiver.receive_within(NS_PER_S)
        return message is not None and message.seq == 5

    until(waited_for)
    until(lambda: receiver.receive_within(NS_PER_MS) is None)
    for timeout_ns in (20 * NS_PER_MS, 30 * NS_PER_MS - 1):
        begun_ns = clock.now_ns()
        assert receiver.receive_within(timeout_ns) is None
        assert clock.now_ns() - begun_ns >= timeout_ns


def test_of_several_publishers_each_wait_returns_one_and_none_is_lost(
    context: ZmqContext, until: Until
) -> None:
    receiver = subscriber(context, ANY_PORT, bind=True, publishers=2)
    senders = [publisher(context, receiver.endpoint, bind=False) for _ in range(2)]
    for sender in senders:
        joined(until, sender, receiver)
    until(lambda: receiver.receive_within(NS_PER_MS) is None)

    def both() -> bool:
        for seq, sender in enumerate(senders, 1):
            sender.send(command(seq))
        heard = [receiver.receive_within(NS_PER_S) for _ in senders]
        return sorted(message.seq for message in heard if message is not None) == [1, 2]

    until(both)


def test_what_is_refused_is_not_waited_through(context: ZmqContext, until: Until) -> None:
    sender = publisher(context)
    receiver = subscriber(context, sender.endpoint)
    joined(until, sender, receiver)

    def refused() -> bool:
        sender.send(Request(verb="status"))
        return receiver.receive_within(5 * NS_PER_S) is None

    until(refused)
    assert receiver.statistics().rejected


def test_a_wait_ends_in_time_where_another_socket_took_the_place_of_the_first(context: ZmqContext) -> None:
    receiver = subscriber(context, ANY_PORT, bind=True)
    assert receiver.receive_within(NS_PER_MS) is None
    # As after a message in several parts.
    receiver._start_over()
    assert receiver.receive_within(NS_PER_MS) is None
    assert receiver.socket.getsockopt(zmq.RCVTIMEO) == 1
