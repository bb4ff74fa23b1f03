"""Files that others may be reading."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from dualsys.errors import ConfigError


def require_writable(path: Path, option: str) -> None:
    """Return if a file can be written there, before hours are spent on what is to be in it.

    Its folder is made; a file that is there stays as it is.

    Args:
        path: Where it is to be.
        option: What named it, for the error.

    Raises:
        ConfigError: It cannot; names the option and the reason.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(b"")
        partial.unlink()
    except OSError as error:
        fault = f"{option}: {path} cannot be written: {error.strerror}; give a file in a folder of your own"
        raise ConfigError("command line", [fault]) from error


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
