"""How punctual the control loop is: lateness and missed ticks at several rates and loads, beside references.

Each cell is one loop in a process of its own, for so many seconds, under one load: nothing, four processes
that count, the models of both systems computing without a pause, or all of them. The loops are the control
loop of dualsys (see `fast.control.rehearsal`), with and without real-time privileges, and with them but
asleep until its deadlines; a C program that does nothing but wake up, with and without privileges; the
same awake for most of the time, at the highest priority; and a naive Python loop. Cells are measured one
after the other.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

from dualsys.clock import NS_PER_S, Tick, period_ns
from dualsys.command_line import read
from dualsys.config import load_config
from dualsys.errors import ConfigError, DualsysError, RobotError
from dualsys.fast.control.pacing import MAX_RATE_HZ, MIN_RATE_HZ, Punctuality
from dualsys.fast.control.rehearsal import Rehearsed, read_rehearsed, rehearsal_command

LoopName = Literal["control_fifo", "control_fifo_sleep", "control", "c_awake", "c_fifo", "c", "naive"]
LoadName = Literal["idle", "hogs", "models", "all"]

LOOPS: dict[LoopName, str] = {
    "control_fifo": "control loop, SCHED_FIFO",
    "control_fifo_sleep": "the same, asleep until its deadlines",
    "control": "control loop",
    "c_awake": "C, SCHED_FIFO, awake",
    "c_fifo": "C, SCHED_FIFO",
    "c": "C",
    "naive": "naive Python",
}
PRIORITY = 50
REFERENCES: dict[LoopName, tuple[int, int]] = {"c_awake": (99, 10), "c_fifo": (PRIORITY, 100), "c": (0, 100)}
"""Of the loops in C, the priority, and the part of a period for which they sleep, %.

The one that is awake sleeps a little too: of what never does, the kernel takes 5 % of the CPU by itself.
"""
OURS: tuple[LoopName, ...] = ("control_fifo", "control_fifo_sleep", "control")
LOADS: dict[LoadName, tuple[str, tuple[str, ...]]] = {
    "idle": ("nothing else runs", ()),
    "hogs": ("4 CPU hogs", ("hog",) * 4),
    "models": ("planner and System 2 at work", ("system1", "system2")),
    "all": ("4 CPU hogs, planner and System 2 at work", ("hog",) * 4 + ("system1", "system2")),
}
RATES_HZ = (100.0, 200.0, 500.0, 1000.0)
SPIN_US, PREPARE_US = 50.0, 400.0
"""The defaults of `control.spin_ms` and `control.prepare_ms`."""

GATE_RATE_HZ, GATE_LOAD = 500.0, "all"
GATE_MISSED, GATE_RATIO = 1e-4, 1.5
"""At the gate's rate and load: greatest part of missed ticks, and of p99 lateness to that of the C loop."""

_KERNEL_STATISTICS = Path("/proc/stat")
_REFUSED = 3
_START_S = 120.0
Name = TypeVar("Name", bound=str)
C_SOURCE = Path(__file__).with_name("clock_loop.c")


@dataclass(frozen=True)
class Cell:
    """One loop at one rate under one load.

    Attributes:
        rate_hz, load, loop: Which.
        seconds: For how long.
        result: What came of it; None if it could not be measured.
        note: Why it could not, or what else there is to tell.
        stolen_ms: How long the host of a virtual machine kept its CPUs meanwhile although they had work, ms,
            all CPUs together; None where the kernel does not tell.
    """

    rate_hz: float
    load: LoadName
    loop: LoopName
    seconds: float
    result: Rehearsed | None = None
    note: str = ""
    stolen_ms: float | None = None

    @property
    def name(self) -> str:
        """Such as `500hz-all-control_fifo`."""
        return f"{self.rate_hz:g}hz-{self.load}-{self.loop}"


@dataclass(frozen=True)
class Gate:
    """Whether the control loop is as punctual as it should be.

    Attributes:
        passed: None if it could not be told.
        says: In words, with the numbers.
    """

    passed: bool | None
    says: str


@dataclass(frozen=True)
class Options:
    """Measure the punctuality of the control loop on this machine, and write a page of the documentation.

    The machine should do nothing else meanwhile. Without SCHED_FIFO the cells that need it say so.
    """

    config: Path = Path("configs/tabletop.yaml")
    """YAML of the system whose models are the load."""
    seconds: float = 10.0
    """Duration of each cell."""
    gate_seconds: float = 60.0
    """Duration of the two cells that are compared with the bar, and of the loop that is awake beside them."""
    rates: str = ",".join(f"{rate:g}" for rate in RATES_HZ)
    """Ticks per second."""
    loads: str = ",".join(LOADS)
    """What else runs: idle, hogs, models, all."""
    loops: str = ",".join(LOOPS)
    """Which loops: control_fifo, control_fifo_sleep, control, c_awake, c_fifo, c, naive."""
    output: Path = Path("docs/benchmarks")
    """Where the page, the numbers and the figure go."""


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark.

    Returns:
        Exit code: 0, 1 if the control loop is not as punctual as it should be, 2 after a fault.
    """
    from dualsys.bench import jitter_page

    options = read(Options, arguments, prog="python -m dualsys.bench jitter")
    command = shlex.join(["python", "-m", "dualsys.bench", "jitter", *arguments])
    try:
        measured = [_shown(cell) for cell in measure(cells_of(options), options.config)]
        verdict = gate(measured)
        print(verdict.says)
        for path in jitter_page.write_page(options.output, measured, verdict, command):
            print(path)
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if verdict.passed is False else 0


def cells_of(options: Options) -> list[Cell]:
    """What the options ask for, loads in the outer loop: starting the models takes a while.

    Raises:
        ConfigError: One is not allowed.
    """
    faults: list[str] = []
    loads = _chosen(options.loads, LOADS, "--loads", faults)
    loops = _chosen(options.loops, LOOPS, "--loops", faults)
    rates: list[float] = []
    for text in options.rates.split(","):
        try:
            rate_hz = float(text)
        except ValueError:
            rate_hz = 0.0
        if MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            rates.append(rate_hz)
        else:
            faults.append(f"--rates: got {text!r}, expected {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}")
    for option, seconds in (("--seconds", options.seconds), ("--gate-seconds", options.gate_seconds)):
        if not 0.1 <= seconds <= 3600:
            faults.append(f"{option}: got {seconds:g}, expected 0.1 to 3600")
    if faults:
        raise ConfigError("bench jitter", faults)
    return [
        Cell(
            rate_hz,
            load,
            loop,
            options.gate_seconds if _judged(rate_hz, load, loop) else options.seconds,
        )
        for load in loads
        for rate_hz in rates
        for loop in loops
    ]


def _judged(rate_hz: float, load: LoadName, loop: LoopName) -> bool:
    """Whether a cell is one of those that the bar is judged by."""
    return (rate_hz, load) == (GATE_RATE_HZ, GATE_LOAD) and loop in ("control_fifo", "c_awake", "c_fifo")


def measure(cells: Sequence[Cell], config_path: Path) -> Iterator[Cell]:
    """Run cells one after the other, and hand each out with its result.

    Raises:
        ConfigError: The configuration has faults.
        RobotError: A load or a loop failed.
    """
    config = load_config(config_path)
    bundles = {"system1": config.fast.bundle, "system2": config.slow.bundle, "hog": config.fast.bundle}
    with TemporaryDirectory(prefix="dualsys-") as folder:
        program, fault = build_c_loop(Path(folder))
        for load in dict.fromkeys(cell.load for cell in cells):
            with _under(load, bundles):
                for cell in (cell for cell in cells if cell.load == load):
                    before_ms = stolen_ms(_KERNEL_STATISTICS)
                    measured = _measured(cell, program, fault, config.fast.bundle)
                    after_ms = stolen_ms(_KERNEL_STATISTICS)
                    if before_ms is not None and after_ms is not None:
                        measured = replace(measured, stolen_ms=after_ms - before_ms)
                    yield measured


def stolen_ms(statistics: Path) -> float | None:
    """How long the host has kept the CPUs of this virtual machine since it started, ms; None if unknown.

    Args:
        statistics: `/proc/stat`; its format is in the manual page proc_stat(5), "steal".
    """
    try:
        name, *ticks = statistics.read_text("ascii").splitlines()[0].split()
        return 1000 * int(ticks[7]) / os.sysconf("SC_CLK_TCK") if name == "cpu" else None
    except (OSError, ValueError, IndexError):
        return None


def build_c_loop(folder: Path) -> tuple[Path | None, str]:
    """Compile the C reference; returns the program, or None and why there is none."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        return None, "no C compiler was found (cc, gcc, clang): install one to have the reference"
    program = folder / "clock_loop"
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(C_SOURCE)], capture_output=True, text=True, check=False
    )
    return (
        (program, "") if done.returncode == 0 else (None, f"{compiler} failed: {done.stderr.strip()[:300]}")
    )


def gate(measured: Sequence[Cell]) -> Gate:
    """Compare the control loop with the bar, and with the C loop under the same load."""
    found = {
        cell.loop: cell.result
        for cell in measured
        if (cell.rate_hz, cell.load) == (GATE_RATE_HZ, GATE_LOAD) and cell.result is not None
    }
    ours, reference = found.get("control_fifo"), found.get("c_fifo")
    if ours is None or reference is None:
        return Gate(
            None,
            f"gate: not measured; it needs control_fifo and c_fifo at {GATE_RATE_HZ:g} Hz, load {GATE_LOAD}",
        )
    missed = ours.missed / max(1, ours.ticks + ours.missed)
    ratio = ours.late_us["p99"] / reference.late_us["p99"]
    passed = missed <= GATE_MISSED and ratio <= GATE_RATIO
    awake = found.get("c_awake")
    return Gate(
        passed,
        f"gate {'passed' if passed else 'FAILED'}: {_of(ours)} ticks missed "
        f"(at most 1 in {1 / GATE_MISSED:g}); p99 lateness {ours.late_us['p99']:.0f} us, "
        f"{ratio:.2f} times that of the C loop (at most {GATE_RATIO:g}), which missed {_of(reference)}"
        + (f"; one in C that is awake and only reads the clock missed {_of(awake)}" if awake else ""),
    )


def _of(result: Rehearsed) -> str:
    return f"{result.missed} of {result.ticks + result.missed}"


def read_lines(text: str) -> Rehearsed:
    """Sum up what a reference loop has printed: lines of lateness in ns and ticks missed before.

    Raises:
        RobotError: It is something else.
    """
    lines = [line.split() for line in text.splitlines()]
    try:
        ticks = [(int(late_ns), int(missed)) for late_ns, missed in lines]
    except ValueError as error:
        raise RobotError(f"reference loop: expected two whole numbers a line, got {text[:80]!r}") from error
    punctuality = Punctuality(max(1, len(ticks)))
    for index, (late_ns, missed) in enumerate(ticks, 1):
        punctuality.note(Tick(index, 0, late_ns, missed))
    return Rehearsed(punctuality.ticks, punctuality.missed, punctuality.longest_miss, punctuality.late_us())


def _measured(cell: Cell, program: Path | None, fault: str, bundle: Path) -> Cell:
    tick_ns = period_ns(cell.rate_hz)
    if cell.loop in OURS:
        mode: Literal["enforce", "off"] = "off" if cell.loop == "control" else "enforce"
        early_us = (0.0, 0.0) if cell.loop == "control_fifo_sleep" else (SPIN_US, PREPARE_US)
        command = rehearsal_command(cell.rate_hz, cell.seconds, mode, PRIORITY, *early_us)
    elif cell.loop == "naive":
        command = [sys.executable, "-m", "dualsys.bench.jitter_naive"]
        command += [f"{cell.rate_hz:g}", f"{cell.seconds:g}", str(bundle)]
    elif program is None:
        return replace(cell, note=fault)
    else:
        duration_ns = round(cell.seconds * NS_PER_S)
        command = [str(program), str(tick_ns), str(duration_ns), *map(str, REFERENCES[cell.loop])]
    return _summed_up(cell, command)


def _summed_up(cell: Cell, command: Sequence[str]) -> Cell:
    timeout_s = 3 * cell.seconds + _START_S
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    refused = cell.loop in OURS and done.returncode == 2 and "refused" in done.stderr
    if refused or (cell.loop in REFERENCES and done.returncode == _REFUSED):
        return replace(cell, note=done.stderr.strip().removeprefix("error: "))
    if done.returncode != 0:
        raise RobotError(f"{cell.name} failed with code {done.returncode}: {done.stderr.strip()[-500:]}")
    if cell.loop in OURS:
        return replace(cell, result=read_rehearsed(done.stdout))
    if cell.loop == "naive":
        *lines, drift_ns = done.stdout.splitlines()
        drift = f"drifts by {int(drift_ns) / 1e6:.0f} ms in {cell.seconds:g} s"
        return replace(cell, result=read_lines("\n".join(lines)), note=drift)
    return replace(cell, result=read_lines(done.stdout))


def _shown(cell: Cell) -> Cell:
    """Print a line for a cell."""
    result = cell.result
    if result is None:
        print(f"{cell.name}: not measured: {cell.note}", flush=True)
    else:
        late = "  ".join(f"{name} {value:.0f}" for name, value in result.late_us.items())
        print(
            f"{cell.name}: late us {late}; missed {result.missed} of {result.ticks + result.missed}, "
            f"at most {result.longest_miss} in a row{'; ' if cell.note else ''}{cell.note}",
            flush=True,
        )
    return cell


@contextmanager
def _under(load: LoadName, bundles: dict[str, Path]) -> Iterator[None]:
    """Have the processes of a load at work."""
    workers: list[subprocess.Popen[str]] = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        for kind in LOADS[load][1]:
            command = [
                sys.executable,
                "-m",
                "dualsys.bench.jitter_load",
                kind,
                str(bundles[kind]),
                str(os.getpid()),
            ]
            workers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        for worker in workers:
            # It prints a line when it has loaded its model; it prints none if it failed.
            if worker.stdout is None or not worker.stdout.readline():
                raise RobotError(f"load {load}: a process failed with code {worker.wait()}")
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()


def _chosen(text: str, known: Mapping[Name, object], option: str, faults: list[str]) -> list[Name]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    faults += [f"{option}: got {name!r}, expected {', '.join(known)}" for name in names if name not in known]
    return [name for name in known if name in names]
