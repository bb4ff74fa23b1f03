"""Work that disturbs a control loop: `python -m dualsys.bench.jitter_load KIND BUNDLE PARENT`, until SIGTERM.

`hog` counts, `system1` makes plans and `system2` latents from the models of a bundle, as fast as they can.
Prints a line when it has begun.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dualsys.fast.policies.onnx import OnnxSystem1
from dualsys.slow.backends.onnx import OnnxSystem2
from dualsys.supervisor.lifeline import die_with


def think_fast(bundle: Path, done: Callable[[], bool], ready: Callable[[], None]) -> None:
    """Do what a planner with the guided sampler does for every plan, over and over.

    Args:
        bundle: Folder of a System 1 bundle.
        done: Whether to end.
        ready: Called when the model is loaded.
    """
    policy = OnnxSystem1(bundle)
    rng = np.random.default_rng(0)
    action = policy.action
    shape = action.chunk.shape
    image = rng.integers(0, 255, policy.wrist.shape, dtype=np.uint8)
    tokens = np.zeros((policy.latents, *policy.specs.latent.tensors["tokens"].shape), np.float32)
    ages_s = np.zeros(policy.latents, np.float32)
    state = np.zeros(policy.specs.observation.proprioception.shape, np.float32)
    guidance = np.linspace(5.0, 0.0, policy.steps, dtype=np.float32)
    ready()
    while not done():
        features = policy.encode_wrist(image)
        condition = policy.condition(tokens, ages_s, np.stack([features, features]), state)
        noise = rng.standard_normal(shape).astype(np.float32)
        previous, weights = np.zeros(shape, np.float32), np.linspace(1, 0, shape[0], dtype=np.float32)
        policy.guided(noise, condition, previous, weights, guidance)


def think_slow(bundle: Path, done: Callable[[], bool], ready: Callable[[], None]) -> None:
    """Do what a System 2 does for every observation, over and over; arguments as for `think_fast`."""
    model = OnnxSystem2(bundle)
    observation = model.specs.observation
    rng = np.random.default_rng(0)
    images = {
        name: rng.integers(0, 255, spec.shape, dtype=np.uint8) for name, spec in observation.cameras.items()
    }
    state = np.zeros(observation.proprioception.shape, np.float32)
    ready()
    while not done():
        model.encode(images, state, "pick up the red cube")


def hog(bundle: Path, done: Callable[[], bool], ready: Callable[[], None]) -> None:
    """Count; arguments as for `think_fast`, the bundle is not used."""
    del bundle
    ready()
    count = 0
    while not done():
        count += 1


LOADS: dict[str, Callable[[Path, Callable[[], bool], Callable[[], None]], None]] = {
    "hog": hog,
    "system1": think_fast,
    "system2": think_slow,
}


def main(arguments: list[str]) -> int:
    """Work until the parent ends or asks for the end; returns the exit code."""
    kind, bundle, parent_pid = arguments
    die_with(int(parent_pid))
    LOADS[kind](Path(bundle), lambda: False, lambda: print("begun", flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
