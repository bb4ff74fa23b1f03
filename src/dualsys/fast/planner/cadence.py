"""A fixed rhythm."""

from __future__ import annotations


class Cadence:
    """Says when something is due that happens in a fixed rhythm; what was missed is not made up for."""

    def __init__(self, period_ns: int, start_ns: int) -> None:
        self._period_ns = period_ns
        self._next_ns = start_ns

    def due(self, now_ns: int) -> bool:
        """Whether it is due; if so, the next time is in the future."""
        if now_ns < self._next_ns:
            return False
        self._next_ns += self._period_ns * ((now_ns - self._next_ns) // self._period_ns + 1)
        return True
