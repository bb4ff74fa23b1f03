"""The sending end of the recorder, within the process that is recorded, which it neither blocks nor fails."""

from __future__ import annotations

import platform
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zmq

import dualsys
from dualsys.bus.channel import LatestSubscriber
from dualsys.bus.codec import MAX_FRAME_BYTES, encode
from dualsys.bus.service import QUESTIONS_PER_CALL, PeerToken, ServiceServer
from dualsys.bus.sockets import ZmqContext, attach, open_socket
from dualsys.clock import Clock
from dualsys.errors import MessageError
from dualsys.messages import Hello, Message, Reply, Request, Welcome
from dualsys.recorder.records import Question, Rejected
from dualsys.recorder.topics import AnyRecord, Envelope

if TYPE_CHECKING:
    from dualsys.config import SystemConfig

QUEUED_RECORDS: Final = 4096
"""Records that wait for a slow recorder; at 250 ticks and 60 plans a second, about 13 s. More are dropped."""

SETTING: Final = "endpoints.recorder.input"
_OPEN_QUESTIONS = 256

Faults = Callable[[], tuple[int, str]]
"""How many things were rejected so far, and what was wrong with the last."""


class Tap:
    """Hands records to the recorder.

    They wait in a bounded queue of the transport. When it is full, or when a record cannot be sent, the
    record is dropped and counted; the recorder sees that from the numbers of those that follow.

    Args:
        context: From `bus.sockets.open_context`.
        endpoint: Where the recorder listens.
        source: Name of this process.
        clock: Stamps what has no stamp of its own.
        queued: Records that may wait.

    Attributes:
        source: Name of this process.
        taken: Records taken so far.
        dropped: Those of them that were not sent.
        last_fault: Why the last of those could not be sent; empty if the queue was full.

    Raises:
        BusError: The address cannot be used.
    """

    def __init__(
        self, context: ZmqContext, endpoint: str, source: str, clock: Clock, queued: int = QUEUED_RECORDS
    ) -> None:
        self.source = source
        self.taken = 0
        self.dropped = 0
        self.last_fault = ""
        self._clock = clock
        self._socket = open_socket(context, zmq.PUSH, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.SNDHWM, queued)
        attach(self._socket, endpoint, bind=False, setting=SETTING)

    def now_ns(self) -> int:
        """Edge time."""
        return self._clock.now_ns()

    def put(self, record: AnyRecord) -> None:
        """Send a record, or drop it. Never blocks, never raises for what the record holds."""
        number = self.taken
        self.taken += 1
        try:
            self._socket.send(encode(Envelope(source=self.source, number=number, record=record)), zmq.NOBLOCK)
        except zmq.Again:
            self.dropped += 1
            self.last_fault = ""
        except MessageError as error:
            self.dropped += 1
            self.last_fault = str(error)

    def close(self) -> None:
        """Let go of the recorder. Closing twice is allowed."""
        self._socket.close()


def open_tap(context: ZmqContext, config: SystemConfig, source: str, clock: Clock) -> Tap | None:
    """The tap of a process, or None if nothing is recorded."""
    if not config.record.enabled:
        return None
    return Tap(context, config.endpoints.recorder.input, source, clock)


def faults_of(channel: LatestSubscriber[Any] | ServiceServer) -> Faults:
    """What a channel or service has rejected."""

    def look() -> tuple[int, str]:
        statistics = channel.statistics()
        return statistics.rejected, statistics.last_fault

    return look


class Watch:
    """Notes when something was rejected, at most once in so many looks.

    Args:
        tap: Where to.
        every: Calls of `look` per look: what floods a channel does not flood the recording.
    """

    def __init__(self, tap: Tap, every: int) -> None:
        self._tap = tap
        self._every = every
        self._calls = 0
        self._faults: dict[str, Faults] = {}
        self._noted: dict[str, int] = {}

    def add(self, channel: str, faults: Faults) -> None:
        """Watch a channel."""
        self._faults[channel] = faults
        self._noted[channel] = 0

    def look(self) -> None:
        """Look, if it is time."""
        self._calls += 1
        if self._calls % self._every:
            return
        for channel, faults in self._faults.items():
            total, fault = faults()
            if total != self._noted[channel]:
                self._noted[channel] = total
                now_ns, process = self._tap.now_ns(), self._tap.source
                self._tap.put(
                    Rejected(t_ns=now_ns, process=process, channel=channel, total=total, fault=fault)
                )


class RecordedService(ServiceServer):
    """A service whose questions and answers are recorded.

    Args:
        tap: Where to.
        context, endpoint, setting, at_once: As for `ServiceServer`.
    """

    def __init__(
        self,
        tap: Tap,
        context: ZmqContext,
        endpoint: str,
        *,
        setting: str,
        at_once: int = QUESTIONS_PER_CALL,
    ) -> None:
        super().__init__(context, endpoint, setting=setting, at_once=at_once)
        self._tap = tap
        # A careless client may number two questions alike; they are answered in their order.
        self._open: dict[PeerToken, deque[Hello | Request]] = {}

    def poll(self) -> list[tuple[PeerToken, Hello | Request]]:
        """Return the questions that are waiting."""
        questions = super().poll()
        for peer, question in questions:
            self._open.setdefault(peer, deque()).append(question)
        while len(self._open) > _OPEN_QUESTIONS:
            del self._open[next(iter(self._open))]
        return questions

    def answer(self, peer: PeerToken, message: Message) -> None:
        """Send the answer, then note both."""
        super().answer(peer, message)
        waiting = self._open.get(peer)
        question = waiting.popleft() if waiting else None
        if not waiting:
            self._open.pop(peer, None)
        verb, caller, arguments = "", "", {}
        if isinstance(question, Request):
            verb, arguments = question.verb, dict(question.arguments)
        elif question is not None:
            verb, caller = "hello", question.role
        self._tap.put(
            Question(
                t_ns=self._tap.now_ns(),
                process=self._tap.source,
                verb=verb,
                caller=caller,
                arguments=arguments,
                ok=isinstance(message, Welcome) or (isinstance(message, Reply) and message.ok),
                text=message.text if isinstance(message, Reply) else "",
            )
        )


def open_service(
    tap: Tap | None, context: ZmqContext, endpoint: str, *, setting: str, at_once: int = QUESTIONS_PER_CALL
) -> ServiceServer:
    """A service, recorded where there is a tap. Arguments as for `ServiceServer`."""
    if tap is None:
        return ServiceServer(context, endpoint, setting=setting, at_once=at_once)
    return RecordedService(tap, context, endpoint, setting=setting, at_once=at_once)


def versions() -> dict[str, str]:
    """What the numbers of this process depend on."""
    return {
        "dualsys": dualsys.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "platform": sys.platform,
    }
