"""`dualsys link`: a bad network line in front of System 2."""

from __future__ import annotations

from collections.abc import Mapping

from dualsys.bus.link_model import Conditions, Schedule
from dualsys.bus.link_proxy import Address, endpoint_of
from dualsys.cli.arguments import LinkCommand
from dualsys.config import load_config
from dualsys.config_line import chosen_schedule
from dualsys.errors import ConfigError
from dualsys.supervisor.line import addresses_of, relay

_LOOPBACK = "127.0.0.1"
_LAST_FIRST_PORT = 65533


def link(command: LinkCommand, overrides: Mapping[str, object]) -> None:
    """Relay the addresses of System 2 until Ctrl-C.

    Raises:
        ConfigError: A condition is out of range, the script cannot be read, or an address is no place.
        AddressInUseError: A port is taken.
    """
    config = load_config(command.config, overrides)
    if not 1 <= command.first_port <= _LAST_FIRST_PORT:
        fault = (
            f"--first-port: got {command.first_port}, expected 1 to {_LAST_FIRST_PORT}: three ports in a row"
        )
        raise ConfigError("command line", [fault])
    schedule = schedule_of(command)
    targets = addresses_of("endpoints.slow", config.endpoints.slow)
    routes: dict[Address, Address] = {
        (_LOOPBACK, command.first_port + number): target for number, target in enumerate(targets.values())
    }

    def tell(bound: list[Address]) -> None:
        options = " ".join(
            f"--endpoints.slow.{channel} {endpoint_of(address)}"
            for channel, address in zip(targets, bound, strict=True)
        )
        print(f"link: {schedule.words()}")
        print(f"link: add to the commands of the edge: {options}", flush=True)
        print("link: Ctrl-C ends it", flush=True)

    relay(routes, schedule, command.seed, "--first-port", tell)


def schedule_of(command: LinkCommand) -> Schedule:
    """What the line is like: the profile, the script, or the options for all time.

    Raises:
        ConfigError: More than one is given, the script cannot be read, or a value is out of range.
    """
    conditions = Conditions(
        delay_ms=command.delay_ms,
        jitter_ms=command.jitter_ms,
        jitter_p99_ms=command.jitter_p99_ms,
        loss=command.loss,
        burst=command.burst,
        bandwidth_mbit_s=command.bandwidth_mbit_s,
    )
    return chosen_schedule(command.profile, command.script, conditions)
