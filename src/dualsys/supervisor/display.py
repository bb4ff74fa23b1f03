"""Shows a running system: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.telemetry.live_view import LiveView, line, table

_TABLE_PERIOD_NS = NS_PER_S // 4
_LINE_PERIOD_NS = 5 * NS_PER_S


class Display:
    """Where a run is shown.

    Nothing here raises because the terminal is closed, or whoever read from a pipe has ended.

    Args:
        console: The terminal or file to write to.

    Attributes:
        lost: Why nothing can be shown any more; empty while it can.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._due_ns = 0
        self.lost = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._write(self._live.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._write(self._live.stop)

    def due(self, now_ns: int) -> bool:
        """Whether it is time to show something new."""
        return now_ns >= self._due_ns

    def show(self, now_ns: int, view: LiveView) -> None:
        """Show the newest view."""
        if self._live is not None:
            self._write(partial(self._live.update, table(view), refresh=True))
            self._due_ns = now_ns + _TABLE_PERIOD_NS
        else:
            self.say(line(view))
            self._due_ns = now_ns + _LINE_PERIOD_NS

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._write(partial(self._console.print, text, markup=False, highlight=False, soft_wrap=True))

    def _write(self, show: Callable[[], None]) -> None:
        if self.lost:
            return
        try:
            show()
        except OSError as error:
            self.lost = error.strerror or str(error)
        except SystemExit:
            # What the console's library makes of a pipe that nobody reads. An arm has to be stopped first.
            self.lost = "the pipe is closed"


def milliseconds(value_ns: int) -> float | None:
    """Nanoseconds for people; None for the -1 that stands for nothing yet."""
    return None if value_ns < 0 else value_ns / NS_PER_MS
