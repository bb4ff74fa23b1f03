"""The process of an emulated line: relays what the edge and System 2 tell each other, and holds it back."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from dualsys.bus.link_model import Schedule
from dualsys.bus.link_proxy import Address, LinkProxy
from dualsys.clock import WallClock
from dualsys.config import SystemConfig
from dualsys.config_faults import fault_at
from dualsys.config_links import SlowEndpoints
from dualsys.errors import ConfigError

PROCESS: Final = "line"
"""What it is called among the processes of a run. It starts after System 2 and stops before it."""


def run_line(config: SystemConfig) -> None:
    """Be the line of a configuration until SIGTERM or SIGINT.

    Raises:
        ConfigError: The configuration emulates none, or an address is none that a line can lead to.
        AddressInUseError: An address of `endpoints.line` is taken.
    """
    schedule = config.line.schedule()
    if schedule is None:
        raise ConfigError("line", ["line: nothing is given, expected a profile, a script or conditions"])
    near = addresses_of("endpoints.line", config.endpoints.line)
    far = addresses_of("endpoints.slow", config.endpoints.slow)
    routes = {near[channel]: far[channel] for channel in far}
    print(f"line: {config.line.words()}", flush=True)
    relay(routes, schedule, config.line.seed, "endpoints.line")


def relay(
    routes: Mapping[Address, Address],
    schedule: Schedule,
    seed: int,
    setting: str,
    opened: Callable[[list[Address]], None] | None = None,
) -> None:
    """Relay until SIGTERM or SIGINT; then say what was carried.

    Args:
        routes: Where to listen, to where that leads.
        schedule: What the line is like.
        seed: Of jitter and losses.
        setting: Which setting says where it listens, for errors.
        opened: Told the addresses in use, in the order of the routes.

    Raises:
        AddressInUseError: An address is taken.
        BusError: One cannot be used.
    """
    with asyncio.Runner() as runner:
        runner.run(_relay(LinkProxy(routes, schedule, WallClock(), seed, setting), opened))


def addresses_of(section: str, endpoints: SlowEndpoints) -> dict[str, Address]:
    """Channel to address, as a relay needs them.

    Args:
        section: Name of the settings, for errors.
        endpoints: The addresses.

    Raises:
        ConfigError: An address means every interface, and so no place.
    """
    return {
        channel: _address_of(f"{section}.{channel}", endpoint)
        for channel, endpoint in endpoints.model_dump().items()
    }


def _address_of(setting: str, endpoint: str) -> Address:
    if endpoint.startswith("ipc://"):
        return Path(endpoint.removeprefix("ipc://"))
    match = re.fullmatch(r"tcp://\[?([^\]]+?)\]?:(\d+)", endpoint)
    if match is None or match[1] == "*":
        expected = "tcp://HOST:PORT or ipc:///PATH, one place at which a line can end"
        raise ConfigError("line", [fault_at(setting, endpoint, expected)])
    return match[1], int(match[2])


async def _relay(proxy: LinkProxy, opened: Callable[[list[Address]], None] | None) -> None:
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    bound = await proxy.open()
    if opened is not None:
        opened(bound)
    await end.wait()
    await proxy.close()
    totals = proxy.statistics()
    print(
        f"line: {totals.connections} connections, {totals.up_bytes} bytes up, {totals.down_bytes} down, "
        f"{totals.losses} packets sent again",
        flush=True,
    )
