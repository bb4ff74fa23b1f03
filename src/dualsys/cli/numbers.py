"""Numbers on the command line: what is none is told with the value and with what was expected."""

from __future__ import annotations

import math
from typing import Any, Final

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo


def whole_number(text: str) -> int:
    """Read a whole number.

    Raises:
        ValueError: It is none; the parser puts the name of the option before these words.
    """
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"got {text!r}, expected a whole number, such as 3") from None


def number(text: str) -> float:
    """Read a finite number.

    Raises:
        ValueError: It is none; the parser puts the name of the option before these words.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"got {text!r}, expected a number, such as 0.5")
    return value


_INT: Final = PrimitiveConstructorSpec(
    nargs=1,
    metavar="INT",
    instance_from_str=lambda given: whole_number(given[0]),
    is_instance=lambda value: value is None or isinstance(value, int),
    str_from_instance=lambda value: [str(value)],
)
_FLOAT: Final = PrimitiveConstructorSpec(
    nargs=1,
    metavar="FLOAT",
    instance_from_str=lambda given: number(given[0]),
    is_instance=lambda value: value is None or isinstance(value, int | float),
    str_from_instance=lambda value: [str(value)],
)
_NUMBERS: Final = ((int, _INT), (int | None, _INT), (float, _FLOAT), (float | None, _FLOAT))
"""An option that may be left out is one of these too: None is what it then is, and nothing to type."""


def numbers() -> ConstructorRegistry:
    """What `tyro.cli` runs within, so that it reads numbers as this module does."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def rule(asked: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        return next((spec for kind, spec in _NUMBERS if asked.type == kind), None)

    del rule
    return registry
