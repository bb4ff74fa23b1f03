"""Files that others may be reading."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, data: bytes) -> Path:
    """Write a file as a whole: a reader sees either the old or the new one. Returns its path.

    Raises:
        OSError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        # On a full disk, half of a file is nothing but in the way.
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    return path
