"""Channels over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.codec import MAX_FRAME_BYTES
from dualsys.bus.sockets import ZmqContext
from dualsys.clock import NS_PER_S
from dualsys.errors import BusError, MessageError
from dualsys.messages import ArmCommand, CameraFrame, Image, Request

Until = Callable[[Callable[[], Any]], Any]
ANY_PORT = "tcp://127.0.0.1:*"


def publisher(context: ZmqContext, endpoint: str = ANY_PORT, **options: Any) -> LatestPublisher:
    return LatestPublisher(context, endpoint, bind=options.pop("bind", True), setting="out", **options)


def subscriber(context: ZmqContext, endpoint: str, **options: Any) -> LatestSubscriber[ArmCommand]:
    bind = options.pop("bind", False)
    return LatestSubscriber(context, endpoint, bind=bind, setting="in", types=(ArmCommand,), **options)


def command(seq: int) -> ArmCommand:
    return ArmCommand(seq=seq, position=(0.0,) * 8)


def joined(until: Until, sender: LatestPublisher, receiver: LatestSubscriber[Any]) -> None:
    """Send until the subscription has arrived."""

    def attempt() -> object:
        sender.send(command(0))
        return receiver.wait(0) and receiver.receive()

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
    sender.send(command(77))
    for receiver in receivers:
        until(lambda receiver=receiver: (m := receiver.receive()) is not None and m.seq == 77)


def test_receiving_without_a_publisher_is_none_and_does_not_block(context: ZmqContext) -> None:
    receiver = subscriber(context, "tcp://127.0.0.1:9")
    assert receiver.receive() is None
    assert receiver.wait(0) is False
    assert receiver.wait(-5) is False
    assert receiver.wait(1) is False


def test_sending_without_a_subscriber_does_not_block(context: ZmqContext) -> None:
    sender = publisher(context)
    for seq in range(5000):
        sender.send(command(seq))
    assert sender.statistics().sent == 5000


def test_waiting_ends_when_a_message_is_there(context: ZmqContext, until: Until) -> None:
    sender = publisher(context)
    receiver = subscriber(context, sender.endpoint)
    joined(until, sender, receiver)
    sender.send(command(5))

    def newest() -> int:
        assert receiver.wait(5 * NS_PER_S)
        message = receiver.receive()
        return 0 if message is None else message.seq

    # Those that were sent until the subscription had arrived may come first.
    assert until(newest) == 5


def test_topics_do_not_mix_even_if_one_begins_with_the_other(context: ZmqContext, until: Until) -> None:
    first = publisher(context, topic=b"wrist")
    # Two topics at one address: the second publisher connects where the first subscriber bound.
    receiver = subscriber(context, ANY_PORT, bind=True, topic=b"wrist")
    other = publisher(context, receiver.endpoint, bind=False, topic=b"wrist2")
    same = publisher(context, receiver.endpoint, bind=False, topic=b"wrist")
    joined(until, same, receiver)
    for _ in range(20):
        other.send(command(9))
    same.send(command(10))
    until(lambda: (m := receiver.receive()) is not None and m.seq == 10)
    assert receiver.statistics().rejected == 0
    first.close()


def test_a_topic_with_a_zero_byte_is_refused(context: ZmqContext) -> None:
    with pytest.raises(BusError, match="zero byte"):
        publisher(context, topic=b"a\0b")


def test_garbage_is_counted_and_the_next_message_arrives(context: ZmqContext, until: Until) -> None:
    receiver = subscriber(context, ANY_PORT, bind=True)
    stranger = context.socket(zmq.PUB)
    stranger.connect(receiver.endpoint)

    def spoil() -> bool:
        stranger.send(b"\0garbage")
        assert receiver.receive() is None
        return receiver.statistics().rejected >= 2

    until(spoil)
    assert "not a valid ArmCommand" in receiver.statistics().last_fault
    joined(until, publisher(context, receiver.endpoint, bind=False), receiver)
    assert receiver.statistics().received >= 1


def test_another_type_of_message_is_rejected(context: ZmqContext, until: Until) -> None:
    sender = publisher(context)
    receiver = subscriber(context, sender.endpoint)
    joined(until, sender, receiver)

    def spoil() -> bool:
        sender.send(Request(verb="stop"))
        return receiver.receive() is None and receiver.statistics().rejected > 0

    until(spoil)


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
    joined(until, reopened(lambda: publisher(context, receiver.endpoint)), receiver)
