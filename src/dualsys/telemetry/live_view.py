"""What a run looks like while it goes: a table on a terminal, one plain line elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dualsys.telemetry.statistics import success_line

_MODE_STYLES = {"RUNNING": "green", "SLOWED": "yellow", "HOLDING": "dark_orange", "STOPPED": "bold red"}


@dataclass(frozen=True)
class ProcessView:
    """One process: what it delivers per second, what it should, and one more thing to know."""

    name: str
    delivers: str
    rate_hz: float
    wanted_hz: float | None
    note: str
    alive: bool = True


@dataclass(frozen=True)
class LiveView:
    """Everything that is shown. Ages and delays in ms; None where there is nothing yet."""

    title: str
    emulation: str
    episode: str
    instruction: str
    elapsed_s: float
    processes: tuple[ProcessView, ...]
    mode: str
    reason: str
    latent_age_ms: float | None
    plan_age_ms: float | None
    plan_delay_ms: float | None
    join_rad_s: float | None
    missed: int
    ticks: int
    successes: int
    finished: int
    says: str
    round_trip: str = ""
    uplink: str = ""
    line: str = ""


def table(view: LiveView) -> Group:
    """The view as a table for a terminal."""
    rates = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("process", "delivers", "rate", "wanted", ""):
        rates.add_column(heading, justify="right" if heading in ("rate", "wanted") else "left")
    for process in view.processes:
        wanted = "" if process.wanted_hz is None else f"{process.wanted_hz:g} Hz"
        rate = f"{process.rate_hz:.1f} Hz" if process.alive else "ended"
        style = "" if process.alive else "bold red"
        rates.add_row(process.name, process.delivers, rate, wanted, process.note, style=style)
    mode = Text.assemble(("mode ", "bold"), (view.mode or "none yet", _MODE_STYLES.get(view.mode, "")))
    if view.reason:
        mode.append(f"  {view.reason}")
    lines: list[RenderableType] = [
        Text(view.title, style="bold"),
        Text(view.emulation, style="dim"),
        Text(f"{view.episode}  “{view.instruction}”  {view.elapsed_s:.1f} s"),
        rates,
        mode,
        Text(_ages(view)),
        *(Text(words) for words in (view.round_trip, view.uplink) if words),
        Text(f"success so far: {success_line(view.successes, view.finished)}"),
    ]
    if view.says:
        lines.append(Text(f"System 2 says: {view.says}", style="italic"))
    return Group(*lines)


def line(view: LiveView) -> str:
    """The view as one line, for logs and pipes."""
    rates = "  ".join(
        f"{process.name} {process.rate_hz:.1f} Hz" if process.alive else f"{process.name} ended"
        for process in view.processes
    )
    reason = f" ({view.reason})" if view.reason else ""
    success = f"success {view.successes}/{view.finished}"
    parts = (
        view.episode,
        f"{view.elapsed_s:.1f} s",
        rates,
        f"{view.mode}{reason}",
        _ages(view),
        view.round_trip,
        view.uplink,
        view.line,
        success,
    )
    return "  ".join(part for part in parts if part)


def _ages(view: LiveView) -> str:
    return (
        f"latent age {_ms(view.latent_age_ms)}  plan age {_ms(view.plan_age_ms)}"
        f"  plan delay {_ms(view.plan_delay_ms)}  join {_number(view.join_rad_s, 'rad/s')}"
        f"  missed {view.missed} of {view.ticks} ticks"
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.2f} {unit}"
