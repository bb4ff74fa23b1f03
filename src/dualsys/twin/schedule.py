"""A deterministic discrete-event schedule: time, priority and order of entry decide what happens next."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[int], None]

MOVE, ARRIVE, SAY, CONTROL, LOOK, PLAN = range(6)
"""What comes first at the same instant: the world moves, results arrive, words are said, control acts on the
newest plan, cameras look, a plan job begins."""


class EventSchedule:
    """Events of one virtual timeline.

    Two events of the same time run by ascending priority; of the same priority too, in the order in which
    they were entered. An action may enter further events, also for the present instant, never for the past.

    Args:
        start_ns: Where the timeline begins.
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._entered = 0
        self._heap: list[tuple[int, int, int, Action]] = []
        self._stopped = False

    @property
    def now_ns(self) -> int:
        """Time of the event that runs now, or ran last."""
        return self._now_ns

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def __len__(self) -> int:
        """Events still waiting."""
        return len(self._heap)

    def at(self, time_ns: int, priority: int, action: Action) -> None:
        """Enter an event.

        Args:
            time_ns: When it happens.
            priority: Rank among the events of the same time; the smallest runs first.
            action: Called with its time.

        Raises:
            ValueError: The time has passed: an event cannot change what has already happened.
        """
        if time_ns < self._now_ns:
            late_ns = self._now_ns - time_ns
            raise ValueError(f"time_ns {time_ns} lies {late_ns} ns before the present {self._now_ns}")
        heapq.heappush(self._heap, (time_ns, priority, self._entered, action))
        self._entered += 1

    def stop(self) -> None:
        """Let `run` return as soon as the present action is done; the events still waiting never happen."""
        self._stopped = True

    def run(self, until_ns: int) -> int:
        """Run every event up to and including `until_ns`, or until stopped.

        Returns:
            How many events ran.
        """
        count = 0
        while self._heap and not self._stopped and self._heap[0][0] <= until_ns:
            time_ns, _, _, action = heapq.heappop(self._heap)
            self._now_ns = time_ns
            action(time_ns)
            count += 1
        return count


def on_grid_ns(time_ns: int, grid_ns: int) -> int:
    """First multiple of `grid_ns` at or after `time_ns`.

    The world exists only at its ticks, so whatever looks at it does so at the first tick that is due.
    """
    return -(-time_ns // grid_ns) * grid_ns
