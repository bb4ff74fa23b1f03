"""What is wrong with settings, in words: from a schema and its errors to lines that people can act on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_UNITS = {"mbit_s": "Mbit/s", "ms": "ms", "s": "s", "hz": "Hz", "m": "m", "rad": "rad"}


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model behind a field that is a section, None for a plain setting."""
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def field_at(model: type[BaseModel], path: tuple[str | int, ...]) -> FieldInfo | None:
    """The schema at a path below `model`, or None if there is none."""
    current: type[BaseModel] | None = model
    named: type[BaseModel] | None = None
    found: FieldInfo | None = None
    for part in path:
        if named is not None:
            # The name of a section, which is anybody's choice.
            found, current, named = None, named, None
            continue
        if current is None or part not in current.model_fields:
            return None
        found = current.model_fields[str(part)]
        current, named = section_of(found), named_section_of(found)
    return found


def named_section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of each section behind a field that is a mapping of names to sections, else None."""
    values = get_args(field.annotation)[1:] if get_origin(field.annotation) is dict else ()
    found = [value for value in values if isinstance(value, type) and issubclass(value, BaseModel)]
    return found[0] if found else None


def mapping_at(model: type[BaseModel], path: tuple[str | int, ...]) -> FieldInfo | None:
    """The schema at a path if it is a mapping of names that are not in the schema, else None."""
    field = field_at(model, path)
    return field if field is not None and get_origin(field.annotation) is dict else None


def settings_of(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Every setting below `model`: dotted path to its schema, in the order of the file."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        if (section := section_of(field)) is not None:
            found |= settings_of(section, f"{prefix}{name}.")
        elif (section := named_section_of(field)) is not None:
            found |= settings_of(section, f"{prefix}{name}.NAME.")
        else:
            found[prefix + name] = field
    return found


def explain(model: type[BaseModel], detail: ErrorDetails) -> list[str]:
    """Lines for one validation error of `model`: dotted path, what was given, what is allowed, what for."""
    location, given = detail["loc"], detail["input"]
    path = ".".join(str(part) for part in location)
    own_words = detail["msg"].removeprefix("Value error, ")
    if not location:
        return own_words.splitlines()
    if detail["type"] == "extra_forbidden":
        return [unknown_setting(model, path)]
    field = field_at(model, location)
    if field is None:
        return [f"{path}: got {given!r}: {own_words}"]
    if (section := section_of(field)) is not None:
        return [f"{path}: got {given!r}, expected a section with {', '.join(section.model_fields)}"]
    expected = own_words if detail["type"] == "value_error" else allowed(path, field)
    return [f"{path}: got {show(path, given)}, expected {expected} ({field.description})"]


def unknown_setting(model: type[BaseModel], path: str) -> str:
    """Say that a dotted path is no setting, and which one may have been meant."""
    known: Mapping[str, object] = settings_of(model)
    parent, _, leaf = path.rpartition(".")
    namesakes = [name for name in known if name.rsplit(".", 1)[-1] == leaf]
    siblings = [name.rsplit(".", 1)[-1] for name in known if parent and name.startswith(f"{parent}.")]
    if not parent and (sections := difflib.get_close_matches(path, model.model_fields, n=1, cutoff=0.6)):
        hint = f"did you mean {sections[0]}?"
    elif close := difflib.get_close_matches(path, known, n=1, cutoff=0.6) or namesakes[:1]:
        hint = f"did you mean {close[0]}?"
    elif siblings:
        hint = f"settings there: {', '.join(siblings)}"
    else:
        hint = f"sections: {', '.join(model.model_fields)}"
    return f"{path}: is not a setting; {hint}"


def in_yaml(value: object) -> str:
    """A default as it is written in a configuration."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def allowed(path: str, field: FieldInfo) -> str:
    """What a setting accepts, in words, such as `a number, 0 to 60000 ms`."""
    annotation: object = field.annotation
    optional = type(None) in get_args(annotation)
    if optional:
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        text = " or ".join(repr(value) for value in get_args(annotation))
    elif annotation is bool:
        text = "true or false"
    elif annotation in (int, float):
        kind = "a whole number" if annotation is int else "a number"
        text = f"{kind}, {_bounds(field)} {unit_of(path)}".rstrip()
    elif is_path(annotation):
        text = "a path"
    elif get_origin(annotation) is dict:
        text = "names and values"
    else:
        pattern = next((item.pattern for item in field.metadata if getattr(item, "pattern", None)), None)
        shortest = max((getattr(item, "min_length", 0) for item in field.metadata), default=0)
        text = f"text that matches {pattern}" if pattern else "text that is not empty" if shortest else "text"
    return f"{text}, or null" if optional else text


def is_path(annotation: object) -> bool:
    """Whether a setting of this type is a path, or a path or null."""
    parts = (annotation, *get_args(annotation))
    return any(part is Path or get_args(part)[:1] == (Path,) for part in parts)


def unit_of(path: str) -> str:
    """Unit that the name of a setting ends in, or nothing."""
    leaf = path.rsplit(".", 1)[-1]
    return next((unit for name, unit in _UNITS.items() if leaf.endswith(f"_{name}")), "")


def show(path: str, value: object) -> str:
    """A value as people read it: a number with the unit of its setting, anything else quoted."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g} {unit_of(path)}".rstrip()
    return repr(value)


def fault_at(path: str, value: object, expected: str) -> str:
    """One line on a setting: dotted path, what was given, what was expected."""
    return f"{path}: got {show(path, value)}, expected {expected}"


def _bounds(field: FieldInfo) -> str:
    found = {
        key: getattr(item, key) for item in field.metadata for key in ("ge", "gt", "le") if hasattr(item, key)
    }
    low = f"{found['ge']:g}" if "ge" in found else f"more than {found['gt']:g}" if "gt" in found else "any"
    return f"{low} to {found['le']:g}" if "le" in found else low
