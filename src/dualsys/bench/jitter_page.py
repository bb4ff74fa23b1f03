"""The page, the numbers and the figure of the jitter benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dualsys.bench.jitter import GATE_LOAD, GATE_RATE_HZ, LOADS, LOOPS, PREPARE_US, SPIN_US, Cell, Gate
from dualsys.bench.page import table, write
from dualsys.doctor.machine import machine_facts
from dualsys.telemetry.extras import figure

HEAD = ("loop", "p50", "p99", "p99.9", "max", "missed", "longest miss", "stolen, ms")


def write_page(output: Path, measured: Sequence[Cell], verdict: Gate, command: str) -> tuple[Path, ...]:
    """Write `jitter.md`, `jitter.json` and `jitter.png`; returns their paths.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    output.mkdir(parents=True, exist_ok=True)
    drawn = output / "jitter.png"
    draw(measured, drawn)
    facts = machine_facts()
    data = {
        "machine": facts,
        "gate": {"passed": verdict.passed, "says": verdict.says},
        "cells": [tree(cell) for cell in measured],
    }
    return (*write(output, "jitter", page(measured, verdict, facts, command), data), drawn)


def tree(cell: Cell) -> dict[str, object]:
    """One cell for JSON."""
    result = cell.result
    found: dict[str, object] = (
        {}
        if result is None
        else {
            "ticks": result.ticks,
            "missed": result.missed,
            "longest_miss": result.longest_miss,
            "late_us": _rounded(result.late_us),
            "realtime": result.realtime,
            **({"work_us": _rounded(result.work_us)} if result.work_us else {}),
        }
    )
    return {
        "rate_hz": cell.rate_hz, "load": cell.load, "loop": cell.loop, "seconds": cell.seconds,
        "measured": result is not None, "note": cell.note, "stolen_ms": cell.stolen_ms, **found,
    }  # fmt: skip


def _rounded(times_us: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in times_us.items()}


def page(measured: Sequence[Cell], verdict: Gate, facts: dict[str, str], command: str) -> str:
    """The page, in Markdown."""
    seconds = sorted({cell.seconds for cell in measured})
    durations = " or ".join(f"{value:g} s" for value in seconds)
    parts = [
        "# How punctual control is",
        f"Lateness of a tick in µs, and ticks missed, {durations} a row. **{verdict.says}.** The bar is for "
        f"{GATE_RATE_HZ:g} Hz with SCHED_FIFO and all loads at once.{work(measured)}",
        "![Lateness of the control loop and of the reference loops](jitter.png)",
    ]
    for load in dict.fromkeys(cell.load for cell in measured):
        title = LOADS[load][0]
        parts.append(f"## {title[0].upper()}{title[1:]}")
        for rate_hz in dict.fromkeys(cell.rate_hz for cell in measured):
            rows = [row(cell) for cell in measured if (cell.load, cell.rate_hz) == (load, rate_hz)]
            if rows:
                parts += [f"{rate_hz:g} Hz", table(HEAD, rows)]
    notes = sorted(
        {f"* {LOOPS[cell.loop]}: {cell.note}" for cell in measured if cell.note and not cell.result}
    )
    if notes:
        parts.append("Not measured:\n\n" + "\n".join(notes))
    parts += [
        "## What the loops are",
        "* **control loop**: that of dualsys, in a process of its own, with its limits, a new plan every "
        "20 ms and its state published at every tick; the arm is held in memory. With SCHED_FIFO it sleeps "
        f"until {PREPARE_US:g} µs before a deadline, prepares the tick and spins for the rest "
        f"(`control.prepare_ms`); without, it spins for {SPIN_US:g} µs (`control.spin_ms`). The C loop does "
        "neither, and the row below SCHED_FIFO sleeps to the end as well.\n"
        "* **C**: wakes up at absolute deadlines and does nothing else: the least lateness that the system "
        "allows. What it misses, nothing that runs here can keep.\n"
        "* **C, awake**: the same at the highest real-time priority, and awake for nine tenths of each "
        "period, in which it reads the clock over and over. Nothing of this machine's programs is before it, "
        "and it never waits to be woken: what it misses, the machine itself took (its host, or the kernel's "
        "answers to devices).\n"
        "* **naive Python**: wall clock, a sleep of what is left of the period, inference of System 1 in a "
        "thread. It has no deadlines to be late for, so its lateness is how much longer than a period an "
        "interval was; what it drifts comes on top.",
        "Stolen: how long the host of the virtual machine kept its CPUs although they had work, all of them "
        "together, as the kernel tells it in steps of 10 ms. Nothing that runs inside can prevent that, and "
        "a tick that is due on such a CPU is late.",
        "Planner and System 2 at work: the models of the bundle compute without a pause, each in a process "
        "of its own. A hog is a process that counts.",
        "## How it was measured",
        f"```\n{command}\n```",
        "\n".join(f"* {name}: {value}" for name, value in facts.items()),
        "None of this is a promise for another machine, or for this one tomorrow: see "
        "[what this cannot guarantee](../limits.md).",
    ]
    return "\n\n".join(parts) + "\n"


def work(measured: Sequence[Cell]) -> str:
    """What ticks took at the rate and load of the bar, so that overruns can be told from late wake-ups."""
    found = [
        cell.result.work_us
        for cell in measured
        if (cell.rate_hz, cell.load, cell.loop) == (GATE_RATE_HZ, GATE_LOAD, "control_fifo") and cell.result
    ]
    if not found or not found[0]:
        return ""
    times, period_ms = found[0], 1e3 / GATE_RATE_HZ
    longest_ms = times["max"] / 1e3
    says = "none overran: one that is missed was woken too late" if longest_ms < period_ms else "some overran"
    return (
        f" A tick itself took {times['p50']:.0f} µs there (p99 {times['p99']:.0f}), plans included, and at "
        f"most {longest_ms:.2f} of {period_ms:g} ms, so {says}."
    )


def row(cell: Cell) -> tuple[str, ...]:
    """One row of a table."""
    result = cell.result
    if result is None:
        return (LOOPS[cell.loop], *["–"] * (len(HEAD) - 1))
    late = (f"{result.late_us[name]:,.0f}" for name in ("p50", "p99", "p999", "max"))
    missed = f"{result.missed} of {result.ticks + result.missed}"
    name = f"{LOOPS[cell.loop]} ({cell.note})" if cell.note else LOOPS[cell.loop]
    stolen = "unknown" if cell.stolen_ms is None else f"{cell.stolen_ms:.0f}"
    return (name, *late, missed, str(result.longest_miss), stolen)


def draw(measured: Sequence[Cell], path: Path) -> None:
    """Draw p50, p99, p99.9 and max of each loop by rate, one panel for each load, on logarithmic axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    loads = list(dict.fromkeys(cell.load for cell in measured))
    drawn = figure(3.2 * len(loads) + 0.8, 3.6, "the figure of the jitter benchmark")
    panels = drawn.subplots(1, len(loads), sharey=True, squeeze=False)[0]
    for axes, load in zip(panels, loads, strict=True):
        for place, loop in enumerate(LOOPS):
            cells = [cell for cell in measured if (cell.load, cell.loop) == (load, loop) and cell.result]
            x = [cell.rate_hz * (0.92 + 0.04 * place) for cell in cells]
            late = [cell.result.late_us for cell in cells if cell.result is not None]
            # A loop that was never late at all still has a place on a logarithmic axis.
            p99, most = ([max(one[name], 0.1) for one in late] for name in ("p99", "max"))
            above = [high - low for low, high in zip(p99, most, strict=True)]
            axes.errorbar(
                x, p99, [[0.0] * len(p99), above], marker="o", markersize=4, capsize=2, label=LOOPS[loop]
            )
        axes.plot(*_period_line(measured), color="grey", linestyle=":", label="one period")
        axes.set_title(LOADS[load][0], fontsize=8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        rates_hz = sorted({cell.rate_hz for cell in measured})
        axes.set_xticks(rates_hz, [f"{rate_hz:g}" for rate_hz in rates_hz])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("rate, Hz")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("lateness, µs: p99 and max")
    handles, labels = panels[-1].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="lower center", ncols=min(len(labels), 2 * len(loads)), fontsize=7)
    drawn.tight_layout(rect=(0.0, 0.08, 1.0, 1.0))
    drawn.savefig(path)


def _period_line(measured: Sequence[Cell]) -> tuple[list[float], list[float]]:
    rates_hz = sorted({cell.rate_hz for cell in measured})
    return rates_hz, [1e6 / rate_hz for rate_hz in rates_hz]
