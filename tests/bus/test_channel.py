"""Channels over real sockets."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bus import channel
from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.codec import MAX_FRAME_BYTES, encode, most_bytes
from dualsys.bus.order import HEADER_BYTES, REMEMBERED_PUBLISHERS, header
from dualsys.bus.sockets import ZmqContext, open_context
from dualsys.clock import NS_PER_S
from dualsys.errors import BusError, MessageError
from dualsys.messages import ArmCommand, CameraFrame, Image, Request

Until = Callable[[Callable[[], Any]], Any]
Connect = Callable[[str, bytes], Any]
ANY_PORT = "tcp://127.0.0.1:*"


def publisher(context: ZmqContext, endpoint: str = ANY_PORT, **options: Any) -> LatestPublisher:
    return LatestPublisher(context, endpoint, bind=options.pop("bind", True), setting="out", **options)


def subscriber(context: ZmqContext, endpoint: str, **options: Any) -> LatestSubscriber[ArmCommand]:
    bind = options.pop("bind", False)
    return LatestSubscriber(context, endpoint, bind=bind, setting="in", types=(ArmCommand,), **options)


def command(seq: int) -> ArmCommand:
    return ArmCommand(seq=seq, position=(0.0,) * 8)


def joined(until: Until, sender: LatestPublisher, receiver: LatestSubscriber[Any], seq: int = 0) -> None:
    """Send a message until it arrives: at first for the subscription, later because one may be kept back."""

    def attempt() -> bool:
        sender.send(command(seq))
        return receiver.wait(0) and receiver.receive() == command(seq)

    until(attempt)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("publisher_binds", [True, False])
def test_a_message_arrives_whoever_binds(
    context: ZmqContext, until: Until, tmp_path: Path, transport: str, publisher_binds: bool
) -> None:
    endpoint = ANY_PORT if transport == "tcp" else f"ipc://{tmp_path}/channel"
    if publisher_binds:
        sender = publisher(context, endpoint)
        receiver = subscriber(context, sender.endpoint)
    else:
        receiver = subscriber(context, endpoint, bind=True)
        sender = publisher(context, receiver.endpoint, bind=False)
    joined(until, sender, receiver)


def test_only_the_newest_of_many_is_received(context: ZmqContext, until: Until) -> None:
    sender = publisher(context)
    receiver = subscriber(context, sender.endpoint)
    joined(until, sender, receiver)
    for seq in range(1, 2001):
        sender.send(command(seq))
    seen: list[int] = []

    def last_one() -> bool:
        if not receiver.wait(NS_PER_S):
            # Kept back until the next one comes, see `channel`.
            sender.send(command(2000))
        if message := receiver.receive():
            seen.append(message.seq)
        return 2000 in seen

    until(last_one)
    assert seen == sorted(seen)
    # What piled up while nobody read is one message, whatever the number sent.
    assert len(seen) < 100
    assert receiver.receive() is None


def test_every_subscriber_gets_the_newest(context: ZmqContext, until: Until) -> None:
    sender = publisher(context)
    receivers = [subscriber(context, sender.endpoint) for _ in range(3)]
    for receiver in receivers:
        joined(until, sender, receiver)

    def heard_by_all() -> bool:
        sender.send(command(77))
        return [receiver.receive() for receiver in receivers] == [command(77)] * 3

    until(heard_by_all)


def test_receiving_without_a_publisher_is_none_and_does_not_block(context: ZmqContext) -> None:
    receiver = subscriber(context, "tcp://127.0.0.1:9")
    assert receiver.receive() is None
    for timeout_ns in (0, -5, 1):
        assert receiver.wait(timeout_ns) is False
        assert receiver.receive_within(timeout_ns) is None


def test_sending_without_a_subscriber_does_not_block(context: ZmqContext) -> None:
    sender = publisher(context)
    for seq in range(5000):
        sender.send(command(seq))
    assert sender.statistics().sent == 5000


def test_a_message_that_cannot_be_sent_leaves_the_next_as_it_is(context: ZmqContext, until: Until) -> None:
    sender = publisher(context)
    receiver = subscriber(context, sender.endpoint)
    joined(until, sender, receiver)
    sent = sender.statistics().sent
    for bad in (ArmCommand(seq=1, position=(0.0,) * 3000), ArmCommand(seq=2**70, position=())):
        with pytest.raises(MessageError):
            sender.send(bad)
        assert sender.statistics().sent == sent

        def arrives() -> bool:
            nonlocal sent
            sender.send(command(9))
            sent += 1
            return (message := receiver.receive()) is not None and message.seq == 9

        until(arrives)
    assert receiver.statistics().rejected == 0


def test_the_messages_of_each_topic_are_numbered_from_0_by_one_publisher(
    context: ZmqContext, until: Until
) -> None:
    sender = publisher(context)
    raw = context.socket(zmq.SUB)
    raw.setsockopt(zmq.CONFLATE, 1)
    raw.setsockopt(zmq.SUBSCRIBE, b"")
    raw.connect(sender.endpoint)
    sent = dict.fromkeys((b"", b"wrist", b"a much longer name"), 0)
    publishers: set[bytes] = set()

    def travels(topic: bytes) -> bool:
        sender.send(command(sent[topic]), topic)
        sent[topic] += 1
        if not raw.poll(100):
            return False
        name, _, rest = raw.recv().partition(b"\0")
        publishers.add(rest[:8])
        # It need not be the one just sent: one may be kept back.
        number = int.from_bytes(rest[8:16], "big")
        assert number < sent[name]
        assert rest[16:] == encode(command(number))
        return name == topic

    for topic in [*sent, *sent, *reversed(sent)]:
        until(lambda topic=topic: travels(topic))
    assert len(publishers) == 1
    assert sender.statistics().sent == sum(sent.values())


@given(st.binary(max_size=40))
def test_whatever_comes_as_a_frame_is_refused_or_of_another_topic(frame: bytes) -> None:
    with open_context() as context:
        receiver = subscriber(context, "tcp://127.0.0.1:9", topic=b"a")
        assert receiver._accepted(memoryview(frame)) is None
        assert receiver.statistics().rejected == frame.startswith(b"a\0")
        receiver.close()


def test_topics_do_not_mix_even_if_one_begins_with_the_other(context: ZmqContext, until: Until) -> None:
    # Two topics at one address: both publishers connect where the subscriber is bound, and are heard by it.
    receiver = subscriber(context, ANY_PORT, bind=True, topic=b"wrist")
    other = publisher(context, receiver.endpoint, bind=False, topic=b"wrist2")
    same = publisher(context, receiver.endpoint, bind=False, topic=b"wrist")
    joined(until, same, receiver)

    def passed_over() -> bool:
        other.send(command(9))
        came = receiver.wait(NS_PER_S)
        message = receiver.receive()
        assert message in (None, command(0)), "what was sent until the subscription had arrived, or nothing"
        return came and message is None

    for _ in range(5):
        until(passed_over)
    joined(until, same, receiver, seq=10)
    assert receiver.statistics().rejected == 0


def test_a_subscriber_that_connects_hears_its_own_topic_alone(context: ZmqContext, until: Until) -> None:
    sender = publisher(context, topic=b"wrist2")
    receiver = subscriber(context, sender.endpoint, topic=b"wrist")

    def heard() -> bool:
        sender.send(command(10), b"wrist")
        # The newest that is sent: it would replace the one before on the way.
        sender.send(command(9))
        message = receiver.receive()
        assert message in (None, command(10))
        return message is not None

    for _ in range(5):
        until(heard)
    assert receiver.statistics().rejected == 0


def test_a_topic_with_a_zero_byte_is_refused(context: ZmqContext) -> None:
    with pytest.raises(BusError, match="zero byte"):
        publisher(context, topic=b"a\0b")


def test_garbage_is_counted_and_the_next_message_arrives(context: ZmqContext, until: Until) -> None:
    receiver = subscriber(context, ANY_PORT, bind=True)
    stranger = context.socket(zmq.PUB)
    stranger.connect(receiver.endpoint)

    def spoil() -> bool:
        stranger.send(b"\0" + header(9, 0) + b"garbage")
        assert receiver.receive() is None
        return receiver.statistics().rejected >= 2

    until(spoil)
    assert "not a valid ArmCommand" in receiver.statistics().last_fault
    for short in (b"\0", b"\0" + bytes(15)):
        before = receiver.statistics().rejected

        def shorter(frame: bytes = short, before: int = before) -> bool:
            stranger.send(frame)
            return receiver.receive() is None and receiver.statistics().rejected > before

        until(shorter)
    assert "those of this channel have 17 to" in receiver.statistics().last_fault
    joined(until, publisher(context, receiver.endpoint, bind=False), receiver)
    assert receiver.statistics().received >= 1


def test_one_publisher_serves_several_topics_and_none_replaces_another(
    context: ZmqContext, until: Until
) -> None:
    sender = publisher(context)
    receivers = {name: subscriber(context, sender.endpoint, topic=name) for name in (b"fixed", b"wrist")}

    def both() -> bool:
        for seq, name in enumerate(receivers):
            sender.send(command(seq), name)
        return all(receiver.receive() is not None for receiver in receivers.values())

    until(both)

    def each_its_own() -> bool:
        for _ in range(50):
            sender.send(command(7), b"fixed")
            sender.send(command(8), b"wrist")
        heard = [receiver.wait(NS_PER_S) and receiver.receive() for receiver in receivers.values()]
        return heard == [command(7), command(8)]

    until(each_its_own)
    with pytest.raises(BusError, match="zero byte"):
        sender.send(command(0), b"a\0b")


def test_a_publisher_forgets_topics_and_their_messages_stay_news(
    context: ZmqContext, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "REMEMBERED_TOPICS", 3)
    sender = publisher(context)
    receiver = subscriber(context, sender.endpoint, topic=b"first")

    sent = 0

    def arrives(seq: int) -> bool:
        nonlocal sent
        sender.send(command(seq), b"first")
        sent += 1
        return (message := receiver.receive()) is not None and message.seq == seq

    until(lambda: arrives(1))
    for number in range(50):
        sender.send(command(2), b"robot %d" % number)
    assert len(sender._counts) == 3, "names come from peers, memory is bounded"
    until(lambda: arrives(3))
    assert receiver.statistics().outdated == 0
    assert sender.statistics().sent == 50 + sent


@pytest.mark.fault_row(7, 35)
def test_frames_that_are_played_again_overtaken_or_repeated_are_dropped_and_counted(
    context: ZmqContext, until: Until
) -> None:
    receiver = subscriber(context, ANY_PORT, bind=True)
    recorded = context.socket(zmq.PUB)
    recorded.connect(receiver.endpoint)

    def play(publisher: int, number: int, seq: int) -> ArmCommand | None:
        """Send a frame until it is there, whether it is news or not: one may be kept back, see `channel`."""

        def came() -> bool:
            recorded.send(b"\0" + header(publisher, number) + encode(command(seq)))
            return receiver.wait(NS_PER_S)

        until(came)
        return receiver.receive()

    newest = 1
    assert play(1, newest, 5) == command(5)
    lost = receiver.statistics().superseded
    assert play(1, newest, 6) is None
    assert play(1, newest - 1, 6) is None
    assert play(1, 0, 6) is None
    assert receiver.statistics().outdated == 3
    # Another publisher, such as the same process started anew, begins where it wants.
    assert play(2, 0, 7) == command(7)
    assert play(1, newest, 8) is None
    assert play(1, newest + 10, 9) == command(9)
    assert receiver.statistics().superseded == lost + 9
    assert receiver.statistics().received == 3


def test_the_memory_of_publishers_is_bounded(context: ZmqContext) -> None:
    receiver = subscriber(context, ANY_PORT, bind=True)
    for publisher_number in range(3 * REMEMBERED_PUBLISHERS):
        assert receiver._order.admit(publisher_number, 0)
    # And the one heard last.
    assert len(receiver._order._others) == REMEMBERED_PUBLISHERS - 1


def test_another_type_of_message_is_rejected(context: ZmqContext, until: Until) -> None:
    sender = publisher(context)
    receiver = subscriber(context, sender.endpoint)
    joined(until, sender, receiver)

    def spoil() -> bool:
        sender.send(Request(verb="stop"))
        message = receiver.receive()
        assert message in (None, command(0)), "what was sent until the subscription had arrived, or nothing"
        return receiver.statistics().rejected > 0

    until(spoil)
    assert "not a valid ArmCommand" in receiver.statistics().last_fault


def test_the_publisher_refuses_what_would_cut_the_connection(context: ZmqContext) -> None:
    sender = publisher(context)
    with pytest.raises(MessageError, match="make it smaller"):
        sender.send(
            CameraFrame(camera="c", seq=0, t_robot_ns=0, image=Image("raw", 1, 1, bytes(MAX_FRAME_BYTES)))
        )
    assert sender.statistics().sent == 0


def test_a_restarted_publisher_is_found_again(context: ZmqContext, until: Until, reopened: Until) -> None:
    sender = publisher(context)
    receiver = subscriber(context, sender.endpoint)
    joined(until, sender, receiver)
    sender.close()
    sender.close()
    # Another number, for something of the first publisher may still be on its way.
    joined(until, reopened(lambda: publisher(context, receiver.endpoint)), receiver, seq=1)


@pytest.mark.fault_row(32)
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("topic", [b"\0", b"another", b""])
def test_a_message_that_goes_on_and_never_ends_costs_a_new_connection_and_no_process(
    context: ZmqContext, until: Until, stranger: Connect, tmp_path: Path, transport: str, topic: bytes
) -> None:
    receiver = subscriber(context, ANY_PORT if transport == "tcp" else f"ipc://{tmp_path}/in", bind=True)
    friend = publisher(context, receiver.endpoint, bind=False)
    joined(until, friend, receiver)
    for attack in range(1, 3):
        # libzmq itself would end this process at the next look.
        hostile = until(lambda: refused_at_first(stranger, receiver.endpoint))
        hostile.send(topic + bytes(20), hostile.MORE)
        until(lambda attack=attack: receiver.receive() is None and receiver.statistics().rejected == attack)
        assert "a message in several parts" in receiver.statistics().last_fault
        until(hostile.hung_up)
        joined(until, friend, receiver)


@pytest.mark.fault_row(31)
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_whoever_announces_a_frame_above_the_limit_is_cut_off_before_it_comes_and_counted_and_nobody_else(
    context: ZmqContext, until: Until, stranger: Connect, tmp_path: Path, transport: str
) -> None:
    receiver = subscriber(context, ANY_PORT if transport == "tcp" else f"ipc://{tmp_path}/in", bind=True)
    friend = publisher(context, receiver.endpoint, bind=False)
    joined(until, friend, receiver)
    limit = 1 + HEADER_BYTES + most_bytes(ArmCommand)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    attempts = 0
    for size in (limit + 1, 2**32, 2**63 - 1):

        def cut_off_at_once(size: int = size) -> bool:
            nonlocal attempts
            attempts += 1
            hostile = stranger(receiver.endpoint, b"PUB")
            hostile.announce(size)
            # No byte of it was sent: who hangs up now has gone by the header, unless a heartbeat was missed.
            return b"PING" not in hostile.last_words()

        until(cut_off_at_once)

        def counted() -> bool:
            receiver.tend()
            return receiver.statistics().connections_ended == attempts

        until(counted)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 16 * 1024
    joined(until, friend, receiver, seq=1)


def refused_at_first(stranger: Connect, endpoint: str) -> Any:
    """A stranger, once the address is there again."""
    try:
        return stranger(endpoint, b"PUB")
    except (ConnectionRefusedError, FileNotFoundError):
        return None


@pytest.mark.fault_row(32)
def test_a_subscriber_connects_anew_where_its_publisher_sends_a_message_that_goes_on(
    context: ZmqContext, until: Until, stranger: Connect
) -> None:
    frame = b"\0" + header(1, 0) + encode(command(1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        receiver = subscriber(context, f"tcp://127.0.0.1:{server.getsockname()[1]}")
        hostile = stranger(server, b"PUB")
        hostile.send(frame, hostile.MORE)
        until(lambda: receiver.receive() is None and receiver.statistics().rejected == 1)
        friend = stranger(server, b"PUB")
        until(lambda: friend.send(frame) or receiver.receive() == command(1))
