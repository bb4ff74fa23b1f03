"""The modes of control and the changes between them that are legal.

    WAITING ──▶ RUNNING ◀──▶ SLOWED
       ▲           │ ▲         │
       │           ▼ │         │
       ├──────── HOLDING ◀─────┘
       │
       └──────── STOPPED ◀── any mode

`STOPPED`, and `HOLDING` after a hard age, are left only on request, and then for `WAITING`: whatever moves
the arm next is a plan that was made afterwards. So does the first `WAITING` of a process wait for a request.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Mode(StrEnum):
    """What control does now."""

    WAITING = "WAITING"
    """At rest, or coming to rest; the next plan starts the motion, unless latched. No watchdog is armed."""

    RUNNING = "RUNNING"
    """Following a plan."""

    SLOWED = "SLOWED"
    """Following a plan at a part of its pace, because something is past its soft age, see `ages`."""

    HOLDING = "HOLDING"
    """Slowing to rest, then holding the last commanded pose."""

    STOPPED = "STOPPED"
    """Nothing is commanded any more."""


LEGAL: Final = MappingProxyType(
    {
        Mode.WAITING: frozenset({Mode.RUNNING, Mode.STOPPED}),
        Mode.RUNNING: frozenset({Mode.WAITING, Mode.SLOWED, Mode.HOLDING, Mode.STOPPED}),
        Mode.SLOWED: frozenset({Mode.WAITING, Mode.RUNNING, Mode.HOLDING, Mode.STOPPED}),
        Mode.HOLDING: frozenset({Mode.WAITING, Mode.RUNNING, Mode.STOPPED}),
        Mode.STOPPED: frozenset({Mode.WAITING}),
    }
)
"""From each mode, the modes that may follow it."""


def require_legal(current: Mode, following: Mode) -> Mode:
    """Return `following`.

    Raises:
        ValueError: It may not follow `current`; this is a fault of the program, never of its input.
    """
    if following not in LEGAL[current]:
        raise ValueError(
            f"mode {current} may be followed by {', '.join(sorted(LEGAL[current]))}, not {following}"
        )
    return following
