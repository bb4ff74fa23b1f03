"""Pages of the documentation that benchmarks write: tables, and what is needed to repeat them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dualsys.fast.chunking.strategy import default_options
from dualsys.twin.report import Report


def percent(report: Report) -> str:
    """Success rate with its interval, such as `95 % (84 to 99)`."""
    low, high = report.success_interval
    return f"{report.success_rate * 100:.0f} % ({low * 100:.0f} to {high * 100:.0f})"


def seconds_text(report: Report) -> str:
    """Median time to success, such as `2.31 s`, or a dash."""
    return "–" if report.time_to_success_s is None else f"{report.time_to_success_s:.2f} s"


def median(report: Report, name: str, digits: int = 2) -> str:
    """Median of a metric, or a dash where no episode has it."""
    return f"{report.medians[name]:.{digits}f}" if name in report.medians else "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is left-aligned and the others right-aligned."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def noise_text(settings: Mapping[str, Any]) -> str:
    """How much noise System 1 samples from, by the settings of a report, in a sentence."""
    scale = settings.get("noise_scale", 1.0)
    return (
        f"System 1, trained with noise of standard deviation 1, samples from {scale:g} (`fast.noise_scale`)."
    )


def strategy_text(settings: Mapping[str, Any]) -> str:
    """The chunk strategy, by the settings of a report, and those of its options that are no defaults."""
    name = settings["strategy"]
    usual = default_options(name)
    chosen = (
        f"`{option}: {value}`"
        for option, value in settings["strategy_options"].items()
        if value != usual.get(option)
    )
    return " with ".join([f"`{name}`", *([told] if (told := ", ".join(chosen)) else [])])


def how_measured(report: Report, command: str, episodes: int, seed: int) -> str:
    """The paragraph that lets anybody repeat the page."""
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    systems = ", ".join(f"{name} `{value}`" for name, value in report.systems.items())
    return (
        "## How it was measured\n\n"
        f"```\n{command}\n```\n\n"
        f"Each cell: {episodes} episodes, seeds from {seed} on, none of which training has seen. Success "
        "with its Wilson 95 % interval. Runs on the digital twin: the world moves on while either system "
        "computes, and the same command gives the same numbers to the bit on the same machine and "
        f"versions. {noise_text(report.settings)}\n\n"
        f"{systems}.\n\n"
        f"{versions}.\n"
    )


def write(folder: Path, name: str, page: str, data: Any) -> tuple[Path, Path]:
    """Write `name.md` and `name.json`; returns both paths.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text, values = folder / f"{name}.md", folder / f"{name}.json"
    text.write_text(page, encoding="utf-8")
    values.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")
    return text, values
