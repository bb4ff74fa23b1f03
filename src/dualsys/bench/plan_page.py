"""The page of the plan benchmark: what was measured, and whether the bars are met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from dualsys.bench.first_plan import FirstPlan
from dualsys.bench.page import table
from dualsys.bench.timing import Ratio, Timing

RUNTIME, TORCH = "ort", "torch"
"""Names of ways to make a plan begin with one of these."""
CONDITION = "ort condition"

IDLE_SHARE = 0.95
"""Share of a core above which the machine counts as idle."""

TITLES = {
    CONDITION: "context, encoded once a plan",
    "ort plain": "plain sample",
    "ort guided": "guided, exact (vector-Jacobian products in the graph)",
    "ort led": "the same, and led along the path in the last half of its steps: `pull: path`",
    "ort constant": "guided, velocity taken for constant",
    "ort prefix": "`rtc_prefix`: behind a given prefix",
    "ort bid": "`bid`: the best of 8 plain samples",
    "torch plain": "torch, plain sample",
    "torch guided": "torch, guided, exact (automatic differentiation)",
    "torch simple guided": "the same with nothing taken out of the loop",
    "torch constant": "torch, guided, velocity taken for constant",
    "torch prefix": "torch, behind a given prefix",
    "torch compiled plain": "torch, compiled, plain sample",
    "torch compiled guided": "torch, compiled, guided, exact",
    "torch compiled constant": "torch, compiled, guided, velocity taken for constant",
}

Pair: TypeAlias = tuple[str, str]

COMPARED: tuple[Pair, ...] = (
    ("torch guided", "ort guided"),
    ("torch simple guided", "ort guided"),
    ("torch compiled guided", "ort guided"),
    ("torch plain", "ort plain"),
    ("torch compiled plain", "ort plain"),
    ("ort guided", "ort plain"),
    ("plan of ort guided", "plan of ort plain"),
    ("ort led", "ort guided"),
    ("torch constant", "ort constant"),
    ("torch compiled constant", "ort constant"),
    ("ort constant", "ort plain"),
    ("ort prefix", "ort plain"),
    ("ort bid", "ort guided"),
)
"""What is compared: the slower, the faster."""


@dataclass(frozen=True)
class Bar:
    """What a ratio should be, at least or at most."""

    says: str
    ratio: str
    least: float | None = None
    most: float | None = None

    def met_by(self, ratio: Ratio) -> bool:
        """Whether the median is on the right side."""
        above = self.least is None or ratio.median >= self.least
        return above and (self.most is None or ratio.median <= self.most)


BARS = (
    Bar(
        "exact guidance in the runtime, against torch with automatic differentiation: at least 4 times",
        "torch guided / ort guided",
        least=4.0,
    ),
    Bar(
        "a plan with exact guidance, against a plain plan (each with its context): at most twice as long",
        "plan of ort guided / plan of ort plain",
        most=2.0,
    ),
    Bar(
        "the same without the context, the sampler alone: at most twice as long",
        "ort guided / ort plain",
        most=2.0,
    ),
)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """All that the benchmark found.

    Attributes:
        timings: By way to make a plan.
        ratios: By `slower / faster`.
        differences: Of the chunks of torch from those of the runtime, relative to the largest element.
        skipped: What was not run, with the reason.
        first_plans: By kind of process.
        core_share: Time computed over time passed, of all runs.
        weights: Where the weights came from.
        versions: Of packages, machine and processor.
    """

    timings: dict[str, Timing]
    ratios: dict[str, Ratio]
    differences: dict[str, float]
    skipped: dict[str, str]
    first_plans: dict[str, FirstPlan]
    core_share: float
    weights: str
    versions: dict[str, str]


def page(measured: Measured, command: str) -> str:
    """The page, in Markdown."""
    parts = [
        "# What a plan of System 1 costs",
        "One thread, the same weights, 5 Euler steps, chunks of 16 actions. A plan is the context, which is "
        "encoded once, and a chunk drawn from noise in one of these ways. ONNX Runtime runs them through the "
        "code of the planner; torch runs the network itself, without gradients of its weights.",
        _timings(measured),
        *(f"Not run: {what}: {why}." for what, why in measured.skipped.items()),
        "## The bars",
        _bars(measured),
        "## Ratios",
        _ratios(measured),
        "## Start and memory",
        "A fresh process starts, loads System 1, makes one guided plan and ends.",
        _first_plans(measured),
        "## How it was measured",
        f"```\n{command}\n```",
        _how(measured),
    ]
    return "\n\n".join(parts) + "\n"


def _timings(measured: Measured) -> str:
    rows = []
    for name, title in TITLES.items():
        if name in measured.timings:
            one = measured.timings[name]
            far = measured.differences.get(name)
            rows.append(
                [
                    title,
                    f"{one.median_ms:.2f} ms",
                    f"{one.low_ms:.2f} to {one.high_ms:.2f}",
                    "" if far is None else f"{far:.0e}",
                ]
            )
    return table(["", "median", "10 to 90 %", "chunk differs from the runtime's by"], rows)


def _bars(measured: Measured) -> str:
    rows: list[Sequence[str]] = []
    for bar in BARS:
        if bar.ratio in measured.ratios:
            ratio = measured.ratios[bar.ratio]
            rows.append([bar.says, f"{ratio.median:.2f}", "met" if bar.met_by(ratio) else "**missed**"])
    return table(["bar", "found", ""], rows)


def _ratios(measured: Measured) -> str:
    rows = [
        [f"{name}", f"{ratio.median:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}"]
        for name, ratio in measured.ratios.items()
    ]
    return table(["time of one over time of the other", "median", "quartiles"], rows)


def _first_plans(measured: Measured) -> str:
    rows = [
        [
            name,
            f"{one.computed_s:.2f} s",
            f"{one.passed_s:.2f} s",
            f"{one.peak_mb:.0f} MB",
            "yes" if one.has_torch else "no",
        ]
        for name, one in measured.first_plans.items()
    ]
    head = ["process with", "time computed", "time passed", "most memory held", "torch imported"]
    return table(head, rows)


def _how(measured: Measured) -> str:
    runs = min(timing.runs for timing in measured.timings.values())
    load = (
        "The machine was idle otherwise."
        if measured.core_share >= IDLE_SHARE
        else "**Other work took part of the core**, which spoils caches: trust the ratios, not the times."
    )
    versions = ", ".join(f"{name} {number}" for name, number in measured.versions.items())
    return (
        f"{runs} rounds, each of which runs every way once, in an order that changes; medians over rounds, "
        "for ratios medians of the quotients of the rounds. Times are those that the thread computed, which "
        f"was {measured.core_share * 100:.0f} % of the time that passed. {load}\n\n"
        f"Weights: {measured.weights}; they do not change the times. {versions}."
    )
