"""`dualsys bench NAME`, or `python -m dualsys.bench NAME`: measure, and write a page of the documentation."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import tyro

from dualsys.bench import delay, staleness, tasks
from dualsys.bench.cells import Plan
from dualsys.bench.delay_grid import MODELLED_JITTER
from dualsys.command_line import read
from dualsys.config import load_config
from dualsys.errors import ConfigError, DualsysError
from dualsys.robots.tabletop import TABLE_PANDA
from dualsys.twin.evaluate import FIRST_SEED, arm_at_table, for_scripted, settings_of, source_of
from dualsys.twin.latency import parse_latency
from dualsys.twin.pool import Bundles

BENCHES = {
    "tasks": "the main results: tasks, unheard words, events on the way, what the latent is worth (twin)",
    "staleness": "what a slow System 2 costs, by its delay and its rate (twin)",
    "delay": "success, smoothness and reaction of every chunk strategy, by the delays of both systems (twin)",
    "plan": "what a plan of System 1 costs, in ONNX Runtime and in torch (extra train)",
    "jitter": "how punctual the control loop is, at several rates and loads, beside a loop in C",
    "tick": "where the time of a control tick goes, stage by stage",
    "bus": "what it costs to move observations and latents, beside other ways (extras bench and sim)",
    "uplink": "how old latents get on narrow lines, with fixed and adaptive observations (extra sim)",
    "split": "what it costs to send features in place of images (extra sim)",
    "fleet": "how many robots one System 2 serves within a given age (extra sim)",
    "plan-delays": "how long plans took in a recorded run, as a file of delays for the twin (extra record)",
}
"""What each measures."""
BENCHMARKS = {"staleness": staleness.run, "tasks": tasks.run, "delay": delay.run}
EPISODES = {"staleness": 50, "tasks": 50, "delay": 100}
"""Episodes of each cell, unless told otherwise."""


@dataclass(frozen=True)
class Options:
    """Measure on the digital twin, and write a page of the documentation. Interrupted runs can be resumed."""

    benchmark: tyro.conf.Positional[Literal["staleness", "tasks", "delay"]]
    """What to measure."""
    config: Path = Path("configs/tabletop.yaml")
    """YAML of the system."""
    bundles: Path | None = None
    """Folder with the bundles `system1` and `system2`; by default those of the configuration."""
    episodes: int | None = None
    """Episodes of each cell; by default 50, and 100 for delay."""
    seed: int = FIRST_SEED
    """Seed of the first episode."""
    workers: int = 2
    """Processes. The results do not depend on it."""
    system1_delay: str = "60ms"
    """Duration of a plan; not for delay, which sets its own."""
    system1_jitter: str = ""
    """A jittery duration of a plan for delay, such as a .json file of recorded ones (plan-delays makes them)
    or `model`, a log-normal one. By default those of a run on a busy machine, which come with dualsys."""
    scripted: bool = False
    """Run the scripted pair, which knows the truth, in place of the networks."""
    smoke: bool = False
    """A look of less than a minute: one episode of a few cells, written beside the kept episodes."""
    only: str = ""
    """Run only the cells whose name begins with one of these, such as pick,follow; the page is then written
    beside the kept episodes."""
    folder: Path = Path("runs/bench")
    """Where finished episodes are kept, so that nothing is run twice."""
    output: Path = Path("docs/benchmarks")
    """Where the page goes."""


def main(arguments: Sequence[str]) -> int:
    """Run one benchmark.

    Args:
        arguments: Its name and its options. Without a name, all benchmarks are listed.

    Returns:
        Exit code: 0, or 2 after a fault that was printed.
    """
    name, rest = (arguments[0], list(arguments[1:])) if arguments else ("--help", [])
    if name in ("--help", "-h"):
        print(listed())
        return 0
    if name not in BENCHES:
        print(f"error: bench: {name!r} is not one of {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    prog = f"python -m dualsys.bench {name}"
    if name == "tick":
        from dualsys.bench import tick

        read(tick.main, rest, prog=prog)
        return 0
    if name not in BENCHMARKS:
        # Not on the twin: they have options of their own.
        status: int = import_module(f"dualsys.bench.{name.replace('-', '_')}").main(rest)
        return status
    options = read(Options, arguments, prog="python -m dualsys.bench")
    command = shlex.join(["python", "-m", "dualsys.bench", *arguments])
    try:
        for path in run(options, command):
            print(path)
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def listed() -> str:
    """Every benchmark with what it measures, a line each."""
    width = max(map(len, BENCHES))
    lines = [f"  {name:{width}}  {says}" for name, says in BENCHES.items()]
    return "\n".join(["usage: dualsys bench NAME [options]; NAME --help lists its options", "", *lines])


def run(options: Options, command: str) -> tuple[Path, ...]:
    """Run one benchmark; returns the files that it wrote.

    Raises:
        ConfigError: An option is not allowed.
    """
    episodes = EPISODES[options.benchmark] if options.episodes is None else options.episodes
    if episodes < 1 or options.seed < 0 or options.workers < 1:
        raise ConfigError("bench", ["expected episodes >= 1, seed >= 0 and workers >= 1"])
    config = load_config(options.config)
    if (arm := arm_at_table(config)) is not TABLE_PANDA:
        fault = (
            f"got {arm.name!r}, expected 'panda', whose results the pages hold: `dualsys twin` takes any arm"
        )
        raise ConfigError("bench", [f"robot.options.arm: {fault}"])
    if options.benchmark == "delay" and config.fast.weak_bundle is not None:
        fault = (
            f"got {str(config.fast.weak_bundle)!r}, expected null: no cell of delay draws from a weak policy"
        )
        raise ConfigError("bench", [f"fast.weak_bundle: {fault}; give a configuration without one"])
    settings = settings_of(config, system1_delay=parse_latency(options.system1_delay, "--system1-delay"))
    if options.scripted:
        settings = for_scripted(settings)
    folder = options.folder / options.benchmark
    source = source_of(config, options.scripted)
    if options.bundles is not None and not options.scripted:
        folders = (options.bundles / "system1", options.bundles / "system2")
        source = Bundles(*folders, config.slow.uplink, config.fast.weak_bundle)
    plan = Plan(
        source=source,
        folder=folder,
        episodes=1 if options.smoke else episodes,
        seed=options.seed,
        workers=1 if options.smoke else options.workers,
        only=tuple(prefix.strip() for prefix in options.only.split(",") if prefix.strip()),
    )
    # What is not whole never replaces the page of the documentation.
    output = folder / "smoke" if options.smoke else folder / "part" if plan.only else options.output
    if options.benchmark == "delay" and options.system1_jitter:
        named = options.system1_jitter
        jitter = MODELLED_JITTER if named == "model" else parse_latency(named, "--system1-jitter")
        return delay.run(settings, plan, output, command, smoke=options.smoke, jitter=jitter)
    return BENCHMARKS[options.benchmark](settings, plan, output, command, smoke=options.smoke)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
