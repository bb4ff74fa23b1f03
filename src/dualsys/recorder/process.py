"""The recorder process: takes records from the others and writes them into one file."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import zmq

from dualsys.bus.codec import MAX_FRAME_BYTES, decode
from dualsys.bus.sockets import ZmqContext, attach, close_context, open_context, open_socket
from dualsys.clock import NS_PER_MS, NS_PER_S, Clock, WallClock
from dualsys.errors import ConfigError, MessageError
from dualsys.recorder.ledger import Ledger
from dualsys.recorder.tap import QUEUED_RECORDS, SETTING
from dualsys.recorder.topics import Envelope

if TYPE_CHECKING:
    from dualsys.config import SystemConfig
    from dualsys.recorder.writer import RecordingWriter

FLUSH_NS: Final = 500 * NS_PER_MS
"""Longest time until a record is on the disk."""

QUIET_NS: Final = 200 * NS_PER_MS
"""Once it is told to end, the recorder waits until nothing has come for as long."""

LONGEST_END_NS: Final = 2 * NS_PER_S
_POLL_MS = 20
_FRAMES_PER_TURN = 256


class FlightRecorder:
    """Receives records and writes them.

    Args:
        context: From `bus.sockets.open_context`.
        endpoint: Address to bind.
        writer: Where they go; closed by `run`.
        clock: Where time comes from.

    Raises:
        AddressInUseError: Another process owns the address.
    """

    def __init__(self, context: ZmqContext, endpoint: str, writer: RecordingWriter, clock: Clock) -> None:
        self._socket = open_socket(context, zmq.PULL, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, QUEUED_RECORDS)
        self.endpoint = attach(self._socket, endpoint, bind=True, setting=SETTING)
        self._writer = writer
        self._clock = clock
        self._ledger = Ledger()
        self._end_asked = False

    def ask_to_end(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Take what is on its way, then return from `run`. Also a signal handler."""
        del number, frame
        self._end_asked = True

    def run(self) -> None:
        """Write until the end is asked for, then seal the file.

        Raises:
            RecordingError: The disk is full or fails; what was flushed before can be read.
        """
        flushed_ns = heard_ns = self._clock.now_ns()
        ends_ns = -1
        while True:
            received = self._take()
            now_ns = self._clock.now_ns()
            heard_ns = now_ns if received else heard_ns
            if now_ns - flushed_ns >= FLUSH_NS:
                self._writer.flush()
                flushed_ns = now_ns
            if self._end_asked and ends_ns < 0:
                ends_ns, heard_ns = now_ns + LONGEST_END_NS, now_ns
            if ends_ns >= 0 and (now_ns - heard_ns >= QUIET_NS or now_ns >= ends_ns):
                break
        self._writer.write(self._ledger.end(self._clock.now_ns()))
        self._writer.close()

    def _take(self) -> int:
        """Write what is there, or wait a moment for it. Returns how many frames came."""
        self._socket.poll(_POLL_MS)
        for count in range(_FRAMES_PER_TURN):
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return count
            try:
                envelope = decode(frame, Envelope)
            except MessageError as error:
                self._ledger.reject(str(error))
                continue
            for record, number in self._ledger.enter(envelope):
                self._writer.write(record, number)
        return _FRAMES_PER_TURN


def run_recorder(config: SystemConfig) -> None:
    """Record a system until SIGTERM or SIGINT.

    Args:
        config: The whole system; `record.file` says where to.

    Raises:
        MissingExtraError: The MCAP library is not installed.
        RecordingError: The file exists, or the disk fails.
        BusError: The address is taken.
    """
    from dualsys.recorder.extra import require_mcap

    require_mcap("recording a run (record.enabled)")
    from dualsys.recorder.writer import RecordingWriter

    if config.record.file is None:
        raise ConfigError("record.file", ["record.file: got null, expected the path of a file to write"])
    clock = WallClock()
    context = open_context()
    try:
        writer = RecordingWriter(Path(config.record.file))
        writer.attach("config.yaml", "application/yaml", config.to_yaml().encode(), clock.now_ns())
        recorder = FlightRecorder(context, config.endpoints.recorder.input, writer, clock)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, recorder.ask_to_end)
        recorder.run()
    finally:
        close_context(context)
