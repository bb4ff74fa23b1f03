"""The bars of the latency benchmark: what real-time chunking is to reach, and whether it does.

Which cells they speak of is said once, in `NEEDED`; the grid has to hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dualsys.bench.delay_figures import Result, Spread, metric, success
from dualsys.bench.delay_grid import ENDS, EXPERTS
from dualsys.twin.report import Report

Status = Literal["met", "missed", "not measured"]

SMOOTH, ROUGH = "rtc", "naive_async"
"""Whose motion is compared with whose."""
SMOOTH_TASKS = ("around", "conveyor", "intercept", "follow", "pick")
SMOOTH_DELAYS_MS = (120, 200, 300)
"""At least these; what is measured between them counts too."""
HALF = 0.5
ROUGHNESS = {
    "commanded acceleration rms": ("tool_acceleration_rms_m_s2", "m/s²"),
    "velocity jump at joins": ("seam_jump_mean_m_s", "m/s"),
}
"""What is halved: the metric, whose median over the episodes counts, and its unit."""

KEEPERS = ("rtc", "rtc+path", "rtc_prefix")
BEATEN = ("synchronous", "naive_async", "temporal_ensemble")
KEPT = 0.95
MOVING_TASKS = ("around", "conveyor", "intercept", "follow")
"""Where success is at stake; static tasks saturate."""
STATIC_TASKS = ("pick",)

Key = tuple[str, str, int | str]
"""Task, label of the strategy, and delay of System 1, ms."""

NEEDED: frozenset[Key] = frozenset(
    [(task, name, delay) for task in SMOOTH_TASKS for name in (SMOOTH, ROUGH) for delay in SMOOTH_DELAYS_MS]
    + [(task, name, delay) for task in MOVING_TASKS for name in (*KEEPERS, *BEATEN) for delay in ENDS]
)
"""What has to be measured for the bars to be decided."""


@dataclass(frozen=True)
class Verdict:
    """What became of one bar on one task.

    Attributes:
        task: Name.
        bar: What was to be reached.
        found: What was.
        status: Whether it was; `not measured` where a cell that it speaks of was not run.
    """

    task: str
    bar: str
    found: str
    status: Status


def verdicts(results: Sequence[Result], tasks: Sequence[str]) -> list[Verdict]:
    """Every bar on every one of these tasks that there are bars for."""
    cells = {
        (one.point.task, one.point.variant.label, one.point.delay): one.report
        for one in results
        if one.point.varied == "system1"
    }
    found: list[Verdict] = []
    for task in tasks:
        if task in SMOOTH_TASKS:
            found += [_halved(cells, task, what) for what in ROUGHNESS]
        if task in MOVING_TASKS:
            found += _robust(cells, task)
    return found


def saturated(results: Sequence[Result]) -> str:
    """What success on the static tasks came to, in a sentence; empty if none was measured."""
    static = [
        one
        for one in results
        if one.point.varied == "system1"
        and one.point.task in STATIC_TASKS
        and one.point.variant.label != EXPERTS
    ]
    if not static:
        return ""
    least = min(static, key=lambda one: one.report.success_rate)
    return (
        f"There is no bar for success on {' and '.join(f'`{task}`' for task in STATIC_TASKS)}, for static "
        f"tasks saturate: the least success of its {len(static)} cells is "
        f"{100 * least.report.success_rate:.0f} % "
        f"(`{least.point.cell.name}`)."
    )


def _halved(cells: Mapping[Key, Report], task: str, what: str) -> Verdict:
    """Whether roughness is halved at every delay that was measured, and at all that are needed."""
    name, unit = ROUGHNESS[what]
    says = f"`{SMOOTH}` halves {what} against `{ROUGH}`, at every delay from {SMOOTH_DELAYS_MS[0]} ms up"
    measured = {delay for _, _, delay in cells if isinstance(delay, int) and delay >= SMOOTH_DELAYS_MS[0]}
    shares: dict[int, tuple[float, str]] = {}
    for delay in sorted({*SMOOTH_DELAYS_MS, *measured}):
        three = [cells.get((task, label, delay)) for label in (SMOOTH, ROUGH, EXPERTS)]
        values = [None if one is None else metric(name)(one) for one in three]
        ours, theirs, shown = (None if value is None else value[1] for value in values)
        if ours is not None and theirs:
            text = f"{ours:.3g} of {theirs:.3g} {unit} at {delay} ms ({100 * ours / theirs:.0f} %)"
            bound = "" if shown is None else f"; `{EXPERTS}` {shown:.3g} ({100 * shown / theirs:.0f} %)"
            shares[delay] = ours / theirs, text + bound
    if not shares:
        return Verdict(task, says, "", "not measured")
    worst, text = max(shares.values(), key=lambda item: item[0])
    text = f"at most {text}"
    if worst > HALF:
        return Verdict(task, says, text, "missed")
    return Verdict(task, says, text, "met" if shares.keys() >= {*SMOOTH_DELAYS_MS} else "not measured")


def _robust(cells: Mapping[Key, Report], task: str) -> Iterator[Verdict]:
    """Whether one and the same strategy keeps its success and beats the baselines."""
    none, late = ENDS
    kept = {name: _kept(cells.get((task, name, none)), cells.get((task, name, late))) for name in KEEPERS}
    yield _verdict(
        task,
        f"{_either(KEEPERS)} keeps at least {100 * KEPT:.0f} % of its success without delay at +{late} ms",
        {
            name: None if share is None else (share >= KEPT, f"`{name}` {100 * share:.0f} %")
            for name, share in kept.items()
        },
    )
    others = {name: _success(cells.get((task, name, late))) for name in BEATEN}
    own = {name: _success(cells.get((task, name, late))) for name in KEEPERS}
    yield _verdict(
        task,
        f"and that one beats {', '.join(f'`{name}`' for name in BEATEN)} at +{late} ms by more than the "
        "intervals",
        {name: _beats(name, own[name], others, kept[name]) for name in KEEPERS},
    )


def _verdict(task: str, says: str, found: Mapping[str, tuple[bool, str] | None]) -> Verdict:
    """Met if one of the strategies does it; missed if none of them does and all were measured."""
    known = [one for one in found.values() if one is not None]
    text = "; ".join(text for _, text in known)
    if any(does for does, _ in known):
        return Verdict(task, says, text, "met")
    return Verdict(task, says, text, "missed" if len(known) == len(found) else "not measured")


def _kept(before: Report | None, after: Report | None) -> float | None:
    """Part of its success that is left; None if not measured, or if there was none to lose."""
    if before is None or after is None or not before.success_rate:
        return None
    return after.success_rate / before.success_rate


def _success(report: Report | None) -> Spread | None:
    return None if report is None else success(report)


def _beats(
    name: str, own: Spread | None, others: Mapping[str, Spread | None], kept: float | None
) -> tuple[bool, str] | None:
    """Whether a strategy that keeps its success is above all others; None if that was not measured."""
    if own is None or kept is None or any(other is None for other in others.values()):
        return None
    best, theirs = max(
        ((other, spread) for other, spread in others.items() if spread is not None),
        key=lambda item: item[1][2],
    )
    text = f"`{name}` {interval(own)} against `{best}` {interval(theirs)}"
    # The one with the highest upper end is the best of the others: who is above it is above all.
    return kept >= KEPT and own[0] > theirs[2], text


def interval(spread: Spread) -> str:
    """A percentage with its interval, such as `95 % (84 to 99)`."""
    low, middle, high = spread
    return f"{middle:.0f} % ({low:.0f} to {high:.0f})"


def _either(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)
