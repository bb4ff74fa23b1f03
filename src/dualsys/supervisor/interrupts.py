"""Ctrl-C, or a terminal that is closed: once for a controlled stop, twice to kill."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from dualsys.errors import DualsysError


class InterruptedRunError(DualsysError):
    """Somebody wants the run to end, or nobody sees any more what it says."""


class Interrupts:
    """Counts SIGINT, SIGTERM and SIGHUP while it is entered; SIGHUP not where it is ignored, as by `nohup`.

    Whoever waits looks at `asked`, or calls `check`, several times per second; what waits for longer by
    itself is run within `breaking_off`.

    Args:
        kill: Called at the second one, before the process leaves.
    """

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill
        self._count = 0
        self._breaks_off = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether somebody wants this to end."""
        return self._count > 0

    def check(self) -> None:
        """Return if nobody wants this to end.

        Raises:
            InterruptedRunError: Somebody does.
        """
        if self.asked:
            raise InterruptedRunError("stopped by the operator")

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Let the first signal break off whatever is waited for within this.

        Raises:
            InterruptedRunError: It came, here or before.
        """
        self._breaks_off = True
        try:
            self.check()
            yield
        finally:
            self._breaks_off = False

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
        if self._breaks_off:
            self.check()
