"""Optional packages, for drawing and for recording.

They are imported on first use, and named with their install line when they are missing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dualsys.errors import MissingExtraError


def optional(module: str, purpose: str, extra: str = "sim") -> Any:
    """Import a module of an extra.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name.split(".")[0]):
            raise
        raise MissingExtraError(module.split(".")[0], extra, purpose) from error


def figure(width_in: float, height_in: float, purpose: str) -> Any:
    """An empty matplotlib figure that never looks for a screen.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawn = optional("matplotlib.figure", purpose).Figure(figsize=(width_in, height_in), dpi=100)
    optional("matplotlib.backends.backend_agg", purpose).FigureCanvasAgg(drawn)
    return drawn
