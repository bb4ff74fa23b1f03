"""The physics engine, imported here only: PyBullet announces its build time on standard error when loaded."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BANNER: Final = b"pybullet build time:"
_STDERR: Final = 2


@contextmanager
def _without_banner() -> Iterator[None]:
    """Keep PyBullet's banner out of standard error, and let everything else through.

    C code writes the banner, past `sys.stderr` and once in every process of a run, so the descriptor itself
    is turned aside while the import lasts. Whatever else was written meanwhile is passed on afterwards.
    """
    if sys.stderr is None:
        # The process was started with standard error closed: there is nothing to turn aside.
        yield
        return
    sys.stderr.flush()
    kept = os.dup(_STDERR)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, _STDERR)
            os.close(kept)
            aside.seek(0)
            for line in aside:
                if not line.startswith(BANNER):
                    os.write(_STDERR, line)


with _without_banner():
    import pybullet

__all__ = ["pybullet"]
