"""Channels: the latest value wins.

Publishing never blocks and never queues; receiving returns the newest message or nothing. ZeroMQ keeps one
message per connection on both ends (`CONFLATE`), which holds the age of what is read to the transport itself.
A small high-water mark would not: it drops the *newest*, and kernel buffers hold seconds of old ones.
Conflated sockets carry single frames only, so a topic travels as a prefix of the frame.

Sockets are not thread-safe: use each channel from one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import zmq

from dualsys.bus.codec import MAX_FRAME_BYTES, decode, encode
from dualsys.bus.sockets import ZmqContext, ZmqSocket, attach, open_socket
from dualsys.clock import NS_PER_MS
from dualsys.errors import BusError, MessageError
from dualsys.messages import Message

M = TypeVar("M", bound=Message)

_FRAMES_PER_CALL = 64


@dataclass(frozen=True)
class PublisherStatistics:
    """Totals of one publisher.

    Attributes:
        sent: Messages handed to the transport; whether anyone listened is not known.
    """

    sent: int


@dataclass(frozen=True)
class SubscriberStatistics:
    """Totals of one subscriber.

    Attributes:
        received: Valid messages read. Those that newer ones replaced on the way were never read.
        rejected: Frames that were not a valid message.
        last_fault: What was wrong with the last of them; empty while there is none.
    """

    received: int
    rejected: int
    last_fault: str


class LatestPublisher:
    """Sends the latest value to whoever listens.

    Args:
        context: From `sockets.open_context`.
        endpoint: Address.
        bind: Own the address, or connect to its owner.
        setting: Name of the setting that the address came from.
        topic: Only subscribers to exactly this topic get the messages. No zero byte.

    Raises:
        AddressInUseError: Another process owns the address.
        BusError: The address or the topic cannot be used.
    """

    def __init__(
        self, context: ZmqContext, endpoint: str, *, bind: bool, setting: str, topic: bytes = b""
    ) -> None:
        self._prefix = _prefix(topic)
        self._socket = open_socket(context, zmq.PUB, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.CONFLATE, 1)
        self.endpoint = attach(self._socket, endpoint, bind=bind, setting=setting)
        self._sent = 0

    def send(self, message: Message) -> None:
        """Replace what is on its way by `message`. Never blocks; without a listener nothing happens.

        Raises:
            MessageError: The message cannot be sent.
        """
        self._socket.send(self._prefix + encode(message), zmq.NOBLOCK)
        self._sent += 1

    def statistics(self) -> PublisherStatistics:
        """Return totals since it was made."""
        return PublisherStatistics(self._sent)

    def close(self) -> None:
        """Release the address. Closing twice is allowed."""
        self._socket.close()


class LatestSubscriber(Generic[M]):
    """Receives the latest value.

    One subscriber has one topic. Where several publishers connect to a bound subscriber, the newest of each
    is kept, and `receive` returns one of those: give each its own topic and subscriber if all are wanted.

    Args:
        context: From `sockets.open_context`.
        endpoint: Address.
        bind: Own the address, or connect to its owner.
        setting: Name of the setting that the address came from.
        types: Accepted message types; anything else is rejected and counted.
        topic: Exact topic.

    Raises:
        AddressInUseError: Another process owns the address.
        BusError: The address or the topic cannot be used.
    """

    def __init__(
        self,
        context: ZmqContext,
        endpoint: str,
        *,
        bind: bool,
        setting: str,
        types: Sequence[type[M]],
        topic: bytes = b"",
    ) -> None:
        self._prefix = _prefix(topic)
        self._types = tuple(types)
        self._socket = open_socket(context, zmq.SUB, MAX_FRAME_BYTES + len(self._prefix))
        self._socket.setsockopt(zmq.CONFLATE, 1)
        self._socket.setsockopt(zmq.SUBSCRIBE, self._prefix)
        self.endpoint = attach(self._socket, endpoint, bind=bind, setting=setting)
        self._received = 0
        self._rejected = 0
        self._last_fault = ""

    @property
    def socket(self) -> ZmqSocket:
        """The socket, to wait on several at once. Do not read from it."""
        return self._socket

    def receive(self) -> M | None:
        """Return the newest message since the last call, or None. Never blocks."""
        newest: M | None = None
        for _ in range(_FRAMES_PER_CALL):
            try:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            message = self._decode(frame)
            newest = newest if message is None else message
        return newest

    def wait(self, timeout_ns: int) -> bool:
        """Block until there is something to receive, or the time is over. Rounded up to a millisecond.

        Returns:
            Whether there is something.
        """
        return bool(self._socket.poll(-(-max(timeout_ns, 0) // NS_PER_MS)))

    def statistics(self) -> SubscriberStatistics:
        """Return totals since it was made."""
        return SubscriberStatistics(self._received, self._rejected, self._last_fault)

    def close(self) -> None:
        """Disconnect. Closing twice is allowed."""
        self._socket.close()

    def _decode(self, frame: zmq.Frame) -> M | None:
        try:
            message = cast(M, decode(frame.buffer[len(self._prefix) :], *self._types))
        except MessageError as error:
            self._rejected += 1
            self._last_fault = str(error)
            return None
        self._received += 1
        return message


def _prefix(topic: bytes) -> bytes:
    """Topic with an end mark, so that a topic is never mistaken for a longer one that starts alike."""
    if b"\0" in topic:
        raise BusError(f"topic {topic!r} contains a zero byte, which ends a topic: choose another name")
    return topic + b"\0"
