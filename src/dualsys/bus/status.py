"""What a process tells of itself when it is asked for its status: names and texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from dualsys.messages import clip_text


def flat(record: object, name: str = "") -> dict[str, str]:
    """Name and text of everything in a record, such as `core.rejected.images`.

    Args:
        record: Dataclasses and mappings within each other; anything else is told as one text, cut to what a
            reply may carry.
        name: Of the record; what is in it is told by names that begin with it.
    """
    parts = _parts(record)
    if parts is None:
        return {name: clip_text(str(record))}
    found: dict[str, str] = {}
    for inner, part in parts.items():
        found |= flat(part, f"{name}.{inner}" if name else str(inner))
    return found


def _parts(record: object) -> Mapping[object, object] | None:
    """What is in a record, by name; None if that is a single value."""
    if isinstance(record, Mapping):
        return record
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return None
