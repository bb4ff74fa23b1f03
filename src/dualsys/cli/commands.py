"""What the commands do. Each imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from dualsys.cli.arguments import (
    DEFAULT_CONFIG,
    BenchCommand,
    CalibrateCommand,
    CameraCommand,
    Command,
    DeployCommand,
    DoctorCommand,
    ExportCommand,
    FastCommand,
    KeysCommand,
    LinkCommand,
    ListCommand,
    RecordCommand,
    ReplayCommand,
    RobotCommand,
    RunCommand,
    SayCommand,
    SimCommand,
    SlowCommand,
    TwinCommand,
    merged,
    parse,
)
from dualsys.config import SystemConfig, load_config
from dualsys.errors import (
    BundleError,
    BusError,
    ConfigError,
    DualsysError,
    InstructionError,
    MismatchError,
    PeerTimeoutError,
)

if TYPE_CHECKING:
    from dualsys.supervisor.peers import Peer

Overrides = Mapping[str, object]

_WITHOUT_SETTINGS: Final = (
    CalibrateCommand,
    ExportCommand,
    KeysCommand,
    ListCommand,
    RecordCommand,
    ReplayCommand,
)
"""Commands that read no configuration: a setting among their options would change nothing, without a word."""

DONE, RUN_FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


def execute(argv: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        Exit code; see `dualsys.cli.main`.
    """
    try:
        return _carry_out(argv)
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads the output, such as `head`, has seen enough: nothing more is said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _carry_out(argv: Sequence[str]) -> int:
    """Find the command that is meant, and run it."""
    if argv[:1] == ["bench"]:
        # Every benchmark reads its own options, and its own --help.
        return bench(argv[1:])
    command, overrides = parse(argv)
    if isinstance(command, _WITHOUT_SETTINGS) and overrides:
        faults = [
            f"--{name}: is a setting of a configuration, which this command does not read"
            for name in overrides
        ]
        raise ConfigError(
            "command line", [*faults, "leave it out; `dualsys COMMAND --help` tells the options"]
        )
    try:
        return _dispatch(command, overrides)
    except ConfigError as error:
        by_default = getattr(type(command), "config", None) == DEFAULT_CONFIG
        if not by_default or error.source != str(DEFAULT_CONFIG) or DEFAULT_CONFIG.exists():
            raise
        fault = f"meant where none is named, and not there in {Path.cwd()}; name yours as the last argument"
        raise ConfigError(error.source, [fault]) from error


def _dispatch(command: Command, overrides: Overrides) -> int:
    """Run a command; what is needed for one alone is imported for it alone."""
    match command:
        case RunCommand():
            return run(command, overrides)
        case SlowCommand() | SimCommand():
            return serve(command, overrides)
        case FastCommand():
            return fast(command, overrides)
        case SayCommand():
            return say(command, overrides)
        case RobotCommand(action="list" | "check" | "jog"):
            from dualsys.cli import robot_command

            return robot_command.robot(command, overrides)
        case RobotCommand():
            return robot(command, overrides)
        case CameraCommand():
            from dualsys.cli.camera_command import camera

            return camera(command, overrides)
        case CalibrateCommand():
            from dualsys.cli.calibrate_command import calibrate

            calibrate(command)
        case TwinCommand():
            from dualsys.cli.twin_command import twin

            return twin(command, overrides)
        case RecordCommand() | ReplayCommand():
            from dualsys.cli.recorder_commands import record

            return record(command)
        case KeysCommand():
            from dualsys.cli.keys_command import keys

            keys(command)
        case LinkCommand():
            from dualsys.cli.link_command import link

            link(command, overrides)
        case DoctorCommand():
            from dualsys.cli.doctor_command import doctor

            return doctor(command, overrides)
        case DeployCommand():
            from dualsys.cli.doctor_command import deploy

            return deploy(command, overrides)
        case ExportCommand():
            from dualsys.cli.export_command import export

            export(command)
        case BenchCommand():
            return bench(command.arguments)
        case ListCommand():
            from dualsys.cli.listing import show

            show(Console(), command.what)
    return DONE


def bench(arguments: Sequence[str]) -> int:
    """Run a benchmark, as `python -m dualsys.bench` does."""
    from dualsys.bench.__main__ import main

    return main(arguments)


def run(command: RunCommand, overrides: Overrides) -> int:
    """Run a whole system."""
    from dualsys.cli.process import process_command
    from dualsys.cli.world import require_task, scenes_for
    from dualsys.robots.registry import driver_named
    from dualsys.supervisor.run import Run

    given = merged(run_settings(command), overrides)
    config = load_config(command.config, given)
    if config.run.line is not None and not config.line.emulated:
        given["line.profile"] = config.run.line
        config = load_config(command.config, given)
    seeds = None
    table = driver_named(config.robot.driver).at_table
    if table:
        require_task(config.run.task)
    _require_system(config)
    if table and config.run.instruction is not None:
        task = config.run.task if "run.task" in given else None
        found = scenes_for(config.run.instruction, task, config.run.seed, config.run.episodes)
        if found is not None:
            given["run.task"], seeds = found
            config = load_config(command.config, given)
    summary = Run(config, Console(), process_command, seeds).execute()
    return {"finished": DONE, "interrupted": INTERRUPTED}.get(summary.state, RUN_FAILED)


def _require_system(config: SystemConfig) -> None:
    """Return if both bundles can be run as the settings say, and together, and the robot can be made.

    Raises:
        DualsysError: Says what is wrong, before anything is started or written.
    """
    from dualsys.cli.robot_command import require_robot
    from dualsys.fast.planner.preflight import require_runnable, require_tower
    from dualsys.slow.preflight import require_servable

    system1 = require_runnable(config.fast)
    require_tower(config.slow)
    system2 = require_servable(config.slow, config.run.instruction)
    try:
        system1.specs.require_equal(system2.specs)
    except MismatchError as error:
        pair = f"fast.bundle {config.fast.bundle} (ours), slow.bundle {config.slow.bundle} (theirs)"
        raise BundleError(f"{pair}: {error}") from error
    require_robot(config)


def run_settings(command: RunCommand) -> dict[str, object]:
    """The settings that the options of `run` stand for."""
    settings: dict[str, object] = {
        f"run.{name}": value
        for name in ("instruction", "task", "episodes", "seed")
        if (value := getattr(command, name)) is not None
    }
    if command.full_speed:
        settings |= {"slow.delay_ms": 0.0, "slow.rate_hz": None, "fast.delay_ms": 0.0}
    if command.strategy is not None:
        settings["fast.strategy.name"] = command.strategy
    if command.residual:
        settings["fast.strategy.residual"] = True
    if command.gui:
        settings["sim.gui"] = True
    return settings


def serve(command: SlowCommand | SimCommand, overrides: Overrides) -> int:
    """One process, in this one."""
    from dualsys.cli.process import PROCESSES, log_to_stderr

    config = load_config(command.config, overrides)
    name, address = (
        ("slow", config.endpoints.slow)
        if isinstance(command, SlowCommand)
        else ("sim", config.endpoints.robot)
    )
    log_to_stderr()
    print(f"{name}: starts, and will answer at {address.service}; Ctrl-C ends it", flush=True)
    PROCESSES[name](config)
    return DONE


def fast(command: FastCommand, overrides: Overrides) -> int:
    """Control and planner, and the line where one is emulated, until one of them ends or Ctrl-C."""
    from tempfile import TemporaryDirectory

    from dualsys.cli.process import process_command
    from dualsys.cli.robot_command import require_robot
    from dualsys.clock import NS_PER_S, WallClock
    from dualsys.fast.planner.preflight import require_runnable, require_tower
    from dualsys.recorder.extra import PROCESS as RECORDER
    from dualsys.recorder.extra import recorded_to
    from dualsys.supervisor.addresses import require_free
    from dualsys.supervisor.children import Children, Ending
    from dualsys.supervisor.interrupts import Interrupts
    from dualsys.supervisor.line import PROCESS as LINE
    from dualsys.telemetry.run_folder import RunFolder

    config = load_config(command.config, overrides)
    require_runnable(config.fast)
    require_tower(config.slow)
    require_robot(config)
    clock = WallClock()
    children = Children(clock)
    names: tuple[str, ...] = ("control", "planner")
    if config.line.emulated:
        names = (LINE, *names)
    if config.record.enabled:
        names = (RECORDER, *names)
    # Before anything starts: later it would be said among the words of several processes.
    ours = {key: address for key, address in config.addresses().items() if key.split(".")[1] in names}
    require_free(ours, config.protection())
    if config.line.emulated:
        print(f"fast: {config.line.words()}", flush=True)
    if config.record.enabled:
        config = recorded_to(config, RunFolder.create(config.run.folder, config.name).path)
        print(f"fast: recorded in {config.record.file}", flush=True)
    with TemporaryDirectory(prefix="dualsys-") as folder, Interrupts(children.kill) as interrupts:
        path = Path(folder) / "config.yaml"
        path.write_text(config.to_yaml(), "utf-8")
        for name in names:
            children.start(name, process_command(name, path), log=None)
        service = config.endpoints.planner.service
        print(
            f"fast: the planner answers at {service}; `dualsys say TEXT` starts it, Ctrl-C ends it",
            flush=True,
        )
        endings: list[Ending] = []
        while not endings and not interrupts.asked:
            clock.sleep_until_ns(clock.now_ns() + NS_PER_S // 20)
            ended = children.ended()
            endings = [ending for ending in ended if ending.name != RECORDER]
            for ending in ended:
                print(f"error: {ending.describe()}", file=sys.stderr)
        children.stop(tuple(reversed(names)), grace_s=3.0)
    return RUN_FAILED if endings else INTERRUPTED


def say(command: SayCommand, overrides: Overrides) -> int:
    """Give a running system a new instruction; the first one starts the motion."""
    from dualsys.slow.vocabulary import split_words
    from dualsys.supervisor.peers import RefusedError

    if not split_words(command.text):
        raise InstructionError(f'TEXT: got {command.text!r}, expected words, such as "pick up the blue cube"')
    config = load_config(command.config, overrides)
    with _peers(config, command.config) as peers:
        if peers["planner"].ask("status").get("planner.episode") == "-1":
            epoch = peers["control"].ask("new_epoch").get("epoch", "")
            begin = {"episode": "0", "instruction": command.text, "epoch": epoch}
            peers["planner"].ask("start_episode", begin)
        else:
            peers["planner"].ask("say", {"text": command.text})
        print(f"told the robot: {command.text}")
        if "sim" in peers:
            try:
                peers["sim"].ask("instruction", {"text": command.text})
            except RefusedError as error:
                print(f"nobody judges it: {error}")
    return DONE


def robot(command: RobotCommand, overrides: Overrides) -> int:
    """Stop a running arm, let it go on, or ask how it is."""
    arguments = {"reason": "stopped by the operator"} if command.action == "stop" else {}
    with _peers(load_config(command.config, overrides), command.config) as peers:
        answer = peers["control"].ask(command.action, arguments)
    print(answer.pop("text", command.action))
    if command.action == "status":
        for name, value in answer.items():
            print(f"  {name}: {value}")
    return DONE


@contextmanager
def _peers(config: SystemConfig, path: Path) -> Iterator[dict[str, Peer]]:
    from dualsys.bus.sockets import close_context, open_context
    from dualsys.supervisor.peers import open_peers

    context = open_context(config.protection())
    peers = open_peers(context, config)
    try:
        yield peers
    except PeerTimeoutError as error:
        raise BusError(
            f"{error} (asked where {path} says; name another configuration as the last argument)"
        ) from error
    finally:
        for peer in peers.values():
            peer.close()
        close_context(context)
