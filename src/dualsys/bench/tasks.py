"""The main results: every task, unheard wordings, events on the way, and what the latent is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dualsys.bench.cells import Cell, Measured, Plan, measure, without_results
from dualsys.bench.page import how_measured, median, percent, seconds_text, strategy_text, table, write
from dualsys.twin.evaluate import for_scripted
from dualsys.twin.pool import Scripted, Source
from dualsys.twin.report import Report
from dualsys.twin.settings import LatentMode, TwinSettings

if TYPE_CHECKING:
    from dualsys_sim.episode import Event, Phrasing

TASKS = ("touch", "pick", "place", "push", "conveyor", "follow", "around", "intercept")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    title: str
    task: str
    event: Event | None = None
    phrasing: Phrasing = "seen"
    latent: LatentMode = "true"
    min_blocks: int = 3

    @property
    def name(self) -> str:
        """Name of its cell."""
        blocks = "" if self.min_blocks == 3 else f"-{self.min_blocks}blocks"
        return f"{self.task}-{self.event or 'plain'}-{self.phrasing}-{self.latent}{blocks}"


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        title: Its heading.
        rows: Its lines.
        note: What to know before one reads it.
    """

    title: str
    rows: tuple[Row, ...]
    note: str = ""


SECTIONS = (
    Section("Tasks", tuple(Row(task, task) for task in TASKS)),
    Section("Wordings kept from training", tuple(Row(task, task, phrasing="unseen") for task in TASKS)),
    Section(
        "Events on the way",
        (
            *(Row(f"{task}, object moved", task, "moved") for task in ("touch", "pick", "place")),
            *(Row(f"{task}, words changed", task, "changed") for task in ("touch", "pick", "place")),
            *(Row(f"{task}, object absent", task, "absent") for task in ("touch", "pick", "place")),
        ),
    ),
    Section(
        "What the latent is worth (pick)",
        (
            Row("the latent as it is", "pick", min_blocks=4),
            Row("zeros", "pick", latent="zeroed", min_blocks=4),
            Row("that of another episode", "pick", latent="shuffled", min_blocks=4),
            Row("that of other words; success: those are obeyed", "pick", latent="other", min_blocks=4),
        ),
        "On scenes of at least four blocks, where taking just any block is seldom taking the right one.",
    ),
)
HEAD = ("", "success", "experts", "time", "latent age p50", "tool acceleration", "join", "wrong object")


def cells(settings: TwinSettings) -> list[Cell]:
    """Every row once, although one stands in two sections."""
    rows = {row.name: row for section in SECTIONS for row in section.rows}
    return [_cell(settings, row) for row in rows.values()]


def smoke_cells(settings: TwinSettings) -> list[Cell]:
    """Three rows."""
    wanted = {"touch-plain-seen-true", "touch-plain-unseen-true", "pick-plain-seen-other-4blocks"}
    return [cell for cell in cells(settings) if cell.name in wanted]


def run(
    settings: TwinSettings, plan: Plan, output: Path, command: str, *, smoke: bool = False
) -> tuple[Path, ...]:
    """Measure what is missing, plain tasks also with the scripted pair, and write page and data.

    Returns the paths.

    Raises:
        ConfigError: There is no such cell.
        MissingExtraError: The simulator is not installed.
    """
    chosen = plan.choose(smoke_cells(settings) if smoke else cells(settings))
    measured = measure(chosen, plan)
    scripted: Source = Scripted()
    bounded = {row.name for row in SECTIONS[0].rows}
    bounds = measure(
        [replace(cell, settings=for_scripted(cell.settings)) for cell in chosen if cell.name in bounded],
        replace(plan, source=scripted, folder=plan.folder / "scripted"),
    )
    data = {"networks": without_results(measured), "experts": without_results(bounds)}
    return write(output, "tasks", page(measured, bounds, plan, command), data)


def page(measured: Sequence[Measured], bounds: Sequence[Measured], plan: Plan, command: str) -> str:
    """The page, in Markdown."""
    settings = measured[0].report.settings
    parts = [
        "# What the small dual system does",
        f"System 2 at {settings['system2_rate_hz']:g} Hz with a delay of {settings['system2_delay']}, as if "
        f"it were a large model on another machine; System 1 takes {settings['system1_delay']} for a plan; "
        f"chunk strategy {strategy_text(settings)}.",
        "`experts` is what the scripted experts that training data comes from reach under the same delays, "
        "knowing the truth about the scene, with the defaults of the strategy. `time` is the median time to "
        "success, from the event where there is one; for `follow`, the share of the time that the tool was "
        "within 3 cm above the block, of which an episode needs 90 % to count as a success. `join` is the "
        "median, over episodes, of the largest change of the commanded tool velocity where one chunk follows "
        "another.",
    ]
    found = {one.cell.name: one for one in measured}
    reached = {one.cell.name: one for one in bounds}
    for section in SECTIONS:
        rows = [row for row in section.rows if row.name in found]
        if rows:
            lines = [_line(row, found[row.name], reached.get(row.name)) for row in rows]
            parts += [part for part in (f"## {section.title}", section.note, table(HEAD, lines)) if part]
    parts.append(how_measured(measured[0].report, command, plan.episodes, plan.seed))
    return "\n\n".join(parts)


def _cell(settings: TwinSettings, row: Row) -> Cell:
    own = replace(settings, latent=row.latent)
    return Cell(row.name, row.task, own, row.event, row.phrasing, row.min_blocks)


def _share_above(report: Report) -> str:
    """The share of the time that the tool was above the block: over all episodes, and of the median one."""
    shares = [share for one in report.results if isinstance(share := one.metrics.get("fraction"), float)]
    mean = sum(shares) / max(1, len(shares))
    return f"{mean * 100:.0f} % above (median {float(report.medians.get('fraction', 0.0)) * 100:.0f} %)"


def _line(row: Row, one: Measured, bound: Measured | None) -> list[str]:
    report = one.report
    wrong = sum("wrong_object" in result.metrics for result in report.results)
    return [
        row.title,
        percent(report),
        "–" if bound is None else f"{bound.report.success_rate * 100:.0f} %",
        _share_above(report) if row.task == "follow" else seconds_text(report),
        f"{median(report, 'latent_age_ms_p50', 0)} ms",
        f"{median(report, 'tool_acceleration_rms_m_s2')} m/s²",
        f"{median(report, 'seam_jump_max_m_s', 3)} m/s",
        f"{100 * wrong / report.episodes:.0f} %",
    ]
