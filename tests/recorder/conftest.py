"""Recordings without sockets: records take the way over the wire and the file, but no process is involved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dualsys.bus.codec import decode, encode
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import VirtualClock
from dualsys.recorder.ledger import Ledger
from dualsys.recorder.records import Record
from dualsys.recorder.tap import Tap
from dualsys.recorder.topics import AnyRecord, Envelope
from dualsys.recorder.writer import RecordingWriter

FLUSH_EVERY = 400


class ListTap(Tap):
    """A tap whose records end up in a list, as a recorder would receive them."""

    def __init__(self, source: str = "control", clock: VirtualClock | None = None) -> None:
        self.source = source
        self.taken = 0
        self.dropped = 0
        self._clock = clock or VirtualClock()
        self.envelopes: list[Envelope] = []

    def put(self, record: AnyRecord) -> None:
        envelope = Envelope(source=self.source, number=self.taken, record=record)
        self.taken += 1
        self.envelopes.append(decode(encode(envelope), Envelope))

    def records(self, kind: type[Record]) -> list[Record]:
        return [one.record for one in self.envelopes if isinstance(one.record, kind)]


def write_recording(path: Path, envelopes: list[Envelope]) -> Path:
    """Write what a recorder would have written."""
    path.unlink(missing_ok=True)
    writer, ledger = RecordingWriter(path), Ledger()
    writer.attach("config.yaml", "application/yaml", b"name: test\n", 0)
    for count, envelope in enumerate(envelopes):
        for record, number in ledger.enter(envelope):
            writer.write(record, number)
        if count % FLUSH_EVERY == 0:
            writer.flush()
    writer.write(ledger.end(0))
    writer.close()
    return path


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    """A ZeroMQ context that is closed afterwards."""
    made = open_context()
    yield made
    close_context(made)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[list[Envelope]], Path]:
    """Writes envelopes to a recording of the test."""
    return lambda envelopes: write_recording(tmp_path / "recording.mcap", envelopes)
