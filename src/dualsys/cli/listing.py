"""What there is to choose from."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from dualsys.bus.link_profiles import PROFILES
from dualsys.cli.world import tasks
from dualsys.config import SystemConfig
from dualsys.config_faults import allowed, settings_of
from dualsys.errors import RobotError
from dualsys.fast.chunking.strategy import STRATEGIES, default_options, strategy_class
from dualsys.fast.planner import correction
from dualsys.robots.registry import ROBOTS, driver_named


def show(console: Console, what: str) -> None:
    """Print one list.

    Args:
        console: Where to.
        what: `tasks`, `strategies`, `robots`, `lines` or `settings`.
    """
    listing = Table(box=None, pad_edge=False, header_style="bold")
    if what == "settings":
        _fill_settings(listing)
    elif what == "strategies":
        _fill_strategies(listing)
    elif what == "lines":
        _fill_lines(listing)
    else:
        listing.add_column("name", no_wrap=True)
        listing.add_column("says" if what == "tasks" else "")
        for name, text in _rows(what).items():
            listing.add_row(name, text)
    console.print(listing)
    if what == "lines":
        _print_sources(console)


def _rows(what: str) -> dict[str, str]:
    if what == "tasks":
        return {name: task.seen[0] for name, task in tasks().items()}
    return {name: _says(name) for name in ROBOTS.names()}


def _says(driver: str) -> str:
    """What a driver reaches, or why it cannot be used: one that is broken does not hide the others."""
    try:
        return driver_named(driver).says
    except RobotError as error:
        return str(error)


def _fill_strategies(listing: Table) -> None:
    """Each strategy, with its options on a line of their own."""
    papers = [strategy_class(name).about.paper for name in STRATEGIES] + [correction.ABOUT.paper]
    longest = max(len(word) for paper in papers for word in paper.split())
    headings = ("name", "what it does", "from", "needs of System 1", "evaluations of n steps")
    for heading in headings:
        # On a narrow screen, as in a pipe, long words break; the number of a paper stays whole.
        width = longest if heading == "from" else None
        listing.add_column(heading, no_wrap=heading == "name", overflow="fold", min_width=width)
    for name in STRATEGIES:
        about = strategy_class(name).about
        listing.add_row(name, about.summary, about.paper, about.needs or "plain samples", about.cost)
        options = [f"{option}: {in_yaml(value)}" for option, value in default_options(name).items()]
        listing.add_row("", f"options: {', '.join(options) or 'none'}", style="dim")
    about = correction.ABOUT
    listing.add_row("", about.summary, about.paper, about.needs, about.cost)
    listing.add_row("", "setting: fast.strategy.residual: false", style="dim")


def _fill_lines(listing: Table) -> None:
    """Each profile of a line."""
    for heading in ("name", "what it is", "what it does"):
        listing.add_column(heading, no_wrap=heading == "name")
    for name, profile in PROFILES.items():
        listing.add_row(name, profile.says, profile.schedule.words())


def _print_sources(console: Console) -> None:
    """Who published the figures of each profile."""
    for name, profile in PROFILES.items():
        for source in profile.sources:
            console.print(f"{name}: {source}", style="dim", markup=False, highlight=False, soft_wrap=True)


def in_yaml(value: object) -> str:
    """A default as it is written in a configuration."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _fill_settings(listing: Table) -> None:
    for heading in ("setting", "default", "allowed", "what it is"):
        listing.add_column(heading, no_wrap=heading == "setting")
    for path, field in settings_of(SystemConfig).items():
        default = "null" if field.default is None else str(field.default)
        listing.add_row(path, default, allowed(path, field), field.description or "")
