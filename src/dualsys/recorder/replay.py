"""Computes every decision of a recording again."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from dualsys.recorder.reading import RecordingReader
from dualsys.recorder.records import ControlBegin, Lost, Record
from dualsys.recorder.replay_control import ControlReplay
from dualsys.recorder.replay_planner import PlannerReplay
from dualsys.recorder.tap import versions
from dualsys.recorder.verdict import Difference, Part, ReplayVerdict


class Replay(Protocol):
    """The replay of one process."""

    def take(self, record: Record) -> Difference | None:
        """Replay one record."""
        ...

    def compared(self) -> dict[str, int]:
        """How many decisions of each kind were compared."""
        ...


def replay(path: Path) -> ReplayVerdict:
    """Replay a recording.

    Args:
        path: The file, or the run folder that it lies in.

    Raises:
        RecordingError: It cannot be read, or not be replayed.
    """
    reader = RecordingReader(path)
    replays: dict[str, Replay] = {"control": ControlReplay(), "planner": PlannerReplay()}
    parts = {name: Part(name) for name in replays}
    verdict = ReplayVerdict(parts=list(parts.values()))
    for _, record in reader:
        if verdict.start_ns < 0:
            verdict.start_ns = record.t_ns
        if isinstance(record, Lost) and record.source in parts:
            part = parts[record.source]
            part.gap = part.gap or (
                f"{record.count} records from number {record.first} on were lost, "
                f"{(record.t_ns - verdict.start_ns) / 1e9:.3f} s after the start"
            )
        if isinstance(record, ControlBegin):
            here = versions()
            verdict.versions = [
                f"{name} {there} there, {here.get(name)} here"
                for name, there in record.versions.items()
                if there != here.get(name)
            ]
        for name, one in replays.items():
            if parts[name].equal:
                parts[name].difference = one.take(record)
    for name, one in replays.items():
        parts[name].compared = one.compared()
    verdict.cut = reader.cut
    return verdict
