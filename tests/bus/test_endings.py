"""Connections that end: which are counted, and which are made anew."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import zmq

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.codec import encode
from dualsys.bus.endings import LOOK_NS, Endings
from dualsys.bus.order import header
from dualsys.bus.service import MAX_SERVICE_BYTES, ServiceClient
from dualsys.bus.sockets import ZmqContext, close_context, open_context, open_socket
from dualsys.clock import VirtualClock, WallClock
from dualsys.errors import PeerTimeoutError
from dualsys.messages import ArmCommand

Until = Callable[[Callable[[], Any]], Any]
Connect = Callable[[str | socket.socket, bytes], Any]
COMMAND = ArmCommand(seq=1, position=(0.0,) * 8)
FRAME = b"\0" + header(1, 0) + encode(COMMAND)
ABOVE_ANY_LIMIT = 2**40


@pytest.fixture
def owner() -> Iterator[socket.socket]:
    """Owns an address, and speaks for itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def address_of(owner: socket.socket) -> str:
    return f"tcp://127.0.0.1:{owner.getsockname()[1]}"


def is_heard(until: Until, friend: Any, receiver: LatestSubscriber[ArmCommand]) -> None:
    """Have a stranger say the command until it arrives: one may be kept back, see `channel`."""
    until(lambda: friend.send(FRAME) or receiver.receive() == COMMAND)


def subscriber(context: ZmqContext, owner: socket.socket) -> LatestSubscriber[ArmCommand]:
    return LatestSubscriber(context, address_of(owner), bind=False, setting="in", types=(ArmCommand,))


@pytest.mark.fault_row(31)
def test_an_owner_that_announces_a_frame_above_the_limit_is_cut_off_counted_and_heard_again_later(
    context: ZmqContext, until: Until, stranger: Connect, owner: socket.socket
) -> None:
    receiver = subscriber(context, owner)
    for attack in range(1, 4):
        # libzmq itself would never connect again, whatever the owner said later.
        hostile = stranger(owner, b"PUB")
        hostile.announce(ABOVE_ANY_LIMIT)
        until(hostile.hung_up)
        until(lambda attack=attack: receiver.receive() is None and receiver.statistics().rejected == attack)
        assert f"a frame above {receiver.socket.getsockopt(zmq.MAXMSGSIZE)} bytes" in (
            receiver.statistics().last_fault
        )
        assert receiver.statistics().connections_ended == attack
    is_heard(until, stranger(owner, b"PUB"), receiver)


def test_an_owner_that_leaves_is_found_again_by_the_transport_and_nothing_was_rejected(
    context: ZmqContext, until: Until, stranger: Connect, owner: socket.socket
) -> None:
    receiver = subscriber(context, owner)
    stranger(owner, b"PUB").leave()

    def counted() -> bool:
        assert receiver.receive() is None
        return receiver.statistics().connections_ended == 1

    until(counted)
    is_heard(until, stranger(owner, b"PUB"), receiver)
    assert receiver.statistics().rejected == 0


def test_an_owner_that_wants_keys_is_heard_once_it_wants_none(
    context: ZmqContext, until: Until, stranger: Connect, owner: socket.socket
) -> None:
    receiver = subscriber(context, owner)
    other, _ = owner.accept()
    with other:
        other.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15 + 32))
        until(lambda: receiver.receive() is None and receiver.statistics().rejected == 1)
    is_heard(until, stranger(owner, b"PUB"), receiver)


def comes_back(until: Until, owner: socket.socket, attempt: Callable[[], object]) -> None:
    """Attempt something until the owner is connected to once more."""
    owner.setblocking(False)

    def back() -> socket.socket | None:
        attempt()
        with suppress(BlockingIOError):
            return owner.accept()[0]
        return None

    until(back).close()


@pytest.mark.fault_row(31)
def test_a_publisher_connects_again_to_an_owner_whose_subscription_was_too_large(
    context: ZmqContext, until: Until, stranger: Connect, owner: socket.socket
) -> None:
    sender = LatestPublisher(context, address_of(owner), bind=False, setting="out")
    hostile = stranger(owner, b"SUB")
    hostile.announce(ABOVE_ANY_LIMIT)
    until(hostile.hung_up)
    comes_back(until, owner, lambda: sender.send(COMMAND))


@pytest.mark.fault_row(31)
def test_a_client_connects_again_to_a_server_whose_answer_was_too_large(
    context: ZmqContext, until: Until, stranger: Connect, owner: socket.socket
) -> None:
    client = ServiceClient(context, address_of(owner), "a server")
    hostile = stranger(owner, b"ROUTER")
    hostile.announce(MAX_SERVICE_BYTES + 1)
    until(hostile.hung_up)

    def ask() -> None:
        with suppress(PeerTimeoutError):
            client.request("status", 0.01)

    comes_back(until, owner, ask)


def test_an_address_is_given_up_if_it_is_not_tried_again_at_the_next_look(
    context: ZmqContext, until: Until, stranger: Connect, owner: socket.socket
) -> None:
    clock = VirtualClock()
    endings = Endings(clock)
    connected = open_socket(context, zmq.SUB, 1000)
    endings.listen(connected, bound=False)
    connected.connect(address_of(owner))
    hostile = stranger(owner, b"PUB")
    hostile.announce(1001)
    until(hostile.hung_up)

    def ended() -> bool:
        clock.sleep_until_ns(clock.now_ns() + LOOK_NS)
        assert not endings.given_up(), "only the look after this one can tell"
        return endings.total == 1

    until(ended)
    assert not endings.given_up(), "it is too early to look again"
    clock.sleep_until_ns(clock.now_ns() + LOOK_NS)
    assert endings.given_up()
    clock.sleep_until_ns(clock.now_ns() + LOOK_NS)
    assert not endings.given_up(), "it is told once"
    endings.close()
    endings.close()
    assert not endings.given_up()


def test_a_bound_address_is_never_given_up_and_many_endings_at_once_are_all_counted(
    context: ZmqContext, until: Until
) -> None:
    clock = VirtualClock()
    endings = Endings(clock)
    bound = open_socket(context, zmq.SUB, 1000)
    endings.listen(bound, bound=True)
    port = bound.bind_to_random_port("tcp://127.0.0.1")
    for _ in range(100):
        socket.create_connection(("127.0.0.1", port)).close()

    def counted() -> bool:
        clock.sleep_until_ns(clock.now_ns() + LOOK_NS)
        assert not endings.given_up()
        return endings.total == 100

    until(counted)
    clock.sleep_until_ns(clock.now_ns() + LOOK_NS)
    assert not endings.given_up(), "nobody is tried again from here"
    endings.close()


def test_a_publisher_that_leaves_is_no_fault_and_no_other_is_cut_off(
    context: ZmqContext, until: Until
) -> None:
    receiver = LatestSubscriber(
        context, "tcp://127.0.0.1:*", bind=True, setting="in", types=(ArmCommand,), publishers=2
    )
    stays, leaves = (LatestPublisher(context, receiver.endpoint, bind=False, setting="out") for _ in range(2))
    seqs = iter(range(1_000_000))

    def heard(publisher: LatestPublisher) -> bool:
        publisher.send(ArmCommand(next(seqs), (0.0,)))
        return bool(receiver.receive_all())

    until(lambda: heard(stays))
    until(lambda: heard(leaves))
    leaves.close()
    until(lambda: heard(stays) and receiver.statistics().connections_ended == 1)
    # Longer than two looks, after which an address that was connected to would have been given up.
    deadline_ns = WallClock().now_ns() + 3 * LOOK_NS
    until(lambda: heard(stays) and WallClock().now_ns() > deadline_ns)
    counted = receiver.statistics()
    assert (counted.rejected, counted.last_fault, counted.connections_ended) == (0, "", 1)
    stays.close()
    receiver.close()


def test_a_context_is_closed_while_connections_end() -> None:
    context = open_context()
    receivers = [
        LatestSubscriber(context, "tcp://127.0.0.1:*", bind=True, setting="in", types=(ArmCommand,))
        for _ in range(3)
    ]
    senders = [
        LatestPublisher(context, receiver.endpoint, bind=False, setting="out") for receiver in receivers
    ]
    for sender in senders:
        sender.send(COMMAND)
    # All of them are still open, and each end is told while others are closed.
    close_context(context)
    assert context.closed
    for channel in (*receivers, *senders):
        channel.close()
