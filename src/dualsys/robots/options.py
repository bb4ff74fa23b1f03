"""Options of drivers (`robot.options` of the configuration), read one by one, each fault with its name."""

from __future__ import annotations

import math

from dualsys.errors import ConfigError
from dualsys.robots.registry import RobotSettings


def text_option(settings: RobotSettings, driver: str, name: str, default: str = "") -> str:
    """A text.

    Args:
        settings: Where the options are.
        driver: Its name, for the error.
        name: Of the option.
        default: Taken where it is missing; empty if it must be given.

    Raises:
        ConfigError: It is missing, or no text.
    """
    value = settings.options.get(name)
    if value is None and default:
        return default
    if not isinstance(value, str) or not value.strip() or value != value.strip():
        raise _fault(driver, name, value, "a text, without blanks around it")
    return value


def number_option(
    settings: RobotSettings, driver: str, name: str, default: float, lowest: float, highest: float
) -> float:
    """A number within a range, both ends included.

    Args:
        settings: Where the options are.
        driver: Its name, for the error.
        name: Of the option.
        default: Taken where it is missing.
        lowest, highest: The range.

    Raises:
        ConfigError: It is no number, or outside.
    """
    value = settings.options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _fault(driver, name, value, f"a number from {lowest:g} to {highest:g}")
    if not lowest <= value <= highest:
        raise _fault(driver, name, value, f"{lowest:g} to {highest:g}")
    return float(value)


def choice_option(
    settings: RobotSettings, driver: str, name: str, choices: tuple[str, ...], default: str = ""
) -> str:
    """One of several words.

    Raises:
        ConfigError: It is none of them, or missing without a default.
    """
    value = settings.options.get(name, default or None)
    if not isinstance(value, str) or value not in choices:
        raise _fault(driver, name, value, f"one of {', '.join(choices)}")
    return value


def _fault(driver: str, name: str, value: object, expected: str) -> ConfigError:
    given = "is missing" if value is None else f"got {value!r}"
    return ConfigError(f"robot.driver {driver!r}", [f"robot.options.{name}: {given}, expected {expected}"])
