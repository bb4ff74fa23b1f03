"""Files that others may be reading."""

from __future__ import annotations

from pathlib import Path


def replace_file(path: Path, data: bytes) -> Path:
    """Write a file as a whole: a reader sees either the old or the new one. Returns its path.

    Raises:
        OSError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)
    return path
