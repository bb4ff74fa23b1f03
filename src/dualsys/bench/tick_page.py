"""The page and the numbers of the tick benchmark."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualsys.bench.page import table, write
from dualsys.bench.tick import TickCost
from dualsys.doctor.machine import machine_facts

BAR_US = 150.0
"""What read to write may take, p50."""


def write_page(output: Path, costs: Sequence[TickCost], ticks: int, smoothing: str) -> tuple[Path, Path]:
    """Write `tick.md` and `tick.json`; returns their paths.

    Raises:
        OSError: The folder cannot be written.
    """
    facts = machine_facts()
    command = shlex.join(["python", "-m", "dualsys.bench.tick", *sys.argv[1:]])
    data = {"machine": facts, "ticks": ticks, "smoothing": smoothing, "costs": [tree(cost) for cost in costs]}
    return write(output, "tick", page(costs, ticks, smoothing, facts, command), data)


def tree(cost: TickCost) -> dict[str, object]:
    """One measurement for JSON."""
    python, c = cost.calls
    return {
        "rate_hz": cost.rate_hz,
        "prepare_ms": cost.prepare_ms,
        "us": {name: _percentiles(times) for name, times in cost.rows().items()},
        "python_calls": round(python, 1),
        "c_calls": round(c, 1),
        "kept_blocks": round(cost.kept_blocks, 3),
    }


def page(costs: Sequence[TickCost], ticks: int, smoothing: str, facts: dict[str, str], command: str) -> str:
    """The page, in Markdown."""
    parts = [
        "# Where the time of a control tick goes",
        "µs of a tick of control, from reading the arm to sending its command, for 7 joints and a gripper "
        f"over the link to the simulated arm, {ticks} ticks each. {'. '.join(map(_verdict, costs))}. A tick "
        f"should take at most {BAR_US:g} µs.",
    ]
    for cost in costs:
        prepared = f"prepared for {cost.prepare_ms:g} ms before it" if cost.prepare_ms else "not prepared"
        rows = [[name, *(f"{value:.0f}" for value in _percentiles(times).values())]
                for name, times in cost.rows().items()]  # fmt: skip
        python, c = cost.calls
        parts += [
            f"## {cost.rate_hz:g} Hz, {prepared}",
            table(["", "p50", "p99", "max"], rows),
            f"{python:.0f} calls of Python functions and {c:.0f} of functions in C from reading to command, "
            f"without a plan; {cost.kept_blocks:.3f} memory blocks kept per tick.",
        ]
    parts += [
        "## In plain words",
        "* In a tight loop a tick takes some 25 µs. The rest is waiting for memory: in the milliseconds "
        "between two ticks, other work, or the host of a virtual machine, fills the caches with what is its "
        "own, and every function that a tick calls has to be fetched anew. So all stages cost several times "
        "what they compute, in proportion to how much different code they run, and more at a low rate than "
        "at a high one.\n"
        "* With `control.prepare_ms` control is awake that long before each deadline, takes in a plan that "
        "has come, and goes through the motions of a tick on a core and sockets of its own. The tick then "
        "finds its code in the caches. It costs the CPU time of the last row, and spins for the rest of "
        "`prepare_ms`: that part of each period of one CPU. It is done by default where real-time scheduling "
        "is granted, and never without, as it would have control wait for its turn.\n"
        "* A plan (17 knots) is taken in within one tick, unless ticks are prepared, and makes the longest "
        "ones.\n"
        "* Nothing that a tick allocates stays: Python takes numbers and tuples from lists of free blocks "
        "and gives them back. The garbage collector is off.",
        "## How it was measured",
        f"```\n{command}\n```",
        "Time that the thread computes, by the clock of the thread. A plan comes every five ticks. "
        f"Smoothing: `{smoothing}`.",
        "\n".join(f"* {name}: {value}" for name, value in facts.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _verdict(cost: TickCost) -> str:
    prepared = "prepared" if cost.prepare_ms else "not prepared"
    p50_us = _percentiles(cost.rows()["read to write"])["p50"]
    met = "met" if p50_us <= BAR_US else "MISSED"
    return f"{cost.rate_hz:g} Hz, {prepared}: p50 {p50_us:.0f} µs, {met}"


def _percentiles(times: NDArray[np.float64]) -> dict[str, float]:
    found = np.percentile(times, (50, 99, 100)).tolist()
    return {name: round(value, 1) for name, value in zip(("p50", "p99", "max"), found, strict=True)}
