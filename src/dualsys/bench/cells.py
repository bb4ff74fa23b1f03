"""Cells of a benchmark: one setting each, many episodes, kept line by line so that nothing is run twice.

A cell's file is named by what it measures and by a digest of everything that decides its result. A run that
was interrupted goes on where it stopped; a changed network or setting starts a file of its own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dualsys.errors import ConfigError
from dualsys.telemetry.run_folder import JsonLines, read_json_lines
from dualsys.telemetry.statistics import success_line
from dualsys.twin.pool import EpisodePool, Job, Source
from dualsys.twin.report import Report, summarise, versions
from dualsys.twin.result import EpisodeResult
from dualsys.twin.settings import TwinSettings

if TYPE_CHECKING:
    from dualsys_sim.episode import Event, Phrasing


@dataclass(frozen=True)
class Cell:
    """One setting.

    Attributes:
        name: Unique within a benchmark; names the file.
        task, event, phrasing, min_blocks: What is run; see `make_episode`.
        settings: How.
        share: Part of the episodes of a plan that it has, at least one: tasks whose episodes take long have
            fewer; above one, it has more.
    """

    name: str
    task: str
    settings: TwinSettings
    event: Event | None = None
    phrasing: Phrasing = "seen"
    min_blocks: int = 3
    share: float = 1.0

    def jobs(self, episodes: int, first_seed: int) -> list[Job]:
        """Its part of so many episodes, by ascending seed."""
        return [
            Job(self.task, seed, self.settings, self.phrasing, self.event, self.min_blocks)
            for seed in range(first_seed, first_seed + self.part_of(episodes))
        ]

    def part_of(self, episodes: int) -> int:
        """How many of so many episodes it has."""
        return max(1, round(self.share * episodes))

    def digest(self, systems: dict[str, str]) -> str:
        """Short hash of everything that decides the result of a seed."""
        what = [self.task, self.event, self.phrasing, self.min_blocks]
        content = [*what, self.settings.describe(), systems, versions()]
        return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()[:8]


class CellFile:
    """The episodes of one cell that are done.

    Args:
        path: The file; made when the first episode is added.

    Raises:
        ConfigError: The file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.results = {
                result.seed: result
                for result in (msgspec.convert(record, EpisodeResult) for record in read_json_lines(path))
            }
        except (ValueError, msgspec.ValidationError) as error:
            raise ConfigError("bench", [f"{path}: {error}; move the file away to measure again"]) from error
        self._drop_unfinished_line()

    def append(self, results: Sequence[EpisodeResult]) -> None:
        """Keep results."""
        with JsonLines(self._path) as lines:
            for result in results:
                lines.append(msgspec.to_builtins(result))
                self.results[result.seed] = result

    def _drop_unfinished_line(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("r+b") as file:
            data = file.read()
            if data and not data.endswith(b"\n"):
                file.truncate(data.rfind(b"\n") + 1)


@dataclass(frozen=True)
class Measured:
    """A cell and what it came to."""

    cell: Cell
    report: Report


@dataclass(frozen=True)
class Plan:
    """How a benchmark is run.

    Attributes:
        source: The two systems.
        folder: Where finished episodes are kept.
        episodes: Of each cell.
        seed: Of the first one.
        workers: Processes.
        only: Run only the cells whose name begins with one of these; all cells if there are none.
    """

    source: Source
    folder: Path
    episodes: int
    seed: int
    workers: int
    only: tuple[str, ...] = ()

    def choose(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells to run.

        Raises:
            ConfigError: No cell has a name that begins as one of `only`.
        """
        for prefix in self.only:
            if not any(cell.name.startswith(prefix) for cell in cells):
                known = ", ".join(cell.name for cell in cells)
                raise ConfigError("bench", [f"only: no cell begins with {prefix!r}; there are {known}"])
        return [cell for cell in cells if not self.only or cell.name.startswith(self.only)]


def measure(cells: Sequence[Cell], plan: Plan) -> list[Measured]:
    """Run what is missing of every cell, under one progress bar, and sum up all of them.

    Every episode is kept as soon as it is done, whichever cell it belongs to.

    Raises:
        ConfigError: Two cells have one name, or a kept file cannot be read.
        MissingExtraError: The simulator is not installed.
    """
    if len({cell.name for cell in cells}) != len(cells):
        raise ConfigError("bench", ["cells: two have the same name"])
    plan.folder.mkdir(parents=True, exist_ok=True)
    systems = plan.source.describe()
    files = [CellFile(plan.folder / f"{cell.name}-{cell.digest(systems)}.jsonl") for cell in cells]
    jobs = [cell.jobs(plan.episodes, plan.seed) for cell in cells]
    missing = [
        (number, job)
        for number, file in enumerate(files)
        for job in jobs[number]
        if job.seed not in file.results
    ]
    if missing:
        _run(cells, files, missing, plan)
    return [
        Measured(cell, summarise([file.results[job.seed] for job in own], cell.settings.describe(), systems))
        for cell, file, own in zip(cells, files, jobs, strict=True)
    ]


def _run(
    cells: Sequence[Cell], files: Sequence[CellFile], missing: Sequence[tuple[int, Job]], plan: Plan
) -> None:
    """Run episodes, each given with the number of its cell; tells of every cell that is complete."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    left = Counter(number for number, _ in missing)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        EpisodePool(plan.source, min(plan.workers, len(missing))) as pool,
        Progress(*columns, console=Console(stderr=True)) as bar,
    ):
        total = sum(cell.part_of(plan.episodes) for cell in cells)
        row = bar.add_task(f"{len(left)} cells to do", total=total, completed=total - len(missing))
        for index, result in pool.run([job for _, job in missing]):
            number = missing[index][0]
            files[number].append([result])
            left[number] -= 1
            if left[number] == 0:
                del left[number]
                results = list(files[number].results.values())
                line = success_line(sum(one.success for one in results), len(results))
                bar.console.print(f"{cells[number].name}: {line}", markup=False, highlight=False)
            bar.update(row, advance=1, description=f"{len(left)} cells to do")


def without_results(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """The reports as plain values for a JSON file, without the single episodes."""
    rows: list[dict[str, Any]] = []
    for one in measured:
        row: dict[str, Any] = msgspec.to_builtins(one.report)
        del row["results"]
        rows.append({"cell": one.cell.name, **row})
    return rows
