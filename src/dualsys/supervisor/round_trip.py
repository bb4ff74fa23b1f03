"""Where the time of a round trip to System 2 goes, and what goes up, asked of the planner now and then."""

from __future__ import annotations

import math
from typing import Final

from dualsys.clock import NS_PER_S
from dualsys.errors import BusError
from dualsys.supervisor.peers import Peer

_PERIOD_NS: Final = NS_PER_S
_PATIENCE_S: Final = 0.1
"""A planner answers within milliseconds; one that does not must not hold up whoever watches it."""
_PARTS: Final = ("up", "waited", "computed", "down")


class RoundTrip:
    """The newest round trip, in words.

    Args:
        planner: Who knows it.

    Attributes:
        words: What is known; empty before the first trip, or while the planner does not answer.
        uplink: What is sent, where that is adapted or only on demand; empty elsewhere.
    """

    def __init__(self, planner: Peer) -> None:
        self._planner = planner
        self._due_ns = 0
        self.words = ""
        self.uplink = ""

    def look(self, now_ns: int) -> None:
        """Ask again, if that was long enough ago."""
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + _PERIOD_NS
        try:
            status = self._planner.ask("status", timeout_s=_PATIENCE_S)
        except BusError:
            status = {}
        self.words, self.uplink = told(status), uplink_told(status)


def told(status: dict[str, str]) -> str:
    """The round trip in a status of the planner; empty if there was none yet.

    Up and down are split by the estimated offset of the two clocks, and may be wrong by what follows the ±.
    """
    parts = {name: _number(status, f"trip.{name}_ms") for name in (*_PARTS, "uncertainty")}
    if not all(math.isfinite(value) for value in parts.values()):
        return ""
    whole = sum(parts[name] for name in _PARTS)
    split = ", ".join(f"{name} {parts[name]:.1f}" for name in _PARTS)
    return f"round trip {whole:.0f} ms: {split} (±{parts['uncertainty']:.1f})"


def uplink_told(status: dict[str, str]) -> str:
    """What goes up to System 2 by a status of the planner; empty if it is always the same."""
    parts = []
    if status.get("uplink.mode") == "adaptive":
        queue_ms, budget = (_number(status, f"uplink.{name}") for name in ("queue_ms", "budget_bytes_s"))
        parts.append(
            f"uplink {_number(status, 'uplink.rate_hz'):g} Hz, "
            f"JPEG {status.get('uplink.jpeg_quality', '?')}, "
            f"at most {budget / 1000:.1f} kB/s, queue {queue_ms:.0f} ms ({status.get('uplink.reason', '?')})"
        )
    asked, spared = _number(status, "demand.asked"), _number(status, "demand.spared")
    if math.isfinite(asked + spared):
        parts.append(f"System 2 asked {asked:.0f} times, spared {spared:.0f}")
    return "  ".join(parts)


def _number(status: dict[str, str], name: str) -> float:
    try:
        return float(status.get(name, "nan"))
    except ValueError:
        return math.nan
