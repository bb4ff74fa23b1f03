"""When a control tick begins: policies without a clock, a socket or a sleep, and a record of how it went.

A policy is asked twice per tick: what to wait for, then, with the time after the wait, whether a tick begins.

    periodic      the grid of our own clock drives; overruns are skipped and counted, the phase is kept
    device_paced  the robot's cycle drives: a loop of its own would beat against it, and now and then miss a
                  whole cycle or see one twice
    simulated     whoever simulates moves the time; it stands still while control computes, so nothing is late
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, Protocol, runtime_checkable

import numpy as np

from dualsys.clock import Clock, Grid, Tick
from dualsys.errors import RobotError

PacingName = Literal["periodic", "device_paced", "simulated"]

MIN_RATE_HZ: Final = 50.0
MAX_RATE_HZ: Final = 1000.0
"""What a control loop in Python is asked for: slower ones cannot follow, faster ones belong to the arm."""

PATIENCE_PERIODS: Final = 2
"""Periods without a cycle of the device after which control ticks all the same, so that its watchdogs run."""


class Pacing(Protocol):
    """Says when ticks begin."""

    @property
    def period_ns(self) -> int:
        """Nominal time between two ticks."""
        ...

    def due_ns(self, now_ns: int) -> int:
        """What to wait for, at most."""
        ...

    def begin(self, now_ns: int) -> Tick | None:
        """Begin a tick after the wait; None if it is too early for one: then wait again."""
        ...

    def counts(self) -> dict[str, int]:
        """What this policy has counted besides ticks and missed ones."""
        ...


@runtime_checkable
class PacingDevice(Protocol):
    """A robot that tells when its cycles begin."""

    def wait_cycle(self, deadline_ns: int) -> bool:
        """Wait for the next cycle, at most until `deadline_ns` (edge time); returns whether it has begun.

        A cycle that began since the last call, while nobody waited, counts; several count once.
        """
        ...


class Periodic:
    """The loop's own clock drives.

    Args:
        period_ns: Time between two ticks, ns.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = require_period(period_ns)
        self._grid: Grid | None = None
        self._deadline_ns = 0
        self._early = 0

    @property
    def period_ns(self) -> int:
        """Time between two ticks."""
        return self._period_ns

    def due_ns(self, now_ns: int) -> int:
        """The next deadline; the grid begins with the first call."""
        if self._grid is None:
            self._grid = Grid(now_ns, self._period_ns)
        self._deadline_ns = self._grid.due_ns(now_ns)
        return self._deadline_ns

    def begin(self, now_ns: int) -> Tick | None:
        """The tick of the grid period that `now_ns` lies in.

        Raises:
            RobotError: `due_ns` was not called before.
        """
        if self._grid is None:
            raise RobotError("pacing: begin() was called before due_ns()")
        tick = self._grid.begin(now_ns, self._deadline_ns)
        self._early += tick is None
        return tick

    def counts(self) -> dict[str, int]:
        """`woken_early`: waits that ended before their deadline."""
        return {"woken_early": self._early}


class DevicePaced:
    """The robot's own cycle drives; see `PacingDevice`.

    Each interval is judged by itself against the nominal period, so a device whose clock runs a little faster
    or slower never makes for a missed tick. How far it has run away is counted in `beats`.

    Args:
        period_ns: Nominal time between two cycles, ns.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = require_period(period_ns)
        self._start_ns = -1
        self._last_ns = -1
        self._index = 0
        self._early = 0
        self._silent = 0

    @property
    def period_ns(self) -> int:
        """Nominal time between two cycles."""
        return self._period_ns

    def due_ns(self, now_ns: int) -> int:
        """When control ticks even if the device stays silent."""
        if self._last_ns < 0:
            self._start_ns = self._last_ns = now_ns
        return self._last_ns + PATIENCE_PERIODS * self._period_ns

    def begin(self, now_ns: int) -> Tick | None:
        """The tick of a cycle that has just begun, or of a device that keeps silent.

        Two ticks are at least half a period apart: commands are limited per tick, not per second.
        """
        if self._last_ns < 0:
            raise RobotError("pacing: begin() was called before due_ns()")
        elapsed_ns = now_ns - self._last_ns
        cycles = (elapsed_ns + self._period_ns // 2) // self._period_ns
        if cycles == 0:
            self._early += 1
            return None
        self._silent += elapsed_ns >= PATIENCE_PERIODS * self._period_ns
        deadline_ns = self._last_ns + self._period_ns
        self._last_ns = now_ns
        self._index += cycles
        return Tick(self._index, deadline_ns, max(0, now_ns - deadline_ns), cycles - 1)

    def counts(self) -> dict[str, int]:
        """`woken_early`: cycles too soon after the last one; `device_silent`: ticks without a cycle;
        `beats`: periods that the device is ahead of our clock, negative if behind."""
        ours = (self._last_ns - self._start_ns) // self._period_ns
        return {"woken_early": self._early, "device_silent": self._silent, "beats": self._index - ours}


class Simulated:
    """Time is moved by whoever waits: one period per tick, exactly.

    Args:
        period_ns: Time between two ticks, ns.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = require_period(period_ns)
        self._last_ns = -1
        self._index = 0

    @property
    def period_ns(self) -> int:
        """Time between two ticks."""
        return self._period_ns

    def due_ns(self, now_ns: int) -> int:
        """One period after the tick before; the first call sets the phase."""
        if self._last_ns < 0:
            self._last_ns = now_ns
        return self._last_ns + self._period_ns

    def begin(self, now_ns: int) -> Tick:
        """The tick at exactly that time.

        Raises:
            RobotError: It is another time: something besides the simulation moves it.
        """
        due_ns = self._last_ns + self._period_ns
        if self._last_ns < 0 or now_ns != due_ns:
            raise RobotError(
                f"pacing: simulated time is {now_ns} ns, expected {due_ns} ns: something else moves it; use "
                "'periodic' with a clock that runs by itself"
            )
        self._last_ns = now_ns
        self._index += 1
        return Tick(self._index, now_ns, 0, 0)

    def counts(self) -> dict[str, int]:
        """Nothing: simulated time has no faults."""
        return {}


def require_period(period_ns: int) -> int:
    """Return the period of a rate that a control loop can hold.

    Raises:
        RobotError: The rate is below 50 Hz or above 1000 Hz.
    """
    slowest_ns, fastest_ns = round(1e9 / MIN_RATE_HZ), round(1e9 / MAX_RATE_HZ)
    if not fastest_ns <= period_ns <= slowest_ns:
        raise RobotError(
            f"control.rate_hz: got a period of {period_ns} ns, expected {fastest_ns} to {slowest_ns} ns "
            f"({MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz)"
        )
    return period_ns


def make_pacing(name: PacingName, period_ns: int) -> Pacing:
    """A policy by its name.

    Raises:
        RobotError: The period cannot be held.
    """
    makers: dict[PacingName, type[Periodic] | type[DevicePaced] | type[Simulated]]
    makers = {"periodic": Periodic, "device_paced": DevicePaced, "simulated": Simulated}
    return makers[name](period_ns)


def spinning(clock: Clock, spin_ns: int) -> Callable[[int], None]:
    """What waits for a deadline, ns: asleep until `spin_ns` before it, and awake for the rest.

    Waking up takes 30 to 80 us, also with real-time privileges; whoever is awake already is late by none of
    that. It costs `spin_ns` of CPU time per tick. The clock must run by itself.
    """
    if spin_ns <= 0:
        return clock.sleep_until_ns

    def wait(deadline_ns: int) -> None:
        clock.sleep_until_ns(deadline_ns - spin_ns)
        while clock.now_ns() < deadline_ns:
            continue

    return wait


class Punctuality:
    """How late ticks were and how many were missed; a ring of fixed size that is never reallocated.

    Args:
        samples: Ticks that are remembered for the percentiles.
        warm_up: Periods at the start that are not judged.
    """

    def __init__(self, samples: int = 4096, warm_up: int = 0) -> None:
        self._late_ns = np.zeros(samples, dtype=np.int64)
        self._warm_up = warm_up
        self.ticks = 0
        self.missed = 0
        self.longest_miss = 0

    def note(self, tick: Tick) -> None:
        """Take in a tick. What was missed before the very first one is no tick of this loop."""
        if tick.index <= self._warm_up:
            return
        if self.ticks:
            self.missed += tick.missed
            self.longest_miss = max(self.longest_miss, tick.missed)
        self._late_ns[self.ticks % len(self._late_ns)] = tick.late_ns
        self.ticks += 1

    def late_us(self) -> dict[str, float]:
        """`p50`, `p99`, `p999` and `max` of the ticks that are remembered, us; empty without a tick."""
        if not self.ticks:
            return {}
        late_us = self._late_ns[: min(self.ticks, len(self._late_ns))] / 1000
        found = np.percentile(late_us, (50, 99, 99.9, 100)).tolist()
        return dict(zip(("p50", "p99", "p999", "max"), found, strict=True))
