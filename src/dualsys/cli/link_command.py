"""`dualsys link`: a bad network line in front of System 2."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping

import msgspec

from dualsys.bus.link_model import Conditions, Schedule
from dualsys.bus.link_proxy import Address, LinkProxy
from dualsys.cli.arguments import LinkCommand
from dualsys.clock import WallClock
from dualsys.config import load_config
from dualsys.config_file import parse_yaml
from dualsys.errors import ConfigError

_LOOPBACK = "127.0.0.1"


def link(command: LinkCommand, overrides: Mapping[str, object]) -> None:
    """Relay the addresses of System 2 until Ctrl-C.

    Raises:
        ConfigError: A condition is out of range, the script cannot be read, or an address is not TCP.
        AddressInUseError: A port is taken.
    """
    config = load_config(command.config, overrides)
    endpoints: dict[str, str] = config.endpoints.slow.model_dump()
    routes = {
        (_LOOPBACK, command.first_port + number): _address_of(f"endpoints.slow.{name}", endpoint)
        for number, (name, endpoint) in enumerate(endpoints.items())
    }
    schedule = schedule_of(command)
    with asyncio.Runner() as runner:
        runner.run(_run(routes, schedule, command.seed, tuple(endpoints)))


def schedule_of(command: LinkCommand) -> Schedule:
    """What the line is like: the script, or the options for all time.

    Raises:
        ConfigError: The script cannot be read, or a value is out of range.
    """
    if command.script is None:
        return Schedule(
            [
                Conditions(
                    delay_ms=command.delay_ms,
                    jitter_ms=command.jitter_ms,
                    loss=command.loss,
                    burst=command.burst,
                    bandwidth_mbit_s=command.bandwidth_mbit_s,
                )
            ]
        )
    try:
        tree = parse_yaml(command.script.read_text("utf-8"), str(command.script))
        return Schedule(msgspec.convert(tree, list[Conditions]))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(command.script), [f"cannot be read: {error}"]) from error
    except msgspec.ValidationError as error:
        raise ConfigError(str(command.script), [str(error)]) from error


def _address_of(setting: str, endpoint: str) -> Address:
    match = re.fullmatch(r"tcp://\[?([^\]]+?)\]?:(\d+)", endpoint)
    if match is None or match[1] == "*":
        raise ConfigError(
            "command line",
            [f"{setting}: got {endpoint!r}, expected tcp://HOST:PORT, where the line leads to"],
        )
    return match[1], int(match[2])


async def _run(
    routes: Mapping[Address, Address], schedule: Schedule, seed: int, names: tuple[str, ...]
) -> None:
    proxy = LinkProxy(routes, schedule, WallClock(), seed)
    bound = await proxy.open()
    options = " ".join(
        f"--endpoints.slow.{name} tcp://{host}:{port}"
        for name, (host, port) in zip(names, bound, strict=True)
    )
    print(f"link: add to the commands of the edge: {options}", flush=True)
    print("link: Ctrl-C ends it", flush=True)
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    await end.wait()
    await proxy.close()
    totals = proxy.statistics()
    print(
        f"link: {totals.connections} connections, {totals.up_bytes} bytes up, {totals.down_bytes} down, "
        f"{totals.losses} packets sent again"
    )
