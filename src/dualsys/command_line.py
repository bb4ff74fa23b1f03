"""How every program reads its command line.

What is no number is told with the value and with what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import GenericAlias
from typing import Any, Final, TypeVar, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

T = TypeVar("T")

_MARKS: Final = (tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff)
"""None is what an option that was left out is, and nothing to type. So is False: --residual switches on what
a configuration leaves off, and a --no-residual would switch off nothing."""


def read(
    kind: Callable[..., T],
    arguments: Sequence[str] | None = None,
    *,
    prog: str | None = None,
    description: str | None = None,
) -> T:
    """Read a command line.

    Args:
        kind: A dataclass whose fields are the options; or a function, which is called with them.
        arguments: What was typed after the program's name; by default of this process.
        prog: What the program is called; by default as it was started.
        description: What it does; by default what the docstring of `kind` says.

    Returns:
        What `kind` makes of it.

    Raises:
        SystemExit: Help was asked for, or the command line is wrong: the answer was printed.
    """
    with _numbers():
        return tyro.cli(kind, args=arguments, prog=prog, description=description, config=_MARKS)


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
_FLOATS: Final = PrimitiveConstructorSpec(
    nargs="*",
    metavar="FLOAT [FLOAT ...]",
    instance_from_str=lambda given: tuple(map(number, given)),
    is_instance=lambda value: isinstance(value, tuple),
    str_from_instance=lambda value: [str(one) for one in value],
)
_NUMBERS: Final[tuple[tuple[object, PrimitiveConstructorSpec[Any]], ...]] = (
    (int, _INT),
    (int | None, _INT),
    (float, _FLOAT),
    (float | None, _FLOAT),
    # Of several the parser would not say which one is none.
    (tuple[float, ...], _FLOATS),
)
"""An option that may be left out is one of these too: None is what it then is, and nothing to type."""


def _numbers() -> ConstructorRegistry:
    """What the parser runs within, so that it reads numbers as this module does."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def rule(asked: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        kind: object = asked.type
        if get_origin(kind) is tuple:
            # The parser asks for a `typing.Tuple` where annotations are texts.
            kind = GenericAlias(tuple, get_args(kind))
        return next((spec for known, spec in _NUMBERS if known == kind), None)

    del rule
    return registry
