"""Time. All of dualsys reads integer nanoseconds from one injected clock.

Only this module calls `time.*`. Live processes use `WallClock`, which all processes of one machine share,
which never steps, and which goes on while the machine is suspended; the twin and tests use `VirtualClock`,
which moves when told to.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Final, Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


def seconds(duration_ns: int) -> float:
    """Convert integer nanoseconds to seconds, for display and for formulas that want floats."""
    return duration_ns / NS_PER_S


def nanoseconds(duration_s: float) -> int:
    """Convert seconds to integer nanoseconds, rounded to the nearest."""
    return round(duration_s * NS_PER_S)


def period_ns(rate_hz: float) -> int:
    """Period of a rate, in integer nanoseconds.

    Raises:
        ValueError: The rate is not positive, or so high that its period rounds to nothing.
    """
    if not 0 < rate_hz <= NS_PER_S:
        raise ValueError(f"rate_hz must be positive and at most {NS_PER_S:g}, got {rate_hz!r}")
    return round(NS_PER_S / rate_hz)


class Clock(Protocol):
    """Monotonic time in integer nanoseconds."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary origin; never decreases."""
        ...

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Return at or after `deadline_ns`; at once if it has passed."""
        ...


# On Linux CLOCK_MONOTONIC stands still while the machine is suspended: what was seen before would be as fresh
# afterwards as if no time had passed. Elsewhere it goes on, and there is no other.
_CLOCK: Final = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


class WallClock:
    """Time since this machine was started, that in which it was suspended included."""

    def now_ns(self) -> int:
        return time.clock_gettime_ns(_CLOCK)

    def sleep_until_ns(self, deadline_ns: int) -> None:
        while (remaining_ns := deadline_ns - time.clock_gettime_ns(_CLOCK)) > 0:
            time.sleep(remaining_ns / NS_PER_S)


class CpuClock:
    """Time that this thread has spent computing; it stands still while the thread waits. For benchmarks."""

    def now_ns(self) -> int:
        return time.thread_time_ns()


class VirtualClock:
    """A clock that moves only when told to. Sleeping on it moves it.

    Args:
        start_ns: First reading.
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def sleep_until_ns(self, deadline_ns: int) -> None:
        self._now_ns = max(self._now_ns, deadline_ns)

    def advance_ns(self, duration_ns: int) -> None:
        """Move forward. Raises ValueError on a negative duration: time never runs backwards."""
        if duration_ns < 0:
            raise ValueError(f"duration_ns must not be negative, got {duration_ns}")
        self._now_ns += duration_ns


def calendar_stamp() -> str:
    """Local calendar time as `20260131-235959`, to name folders. Never used to measure anything."""
    return time.strftime("%Y%m%d-%H%M%S")


@dataclass(frozen=True)
class Tick:
    """One wake-up of a `Pacer`.

    Attributes:
        index: Number of the grid period that this tick runs in; skips the missed ones.
        deadline_ns: What it slept for.
        late_ns: How much later it woke, >= 0.
        missed: Grid periods skipped just before this tick, because the previous one overran or because it
            woke late by whole periods.
    """

    index: int
    deadline_ns: int
    late_ns: int
    missed: int


class Grid:
    """A phase-locked grid, without a clock: deadlines are `start + k * period`, whatever the work takes.

    Overrunning or waking late skips whole periods, which are counted and never caught up: no grid period ever
    gets two ticks, and the phase is kept. Waking early begins nothing.

    Args:
        start_ns: Phase of the grid; the first deadline is one period later.
        period: Grid period, ns.
    """

    def __init__(self, start_ns: int, period: int) -> None:
        if period <= 0:
            raise ValueError(f"period must be positive, got {period}")
        self._start_ns = start_ns
        self._period_ns = period
        self._index = 0
        self.missed_total = 0

    @property
    def period_ns(self) -> int:
        """Time between two deadlines."""
        return self._period_ns

    @property
    def next_deadline_ns(self) -> int:
        """Start of the next grid period."""
        return self._start_ns + (self._index + 1) * self._period_ns

    def due_ns(self, now_ns: int) -> int:
        """What to sleep for: the next deadline, or the newest one that has passed."""
        return self._start_ns + self._due(now_ns) * self._period_ns

    def begin(self, now_ns: int, deadline_ns: int) -> Tick | None:
        """Begin a tick after having slept for a deadline of `due_ns`; None if that has not come yet."""
        late_ns = now_ns - deadline_ns
        if late_ns < 0:
            return None
        index = (now_ns - self._start_ns) // self._period_ns
        missed = index - self._index - 1
        self._index = index
        self.missed_total += missed
        return Tick(index, deadline_ns, late_ns, missed)

    def _due(self, now_ns: int) -> int:
        return max(self._index + 1, (now_ns - self._start_ns) // self._period_ns)


class Pacer:
    """Sleeps on a clock from one deadline of a `Grid` to the next. The grid begins now.

    Args:
        clock: Where time comes from.
        period: Grid period, ns.
    """

    def __init__(self, clock: Clock, period: int) -> None:
        self._clock = clock
        self._grid = Grid(clock.now_ns(), period)

    @property
    def next_deadline_ns(self) -> int:
        """Start of the next grid period."""
        return self._grid.next_deadline_ns

    @property
    def missed_total(self) -> int:
        """Grid periods without a tick so far."""
        return self._grid.missed_total

    def wait(self) -> Tick:
        """Sleep to the next grid deadline and report how that went."""
        deadline_ns = self._grid.due_ns(self._clock.now_ns())
        while True:
            self._clock.sleep_until_ns(deadline_ns)
            if (tick := self._grid.begin(self._clock.now_ns(), deadline_ns)) is not None:
                return tick
