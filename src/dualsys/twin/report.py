"""What many episodes amount to: success with its interval, medians, and all that is needed to repeat them."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.telemetry.files import replace_file
from dualsys.telemetry.statistics import success_line, wilson_interval
from dualsys.twin.result import EpisodeResult

PACKAGES = ("dualsys", "numpy", "onnxruntime", "pybullet", "msgspec")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one setting.

    Attributes:
        task, event, phrasing, min_blocks: What was run, as `make_episode` was told.
        settings: `TwinSettings.describe()`.
        systems: Names and weights of both systems.
        versions: Of Python and of the packages that decide the result.
        episodes: How many were run.
        successes: How many succeeded.
        success_rate: Their quotient.
        success_interval: Wilson 95 % interval of the success probability.
        time_to_success_s: Median over the successes; None without any.
        medians: Median of every metric that is a number, over all episodes that have it.
        totals: Sum of every counter.
        results: Every episode.
    """

    task: str
    event: str | None
    phrasing: str
    min_blocks: int
    settings: dict[str, Any]
    systems: dict[str, str]
    versions: dict[str, str]
    episodes: int
    successes: int
    success_rate: float
    success_interval: tuple[float, float]
    time_to_success_s: float | None
    medians: dict[str, float]
    totals: dict[str, int]
    results: list[EpisodeResult]

    def line(self) -> str:
        """One line for people."""
        what = self.task if self.event is None else f"{self.task}, {self.event}"
        taken = "" if self.time_to_success_s is None else f", median time {self.time_to_success_s:.2f} s"
        return f"{what}: {success_line(self.successes, self.episodes)}{taken}"

    def write(self, path: Path) -> None:
        """Write everything as JSON, replacing the file as a whole.

        Raises:
            OSError: The file cannot be written.
        """
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text + b"\n")


def summarise(results: Sequence[EpisodeResult], settings: dict[str, Any], systems: dict[str, str]) -> Report:
    """Sum up episodes of one task, event, phrasing and least number of blocks.

    Raises:
        ValueError: There are none.
    """
    if not results:
        raise ValueError("results: expected at least one episode")
    successes = sum(result.success for result in results)
    times_s = [result.time_to_success_s for result in results if result.time_to_success_s is not None]
    totals: dict[str, int] = {}
    for result in results:
        for name, count in result.counters.items():
            totals[name] = totals.get(name, 0) + count
    return Report(
        task=results[0].task,
        event=results[0].event,
        phrasing=results[0].phrasing,
        min_blocks=results[0].min_blocks,
        settings=settings,
        systems=systems,
        versions=versions(),
        episodes=len(results),
        successes=successes,
        success_rate=successes / len(results),
        success_interval=wilson_interval(successes, len(results)),
        time_to_success_s=float(np.median(times_s)) if times_s else None,
        medians=_medians(results),
        totals=totals,
        results=list(results),
    )


def versions() -> dict[str, str]:
    """Versions of everything that decides a result to the bit."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _medians(results: Sequence[EpisodeResult]) -> dict[str, float]:
    columns: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.metrics.items():
            if not isinstance(value, str):
                columns.setdefault(name, []).append(float(value))
    return {name: float(np.median(values)) for name, values in sorted(columns.items())}
