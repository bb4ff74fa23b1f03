"""What can be typed: one dataclass for each command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tyro
from tyro.conf import Positional

from dualsys.bus.link_profiles import ProfileName
from dualsys.command_line import read
from dualsys.config_faults import in_yaml
from dualsys.config_links import DEFAULT_KEYS
from dualsys.errors import ConfigError

DEFAULT_CONFIG = Path("configs/tabletop.yaml")


@dataclass(frozen=True)
class RunCommand:
    """Run a whole system: simulator, System 2, planner and control. Leaves a run folder.

    Any setting of the configuration can be given too, as --section.setting VALUE: `dualsys list settings`.
    """

    config: Positional[Path]
    """YAML of the system, such as configs/tabletop.yaml."""
    instruction: str | None = None
    """What to tell the robot, such as "pick up the red cube"; by default the task says it."""
    task: str | None = None
    """Task of the simulated world; `dualsys list tasks` names them."""
    episodes: int | None = None
    """Episodes to run."""
    seed: int | None = None
    """Seed of the first episode; each next one adds 1."""
    full_speed: bool = False
    """Do not emulate a larger System 2: no delay, no rate limit."""
    strategy: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Chunk strategy; `dualsys list strategies` tells them apart. By default that of the configuration, whose
    options another one does not get."""
    residual: bool = False
    """Let the residual head of System 1, if it has one, correct single actions between two plans."""
    gui: bool = False
    """Open a window on the simulated world."""


@dataclass(frozen=True)
class SlowCommand:
    """System 2 alone."""

    config: Positional[Path]
    """YAML of the system."""


@dataclass(frozen=True)
class FastCommand:
    """Planner and control alone: the two processes next to the arm."""

    config: Positional[Path]
    """YAML of the system."""


@dataclass(frozen=True)
class SimCommand:
    """The simulated robot alone."""

    config: Positional[Path]
    """YAML of the system."""


@dataclass(frozen=True)
class SayCommand:
    """Give a running system a new instruction; the first one starts the motion."""

    text: Positional[str]
    """The instruction, such as "pick up the blue cube"."""
    config: Positional[Path] = DEFAULT_CONFIG
    """YAML of the system."""


@dataclass(frozen=True)
class RobotCommand:
    """Stop a running arm, let it go on, or ask how it is; list, check and jog robots."""

    action: Positional[Literal["stop", "resume", "status", "list", "check", "jog"]]
    """stop: brake and stop, for good. resume: let it go on after a stop or a hold. status: how it is.
    list: the drivers there are. check: whether a driver keeps the contract. jog: move one axis a little."""
    config: Positional[Path] = DEFAULT_CONFIG
    """YAML of the system; for check and jog also the name of a driver, such as pybullet."""
    i_am_at_the_stop: bool = False
    """check, jog: somebody stands at the emergency stop of this real arm, so it may be moved."""
    joint: str | None = None
    """jog: which axis, by its name."""
    by_rad: float | None = None
    """jog: how far a joint moves, rad. check: how far each joint is moved, by default 0.02."""
    by_m: float | None = None
    """jog: how far a gripper opens, m. check: how far each gripper is moved, by default 0.004."""
    json: Path | None = None
    """check: where to write the report for programs."""


@dataclass(frozen=True)
class CameraCommand:
    """List camera drivers, or look through the cameras of a configuration."""

    action: Positional[Literal["list", "check"]]
    """list: the drivers there are. check: whether cameras deliver, and what the models want."""
    config: Positional[Path] = DEFAULT_CONFIG
    """YAML of the system; or the name of a driver, whose options are then given as
    --cameras.DRIVER.options.NAME VALUE."""
    seconds: float = 3.0
    """check: how long to look."""
    json: bool = False
    """check: print JSON."""


@dataclass(frozen=True)
class CalibrateCommand:
    """Make or renew the file of an arm of bus servos. Its motors are off, and you move it by hand."""

    file: Positional[Path]
    """The file of the arm. One that is there keeps its ids, models and protection."""
    driver: Literal["feetech", "dynamixel"] = "feetech"
    """What reaches it."""
    port: str | None = None
    """Serial port, such as /dev/ttyACM0; by default that in the file."""
    arm: str = "so101"
    """For a new file: which arm. Its servos have the ids 1, 2, ... in the order of its joints."""
    model: str = "sts3215"
    """For a new file: which servos."""


@dataclass(frozen=True)
class TwinCommand:
    """Measure success under latency on the digital twin: same seed, same result."""

    config: Positional[Path] = DEFAULT_CONFIG
    """YAML of the system."""
    task: str | None = None
    """Task; `dualsys list tasks` names them. By default that of the configuration."""
    episodes: int = 20
    """Episodes to run."""
    seed: int | None = None
    """Seed of the first episode; each next one adds 1. By default far from those of training."""
    system2_delay: str | None = None
    """From an observation to its latent: 200ms, 200ms~40ms for jitter, or a .json of samples. By default
    that of the configuration."""
    system2_rate: str | None = None
    """Passes of System 2 per second, at most, such as 5Hz. By default that of the configuration."""
    system1_delay: str | None = None
    """Duration of a plan, written like --system2-delay; 60ms by default."""
    strategy: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Chunk strategy; `dualsys list strategies` tells them apart. By default that of the configuration, whose
    options another one does not get."""
    residual: bool = False
    """Let the residual head of System 1, if it has one, correct single actions between two plans."""
    event: Literal["moved", "changed", "absent"] | None = None
    """What happens on the way."""
    phrasing: Literal["seen", "unseen"] = "seen"
    """Wordings of training, or others."""
    latent: Literal["true", "zeroed", "shuffled", "other"] = "true"
    """What System 1 is given in place of the latent."""
    scripted: bool = False
    """Run a scripted pair of systems that knows the truth, in place of the networks."""
    workers: int = 1
    """Processes to spread the episodes over. The result does not depend on it."""
    json: Path | None = None
    """Where to write the report."""


@dataclass(frozen=True)
class RecordCommand:
    """Check a recording, or have it tell why the arm did what it did."""

    action: Positional[Literal["verify", "explain"]]
    """verify: whether anything was changed or cut off. explain: what was decided at one moment, and why."""
    file: Positional[Path]
    """The recording, or the run folder that it lies in."""
    at: str | None = None
    """The moment: seconds from the start of the recording, such as 12.5, or edge time, such as 98765432ns."""


@dataclass(frozen=True)
class ReplayCommand:
    """Compute every decision of a recording again, and compare it bit for bit."""

    file: Positional[Path]
    """The recording, or the run folder that it lies in."""


@dataclass(frozen=True)
class LinkCommand:
    """Put a bad network line in front of System 2. It prints the settings that lead the edge through it."""

    config: Positional[Path]
    """YAML of the system."""
    first_port: int = 7600
    """First of the three ports of this machine that it listens at."""
    profile: ProfileName | None = None
    """A line that has a name; `dualsys list lines` tells what they are like."""
    delay_ms: float = 0.0
    """Time on the way, each way."""
    jitter_ms: float = 0.0
    """Up to so much more; with --jitter-p99-ms: in the median."""
    jitter_p99_ms: float | None = None
    """99 of 100 wait at most so much more. By default --jitter-ms is all."""
    loss: float = 0.0
    """Probability that a packet is lost, 0 to 1. It is sent again, and what follows waits."""
    burst: float = 1.0
    """Mean number of packets that are lost in a row."""
    bandwidth_mbit_s: float | None = None
    """Rate of the line; by default without limit."""
    script: Path | None = None
    """Conditions over time, in place of a profile or of these options: a YAML list such as
    [{at_s: 0, delay_ms: 40}, {at_s: 20, blackhole: true}, {at_s: 25, delay_ms: 40}]."""
    seed: int = 0
    """Of jitter and losses."""


@dataclass(frozen=True)
class KeysCommand:
    """Make this machine's key, and say which machines may talk to it. docs/security.md has the steps."""

    action: Positional[Literal["new", "show", "allow", "revoke"]]
    """new: make this machine's key. show: its public key, and who is allowed. allow, revoke: let a machine
    in, or no longer; running processes follow within a second."""
    name: Annotated[Positional[str | None], tyro.conf.arg(metavar="NAME")] = None
    """new: what to call this machine. allow, revoke: which machine."""
    key: Annotated[Positional[str | None], tyro.conf.arg(metavar="KEY")] = None
    """allow: the public key that `dualsys keys show` prints on that machine."""
    folder: Path = DEFAULT_KEYS
    """Folder of the keys; `security.keys` of the configuration."""


@dataclass(frozen=True)
class DoctorCommand:
    """Look at this machine: what will not work, and what to do about it."""

    config: Positional[Path] = DEFAULT_CONFIG
    """YAML of the system that is to run here."""
    jitter_s: float = 5.0
    """How long to rehearse the control loop, s; 0 leaves that out."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class DeployCommand:
    """Look at an edge machine before anything moves: packages, keys, rates, cameras, robot. Nothing moves."""

    action: Positional[Literal["check"]]
    """check: what will not work here, and what to do about it."""
    config: Positional[Path] = DEFAULT_CONFIG
    """YAML of the system that is to run here."""
    rehearsal_s: float = 5.0
    """How long to rehearse the control loop, s; 0 leaves that out."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class ExportCommand:
    """Make a bundle of a checkpoint of training, and verify it against torch. Needs dualsys[train]."""

    checkpoint: Positional[Path]
    """What `python -m dualsys.train` left, such as data/checkpoints/system1.pt; of either system."""
    out: Path
    """Folder of the bundle."""
    variant: Literal["fp16", "int8"] | None = None
    """Try a lower precision. Its error and its speed are told; it is kept only if it is exact enough and
    faster than float32."""
    residual: Path | None = None
    """Checkpoint of a residual head for this System 1, such as data/checkpoints/residual.pt."""


@dataclass(frozen=True)
class BenchCommand:
    """Measure, and write a page of the documentation; `dualsys bench` lists what there is to measure."""

    arguments: Positional[tuple[str, ...]] = ()
    """Name of a benchmark and its options."""


@dataclass(frozen=True)
class ListCommand:
    """List what there is to choose from."""

    what: Positional[Literal["tasks", "strategies", "robots", "lines", "settings"]]
    """What to list."""


Command = (
    Annotated[RunCommand, tyro.conf.subcommand("run")]
    | Annotated[SlowCommand, tyro.conf.subcommand("slow")]
    | Annotated[FastCommand, tyro.conf.subcommand("fast")]
    | Annotated[SimCommand, tyro.conf.subcommand("sim")]
    | Annotated[SayCommand, tyro.conf.subcommand("say")]
    | Annotated[RobotCommand, tyro.conf.subcommand("robot")]
    | Annotated[CameraCommand, tyro.conf.subcommand("camera")]
    | Annotated[CalibrateCommand, tyro.conf.subcommand("calibrate")]
    | Annotated[TwinCommand, tyro.conf.subcommand("twin")]
    | Annotated[RecordCommand, tyro.conf.subcommand("record")]
    | Annotated[ReplayCommand, tyro.conf.subcommand("replay")]
    | Annotated[KeysCommand, tyro.conf.subcommand("keys")]
    | Annotated[LinkCommand, tyro.conf.subcommand("link")]
    | Annotated[DoctorCommand, tyro.conf.subcommand("doctor")]
    | Annotated[DeployCommand, tyro.conf.subcommand("deploy")]
    | Annotated[ExportCommand, tyro.conf.subcommand("export")]
    | Annotated[BenchCommand, tyro.conf.subcommand("bench")]
    | Annotated[ListCommand, tyro.conf.subcommand("list")]
)

_DESCRIPTION = (
    "Run slow-fast robot policies. Any setting of a configuration can be given as --section.setting VALUE, "
    "such as --slow.delay_ms 300; `dualsys list settings` shows all."
)


def parse(argv: Sequence[str]) -> tuple[Command, dict[str, str]]:
    """Read a command line.

    Args:
        argv: Arguments after the program's name.

    Returns:
        The command, and the settings given as `--section.setting value`.

    Raises:
        ConfigError: A setting has no value, or is given twice; or the configuration is given as an option.
        SystemExit: Help was asked for, or the command line is wrong: the answer was printed.
    """
    rest, overrides = split_settings(argv)
    if any(token.partition("=")[0] == "--config" for token in rest):
        # The parser knows a field of that name, and would say that its value is missing.
        raise ConfigError(
            "command line",
            ["--config: is no option; name the file by itself, such as `dualsys run configs/tabletop.yaml`"],
        )
    # One of several dataclasses, which no type says that can be called.
    command: Command = read(cast(Any, Command), rest, prog="dualsys", description=_DESCRIPTION)
    return command, overrides


def split_settings(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separate settings, which have a dot in their name, from the options of a command.

    Raises:
        ConfigError: A setting has no value, or is given twice.
    """
    rest: list[str] = []
    overrides: dict[str, str] = {}
    tokens = iter(argv)
    for token in tokens:
        name, equals, value = token.removeprefix("--").partition("=")
        if not token.startswith("--") or "." not in name:
            rest.append(token)
            continue
        name = name.replace("-", "_")
        given: str | None = value if equals else next(tokens, None)
        if given is None or (not equals and given.startswith("--")):
            raise ConfigError("command line", [f"--{name}: has no value; write --{name} VALUE"])
        if name in overrides:
            raise ConfigError("command line", [f"--{name}: is given twice"])
        overrides[name] = given
    return rest, overrides


def merged(chosen: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    """What options and settings of one command line come to.

    Args:
        chosen: The settings that the options stand for.
        overrides: The settings that were given as such.

    Raises:
        ConfigError: They contradict each other.
    """
    faults = [
        f"--{name}: got {overrides[name]!r}, but another option of this command line makes it "
        f"{in_yaml(value)}: leave one of the two out"
        for name, value in chosen.items()
        if name in overrides and str(overrides[name]) != in_yaml(value)
    ]
    if faults:
        raise ConfigError("command line", faults)
    return {**chosen, **overrides}
