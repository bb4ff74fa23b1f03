"""The processes of a run: started, watched, stopped. None is restarted: a robot must not resume by itself."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from dualsys.clock import NS_PER_S, Clock, nanoseconds
from dualsys.errors import DualsysError

_POLL_NS = NS_PER_S // 100
_LAST_LINES = 12
_KILLED_S = 1.0
"""A process that is killed is gone within milliseconds, unless the kernel keeps it."""


class ProcessEndedError(DualsysError):
    """A process ended that was needed.

    Args:
        ending: Which one, and how.
    """

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        super().__init__(ending.describe())


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        name: Which process.
        code: Exit code; negative for the signal that ended it.
        log: Its log file; None if it wrote to the terminal.
        expected: It had been asked to stop.
    """

    name: str
    code: int
    log: Path | None
    expected: bool

    @property
    def how(self) -> str:
        """In words, without the log."""
        signal_name = signal.Signals(-self.code).name if self.code < 0 else ""
        return f"was ended by {signal_name}" if signal_name else f"ended with code {self.code}"

    def describe(self) -> str:
        """What happened, and the last lines that the process wrote."""
        text = f"process {self.name!r} {self.how}"
        if self.log is None:
            return text
        try:
            said = self.log.read_text("utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        except OSError as error:
            return f"{text}; its log {self.log} cannot be read: {error.strerror}"
        ends_with = (
            "\n".join([", and ends with", *(f"  {line}" for line in said)]) if said else " and is empty"
        )
        return f"{text}; its log is {self.log}{ends_with}"


class Children:
    """The processes of one run. All of them end when this process does.

    Args:
        clock: Where time comes from.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[str, tuple[subprocess.Popen[bytes], Path | None]] = {}
        self._asked: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """Processes that have not been seen to end, in the order of their start."""
        return tuple(self._running)

    def start(self, name: str, command: Sequence[str], log: Path | None) -> int:
        """Start a process.

        Args:
            name: What to call it.
            command: Its command line.
            log: Where its output is appended; None for the terminal.

        Returns:
            Its process id.
        """
        # Its own process group: Ctrl-C reaches this process only, which then stops the others in order.
        with log.open("ab") if log else nullcontext() as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
            )
        self._running[name] = (process, log)
        return process.pid

    def pid(self, name: str) -> int | None:
        """Process id of one that has not been seen to end; None for any other."""
        return self._running[name][0].pid if name in self._running else None

    def ended(self) -> list[Ending]:
        """Processes that ended since the last call."""
        endings: list[Ending] = []
        for name, (process, log) in list(self._running.items()):
            code = process.poll()
            if code is not None:
                endings.append(Ending(name, code, log, name in self._asked))
                del self._running[name]
        return endings

    def stop(self, names: Sequence[str], grace_s: float) -> list[Ending]:
        """Ask processes to end (SIGTERM), one after the other; kill those that have not within `grace_s`."""
        endings: list[Ending] = []
        for name in names:
            if name not in self._running:
                continue
            process, _ = self._running[name]
            self._asked.add(name)
            process.terminate()
            deadline_ns = self._clock.now_ns() + nanoseconds(grace_s)
            while process.poll() is None and self._clock.now_ns() < deadline_ns:
                self._clock.sleep_until_ns(self._clock.now_ns() + _POLL_NS)
            if process.poll() is None:
                process.kill()
                _wait_for_end(process)
            endings += self.ended()
        return endings

    def kill(self) -> None:
        """End all processes at once. May be called by a signal handler, whatever it has interrupted."""
        running = [process for process, _ in self._running.values()]
        for process in running:
            process.kill()
        for process in running:
            _wait_for_end(process)


def _wait_for_end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that was killed, but not for ever.

    One that the kernel keeps, in a device that does not answer, ends when that does. And without a limit,
    `wait` takes a lock that is held for good where a signal handler has interrupted a look at the process.
    """
    with suppress(subprocess.TimeoutExpired):
        process.wait(_KILLED_S)
