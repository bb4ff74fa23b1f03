"""The page and the numbers of the fleet benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from dualsys.bench.fleet import BAR, Cell, Found, Options
from dualsys.bench.page import table, write
from dualsys.doctor.machine import machine_facts

HEAD = (
    "most in a pass",
    "robots",
    "latents/s",
    "age p50",
    "age p99",
    "worst robot's p99",
    "Jain",
    "mean in a pass",
)


def write_page(
    output: Path, found: Sequence[Found], cells: Sequence[Cell], options: Options, command: str
) -> tuple[Path, Path]:
    """Write `fleet.md` and `fleet.json`; returns their paths."""
    facts = machine_facts()
    data = {
        "command": command,
        "machine": facts,
        "bound_ms": options.bound_ms,
        "models": [msgspec.to_builtins(one) | {"ratio": one.ratio} for one in found],
        "cells": msgspec.to_builtins(list(cells)),
    }
    return write(output, "fleet", page(found, cells, options, facts, command), data)


def page(
    found: Sequence[Found], cells: Sequence[Cell], options: Options, facts: dict[str, str], command: str
) -> str:
    """The page, in Markdown."""
    parts = [
        "# How many robots one System 2 serves",
        f"The most robots for which 99 of 100 looks find a latent that is at most {options.bound_ms:g} ms "
        f"old, one robot in a pass and up to {options.largest_batch}. Age counts from the moment at which "
        f"the image was taken. Each robot observes {options.rate_hz:g} times a second, over TCP.",
        table(
            ("System 2", "weights", "one by one", "in batches", "ratio", f"at least {BAR:g}"),
            model_rows(found),
        ),
        "## What a pass costs",
        "Batches serve more robots only as far as a pass of several takes less time than as many passes of "
        "one: where a single image keeps the processor busy already, they cannot. The gain: how many times "
        "as many latents a second a pass of that size makes.",
        *(pass_table(one) for one in found),
    ]
    for one in found:
        own = [cell for cell in cells if cell.model == one.model]
        parts += [f"## Every fleet: {name_of(one)}", table(HEAD, [row(cell) for cell in own])]
        if not one.batches:
            parts.append(
                "The graph of this bundle takes one robot at a time: it was exported before the batch was "
                "open."
            )
    parts += [
        "Jain's index is that of the latents that each robot received: 1 if all received as many, 1/N if one "
        "robot received all.",
        "## How it was measured",
        f"```\n{command}\n```",
        f"{options.seconds:g} s a fleet, after {2 * options.bound_ms / 1000:g} s without looking; threads of "
        f"the runtime: {options.threads}; a pass waits for more robots for {options.wait_ms:g} ms at most. "
        "System 2 is a "
        "process of its own, all robots are another; both share the machine.",
        "\n".join(f"* {name}: {value}" for name, value in facts.items()),
    ]
    return "\n\n".join(parts) + "\n"


def model_rows(found: Sequence[Found]) -> list[tuple[str, ...]]:
    """A row for each model."""
    return [
        (
            name_of(one),
            f"{one.parameters:,}" if one.parameters else "–",
            count(one.one_by_one),
            count(one.batched),
            "–" if one.ratio is None else f"{one.ratio:.2f}",
            "not measured" if one.ratio is None else "met" if one.ratio >= BAR else "**missed**",
        )
        for one in found
    ]


def pass_table(found: Found) -> str:
    """How long passes take, and how much a batch gains."""
    first = found.passes[0]
    rows = [
        (str(one.size), f"{one.ms:.2f}", f"{one.ms / one.size:.2f}", f"{one.size * first.ms / one.ms:.2f}")
        for one in found.passes
    ]
    return f"{name_of(found)}:\n\n" + table(("robots in a pass", "ms", "ms for each", "gain"), rows)


def name_of(found: Found) -> str:
    """What a model is called on the page."""
    return "shipped" if found.model == "shipped" else f"width {found.model}, untrained"


def row(cell: Cell) -> tuple[str, ...]:
    """One row of a table."""
    return (
        str(cell.batch),
        str(cell.robots),
        f"{cell.latents_per_s:.1f}",
        *(f"{ms:.0f} ms" for ms in (cell.age_p50_ms, cell.age_p99_ms, cell.worst_robot_p99_ms)),
        f"{cell.jain:.3f}",
        f"{cell.mean_batch:.1f}",
    )


def count(robots: int | None) -> str:
    """A number of robots, or a dash where it was not searched for."""
    return "–" if robots is None else str(robots)
