"""How many robots one System 2 serves within a given age: in batches, and one at a time.

Each cell is a System 2 process as `dualsys slow` starts it, and N robots that send it real observations over
TCP, each ten times a second: a frame of the simulator's fixed camera, the arm's state and the words. A robot
is its planner's side of the line and no more. What is measured is the age of the newest latent that each
robot has, looked at a hundred times a second, from the moment at which its image was taken.

The largest N whose 99 % age keeps the bound is searched by doubling, then by halving what lies between.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import zmq

from dualsys.bench.bus_codecs import demo_scenes
from dualsys.bench.fleet_robots import Robots, Scene
from dualsys.bench.timing import Reading
from dualsys.bundles import load_manifest
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, CpuClock, WallClock
from dualsys.command_line import read
from dualsys.config import FleetConfig, SystemConfig, load_config
from dualsys.errors import BusError, ConfigError, DualsysError, PeerTimeoutError
from dualsys.slow.backends.onnx import OnnxSystem2
from dualsys.telemetry.extras import optional

BAR = 4.0
"""How many times as many robots batches should serve."""

LARGEST_FLEET = 128
SIZES = (1, 2, 4, 8, 16)
SHIPPED = "shipped"
_ROUNDS = 15
_SOCKETS_PER_ROBOT = 16
"""More than one opens, those that watch its connections among them; libzmq allows 1023 unless it is told."""
_END_S = 20.0


@dataclass(frozen=True)
class Options:
    """How many robots one System 2 serves within a given age, in batches and one at a time.

    The machine should do nothing else meanwhile. It needs the extra `sim`, and `train` for untrained
    networks.
    """

    config: Path = Path("configs/tabletop.yaml")
    """YAML of the system whose System 2 is `shipped`."""
    models: str = f"{SHIPPED},512"
    """Which System 2: `shipped`, or the width of an untrained one, which is made on the spot."""
    bound_ms: float = 400.0
    """Age of a latent that 99 of 100 looks must not exceed."""
    rate_hz: float = 10.0
    """Observations of each robot per second."""
    largest_batch: int = 8
    """Robots in one forward pass, at most."""
    wait_ms: float = 5.0
    """How long a pass waits for more robots, at most."""
    threads: int = 1
    """Threads of the runtime."""
    seconds: float = 10.0
    """How long each cell is looked at."""
    robots: str = ""
    """Measure just these numbers of robots, such as 1,4,16, in place of the search."""
    smoke: bool = False
    """A look of less than a minute, at the first model with 1 and 4 robots, of 2 s each."""
    output: Path = Path("docs/benchmarks")
    """Where the page and the numbers go."""


class Pass(msgspec.Struct, frozen=True):
    """How long one forward pass takes.

    Attributes:
        size: Robots in it.
        ms: Median of the time that the thread computes; of all threads' with several.
    """

    size: int
    ms: float


class Cell(msgspec.Struct, frozen=True):
    """One fleet.

    Attributes:
        model: Which System 2.
        batch: Robots in a pass, at most.
        robots: How many there are.
        latents_per_s: Latents that all of them received.
        age_p50_ms, age_p99_ms: Quantiles of the age of the newest latent, over all robots and looks.
        worst_robot_p99_ms: The 99 % age of the robot whose is greatest.
        jain: Jain's index of the latents that each received: 1 if all have as many, 1/N if one has all.
        mean_batch: Robots in a pass, on average.
        unserved: Robots that received none.
    """

    model: str
    batch: int
    robots: int
    latents_per_s: float
    age_p50_ms: float
    age_p99_ms: float
    worst_robot_p99_ms: float
    jain: float
    mean_batch: float
    unserved: int


class Found(msgspec.Struct, frozen=True):
    """What one model came to.

    Attributes:
        model: Which.
        parameters: How many weights it has; 0 if its bundle does not say.
        passes: Durations of forward passes by size.
        one_by_one, batched: Most robots within the bound; None if not searched for.
        batches: Whether its graph takes several robots at all.
    """

    model: str
    parameters: int
    passes: list[Pass]
    one_by_one: int | None
    batched: int | None
    batches: bool

    @property
    def ratio(self) -> float | None:
        """How many times as many robots batches serve."""
        return self.batched / self.one_by_one if self.batched is not None and self.one_by_one else None


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark.

    Returns:
        Exit code: 0, 1 if the bar is missed, 2 after a fault.
    """
    from dualsys.bench import fleet_page

    options = read(Options, arguments, prog="python -m dualsys.bench fleet")
    command = shlex.join(["python", "-m", "dualsys.bench", "fleet", *arguments])
    try:
        found, cells = measure(options)
        # What is not whole never replaces the page of the documentation.
        whole = not options.smoke and not options.robots
        output = options.output if whole else Path("runs/bench/fleet")
        for path in fleet_page.write_page(output, found, cells, options, command):
            print(path)
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    missed = [one for one in found if one.ratio is not None and one.ratio < BAR]
    return 1 if missed else 0


def measure(options: Options) -> tuple[list[Found], list[Cell]]:
    """Measure all models.

    Raises:
        ConfigError: An option is out of range.
        MissingExtraError: The simulator, or torch for an untrained network, is not installed.
        BundleError: A bundle cannot be used.
        BusError: A System 2 does not answer.
    """
    models, counts = checked(options)
    scenes = [(images["fixed"], words) for images, words in demo_scenes(8)]
    found: list[Found] = []
    cells: list[Cell] = []
    with TemporaryDirectory(prefix="dualsys-") as name:
        for model in models:
            bundle = bundle_of(model, options, Path(name))
            system2 = OnnxSystem2(bundle, options.threads)
            passes = time_passes(system2, CpuClock() if options.threads == 1 else WallClock())
            batches = len(passes) > 1
            most: list[int | None] = [None, None]
            for place, batch in enumerate((1, options.largest_batch) if batches else (1,)):
                fleet = _Fleets(model, bundle, batch, options, scenes)
                if counts:
                    for count in counts:
                        fleet.cell(count)
                else:
                    most[place] = largest(fleet.keeps_bound)
                cells += fleet.cells
            found.append(Found(model, parameters_of(bundle), passes, most[0], most[1], batches))
    return found, cells


def checked(options: Options) -> tuple[list[str], list[int]]:
    """The models and the numbers of robots that the options ask for.

    Raises:
        ConfigError: One of them, or a number, is not allowed.
    """
    faults: list[str] = []
    models = [part.strip() for part in options.models.split(",") if part.strip()]
    for model in models:
        if model != SHIPPED and not (model.isdecimal() and 32 <= int(model) <= 4096 and int(model) % 32 == 0):
            faults.append(f"--models: got {model!r}, expected {SHIPPED} or a multiple of 32 from 32 to 4096")
    counts: list[int] = []
    for part in options.robots.split(",") if options.robots else []:
        if part.strip().isdecimal() and 1 <= int(part) <= LARGEST_FLEET:
            counts.append(int(part))
        else:
            faults.append(f"--robots: got {part.strip()!r}, expected 1 to {LARGEST_FLEET}")
    for name, value, least, greatest in (
        ("--bound-ms", options.bound_ms, 1, 60_000),
        ("--rate-hz", options.rate_hz, 0.1, 100),
        ("--largest-batch", options.largest_batch, 2, LARGEST_FLEET),
        ("--wait-ms", options.wait_ms, 0, 1000),
        ("--threads", options.threads, 1, 64),
        ("--seconds", options.seconds, 0.5, 3600),
    ):
        if not least <= value <= greatest:
            faults.append(f"{name}: got {value:g}, expected {least:g} to {greatest:g}")
    if not models:
        faults.append(f"--models: got nothing, expected {SHIPPED} or a width")
    if faults:
        raise ConfigError("bench fleet", faults)
    return (models[:1], [1, 4]) if options.smoke else (models, counts)


def bundle_of(model: str, options: Options, folder: Path) -> Path:
    """The bundle of a model; an untrained network is made and exported."""
    if model == SHIPPED:
        return load_config(options.config).slow.bundle
    for package in ("torch", "onnx", "onnxscript"):
        optional(package, "an untrained System 2 of the fleet benchmark", "train")
    from dualsys.train.export import export_untrained_system2

    made = folder / f"width{model}"
    export_untrained_system2(int(model), made)
    return made


def parameters_of(bundle: Path) -> int:
    """How many weights a System 2 has, as its bundle says; 0 if it does not."""
    told = load_manifest(bundle, "system2").training.get("parameters", 0)
    # The shipped bundles name both systems.
    told = told.get("system2", 0) if isinstance(told, dict) else told
    return told if isinstance(told, int) else 0


def time_passes(system2: OnnxSystem2, clock: Reading) -> list[Pass]:
    """Median duration of a pass by its size, in turns."""
    sizes = [size for size in SIZES if size in system2.batch_sizes(SIZES[-1])]
    taken: dict[int, list[int]] = {size: [] for size in sizes}
    for turn in range(-2, _ROUNDS):
        for size in sizes:
            begun_ns = clock.now_ns()
            system2.rehearse(size)
            if turn >= 0:
                taken[size].append(clock.now_ns() - begun_ns)
    return [Pass(size, float(np.median(taken[size])) / NS_PER_MS) for size in sizes]


def largest(keeps: Callable[[int], bool], most: int = LARGEST_FLEET) -> int:
    """The largest number, up to `most`, that keeps what is asked for, if all smaller ones do; 0 for none."""
    good, bad = 0, 1
    while bad <= most and keeps(bad):
        good, bad = bad, 2 * bad
    bad = min(bad, most + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if keeps(middle) else (good, middle)
    return good


class _Fleets:
    """Fleets of several sizes at one model with one largest batch."""

    def __init__(self, model: str, bundle: Path, batch: int, options: Options, scenes: list[Scene]) -> None:
        self._model, self._bundle, self._batch = model, bundle, batch
        self._options, self._scenes = options, scenes
        shape = load_manifest(bundle, "system2").specs.observation.proprioception.shape
        self._state = np.zeros(shape, np.float32)
        self.cells: list[Cell] = []

    def keeps_bound(self, robots: int) -> bool:
        """Whether so many robots have latents that are young enough."""
        cell = self.cell(robots)
        return cell.unserved == 0 and cell.age_p99_ms <= self._options.bound_ms

    def cell(self, robots: int) -> Cell:
        """Measure so many robots."""
        options = self._options
        seconds = min(options.seconds, 2.0) if options.smoke else options.seconds
        with served(self._bundle, self._batch, options) as config:
            context = open_context()
            context.set(zmq.MAX_SOCKETS, _SOCKETS_PER_ROBOT * LARGEST_FLEET)
            try:
                ends = config.endpoints.slow
                clock = WallClock()
                fleet = Robots(context, ends, robots, self._scenes, self._state, options.rate_hz, clock)
                # Twice what is allowed: enough for the first latents, and for what is late to show.
                fleet.run(round(2e6 * options.bound_ms))
                before = fleet.passes()
                looked = fleet.run(round(NS_PER_S * seconds))
                passes = {size: n - before.get(size, 0) for size, n in fleet.passes().items()}
            finally:
                close_context(context)
        cell = sum_up(self._model, self._batch, looked.ages_ms, looked.received, looked.seconds, passes)
        print(
            f"{cell.model}, up to {cell.batch} in a pass, {cell.robots} robots: "
            f"{cell.latents_per_s:.1f} latents/s, age p50 {cell.age_p50_ms:.0f} ms, "
            f"p99 {cell.age_p99_ms:.0f} ms, Jain {cell.jain:.3f}",
            flush=True,
        )
        self.cells.append(cell)
        return cell


def sum_up(
    model: str,
    batch: int,
    ages_ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    received: Sequence[int],
    seconds: float,
    passes: dict[int, int],
) -> Cell:
    """Make a cell of what was seen.

    Args:
        model, batch: Which.
        ages_ms: float64 `[looks, robots]`, NaN while a robot has no latent.
        received: Latents of each robot.
        seconds: How long it was looked at.
        passes: Forward passes meanwhile, by their size.
    """
    known = ages_ms[np.isfinite(ages_ms)]
    count = len(received)
    p50, p99 = np.quantile(known, (0.5, 0.99)) if known.size else (np.inf, np.inf)
    per_robot = [column[np.isfinite(column)] for column in ages_ms.T]
    worst = max((float(np.quantile(one, 0.99)) for one in per_robot if one.size), default=float("inf"))
    squares = count * sum(number**2 for number in received)
    total = sum(passes.values())
    return Cell(
        model=model,
        batch=batch,
        robots=count,
        latents_per_s=sum(received) / seconds,
        age_p50_ms=float(p50),
        age_p99_ms=float(p99),
        worst_robot_p99_ms=worst,
        jain=sum(received) ** 2 / squares if squares else 0.0,
        mean_batch=sum(size * number for size, number in passes.items()) / total if total else 0.0,
        unserved=sum(number == 0 for number in received),
    )


@contextmanager
def served(bundle: Path, batch: int, options: Options) -> Iterator[SystemConfig]:
    """A System 2 process, as a user starts it, at full speed and with room for every robot."""
    config = load_config(options.config)
    ports = _free_ports(3)
    names = ("observation", "latent", "service")
    addresses = {name: f"tcp://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
    changed = {"bundle": bundle.resolve(), "threads": options.threads, "rate_hz": None, "delay_ms": 0.0}
    fleet = FleetConfig(robots=LARGEST_FLEET, largest_batch=batch, wait_ms=options.wait_ms)
    ends = config.endpoints
    config = config.model_copy(
        update={
            "slow": config.slow.model_copy(update=changed),
            "fleet": fleet,
            "endpoints": ends.model_copy(update={"slow": ends.slow.model_copy(update=addresses)}),
        }
    )
    with TemporaryDirectory(prefix="dualsys-") as folder:
        path = Path(folder) / "fleet.yaml"
        path.write_text(config.to_yaml(), encoding="utf-8")
        told = Path(folder) / "told"
        with told.open("wb") as file:
            command = [sys.executable, "-m", "dualsys", "slow", str(path)]
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield config
        except PeerTimeoutError as error:
            if process.poll() is None:
                raise
            last = told.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
            raise BusError(f"System 2 ended by itself with code {process.returncode}: {last}") from error
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
