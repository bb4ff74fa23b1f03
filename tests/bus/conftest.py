"""What the transport tests share: a context per test, and waiting for a condition instead of for a time."""

from __future__ import annotations

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
