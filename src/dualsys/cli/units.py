"""Durations and rates as people write them: `200ms`, `0.2s`, `5Hz`."""

from __future__ import annotations

import math
import re
from typing import Final

from dualsys.errors import ConfigError

_MS_PER_UNIT: Final = {"us": 1e-3, "ms": 1.0, "s": 1000.0, "min": 60_000.0}
_HZ_PER_UNIT: Final = {"hz": 1.0, "khz": 1000.0}
_NUMBER: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ]*)\s*")


def duration_ms(text: str, option: str) -> float:
    """Read a duration that is not negative.

    Args:
        text: A number with a unit, such as `200ms`, `0.2s`; a bare `0` needs none.
        option: Where it was given, for the error.

    Returns:
        Milliseconds.

    Raises:
        ConfigError: It is not such a duration.
    """
    return _read(text.replace("µ", "u"), option, _MS_PER_UNIT, "a duration such as 200ms or 0.2s", zero=True)


def rate_hz(text: str, option: str) -> float | None:
    """Read a positive rate.

    Args:
        text: A number with a unit, such as `5Hz`; `max` for no limit.
        option: Where it was given, for the error.

    Returns:
        Hertz, None for no limit.

    Raises:
        ConfigError: It is not such a rate.
    """
    if text.strip().lower() == "max":
        return None
    return _read(text, option, _HZ_PER_UNIT, "a rate such as 5Hz, or max for no limit", zero=False)


def _read(text: str, option: str, units: dict[str, float], expected: str, *, zero: bool) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ConfigError("command line", [f"{option}: got {text!r}, expected {expected}"])
    number, unit = float(match[1]), match[2].lower()
    bare_zero = zero and number == 0 and not unit
    if unit not in units and not bare_zero:
        named = (
            f"unit {match[2]!r} is not one of {', '.join(units)}"
            if unit
            else f"add a unit: {', '.join(units)}"
        )
        raise ConfigError("command line", [f"{option}: got {text!r}, expected {expected}; {named}"])
    value = number * units.get(unit, 1.0)
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        bound = "not negative" if zero else "positive"
        raise ConfigError("command line", [f"{option}: got {text!r}, expected {expected}, {bound}"])
    return value
