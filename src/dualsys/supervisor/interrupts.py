"""Ctrl-C, or a terminal that is closed: once for a controlled stop, twice to kill."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Counts SIGINT, SIGTERM and SIGHUP while it is entered; SIGHUP not where it is ignored, as by `nohup`.

    Args:
        kill: Called at the second one, before the process leaves.
    """

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill
        self._count = 0
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether somebody wants this to end."""
        return self._count > 0

    def __enter__(self) -> Self:
        watched = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            watched.append(signal.SIGHUP)
        for number in watched:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._count += 1
        if self._count > 1:
            self._kill()
            raise SystemExit(128 + number)
