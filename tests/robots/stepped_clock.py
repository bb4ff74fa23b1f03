"""A clock for drivers with threads, whose arm is a process that moves only when it is told to."""

from __future__ import annotations

import time
from collections.abc import Callable

from dualsys.clock import NS_PER_S, VirtualClock

PATIENCE_S = 20.0
"""How long, in real time, a driver may take to do what is due."""


class SteppedClock(VirtualClock):
    """Virtual time that the driver and the arm follow: each sleep waits until both have done what is due.

    A sleep is one step: sleep for no longer than the driver may be left alone.

    Args:
        period_ns: Cycle of the arm; sleeps are rounded up to whole cycles.
        step: Makes the arm move on by so many cycles. Raises OSError once the arm is gone.
        settled: Whether the driver has nothing left to do before time passes.
        seen: Whether the driver has seen what the arm did last.
    """

    def __init__(
        self,
        period_ns: int,
        step: Callable[[int], object],
        settled: Callable[[], bool],
        seen: Callable[[], bool],
    ) -> None:
        super().__init__(NS_PER_S)
        self._period_ns = period_ns
        self._step = step
        self._settled = settled
        self._seen = seen

    def sleep_until_ns(self, deadline_ns: int) -> None:
        cycles = -(-(deadline_ns - self.now_ns()) // self._period_ns)
        if cycles <= 0:
            return
        until(self._settled)
        self.advance_ns(cycles * self._period_ns)
        try:
            self._step(cycles)
        except OSError:
            return
        until(self._seen)


def until(done: Callable[[], bool]) -> None:
    """Wait in real time, as long as it takes, but not for ever."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline_s, "the driver does not come to an end"
        time.sleep(0.0002)
