"""Builds the figures and the film of a run from its logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dualsys.errors import MissingExtraError
from dualsys.telemetry.figures import draw_filmstrip, draw_timeline
from dualsys.telemetry.film import write_film
from dualsys.telemetry.recording import Recording


def build_report(path: Path, frames_hz: float) -> tuple[list[Path], list[str]]:
    """Draw all that the logs of a run folder allow.

    Args:
        path: The run folder.
        frames_hz: Pictures per second of the film.

    Returns:
        The files that were made, and a line for each that could not: a missing package costs its file only.
    """
    recording = Recording.load(path)
    builders: dict[str, Callable[[], Path | None]] = {
        "timeline.png": lambda: draw_timeline(recording),
        "filmstrip.png": lambda: draw_filmstrip(recording),
        "episode.mp4": lambda: write_film(recording, frames_hz),
    }
    made: list[Path] = []
    notes: list[str] = []
    for name, build in builders.items():
        try:
            target = build()
        except MissingExtraError as error:
            notes.append(str(error))
            continue
        if target is None:
            notes.append(f"{name}: nothing was recorded for it")
        else:
            made.append(target)
    return made, notes
