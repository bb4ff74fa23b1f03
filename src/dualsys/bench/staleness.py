"""What a slow System 2 costs: success and time to success at several rates and delays of System 2.

On a scene that rests, a latent does not age: what it says stays true. So the tasks here are those where it
does not: a moved object, words that change, a belt, a block that wanders; and plain picking to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dualsys.bench.cells import Cell, Measured, Plan, measure, without_results
from dualsys.bench.page import how_measured, median, percent, seconds_text, strategy_text, table, write
from dualsys.clock import NS_PER_MS
from dualsys.fast.control.core import Ages
from dualsys.telemetry.extras import figure
from dualsys.twin.latency import Constant
from dualsys.twin.settings import TwinSettings

if TYPE_CHECKING:
    from dualsys_sim.episode import Event

RATES_HZ = (10.0, 5.0, 2.0, 1.0)
DELAYS_MS = (0, 100, 200, 300, 500, 800)
RATE_HZ = 5.0
DELAY_MS = 200
"""The rate while the delay is varied, and the delay while the rate is varied."""

AGES = Ages(latent_soft_ns=2500 * NS_PER_MS, latent_hard_ns=5000 * NS_PER_MS)
"""Control does not slow the arm down for any latent of this benchmark: the network itself is measured."""


@dataclass(frozen=True)
class Scenario:
    """A task, with an event or without."""

    title: str
    task: str
    event: Event | None = None


SCENARIOS = (
    Scenario("pick", "pick"),
    Scenario("pick, object moved", "pick", "moved"),
    Scenario("pick, words changed", "pick", "changed"),
    Scenario("conveyor", "conveyor"),
    Scenario("follow", "follow"),
)


def cells(settings: TwinSettings, scenarios: Sequence[Scenario] = SCENARIOS) -> list[Cell]:
    """Every scenario at every rate and at every delay; the point that both sweeps share comes once."""
    points = [(rate_hz, DELAY_MS) for rate_hz in RATES_HZ]
    points += [(RATE_HZ, delay_ms) for delay_ms in DELAYS_MS if delay_ms != DELAY_MS]
    return [_cell(settings, scenario, *point) for scenario in scenarios for point in points]


def smoke_cells(settings: TwinSettings) -> list[Cell]:
    """Two points of the first scenario."""
    return [_cell(settings, SCENARIOS[0], RATE_HZ, delay_ms) for delay_ms in (DELAYS_MS[0], DELAYS_MS[-1])]


def run(
    settings: TwinSettings, plan: Plan, output: Path, command: str, *, smoke: bool = False
) -> tuple[Path, ...]:
    """Measure what is missing and write page, data and figure; returns their paths.

    Raises:
        ConfigError: There is no such cell.
        MissingExtraError: The simulator or matplotlib is not installed.
    """
    measured = measure(plan.choose(smoke_cells(settings) if smoke else cells(settings)), plan)
    drawn = output / "staleness.png"
    output.mkdir(parents=True, exist_ok=True)
    draw(measured, drawn)
    return (*write(output, "staleness", page(measured, plan, command), without_results(measured)), drawn)


def page(measured: Sequence[Measured], plan: Plan, command: str) -> str:
    """The page, in Markdown."""
    parts = [
        "# What a slow System 2 costs",
        "Success, and in brackets its 95 % interval; then the median time to success, from the moment that "
        "the object was moved or the words changed, and otherwise from the start. For `follow`, the part of "
        "the time that the tool stayed above the block stands in place of the time.",
        "![Success and time to success by delay and rate of System 2](staleness.png)",
        f"## By delay of System 2, at {RATE_HZ:g} Hz",
        _table(measured, [(RATE_HZ, delay_ms) for delay_ms in DELAYS_MS], "{1} ms"),
        f"## By rate of System 2, with a delay of {DELAY_MS} ms",
        _table(measured, [(rate_hz, DELAY_MS) for rate_hz in RATES_HZ], "{0:g} Hz"),
        f"System 1 takes {measured[0].report.settings['system1_delay']} for a plan; chunk strategy "
        f"{strategy_text(measured[0].report.settings)}. Control slows down for latents older than "
        f"{AGES.latent_soft_ns / 1e9:g} s only, so that the network alone is measured.",
        how_measured(measured[0].report, command, plan.episodes, plan.seed),
    ]
    return "\n\n".join(parts)


def draw(measured: Sequence[Measured], path: Path) -> None:
    """Draw success (above) and time to success (below) by delay (left) and by rate (right).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawn = figure(9.0, 6.4, "the figure of the staleness benchmark")
    grid = drawn.subplots(2, 2, sharex="col", sharey="row")
    sweeps = (
        ([(RATE_HZ, delay_ms) for delay_ms in DELAYS_MS], [float(delay_ms) for delay_ms in DELAYS_MS]),
        ([(rate_hz, DELAY_MS) for rate_hz in RATES_HZ], list(RATES_HZ)),
    )
    for column, (points, places) in enumerate(sweeps):
        for scenario in SCENARIOS:
            found = [_find(measured, scenario, *point) for point in points]
            kept = [(place, one.report) for place, one in zip(places, found, strict=True) if one is not None]
            x = [place for place, _ in kept]
            rates = [100 * report.success_rate for _, report in kept]
            low = [100 * (report.success_rate - report.success_interval[0]) for _, report in kept]
            high = [100 * (report.success_interval[1] - report.success_rate) for _, report in kept]
            grid[0, column].errorbar(x, rates, [low, high], marker="o", capsize=2, label=scenario.title)
            if scenario.task != "follow":
                timed = [(place, report.time_to_success_s) for place, report in kept]
                timed = [(place, time_s) for place, time_s in timed if time_s is not None]
                grid[1, column].plot(*zip(*timed, strict=True) if timed else ([], []), marker="o")
    grid[0, 0].set_ylabel("success, %")
    grid[0, 0].set_ylim(-4, 104)
    grid[1, 0].set_ylabel("median time to success, s")
    grid[1, 0].set_ylim(bottom=0)
    grid[1, 0].set_xlabel(f"delay of System 2 at {RATE_HZ:g} Hz, ms")
    grid[1, 1].set_xlabel(f"rate of System 2 with {DELAY_MS} ms delay, Hz")
    grid[0, 1].legend(fontsize=8)
    for axes in grid.flat:
        axes.grid(alpha=0.3)
    drawn.tight_layout()
    drawn.savefig(path)


def _cell(settings: TwinSettings, scenario: Scenario, rate_hz: float, delay_ms: int) -> Cell:
    own = replace(
        settings,
        system2_rate_hz=rate_hz,
        observation_rate_hz=max(rate_hz, settings.observation_rate_hz),
        system2_delay=Constant(delay_ms * NS_PER_MS),
        ages=replace(AGES, plan_hard_ns=settings.ages.plan_hard_ns),
    )
    return Cell(_name(scenario, rate_hz, delay_ms), scenario.task, own, scenario.event)


def _name(scenario: Scenario, rate_hz: float, delay_ms: int) -> str:
    return f"{scenario.task}-{scenario.event or 'plain'}-{rate_hz:g}hz-{delay_ms}ms"


def _find(measured: Sequence[Measured], scenario: Scenario, rate_hz: float, delay_ms: int) -> Measured | None:
    name = _name(scenario, rate_hz, delay_ms)
    return next((one for one in measured if one.cell.name == name), None)


def _table(measured: Sequence[Measured], points: Sequence[tuple[float, int]], head: str) -> str:
    rows = []
    for scenario in SCENARIOS:
        found = [_find(measured, scenario, *point) for point in points]
        if any(found):
            rows.append([scenario.title, *(_entry(one) for one in found)])
    return table(["", *(head.format(*point) for point in points)], rows)


def _entry(one: Measured | None) -> str:
    if one is None:
        return "–"
    taken = seconds_text(one.report)
    if one.cell.task == "follow":
        taken = f"{median(one.report, 'fraction')} above"
    return f"{percent(one.report)}, {taken}"
