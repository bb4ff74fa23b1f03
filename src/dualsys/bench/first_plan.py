"""`python -m dualsys.bench.first_plan BUNDLE`: start, load System 1, make one guided plan.

A process next to the arm does this after every restart. `first_plans` runs it, and another program beside it,
and compares what they take.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from dualsys.bench.timing import Reading

STATUS = Path("/proc/self/status")


class FirstPlan(msgspec.Struct, frozen=True):
    """What one process took until its first plan was made, and it ended; medians.

    Attributes:
        computed_s: Time that it computed, s.
        passed_s: Time that passed, s.
        peak_mb: Most memory that it ever held (peak resident set), MB.
        has_torch: It imported torch.
    """

    computed_s: float
    passed_s: float
    peak_mb: float
    has_torch: bool


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a process says of itself."""

    peak_bytes: int
    has_torch: bool


def tell() -> None:
    """Print what this process has come to, for whoever started it. Linux only."""
    peak = peak_bytes(STATUS.read_text(encoding="ascii"))
    print(msgspec.json.encode(Told(peak, "torch" in sys.modules)).decode())


def peak_bytes(status: str) -> int:
    """The most memory that a process ever held, from what Linux says of it.

    `getrusage` will not do: after a fork it starts from what the parent held.
    """
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def first_plans(programs: Mapping[str, Sequence[str]], rounds: int, clock: Reading) -> dict[str, FirstPlan]:
    """Run every program once a round, one after another.

    Args:
        programs: Arguments of the interpreter, by name.
        rounds: How often.
        clock: Of the time that passes.
    """
    found: dict[str, list[tuple[float, float, Told]]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, arguments in programs.items():
            found[name].append(_run(arguments, clock))
    return {name: _median(runs) for name, runs in found.items()}


def _run(arguments: Sequence[str], clock: Reading) -> tuple[float, float, Told]:
    before, begun_ns = _computed_by_children_s(), clock.now_ns()
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    passed_s = (clock.now_ns() - begun_ns) / 1e9
    return _computed_by_children_s() - before, passed_s, msgspec.json.decode(done.stdout, type=Told)


def _computed_by_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _median(runs: Sequence[tuple[float, float, Told]]) -> FirstPlan:
    return FirstPlan(
        float(np.median([computed_s for computed_s, _, _ in runs])),
        float(np.median([passed_s for _, passed_s, _ in runs])),
        float(np.median([told.peak_bytes for _, _, told in runs])) / 1e6,
        any(told.has_torch for _, _, told in runs),
    )


def main(arguments: Sequence[str]) -> int:
    """Make the plan and print what the process has come to; returns 0."""
    from dualsys.fast.policies.onnx import FRAMES, OnnxSystem1
    from dualsys.fast.policies.policy import TOKENS

    policy = OnnxSystem1(arguments[0])
    features = policy.encode_wrist(np.zeros(policy.wrist.shape, np.uint8))
    condition = policy.condition(
        np.zeros((policy.latents, *policy.specs.latent.tensors[TOKENS].shape), np.float32),
        np.zeros(policy.latents, np.float32),
        np.stack([features] * FRAMES),
        np.zeros(policy.specs.observation.proprioception.shape, np.float32),
    )
    chunk = np.zeros(policy.action.chunk.shape, np.float32)
    weights, guidance = np.ones(policy.action.horizon, np.float32), np.ones(policy.steps, np.float32)
    policy.guided(chunk, condition, chunk, weights, guidance)
    tell()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
