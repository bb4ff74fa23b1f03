"""Judges a short rehearsal of the control loop."""

from __future__ import annotations

from dualsys.doctor.findings import Finding
from dualsys.fast.control.rehearsal import Rehearsed

GOOD_MISSED = 1e-4
BAD_MISSED = 1e-2
GOOD_LATE = 0.2
"""Part of the ticks that may be missed, and part of a period that 99 % of the ticks may be late by."""

BAD_PAUSE_MS = 20.0
"""A pause after which many arms stop by themselves."""


def punctuality(rehearsed: Rehearsed, rate_hz: float) -> Finding:
    """Judge the lateness of a loop at a rate."""
    period_us = 1e6 / rate_hz
    ticks = rehearsed.ticks + rehearsed.missed
    p99_us, most_us = rehearsed.late_us["p99"], rehearsed.late_us["max"]
    pause_ms = rehearsed.longest_miss * period_us / 1000
    says = (
        f"at {rate_hz:g} Hz {rehearsed.missed} of {ticks} ticks missed, at most {rehearsed.longest_miss} in "
        f"a row; 99 % at most {p99_us:.0f} us late, the worst {most_us:.0f} us ({rehearsed.realtime})"
    )
    part = rehearsed.missed / max(1, ticks)
    remedy = (
        "end what else runs, grant the privileges above, use a machine of its own, or lower control.rate_hz"
    )
    if part > BAD_MISSED or pause_ms > BAD_PAUSE_MS:
        return Finding("punctuality", "problem", says, remedy)
    if part > GOOD_MISSED or p99_us > GOOD_LATE * period_us:
        return Finding("punctuality", "warning", says, remedy)
    return Finding("punctuality", "ok", says)
