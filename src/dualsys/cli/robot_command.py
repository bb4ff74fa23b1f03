"""`dualsys robot list | check | jog`: drivers, whether one keeps the contract, and one axis at a time.

What is done to a running system (`stop`, `resume`, `status`) is with the other commands.
"""

from __future__ import annotations

import faulthandler
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from dualsys.cli.arguments import RobotCommand
from dualsys.clock import WallClock, nanoseconds
from dualsys.config import SystemConfig, load_config
from dualsys.errors import ConfigError, PeerTimeoutError
from dualsys.robots.kit import Bench, Outcome, examine
from dualsys.robots.link import LinkRobot
from dualsys.robots.registry import ROBOTS, RobotSettings, driver_named, open_robot
from dualsys.telemetry.files import replace_file, require_writable

ABSENT_TIMEOUT_S: Final = 0.5

STDERR: Final = 2

HANG_S: Final = 60.0
"""A check that takes longer than so, and than a connection may, hangs."""

MOST_REACH: Final = {"rad": 0.1, "m": 0.02}
"""How far an axis may be moved by a check."""


def robot(command: RobotCommand, overrides: Mapping[str, object]) -> int:
    """Carry out one of them.

    Returns:
        Exit code: 1 if a check failed, else 0.

    Raises:
        ConfigError: The configuration or an option is wrong.
        RobotError: The driver cannot be used, or the arm did not do as it was told.
        BusError: The robot cannot be reached.
    """
    if command.action == "list":
        print("\n".join(ROBOTS.listing()))
        return 0
    if command.json is not None:
        require_writable(command.json, "--json")
    with opened(command, overrides) as bench:
        return check(bench, command.json) if command.action == "check" else jog(bench, command)


def check(bench: Bench, file: Path | None) -> int:
    """Run the conformance kit. Returns 1 if anything failed.

    A driver that hangs in a call cannot be called back; where it hangs is printed.
    """

    reasons: set[str] = set()

    def told(outcome: Outcome) -> None:
        if outcome.state == "skipped" and not outcome.remedy and outcome.seen in reasons:
            outcome = replace(outcome, seen="for the same reason")
        reasons.add(outcome.seen)
        print("\n".join(outcome.lines()), flush=True)
        watch()

    def watch() -> None:
        faulthandler.dump_traceback_later(bench.connect_timeout_s + HANG_S, file=STDERR)

    if bench.may_move:
        far = f"{bench.reach_rad:g} rad or {1000 * bench.reach_m:g} mm"
        print(f"each axis in turn is moved by {far} and back, slowly; an arm that goes elsewhere is stopped")
    watch()
    try:
        report = examine(bench, told)
    finally:
        faulthandler.cancel_dump_traceback_later()
    print(report.closing_line())
    if file is not None:
        replace_file(file, f"{json.dumps(report.tree(), indent=2)}\n".encode())
    return 0 if report.passed else 1


def jog(bench: Bench, command: RobotCommand) -> int:
    """Move one axis."""
    from dualsys.robots.jog import jog

    ways = {"rad": command.by_rad, "m": command.by_m}
    given = {unit: way for unit, way in ways.items() if way is not None}
    if command.joint is None or len(given) != 1:
        raise ConfigError("command line", ["jog: give --joint NAME, and one of --by-rad and --by-m"])
    ((unit, way),) = given.items()
    print(jog(bench, command.joint, way, unit))
    return 0


@contextmanager
def opened(command: RobotCommand, overrides: Mapping[str, object]) -> Iterator[Bench]:
    """The robot that a command names, by its driver or in a configuration.

    A simulated arm that is named by its driver is started for the occasion, at addresses of its own.
    """
    with TemporaryDirectory(prefix="dualsys-") as name:
        folder = Path(name)
        if by_name := command.config.suffix not in (".yaml", ".yml") and not command.config.exists():
            config = _config_of_driver(str(command.config), overrides, folder)
        else:
            config = load_config(command.config, overrides)
        clock = WallClock()
        simulated = driver_named(config.robot.driver).simulated
        settings = _settings(config, clock)
        nowhere = replace(
            settings,
            state_endpoint=f"ipc://{folder}/nobody.state",
            command_endpoint=f"ipc://{folder}/nobody.command",
            service_endpoint=f"ipc://{folder}/nobody.service",
            connect_timeout_s=ABSENT_TIMEOUT_S,
            protection=None,
        )
        driver = config.robot.driver
        linked = isinstance(open_robot(driver, settings), LinkRobot)

        def bench(drop: Callable[[], None] | None = None) -> Bench:
            return Bench(
                lambda: open_robot(driver, settings),
                clock,
                may_move=command.i_am_at_the_stop or simulated,
                connect_timeout_s=settings.connect_timeout_s,
                drop=drop,
                absent=(lambda: open_robot(driver, nowhere)) if linked else None,
                **_reach(command),
            )

        if not (simulated and by_name):
            yield bench()
            return
        with simulator(config, folder) as end:
            yield bench(drop=end)


def _reach(command: RobotCommand) -> dict[str, float]:
    """How far a check moves the axes, where it is said."""
    if command.action != "check":
        return {}
    given = {"rad": command.by_rad, "m": command.by_m}
    reach = {unit: value for unit, value in given.items() if value is not None}
    faults = [
        f"check: --by-{unit}: got {value:g}, expected more than 0 and at most {MOST_REACH[unit]:g} {unit}"
        for unit, value in reach.items()
        if not 0 < value <= MOST_REACH[unit]
    ]
    if faults:
        raise ConfigError("command line", faults)
    return {f"reach_{unit}": value for unit, value in reach.items()}


def _config_of_driver(driver: str, overrides: Mapping[str, object], folder: Path) -> SystemConfig:
    """Defaults with this driver; a simulated arm gets addresses in a folder."""
    blank = folder / "robot.yaml"
    blank.write_text("name: robot\n", encoding="utf-8")
    given = {"robot.driver": driver, **overrides}
    try:
        config = load_config(blank, given)
    except ConfigError as error:
        # The file is ours, and nobody else's business.
        raise ConfigError(f"robot {driver}", error.faults) from error
    if not driver_named(driver).simulated:
        return config
    ends = ("state", "command", "service", "cameras")
    own = {f"endpoints.robot.{name}": f"ipc://{folder}/{name}" for name in ends}
    return load_config(blank, {**own, **given})


def require_robot(config: SystemConfig) -> None:
    """Make the robot of a configuration, and let go of it: it touches nothing before it connects.

    Raises:
        ConfigError: Its options are wrong.
        RobotError: The driver cannot be used.
        MissingExtraError: Its library is not installed.
    """
    open_robot(config.robot.driver, _settings(config, WallClock()))


def _settings(config: SystemConfig, clock: WallClock) -> RobotSettings:
    ends = config.endpoints.robot
    return RobotSettings(
        state_endpoint=ends.state,
        command_endpoint=ends.command,
        service_endpoint=ends.service,
        connect_timeout_s=config.robot.connect_timeout_s,
        clock=clock,
        protection=config.protection(),
        options=config.robot.options,
    )


@contextmanager
def simulator(config: SystemConfig, folder: Path) -> Iterator[Callable[[], None]]:
    """The simulated arm in a process of its own; yields what ends it at once."""
    from dualsys.bus.sockets import close_context, open_context
    from dualsys.cli.process import process_command
    from dualsys.supervisor.children import Children, ProcessEndedError
    from dualsys.supervisor.peers import Peer

    path = folder / "simulated.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    clock, context = WallClock(), open_context()
    children = Children(clock)
    children.start("sim", process_command("sim", path), log=folder / "sim.log")
    try:
        # A physics engine takes its time to load: that is no fault of the robot.
        peer = Peer(context, config.endpoints.robot.service, "the simulated robot")
        waited_s = config.run.startup_timeout_s
        deadline_ns = clock.now_ns() + nanoseconds(waited_s)
        while peer.knock() is None:
            if endings := children.ended():
                raise ProcessEndedError(endings[0])
            if clock.now_ns() > deadline_ns:
                raise PeerTimeoutError("the simulated robot", peer.endpoint, waited_s)
        yield children.kill
    finally:
        close_context(context)
        children.stop(("sim",), grace_s=3.0)
