"""What the transport tests share: a context per test, and waiting for a condition instead of for a time."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

import pytest
import zmq

from dualsys.bus.sockets import ZmqContext, ZmqSocket, close_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.errors import AddressInUseError

T = TypeVar("T")


class KeepingContext(zmq.Context[ZmqSocket]):
    """Keeps the sockets that a test drops, so that they are closed at its end and not by the collector."""

    kept: ClassVar[list[ZmqSocket]] = []

    def socket(self, *arguments: Any, **options: Any) -> ZmqSocket:
        self.kept.append(super().socket(*arguments, **options))
        return self.kept[-1]


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    """A context that is closed with all its sockets."""
    context = KeepingContext()
    yield context
    close_context(context)
    context.kept.clear()


@pytest.fixture
def until() -> Callable[[Callable[[], T | None]], T]:
    """Call a function until it returns something true; fail after ten seconds."""

    def repeat(attempt: Callable[[], T | None]) -> T:
        clock = WallClock()
        deadline_ns = clock.now_ns() + 10 * NS_PER_S
        while clock.now_ns() < deadline_ns:
            if outcome := attempt():
                return outcome
            clock.sleep_until_ns(clock.now_ns() + 2 * NS_PER_MS)
        raise AssertionError("what was waited for did not happen within 10 s")

    return repeat


@pytest.fixture
def reopened(until: Callable[[Callable[[], Any]], Any]) -> Callable[[Callable[[], T]], T]:
    """Open something at an address that was just closed; ZeroMQ releases it from a thread of its own."""

    def reopen(make: Callable[[], T]) -> T:
        def attempt() -> T | None:
            with suppress(AddressInUseError):
                return make()
            return None

        made: T = until(attempt)
        return made

    return reopen


class Stranger:
    """Speaks ZMTP 3.1 by itself, and so sends what no socket of ZeroMQ would.

    Args:
        line: Connected to whoever is to be bothered, who begins at once as well.
        kind: What it claims to be, such as `PUB`.
    """

    GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 32)
    MORE, LONG, COMMAND = 1, 2, 4

    def __init__(self, line: socket.socket, kind: bytes) -> None:
        self._line = line
        line.settimeout(10)
        line.sendall(self.GREETING)
        ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
        self.send(ready, self.COMMAND)
        assert len(self._read(64)) == 64
        assert self._read(2)[0] == self.COMMAND

    def send(self, body: bytes, flags: int = 0) -> None:
        """Send one frame of less than 256 bytes, whatever its flags."""
        self._line.sendall(bytes([flags, len(body)]) + body)

    def announce(self, size: int) -> None:
        """Begin a frame of so many bytes, none of which follow."""
        self._line.sendall(bytes([self.LONG]) + size.to_bytes(8, "big"))

    def hung_up(self) -> bool:
        """Read on; whether the other side has closed the connection. Waits for something to read."""
        with suppress(ConnectionResetError):
            return not self._line.recv(4096)
        return True

    def last_words(self) -> bytes:
        """Read until the other side closes the connection."""
        words = b""
        with suppress(ConnectionResetError):
            while more := self._line.recv(4096):
                words += more
        return words

    def has_something(self) -> bool:
        """Whether there is something to read, which stays there."""
        with suppress(BlockingIOError):
            return len(self._line.recv(256, socket.MSG_PEEK | socket.MSG_DONTWAIT)) == 256
        return False

    def leave(self) -> None:
        """Close the connection."""
        self._line.close()

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (more := self._line.recv(count - len(data))):
            data += more
        return data


@pytest.fixture
def stranger() -> Iterator[Callable[[str | socket.socket, bytes], Stranger]]:
    """Connect a stranger to an address, or let it be connected to."""
    lines: list[socket.socket] = []

    def connect(endpoint: str | socket.socket, kind: bytes) -> Stranger:
        if isinstance(endpoint, socket.socket):
            line = endpoint.accept()[0]
        elif endpoint.startswith("ipc://"):
            line = socket.socket(socket.AF_UNIX)
            line.connect(endpoint.removeprefix("ipc://"))
        else:
            host, port = endpoint.removeprefix("tcp://").split(":")
            line = socket.create_connection((host, int(port)))
        lines.append(line)
        return Stranger(line, kind)

    yield connect
    for line in lines:
        line.close()
