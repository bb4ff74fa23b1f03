"""`python -m dualsys.bench staleness|tasks`: measure, and write a page of the documentation."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from dualsys.bench import staleness, tasks
from dualsys.bench.cells import Plan
from dualsys.config import load_config
from dualsys.errors import ConfigError, DualsysError
from dualsys.twin.evaluate import FIRST_SEED, settings_of, source_of
from dualsys.twin.latency import parse_latency

BENCHMARKS = {"staleness": staleness.run, "tasks": tasks.run}


@dataclass(frozen=True)
class Options:
    """Measure on the digital twin, and write a page of the documentation. Interrupted runs can be resumed."""

    benchmark: tyro.conf.Positional[Literal["staleness", "tasks"]]
    """What to measure."""
    config: Path = Path("configs/tabletop.yaml")
    """YAML of the system."""
    episodes: int = 50
    """Episodes of each cell."""
    seed: int = FIRST_SEED
    """Seed of the first episode."""
    workers: int = 2
    """Processes. The results do not depend on it."""
    system1_delay: str = "60ms"
    """Duration of a plan."""
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

    Returns:
        Exit code: 0, or 2 after a fault that was printed.
    """
    options = tyro.cli(Options, args=list(arguments), prog="python -m dualsys.bench")
    command = shlex.join(["python", "-m", "dualsys.bench", *arguments])
    try:
        for path in run(options, command):
            print(path)
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: Options, command: str) -> tuple[Path, ...]:
    """Run one benchmark; returns the files that it wrote.

    Raises:
        ConfigError: An option is not allowed.
    """
    if options.episodes < 1 or options.seed < 0 or options.workers < 1:
        raise ConfigError("bench", ["expected episodes >= 1, seed >= 0 and workers >= 1"])
    config = load_config(options.config)
    settings = settings_of(config, system1_delay=parse_latency(options.system1_delay, "--system1-delay"))
    folder = options.folder / options.benchmark
    plan = Plan(
        source=source_of(config, options.scripted),
        folder=folder,
        episodes=1 if options.smoke else options.episodes,
        seed=options.seed,
        workers=1 if options.smoke else options.workers,
        only=tuple(prefix.strip() for prefix in options.only.split(",") if prefix.strip()),
    )
    # What is not whole never replaces the page of the documentation.
    output = folder / "smoke" if options.smoke else folder / "part" if plan.only else options.output
    return BENCHMARKS[options.benchmark](settings, plan, output, command, smoke=options.smoke)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
