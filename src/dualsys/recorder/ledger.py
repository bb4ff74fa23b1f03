"""What the recorder adds to what it receives: lost records, changes of mode, and a last word. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dualsys.recorder.records import ControlTick, Lost, ModeChange, Record, RecorderEnd
from dualsys.recorder.topics import Envelope


class Ledger:
    """Keeps count of the records of each process."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._received: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._rejected = 0
        self._fault = ""
        self._mode = ("", "")

    def enter(self, envelope: Envelope) -> Iterator[tuple[Record, int]]:
        """What to write for a received envelope: records and their numbers."""
        source, number, record = envelope.source, envelope.number, envelope.record
        expected = self._next.get(source, 0)
        if number > expected:
            self._lost[source] += number - expected
            yield Lost(t_ns=record.t_ns, source=source, first=expected, count=number - expected), number
        # A smaller number than expected: the process was started anew.
        self._next[source] = number + 1
        self._received[source] += 1
        yield record, number
        if isinstance(record, ControlTick) and (record.mode, record.reason) != self._mode:
            before, self._mode = self._mode[0], (record.mode, record.reason)
            yield ModeChange(t_ns=record.t_ns, mode=record.mode, before=before, reason=record.reason), number

    def reject(self, fault: str) -> None:
        """A frame was no record."""
        self._rejected += 1
        self._fault = fault

    def end(self, now_ns: int) -> RecorderEnd:
        """The last record."""
        return RecorderEnd(
            t_ns=now_ns,
            received=dict(self._received),
            lost=dict(self._lost),
            rejected=self._rejected,
            fault=self._fault,
        )
