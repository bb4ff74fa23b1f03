"""The figures of the latency benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.bench.cells import Measured
from dualsys.bench.delay_grid import EXPERTS, JITTER, MAIN, VARIANTS, Point, Varied
from dualsys.telemetry.extras import figure
from dualsys.telemetry.statistics import percentiles
from dualsys.twin.report import Report

PURPOSE = "the figures of the latency benchmark"
JITTER_AT_MS = 360.0
"""Where the jittery delay stands on the axis of delays."""
ORDER: list[str] = [one.label for one in VARIANTS]
"""Strategies, in the order of their colours."""
SPREAD_MS = 3.0
"""How far curves are moved apart, so that their intervals do not hide each other."""

Spread = tuple[float, float, float]
"""Lower end, middle and upper end."""


@dataclass(frozen=True)
class Result:
    """A point that was measured."""

    point: Point
    measured: Measured

    @property
    def report(self) -> Report:
        """What it came to."""
        return self.measured.report


@dataclass(frozen=True)
class Quantity:
    """What a figure shows on an upright axis.

    Attributes:
        label: Of the axis, with the unit.
        of: Its value with its interval; None where there is none.
        limits: Of the axis; None leaves the upper end to the data.
    """

    label: str
    of: Callable[[Report], Spread | None]
    limits: tuple[float, float | None] = (0.0, None)


def success(report: Report) -> Spread:
    """Success rate with its Wilson 95 % interval, %."""
    low, high = report.success_interval
    return 100 * low, 100 * report.success_rate, 100 * high


def throughput(report: Report) -> float:
    """Successes per minute of simulated time, the time of failures included."""
    return 60.0 * report.successes / sum(result.duration_s for result in report.results)


def time_to_success(report: Report) -> Spread | None:
    """Median and quartiles over the successes, s."""
    return _quartiles([one.time_to_success_s for one in report.results if one.time_to_success_s is not None])


def metric(name: str, factor: float = 1.0) -> Callable[[Report], Spread | None]:
    """Median and quartiles of a metric over the episodes that have it."""

    def of(report: Report) -> Spread | None:
        values = (result.metrics.get(name) for result in report.results)
        return _quartiles([factor * float(value) for value in values if value is not None])

    return of


def _without_interval(report: Report) -> Spread:
    rate = throughput(report)
    return rate, rate, rate


SUCCESS = Quantity("success, %", success, (-4.0, 104.0))
THROUGHPUT = Quantity("successes a minute", _without_interval)
TIME = Quantity("time to success, s", time_to_success)
SMOOTHNESS = (
    Quantity("velocity jump at joins, m/s", metric("seam_jump_mean_m_s")),
    Quantity("old and new plan apart, mm", metric("seam_apart_mean_m", 1e3)),
    Quantity("acceleration rms, m/s²", metric("tool_acceleration_rms_m_s2")),
    Quantity("jerk rms, m/s³", metric("tool_jerk_rms_m_s3")),
    Quantity("without a plan, % of ticks", metric("held_fraction", 100.0)),
)
REACTION = metric("system1_reaction_ms_mean")
PREDICTED = metric("system1_reaction_predicted_ms")
SYSTEM2 = (
    SUCCESS,
    THROUGHPUT,
    Quantity("latent's age in force, ms", metric("system2_age_in_force_ms_p50")),
    Quantity("reaction through System 2, ms", metric("system2_reaction_ms_mean")),
)


def draw_grid(
    results: Sequence[Result], varied: Varied, tasks: Sequence[str], rows: Sequence[Quantity], path: Path
) -> None:
    """Draw quantities (rows) by delay for tasks (columns), one curve for each strategy.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawn = figure(3.2 * len(tasks) + 1.0, 2.3 * len(rows) + 1.2, PURPOSE)
    grid = drawn.subplots(len(rows), len(tasks), sharex="col", squeeze=False)
    for row, quantity in enumerate(rows):
        for column, task in enumerate(tasks):
            axes = grid[row, column]
            for variant, curve in _curves(results, varied, task):
                _draw_curve(axes, variant, curve, quantity)
            low, high = quantity.limits
            axes.set_ylim(low, 1.05 * axes.get_ylim()[1] if high is None else high)
            axes.grid(alpha=0.3)
            if row == 0:
                axes.set_title(task)
            if column == 0:
                axes.set_ylabel(quantity.label)
            if row == len(rows) - 1:
                _label_delays(axes, varied, task, results)
    _legend(drawn, grid)
    drawn.savefig(path)


def draw_reactions(results: Sequence[Result], task: str, path: Path) -> None:
    """Draw the measured reaction to an event at a random time against what delay and period predict.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawn = figure(10.0, 4.6, PURPOSE)
    grid = drawn.subplots(1, 2, squeeze=False)
    for variant, curve in _curves(results, "system1", task):
        _draw_curve(grid[0, 0], variant, curve, Quantity("", REACTION))
        both = [(PREDICTED(result.report), REACTION(result.report)) for result in curve]
        known = [(predicted[1], measured[1]) for predicted, measured in both if predicted and measured]
        grid[0, 1].plot(*np.reshape(known, (-1, 2)).T, "o", color=_colour(variant), label=variant)
    low, high = grid[0, 1].get_xlim()
    grid[0, 1].plot([low, high], [low, high], color="black", linewidth=1, label="as predicted")
    grid[0, 1].plot([low, high], [low + 40.0, high + 40.0], "--", color="grey", linewidth=1)
    grid[0, 0].set_ylabel("mean reaction through System 1, ms")
    grid[0, 0].set_ylim(bottom=0.0)
    _label_delays(grid[0, 0], "system1", task, results)
    grid[0, 1].set_xlabel("predicted mean, ms (dashed: one wrist image later)")
    grid[0, 1].set_ylabel("measured mean, ms")
    for axes in grid.flat:
        axes.grid(alpha=0.3)
    _legend(drawn, grid)
    drawn.savefig(path)


def _quartiles(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    low, middle, high = percentiles(values, (25.0, 50.0, 75.0))
    return low, middle, high


def _curves(results: Sequence[Result], varied: Varied, task: str) -> Iterator[tuple[str, list[Result]]]:
    """The results of each main strategy that was measured at several delays; of each one if none was."""
    wanted = [one for one in results if (one.point.varied, one.point.task) == (varied, task)]
    found = {
        variant.label: [one for one in wanted if one.point.variant.label == variant.label]
        for variant in VARIANTS
    }
    # Those that are run in a second way have tables of their own, and no colours.
    found = {name: found[name] for name in (*MAIN, EXPERTS) if found[name]} or found
    least = min(2, max(map(len, found.values())))
    for name, curve in found.items():
        if curve and len(curve) >= least:
            yield name, curve


def _draw_curve(axes: Any, variant: str, curve: Sequence[Result], quantity: Quantity) -> None:
    """One strategy: constant delays joined by a line, the jittery one by itself."""
    shift_ms = SPREAD_MS * (ORDER.index(variant) - 2)
    style = {"color": _colour(variant), "marker": "o", "markersize": 4, "capsize": 2, "linewidth": 1.2}
    for constant, label in ((True, variant), (False, None)):
        places, spreads = [], []
        # Two sweeps of one task may interleave their delays.
        for result in sorted(curve, key=lambda one: (str(one.point.delay) == JITTER, one.point.delay)):
            spread = quantity.of(result.report)
            if (result.point.delay != JITTER) == constant and spread is not None:
                delay = result.point.delay
                places.append(shift_ms + (JITTER_AT_MS if isinstance(delay, str) else delay))
                spreads.append(spread)
        if spreads:
            low, middle, high = np.array(spreads).T
            axes.errorbar(places, middle, [middle - low, high - middle], label=label, **style)


def _label_delays(axes: Any, varied: Varied, task: str, results: Sequence[Result]) -> None:
    delays = {one.point.delay for one in results if (one.point.varied, one.point.task) == (varied, task)}
    axes.set_xlabel(f"delay of System {varied[-1]}, ms")
    numbers = sorted(delay for delay in delays if not isinstance(delay, str))
    if JITTER in delays:
        axes.set_xticks([*numbers, JITTER_AT_MS], [*(str(number) for number in numbers), JITTER])
        axes.tick_params(axis="x", labelrotation=45)


def _legend(drawn: Any, grid: Any) -> None:
    """One legend for all axes, above them."""
    found: dict[str, Any] = {}
    for axes in grid.flat:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    drawn.tight_layout(rect=(0.0, 0.0, 1.0, 1.0 - 0.5 / drawn.get_figheight()))
    if found:
        columns = min(len(found), 6)
        drawn.legend(found.values(), found.keys(), loc="upper center", ncols=columns, fontsize=9)


def _colour(variant: str) -> str:
    """The same colour for a strategy in every figure."""
    return f"C{ORDER.index(variant) % 10}"
