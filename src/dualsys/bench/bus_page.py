"""The page, the numbers and the figure of the bus benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import zmq

from dualsys.bench.bus import DEMO, LATENT, MESSAGE, ONE_WAY, ROUND_TRIP, Bar, Cell, Options, ratio
from dualsys.bench.bus_codecs import CodecRow
from dualsys.bench.bus_payloads import NAMES
from dualsys.bench.page import table, write
from dualsys.doctor.machine import machine_facts
from dualsys.telemetry.extras import figure

HEAD = ("line", "message p50", "p99", "one way p50", "p99", "round trip p50", "p99", "bytes up", "bytes down")
CONTENDERS = {
    "raw": "raw pyzmq",
    "typed": "msgspec over raw pyzmq",
    "ours": "**dualsys**",
    "websocket": "msgpack over a websocket",
    "grpc": "pickle over gRPC",
}
_PACKAGES = ("pyzmq", "websockets", "msgpack", "grpcio", "numpy", "msgspec")


def write_page(
    output: Path,
    cells: Sequence[Cell],
    rows: Sequence[CodecRow],
    judged: Sequence[Bar],
    options: Options,
    command: str,
) -> tuple[Path, ...]:
    """Write `bus.md`, `bus.json` and `bus.png`; returns their paths.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    output.mkdir(parents=True, exist_ok=True)
    drawn = output / "bus.png"
    draw(cells, drawn)
    facts = machine_facts() | {"versions": _versions()}
    data = {
        "machine": facts,
        "bars": [{"says": bar.says, "ratio": bar.ratio, "met": bar.met} for bar in judged],
        "cells": [tree(cell) for cell in cells],
        "codecs": msgspec.to_builtins(list(rows)),
    }
    return (*write(output, "bus", page(cells, rows, judged, options, facts, command), data), drawn)


def verdict(bar: Bar) -> str:
    """A bar and what was found, as one line."""
    if bar.ratio is None:
        return f"{bar.says}: not measured"
    met = "met" if bar.met else "MISSED"
    return f"{bar.says}: {met}, {bar.ratio:.2f} ({bar.low:.2f} to {bar.high:.2f})"


def tree(cell: Cell) -> dict[str, object]:
    """One cell for JSON."""
    return {
        "contender": cell.line.contender,
        "link": cell.line.link,
        "payload": cell.payload,
        "up_bytes": cell.up_bytes,
        "down_bytes": cell.down_bytes,
        "exchanges": sum(len(turn) for turn in cell.turns),
        **{
            f"{name}_{label}_us": round(cell.quantile_us(column, quantile), 1)
            for name, column in (("message", MESSAGE), ("one_way", ONE_WAY), ("round_trip", ROUND_TRIP))
            for label, quantile in (("p50", 0.5), ("p99", 0.99))
        },
    }


def page(
    cells: Sequence[Cell],
    rows: Sequence[CodecRow],
    judged: Sequence[Bar],
    options: Options,
    facts: dict[str, str],
    command: str,
) -> str:
    """The page, in Markdown."""
    found = [
        (
            bar.says,
            "–" if bar.ratio is None else f"{bar.ratio:.2f} ({bar.low:.2f} to {bar.high:.2f})",
            "not measured" if bar.met is None else "met" if bar.met else "**missed**",
        )
        for bar in judged
    ]
    pause = f"a pause of {options.pause_ms:g} ms before each" if options.pause_ms else "no pause between them"
    parts = [
        "# What the bus costs",
        "Microseconds. Message: from a made message, handed over to be sent, to the message in the planner's "
        "hands. One way: the same from the arrays of System 2 to the checked arrays of the planner. Round "
        "trip: from the arrays of the observation on. All lines were measured in turns of one run.",
        "![One way and round trip of every line](bus.png)",
        "## The bars",
        "Medians over the rounds of the ratio of two turns of one round, with quartiles.",
        table(("bar", "found", ""), found),
        *bounds(cells),
    ]
    for payload in (name for name in NAMES if any(cell.payload == name for cell in cells)):
        title = "The demo's observation and latent" if payload == DEMO else f"A latent of {payload}"
        chosen = sorted((one for one in cells if one.payload == payload), key=lambda one: one.line.link)
        parts += [f"## {title}", table(HEAD, [row(cell) for cell in chosen])]
    if rows:
        parts += ["## Codecs", codec_table(rows)]
    parts += [
        "## What the lines are",
        "* **dualsys**: the channels, messages, checks and, with `+curve`, the keys of a live system. Frames "
        "are numbered, decoded against the schema, and the latent against its specification.\n"
        "* **raw pyzmq**: a pair of sockets that moves the same bytes and looks at none: the floor.\n"
        "* **msgspec over raw pyzmq**: the same sockets, and the messages encoded and decoded against their "
        "schema, with no channel and no further check: what it costs to know what came.\n"
        "* **msgpack over a websocket**: one request for each reply, arrays as in openpi, no compression.\n"
        "* **pickle over gRPC**: as LeRobot's asynchronous inference: a stream up, and a call that "
        "already waits for the answer. It runs whatever a peer sends; nothing else here does.",
        "## How it was measured",
        f"```\n{command}\n```",
        f"{options.rounds} rounds; in each, every line has {options.exchanges} exchanges of every payload, "
        f"{pause}, in an order that changes. The far end of each line is a process of its own.",
        "\n".join(f"* {name}: {value}" for name, value in facts.items()),
    ]
    return "\n\n".join(parts) + "\n"


def bounds(cells: Sequence[Cell]) -> list[str]:
    """What the bars ask of the lines below ours: a table, if such lines were measured."""
    found = [
        (
            f"{LATENT} latent, {what}, msgspec over raw pyzmq to raw pyzmq, {link}",
            ratio(cells, f"typed {link}", f"raw {link}", LATENT, column),
        )
        for what, column in (("message", MESSAGE), ("one way", ONE_WAY))
        for link in ("ipc", "tcp")
    ] + [
        (
            f"the demo's observation up and latent down, {other} to raw pyzmq tcp",
            ratio(cells, f"{other} tcp", "raw tcp", DEMO, ROUND_TRIP),
        )
        for other in ("websocket", "grpc")
    ]
    rows = [
        (says, f"{middle:.2f} ({low:.2f} to {high:.2f})")
        for says, spread in found
        if spread is not None
        for low, middle, high in [spread]
    ]
    if not rows:
        return []
    return [
        "The same of what is below ours: typed messages without anything that makes them a bus, and the "
        "transport without any message.",
        table(("ratio", "found"), rows),
    ]


def row(cell: Cell) -> tuple[str, ...]:
    """One row of a table."""
    times = (cell.quantile_us(column, q) for column in (MESSAGE, ONE_WAY, ROUND_TRIP) for q in (0.5, 0.99))
    return (
        f"{CONTENDERS[cell.line.contender]}, {cell.line.link}",
        *(f"{value:,.0f}" for value in times),
        f"{cell.up_bytes:,}",
        f"{cell.down_bytes:,}",
    )


def codec_table(rows: Sequence[CodecRow]) -> str:
    """Size and error of every codec."""
    head = ("codec", "bytes", "share", "largest error", "rms error", "least cosine")
    lines = [
        (
            f"`{one.name}`" if not one.name.startswith("image") else one.name,
            f"{one.bytes:,}",
            f"{one.share * 100:.0f} %",
            f"{one.largest_error:.2g}",
            f"{one.rms_error:.2g}",
            "" if one.name.startswith("image") else f"{one.cosine:.6f}",
        )
        for one in rows
    ]
    return table(head, lines)


MARKS_US = tuple(mark * 10**power for power in range(6) for mark in (1, 2, 5))
"""Where a logarithmic axis may have marks."""


def draw(cells: Sequence[Cell], path: Path) -> None:
    """Draw p50 and p99 of each line, a panel for each payload, on a logarithmic axis.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    payloads = [name for name in NAMES if any(cell.payload == name for cell in cells)]
    drawn = figure(3.4 * len(payloads) + 1.2, 3.8, "the figure of the bus benchmark")
    panels = drawn.subplots(1, len(payloads), sharey=True, squeeze=False)[0]
    names = list(dict.fromkeys(cell.line.name for cell in cells))
    for axes, payload in zip(panels, payloads, strict=True):
        for column, label, shift in ((ONE_WAY, "one way", 0.12), (ROUND_TRIP, "round trip", -0.12)):
            own = [cell for cell in cells if cell.payload == payload]
            p50 = [cell.quantile_us(column, 0.5) for cell in own]
            above = [cell.quantile_us(column, 0.99) - middle for cell, middle in zip(own, p50, strict=True)]
            places = [-names.index(cell.line.name) + shift for cell in own]
            axes.errorbar(
                p50, places, xerr=[[0.0] * len(p50), above], fmt="o", markersize=4, capsize=2, label=label
            )
        axes.set_title("demo" if payload == DEMO else payload, fontsize=9)
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        marks = [mark for mark in MARKS_US if low <= mark <= high]
        axes.set_xticks(marks, [f"{mark:,}" for mark in marks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("µs: p50 and p99")
        axes.grid(alpha=0.3)
    panels[0].set_yticks([-place for place in range(len(names))], names)
    drawn.legend(*panels[-1].get_legend_handles_labels(), loc="lower center", ncols=2, fontsize=7)
    drawn.tight_layout(rect=(0.0, 0.06, 1.0, 1.0))
    drawn.savefig(path)


def _versions() -> str:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join([*found, f"libzmq {zmq.zmq_version()}"])
