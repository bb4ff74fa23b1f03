"""The latency benchmark: what strategies make of a slow System 1 and a slow System 2, in running time.

Inference takes time in which the world moves on. Each cell runs one chunk strategy on one task under one pair
of delays; every strategy sees the same scenes, the same noise seeds and the same delays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from dualsys.bench import delay_figures, delay_page
from dualsys.bench.cells import Measured, Plan, measure
from dualsys.bench.delay_bars import verdicts
from dualsys.bench.delay_figures import SMOOTHNESS, SUCCESS, SYSTEM2, THROUGHPUT, TIME, Result
from dualsys.bench.delay_grid import (
    EXPERTS,
    RECORDED_JITTER,
    SMOKE_SWEEPS,
    SWEEPS,
    Point,
    Unmet,
    Varied,
    by_reason,
    estimate_s,
    objection,
    points,
    unknown_words,
)
from dualsys.bench.document import to_html, to_markdown
from dualsys.telemetry.files import replace_file
from dualsys.twin.latency import Latency
from dualsys.twin.pool import Scripted
from dualsys.twin.report import Report
from dualsys.twin.result import EpisodeResult
from dualsys.twin.settings import Parts, TwinSettings

DIGITS = 6
"""Significant digits of the numbers of single episodes."""


def run(
    settings: TwinSettings,
    plan: Plan,
    output: Path,
    command: str,
    *,
    smoke: bool = False,
    jitter: Latency = RECORDED_JITTER,
) -> tuple[Path, ...]:
    """Measure what is missing and write page, figures and data; returns their paths.

    The data of single episodes are written beside the kept ones, everything else into the output folder.
    Cells whose strategy or words the bundles do not support, or whose delay is too long, are reported as
    such.

    Args:
        settings: What is the same in all cells.
        plan: How it is run.
        output: Folder of the page.
        command: What was typed.
        smoke: Only a few cells.
        jitter: The jittery delay of System 1.

    Raises:
        ConfigError: There is no such cell.
        MissingExtraError: The simulator or matplotlib is not installed.
    """
    parts = plan.source.load()
    policy = parts.system1
    every = points(settings, policy.action, SMOKE_SWEEPS if smoke else SWEEPS, jitter)
    kept = {cell.name for cell in plan.choose([point.cell for point in every])}
    chosen = [point for point in every if point.cell.name in kept]
    unmet = _objections(chosen, parts, plan)
    excluded = {one.point.cell.name for one in unmet}
    ready = [point for point in chosen if point.cell.name not in excluded]
    _announce(ready, unmet, plan)
    results = _measured(ready, plan)

    output.mkdir(parents=True, exist_ok=True)
    pictures = _draw(results, output)
    episodes = plan.folder / "delay-episodes.json"
    blocks = delay_page.page(results, unmet, pictures, plan, command, policy.action, jitter)
    data = _data(results, unmet, plan, command)
    return (
        replace_file(output / "delay.md", to_markdown(blocks).encode()),
        replace_file(output / "delay.html", to_html(blocks).encode()),
        replace_file(output / "delay.json", msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n"),
        replace_file(episodes, msgspec.json.encode({**data, "cells": _with_episodes(data, results)}) + b"\n"),
        *(picture for picture in pictures.values()),
    )


def _measured(ready: Sequence[Point], plan: Plan) -> list[Result]:
    """The results of these points, in order: first those of the two systems, then those of the experts."""
    experts = replace(plan, source=Scripted(), folder=plan.folder / "scripted")
    found: dict[str, Measured] = {}
    for scripted, own in ((False, plan), (True, experts)):
        cells = [point.cell for point in ready if (point.variant.altered == EXPERTS) == scripted]
        found |= {one.cell.name: one for one in measure(cells, own)}
    return [Result(point, found[point.cell.name]) for point in ready]


def _objections(chosen: Sequence[Point], parts: Parts, plan: Plan) -> list[Unmet]:
    """What cannot be run with these systems, and why."""
    seeds = range(plan.seed, plan.seed + plan.episodes)
    unread = {task: unknown_words(task, seeds, parts) for task in {point.task for point in chosen}}
    unmet: list[Unmet] = []
    for point in chosen:
        if point.variant.altered == EXPERTS:
            continue
        if why := unread[point.task]:
            unmet.append(Unmet(point, "not offered", why))
        elif (found := objection(point, parts.system1)) is not None:
            unmet.append(found)
    return unmet


def _announce(ready: Sequence[Point], unmet: Sequence[Unmet], plan: Plan) -> None:
    from rich.console import Console

    minutes = math.ceil(estimate_s(ready, plan.episodes, plan.workers) / 60)
    lines = [
        f"{len(ready)} cells of {plan.episodes} episodes; about {minutes} min for all of them on "
        f"{plan.workers} idle cores, less what is done already",
        *(f"{', '.join(names)}: {status}: {why}" for (status, why), names in by_reason(unmet).items()),
    ]
    Console(stderr=True).print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _draw(results: Sequence[Result], folder: Path) -> dict[str, Path]:
    """Draw every figure for which something was measured; returns their paths by name."""
    drawn: dict[str, Path] = {}
    if tasks := _tasks(results, "system1"):
        drawn["success"] = folder / "delay-success.png"
        delay_figures.draw_grid(results, "system1", tasks, (SUCCESS, THROUGHPUT, TIME), drawn["success"])
        drawn["smoothness"] = folder / "delay-smoothness.png"
        delay_figures.draw_grid(results, "system1", tasks, SMOOTHNESS, drawn["smoothness"])
        drawn["reaction"] = folder / "delay-reaction.png"
        delay_figures.draw_reactions(results, tasks[0], drawn["reaction"])
    if tasks := _tasks(results, "system2"):
        drawn["system2"] = folder / "delay-system2.png"
        delay_figures.draw_grid(results, "system2", tasks, SYSTEM2, drawn["system2"])
    return drawn


def _tasks(results: Sequence[Result], varied: Varied) -> list[str]:
    """Names of the tasks of a sweep, in the order of the sweeps."""
    return list(dict.fromkeys(one.point.task for one in results if one.point.varied == varied))


def _data(results: Sequence[Result], unmet: Sequence[Unmet], plan: Plan, command: str) -> dict[str, Any]:
    """What every cell came to."""
    reports = [one.report for one in results]
    return {
        "command": command,
        "episodes": plan.episodes,
        "first_seed": plan.seed,
        "systems": plan.source.describe(),
        "versions": reports[0].versions if reports else {},
        "bars": verdicts(results, _tasks(results, "system1")),
        "cells": [
            *({**_described(one.point), "status": "measured", **_summary(one.report)} for one in results),
            *({**_described(one.point), "status": one.status, "why": one.why} for one in unmet),
        ],
    }


def _described(point: Point) -> dict[str, Any]:
    return {"cell": point.cell.name, "task": point.task, "varied": point.varied, "delay": point.delay,
            "settings": point.cell.settings.describe()}  # fmt: skip


def _summary(report: Report) -> dict[str, Any]:
    return {
        "successes": report.successes,
        "success_rate": report.success_rate,
        "success_interval": report.success_interval,
        "successes_per_minute": delay_figures.throughput(report),
        "time_to_success_s": report.time_to_success_s,
        "medians": report.medians,
        "counters": report.totals,
    }


def _with_episodes(data: dict[str, Any], results: Sequence[Result]) -> list[dict[str, Any]]:
    """The cells, and in columns every episode of those that were measured."""
    measured = {one.point.cell.name: {"episodes": _columns(one.report.results)} for one in results}
    return [cell | measured.get(cell["cell"], {}) for cell in data["cells"]]


def _columns(results: Sequence[EpisodeResult]) -> dict[str, list[Any]]:
    """Episodes as columns, in the order of their seeds; null where an episode lacks a value."""
    names = sorted({name for result in results for name in result.metrics})
    return {
        "seed": [result.seed for result in results],
        "success": [result.success for result in results],
        "reason": [result.reason for result in results],
        "duration_s": [_short(result.duration_s) for result in results],
        "time_to_success_s": [_short(result.time_to_success_s) for result in results],
        "trace_sha256": [result.trace_sha256[:16] for result in results],
        **{name: [_short(result.metrics.get(name)) for result in results] for name in names},
    }


def _short(value: float | str | None) -> float | str | None:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
