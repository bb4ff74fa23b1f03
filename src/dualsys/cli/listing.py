"""What there is to choose from."""

from __future__ import annotations

from typing import get_args

from rich.console import Console
from rich.table import Table

from dualsys.cli.world import tasks
from dualsys.config import DriverName, StrategyName, SystemConfig
from dualsys.config_faults import allowed, settings_of

_STRATEGIES = {
    "synchronous": "waits for each chunk to be over before it asks for the next",
    "naive_async": "switches to each new chunk as soon as it is there",
    "temporal_ensemble": "averages all chunks that cover an instant (ACT)",
    "rtc": "guides each new chunk towards what is being executed (real-time chunking)",
}
_ROBOTS = {"simulated": "a Franka Panda at a table, in a process of its own"}


def show(console: Console, what: str) -> None:
    """Print one list.

    Args:
        console: Where to.
        what: `tasks`, `strategies`, `robots` or `settings`.
    """
    listing = Table(box=None, pad_edge=False, header_style="bold")
    if what == "settings":
        _fill_settings(listing)
    else:
        listing.add_column("name", no_wrap=True)
        listing.add_column("says" if what == "tasks" else "")
        for name, text in _rows(what).items():
            listing.add_row(name, text)
    console.print(listing)


def _rows(what: str) -> dict[str, str]:
    if what == "tasks":
        return {name: task.seen[0] for name, task in tasks().items()}
    if what == "strategies":
        return {name: _STRATEGIES[name] for name in get_args(StrategyName)}
    return {name: _ROBOTS[name] for name in get_args(DriverName)}


def _fill_settings(listing: Table) -> None:
    for heading in ("setting", "default", "allowed", "what it is"):
        listing.add_column(heading, no_wrap=heading == "setting")
    for path, field in settings_of(SystemConfig).items():
        default = "null" if field.default is None else str(field.default)
        listing.add_row(path, default, allowed(path, field), field.description or "")
