"""What there is to choose from."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from dualsys.bus.link_profiles import PROFILES
from dualsys.cli.world import tasks
from dualsys.config import SystemConfig
from dualsys.config_faults import allowed, in_yaml, settings_of
from dualsys.errors import RobotError
from dualsys.fast.chunking.strategy import STRATEGIES, About, default_options, strategy_class
from dualsys.fast.planner import correction
from dualsys.robots.registry import ROBOTS, driver_named


def show(console: Console, what: str) -> None:
    """Print one list.

    Args:
        console: Where to.
        what: `tasks`, `strategies`, `robots`, `lines` or `settings`.
    """
    if what == "settings":
        lines = _settings()
    elif what == "strategies":
        lines = _strategies()
    elif what == "lines":
        lines = _lines()
    else:
        _print_table(console, what)
        return
    # Lines that wrap by themselves: a table of long words has no room on a narrow screen, or in a pipe.
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_table(console: Console, what: str) -> None:
    listing = Table(box=None, pad_edge=False, header_style="bold")
    listing.add_column("name", no_wrap=True)
    listing.add_column("says" if what == "tasks" else "")
    for name, text in _rows(what).items():
        listing.add_row(name, text)
    console.print(listing)


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


def _strategies() -> Iterator[str]:
    """Each strategy, then the correction that any of them can have."""
    for name in STRATEGIES:
        options = [f"{option}: {in_yaml(value)}" for option, value in default_options(name).items()]
        yield from _told(name, strategy_class(name).about, f"options: {', '.join(options) or 'none'}")
    yield from _told("with any of them", correction.ABOUT, "setting: fast.strategy.residual: false")


def _told(name: str, about: About, choices: str) -> Iterator[str]:
    yield f"{name}: {about.summary}"
    yield f"    from: {about.paper}"
    yield f"    needs of System 1: {about.needs or 'plain samples'}"
    yield f"    evaluations, of n steps: {about.cost}"
    yield f"    {choices}"


def _lines() -> Iterator[str]:
    """Each profile of a line, with who published its figures."""
    for name, profile in PROFILES.items():
        yield f"{name}: {profile.says}"
        yield f"    {profile.schedule.words()}"
        for source in profile.sources:
            yield f"    source: {source}"


def _settings() -> Iterator[str]:
    """Each setting on a line of its own, so that a search finds it with all that is to be known of it."""
    for path, field in settings_of(SystemConfig).items():
        yield f"{path}: {in_yaml(field.default)}  # {allowed(path, field)}: {field.description or ''}"
