"""Channels: the latest value wins.

Publishing never blocks and never queues; receiving returns the newest message or nothing. ZeroMQ keeps one
message per connection on both ends (`CONFLATE`), which holds the age of what is read to the transport itself.
A small high-water mark would not: it drops the *newest*, and kernel buffers hold seconds of old ones.
Conflated sockets carry single frames only, so all that travels is one frame: topic, a zero byte, the number
of the publisher, the number of the message (8 bytes each, see `order`), and the message in MessagePack.

A conflated socket of libzmq may keep a value to itself until the next one comes: it gives up writing while
the other thread looks whether there is anything (its `dbuffer_t::write`). That is rare, but nothing may
depend on one message alone: whoever publishes does so again.

Sockets are not thread-safe: use each channel from one thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import zmq

from dualsys.bus.codec import UNREADABLE, decoder, encode_into
from dualsys.bus.endings import Endings
from dualsys.bus.link_model import KERNEL_BYTES
from dualsys.bus.order import NUMBER, REMEMBERED_PUBLISHERS, Order, header, layout
from dualsys.bus.polling import has_come
from dualsys.bus.sockets import Attachment, ZmqContext, ZmqSocket, open_socket
from dualsys.clock import NS_PER_MS
from dualsys.errors import BusError
from dualsys.messages import Message

M = TypeVar("M", bound=Message)

REMEMBERED_TOPICS: Final = 1024
"""So many topics a publisher counts at once: far more than the robots of any fleet."""

_FRAMES_PER_CALL = 64
_MAX_SUBSCRIPTION_BYTES = 4096


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
        rejected: Frames that were not a valid message. One that the transport refused, because it was too
            large or none of the protocol, is among them where its sender owns the address.
        superseded: Messages that newer ones replaced on the way, as far as the numbers tell.
        outdated: Valid frames that were no news: repeated, overtaken, or played again.
        last_fault: What was wrong with the last rejected one; empty while there is none.
        connections_ended: Connections that have ended, whoever ended them: peers that left or fell silent,
            and those that the transport cut off, which it does not tell apart.
    """

    received: int
    rejected: int
    last_fault: str
    superseded: int = 0
    outdated: int = 0
    connections_ended: int = 0


class LatestPublisher:
    """Sends the latest value to whoever listens.

    One publisher can serve several topics: each subscriber has a connection of its own, on which only its
    topic travels, so the newest of one topic never replaces that of another.

    Args:
        context: From `sockets.open_context`.
        endpoint: Address.
        bind: Own the address, or connect to its owner.
        setting: Name of the setting that the address came from.
        topic: Only subscribers to exactly this topic get the messages, unless `send` names another. No zero
            byte.

    Raises:
        AddressInUseError: Another process owns the address.
        BusError: The address or the topic cannot be used.
    """

    def __init__(
        self, context: ZmqContext, endpoint: str, *, bind: bool, setting: str, topic: bytes = b""
    ) -> None:
        self._topic = topic
        self._number = secrets.randbits(64)
        self._sent = 0
        self._counts: dict[bytes, int] = {}
        self._first_count = 0
        # Used again for every message: what is sent has been copied when `send` returns. What stands before
        # the next message stands there already, until another topic is sent to.
        self._frame = bytearray()
        self._begin(topic)
        # All that comes in here are subscriptions.
        self._socket = open_socket(context, zmq.PUB, _MAX_SUBSCRIPTION_BYTES)
        self._socket.setsockopt(zmq.CONFLATE, 1)
        self._socket.setsockopt(zmq.SNDBUF, KERNEL_BYTES)
        # The method of the base class: that of the class itself only adds arguments that are not used here.
        self._hand_over = super(zmq.Socket, self._socket).send
        endings = None if bind else Endings()
        self._attachment = Attachment(self._socket, endpoint, bind=bind, setting=setting, endings=endings)
        self.endpoint = self._attachment.endpoint

    def send(self, message: Message, topic: bytes | None = None) -> None:
        """Replace what is on its way by `message`. Never blocks; without a listener nothing happens.

        Args:
            message: The new value.
            topic: Where to; by default the topic of the publisher.

        Raises:
            MessageError: The message cannot be sent.
            BusError: The topic contains a zero byte.
        """
        # Nothing goes to whoever has lost their key. Everything else is looked after behind the message: that
        # takes as long as the message itself, which is on its way by then.
        if self._attachment.is_protected:
            self._attachment.tend()
        if topic is None:
            topic = self._topic
        if topic != self._begun:
            self._begin(topic)
        encode_into(message, self._frame, self._start)
        self._hand_over(self._frame, zmq.NOBLOCK)
        self._counts[topic] = number = self._counts[topic] + 1
        NUMBER.pack_into(self._frame, self._start - NUMBER.size, number)
        self._sent += 1
        if not self._attachment.is_protected:
            self._attachment.tend()

    def statistics(self) -> PublisherStatistics:
        """Return totals since it was made."""
        return PublisherStatistics(self._sent)

    def tend(self) -> None:
        """Follow the key store. Sending and receiving do so too; this is for when there is neither."""
        self._attachment.tend()

    def close(self) -> None:
        """Release the address. Closing twice is allowed."""
        self._attachment.close()

    def _begin(self, topic: bytes) -> None:
        """Write what stands before the next message of a topic."""
        prefix = _prefix(topic)
        if topic not in self._counts:
            self._add(topic)
        self._frame[:] = start = prefix + header(self._number, self._counts[topic])
        self._begun, self._start = topic, len(start)

    def _add(self, topic: bytes) -> None:
        """Begin to count a topic, and forget the one begun longest ago if there are too many.

        Names come from peers. The numbers of a topic must never fall: one that was forgotten goes on, like
        any that is new, behind the highest that was forgotten.
        """
        if len(self._counts) >= REMEMBERED_TOPICS:
            oldest = next(iter(self._counts))
            self._first_count = max(self._first_count, self._counts.pop(oldest))
        self._counts[topic] = self._first_count


class LatestSubscriber(Generic[M]):
    """Receives the latest value.

    One subscriber has one topic. Where several publishers connect to a bound subscriber, the newest of each
    is kept, whatever its topic, and `receive` returns one of those: give each its own topic and subscriber if
    all are wanted.

    A message in several parts is hostile: none of ours is. libzmq ends the process where a part is read whose
    next one is not there, or where such a message is of a topic that was not asked for. So the first part is
    the last that is read: it is rejected, the socket is closed, and another one takes its place, to which
    everybody else comes back by themselves. A bound subscriber, to which anyone may connect, asks for every
    topic and tells them apart by itself. One that connects has to trust the owner of the address so far.

    Args:
        context: From `sockets.open_context`.
        endpoint: Address.
        bind: Own the address, or connect to its owner.
        setting: Name of the setting that the address came from.
        types: Accepted message types; anything else is rejected and counted.
        topic: Exact topic.
        publishers: How many connect at most, where they do: so many are remembered, see `order`.

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
        publishers: int = 1,
    ) -> None:
        self._prefix = _prefix(topic)
        begin = layout(len(self._prefix))
        self._start, self._unpack = begin.size, begin.unpack_from
        self._decoder = decoder(tuple(types))
        self._decode: Any = self._decoder.decode
        self._most_bytes = self._start + self._decoder.most_bytes
        self._bound = bind
        self._socket = self._opened(context)
        self._endings = Endings()
        self._attachment = Attachment(
            self._socket, endpoint, bind=bind, setting=setting, endings=self._endings
        )
        self.endpoint = self._attachment.endpoint
        self._timeout_ms = -1
        self._found = False
        self._received = 0
        self._rejected = 0
        self._last_fault = ""
        # Twice as many: those that start anew are new ones.
        self._order = Order(max(REMEMBERED_PUBLISHERS, 2 * publishers))

    @property
    def socket(self) -> ZmqSocket:
        """The socket, to wait on several at once. Do not read from it. Once read, it may be another."""
        return self._socket

    def receive(self) -> M | None:
        """Return the newest message since the last call, or None. Never blocks."""
        if self._bound:
            newest = self.receive_all()
            return newest[-1] if newest else None
        # Whoever connects has one connection, which keeps one frame.
        self.tend()
        frame = self._read()
        return None if frame is None else self._accepted(frame)

    def receive_within(self, timeout_ns: int) -> M | None:
        """Return the next message that comes, or None if there is none in time. Rounded up to a millisecond.

        As `wait` and then `receive`, for less: the socket is asked once. What is refused or no news ends the
        wait as well. Where several publishers connect, it is the newest of one of them, and those of the
        others are left for the next calls.
        """
        self.tend()
        timeout_ms = _whole_ms(timeout_ns)
        if timeout_ms != self._timeout_ms:
            self._socket.setsockopt(zmq.RCVTIMEO, timeout_ms)
            self._timeout_ms = timeout_ms
        frame = self._next(0)
        return None if frame is None else self._accepted(frame)

    def receive_all(self) -> list[M]:
        """Return what has come from all publishers since the last call, in that order. Never blocks.

        Of each of them the newest was kept; of one that sends meanwhile, more than one may be among them.
        What tells them apart is in the messages.
        """
        self.tend()
        messages: list[M] = []
        for _ in range(_FRAMES_PER_CALL):
            frame = self._read()
            if frame is None:
                break
            message = self._accepted(frame)
            if message is not None:
                messages.append(message)
            # Each connection keeps one frame. Whoever connects has one; where peers connect, others may wait.
            if not self._bound:
                break
        return messages

    def wait(self, timeout_ns: int) -> bool:
        """Block until there is something to receive, or the time is over. Rounded up to a millisecond.

        Returns:
            Whether there is something.
        """
        self.tend()
        return has_come(self._socket, _whole_ms(timeout_ns))

    def statistics(self) -> SubscriberStatistics:
        """Return totals since it was made."""
        return SubscriberStatistics(
            self._received,
            self._rejected,
            self._last_fault,
            self._order.superseded,
            self._order.outdated,
            self._endings.total,
        )

    def tend(self) -> None:
        """Follow the key store, and connect anew to whom the transport has cut off.

        Receiving and waiting do so too; this is for when there is neither.
        """
        if self._attachment.tend():
            self._rejected += 1
            refused = f"a frame above {self._most_bytes} bytes, or none of the protocol"
            self._last_fault = f"{refused}: whoever sent it was cut off"

    def close(self) -> None:
        """Disconnect. Closing twice is allowed."""
        self._attachment.close()

    def _opened(self, context: ZmqContext) -> ZmqSocket:
        socket = open_socket(context, zmq.SUB, self._most_bytes)
        socket.setsockopt(zmq.CONFLATE, 1)
        socket.setsockopt(zmq.RCVBUF, KERNEL_BYTES)
        socket.setsockopt(zmq.SUBSCRIBE, b"" if self._bound else self._prefix)
        return socket

    def _start_over(self) -> None:
        """Never read the socket again, and go on with another one."""
        self._rejected += 1
        self._last_fault = "a message in several parts: whoever sent it was cut off, and all others with it"
        self._socket, self._timeout_ms = self._opened(self._socket.context), -1
        self._attachment.replace(self._socket)

    def _read(self) -> memoryview | None:
        """The next frame, or None: there is none, or it was none of ours."""
        # Who read one the last time is likely to find one again. Everybody else asks first.
        if (self._bound or not self._found) and not has_come(self._socket):
            return None
        frame = self._next(zmq.NOBLOCK)
        self._found = frame is not None
        return frame

    def _next(self, flags: int) -> memoryview | None:
        try:
            # Its stubs do not say that a frame is a buffer.
            frame: Any = self._socket.recv(flags, copy=False)
        except zmq.Again:
            return None
        if frame.more:
            self._start_over()
            return None
        return memoryview(frame)

    def _accepted(self, content: memoryview) -> M | None:
        """The message in a frame, or None: it was of another topic, none of ours, or no news."""
        if not self._start <= len(content) <= self._most_bytes:
            self._refuse_size(content)
            return None
        prefix, publisher, number = self._unpack(content)
        if prefix != self._prefix:
            return None
        try:
            # Decoded first: what is not a message never moves the order on.
            message: M = self._decode(content[self._start :])
        except UNREADABLE as error:
            self._reject(self._decoder.fault(error))
            return None
        if not self._order.admit(publisher, number):
            return None
        self._received += 1
        return message

    def _refuse_size(self, content: memoryview) -> None:
        if content[: len(self._prefix)] == self._prefix:
            self._reject(
                f"a frame of {len(content)} bytes was refused: those of this channel have {self._start} to "
                f"{self._most_bytes}"
            )

    def _reject(self, fault: str) -> None:
        self._rejected += 1
        self._last_fault = fault


def _whole_ms(timeout_ns: int) -> int:
    return -(-max(timeout_ns, 0) // NS_PER_MS)


def _prefix(topic: bytes) -> bytes:
    """Topic with an end mark, so that a topic is never mistaken for a longer one that starts alike."""
    if b"\0" in topic:
        raise BusError(f"topic {topic!r} contains a zero byte, which ends a topic: choose another name")
    return topic + b"\0"
