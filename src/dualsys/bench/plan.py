"""What a plan of System 1 costs: graphs in ONNX Runtime against torch, one thread, the same weights.

A plan is the context, encoded once, and then a chunk drawn from noise. Every way to draw one is timed against
the others in turn; what they give is compared too. Last, a process that starts, loads and makes one plan.
"""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.bench.first_plan import first_plans
from dualsys.bench.page import write
from dualsys.bench.plan_page import COMPARED, CONDITION, RUNTIME, TORCH, Measured, page
from dualsys.bench.timing import Ratio, Runs, interleave, ratio_of, share_of_a_core, timing_of, together
from dualsys.clock import CpuClock, WallClock
from dualsys.command_line import read
from dualsys.errors import ConfigError, DualsysError
from dualsys.fast.chunking.masks import guidance_schedule, soft_mask
from dualsys.fast.chunking.requests import Candidates, Guidance, Led, Plain, Prefix, Request
from dualsys.fast.policies.onnx import OnnxSystem1
from dualsys.fast.policies.sampling import draw
from dualsys.telemetry.extras import optional
from dualsys.twin.report import versions

Array = NDArray[Any]
Arrays = Mapping[str, Array]

SEED = 5
HORIZON, STEPS, BETA = 16, 5, 5.0
"""Actions of a chunk, Euler steps, and largest guidance weight of the shipped System 1."""
SAMPLES = 8
"""Chunks that bidirectional decoding chooses from."""
FROZEN, OVERLAP = 3, 12
"""Actions of the previous chunk that are executed before the new one is ready, and that are still ahead."""
FIRST_PLANS = 3
"""How often a process is started."""
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Options:
    """Measure what a plan of System 1 costs, in ONNX Runtime and in torch, on one thread."""

    checkpoint: Path | None = None
    """Checkpoint of a System 1; by default a network of the shipped size with random weights, which takes as
    long."""
    rounds: int = 150
    """How often every way to make a plan is run."""
    compile: bool = True
    """Compile the steps in torch too, which takes most of the time of this benchmark."""
    output: Path = Path("docs/benchmarks")
    """Where the page goes."""


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark and print the files that it wrote.

    Returns:
        Exit code: 0, or 2 after a fault that was printed.
    """
    options = read(Options, arguments, prog="python -m dualsys.bench plan")
    command = shlex.join(["python", "-m", "dualsys.bench", "plan", *arguments])
    try:
        for path in run(options, command):
            print(path)
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: Options, command: str) -> tuple[Path, ...]:
    """Measure, and write page and data; returns their paths.

    Raises:
        ConfigError: An option is not allowed.
        MissingExtraError: torch is not installed.
        BundleError: The checkpoint cannot be read, or a graph does not compute what torch computes.
    """
    if options.rounds < 1:
        raise ConfigError("bench", [f"rounds: expected at least 1, got {options.rounds}"])
    for package in ("torch", "onnx", "onnxscript"):
        optional(package, "the plan benchmark", "train")
    from dualsys.train.eager import prepare

    weights = soft_mask(FROZEN, OVERLAP, HORIZON)[None]
    following = {"weights": weights, "guidance": guidance_schedule(BETA, STEPS)}
    with TemporaryDirectory(prefix="dualsys-plan-") as folder:
        bundle, file = Path(folder) / "system1", Path(folder) / "weights.pt"
        rival = prepare(options.checkpoint, following, bundle, file, compiled=options.compile)
        ways = in_runtime(OnnxSystem1(bundle), rival.seen, rival.followed)
        ways |= {f"{TORCH} {name}": way for name, way in rival.plans.items()}
        runs = interleave(ways, options.rounds, CpuClock(), WallClock())
        programs = {
            "ONNX Runtime": ("-m", "dualsys.bench.first_plan", str(bundle)),
            "torch": ("-m", "dualsys.train.first_plan", str(file)),
        }
        started = first_plans(programs, FIRST_PLANS, WallClock())
    measured = Measured(
        timings={name: timing_of(one) for name, one in runs.items()},
        ratios=ratios(runs),
        differences=differences({name: way() for name, way in ways.items()}),
        skipped=rival.skipped,
        first_plans=started,
        core_share=share_of_a_core(list(runs.values())),
        weights="random" if options.checkpoint is None else options.checkpoint.name,
        versions={**versions(), "torch": rival.version, "processor": _processor()},
    )
    return write(options.output, "plan", page(measured, command), measured)


def in_runtime(policy: OnnxSystem1, seen: Arrays, followed: Arrays) -> dict[str, Callable[[], Array]]:
    """Ways to make a plan with the graphs, through the code of the planner; each returns its chunk.

    Args:
        policy: System 1.
        seen: Inputs of its condition graph, with a batch dimension of 1.
        followed: Inputs of its guided graph, in that situation.
    """
    inputs = [array[0] for array in seen.values()]
    condition = {name: followed[name] for name in ("keys", "values", "state")}
    noise, previous, weights = (followed[name][0] for name in ("noise", "previous", "weights"))
    noises = np.random.default_rng(SEED).standard_normal((SAMPLES, *noise.shape)).astype(np.float32)
    requests: dict[str, Request] = {
        "plain": Plain(),
        "guided": Guidance(previous, weights, BETA),
        "led": Guidance(previous, weights, BETA, led=Led(weights, OVERLAP)),
        "constant": Guidance(previous, weights, BETA, jacobian="constant_velocity"),
        "prefix": Prefix(previous, (weights >= 1.0).astype(np.float32)),
        "bid": Candidates(SAMPLES, previous, weights),
    }

    def way(request: Request) -> Callable[[], Array]:
        drawn = noises if isinstance(request, Candidates) else noise[None]
        return lambda: draw(policy, request, drawn, condition)

    ways = {f"{RUNTIME} {name}": way(request) for name, request in requests.items()}
    return {CONDITION: lambda: policy.condition(*inputs)["state"], **ways}


def ratios(runs: Mapping[str, Runs]) -> dict[str, Ratio]:
    """The comparisons of the page, by what they compare: `slower / faster`.

    `plan of` stands for a chunk and the context before it, which every plan encodes once.
    """
    whole = {f"plan of {name}": together(runs[CONDITION], one) for name, one in runs.items()}
    every = {**runs, **whole}
    return {
        f"{slower} / {faster}": ratio_of(every[slower], every[faster])
        for slower, faster in COMPARED
        if slower in every and faster in every
    }


def differences(chunks: Mapping[str, Array]) -> dict[str, float]:
    """How far each chunk of torch lies from that of the runtime, relative to its largest element."""
    found = {}
    for name, chunk in chunks.items():
        ours = chunks.get(f"{RUNTIME} {name.split()[-1]}")
        if name.startswith(TORCH) and ours is not None:
            found[name] = float(np.abs(chunk[0] - ours).max() / np.abs(ours).max())
    return found


def _processor() -> str:
    """What the machine calls its processor; its architecture where it does not say."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
