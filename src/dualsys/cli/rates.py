"""Rates as people write them: `5Hz`."""

from __future__ import annotations

import re
from typing import Final

from dualsys.errors import ConfigError

_HZ_PER_UNIT: Final = {"hz": 1.0, "khz": 1000.0}
_RATE: Final = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*([A-Za-z]*)\s*")
_EXPECTED: Final = "a positive rate such as 5Hz, at most 1000Hz"


def parse_rate_hz(text: str, option: str) -> float:
    """Read a rate.

    Args:
        text: A number with a unit, such as `5Hz` or `0.1kHz`.
        option: Where it was given, for the error.

    Returns:
        Hertz, more than 0 and at most 1000.

    Raises:
        ConfigError: It is not such a rate.
    """
    match = _RATE.fullmatch(text)
    if match is None:
        raise ConfigError("command line", [f"{option}: got {text!r}, expected {_EXPECTED}"])
    unit = match[2].lower()
    if unit not in _HZ_PER_UNIT:
        hint = f"unit {match[2]!r} is not Hz or kHz" if unit else "add the unit: Hz or kHz"
        raise ConfigError("command line", [f"{option}: got {text!r}, expected {_EXPECTED}; {hint}"])
    value = float(match[1]) * _HZ_PER_UNIT[unit]
    if not 0 < value <= 1000:
        raise ConfigError("command line", [f"{option}: got {text!r}, expected {_EXPECTED}"])
    return value
