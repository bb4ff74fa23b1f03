"""Lets trained bundles drive an episode at policy rate, with a slow System 2 and a late System 1."""

from __future__ import annotations

from collections import deque
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dualsys.fast.policies.onnx import OnnxSystem1
from dualsys.slow.backends.onnx import OnnxSystem2
from dualsys.train.action import PREVIOUS_FRAME_STEPS
from dualsys_sim import arena
from dualsys_sim.runner import Actor, Step

DELAYS: Final = (0, 2, 3, 5, 5, 7)
"""Policy steps from an observation to the moment that its plan is played, one of these for each episode."""
PREFIX_CHANCE: Final = 0.7
"""How likely the plans of an episode are to begin with what will have been played of the last one by then."""
NOISE_SCALES: Final = (0.5, 1.0)
"""Standard deviation of the noise that plans are sampled from, one of these for each episode."""


class PolicyActor:
    """Plays chunks as the runtime does, but simpler.

    A plan is begun when the last one is played, and no sooner than a step after that was begun. How long
    plans take, whether they go on from a prefix, and how slow System 2 is, is drawn for each episode.
    """

    def __init__(self, system1: OnnxSystem1, system2: OnnxSystem2, rng: np.random.Generator) -> None:
        self._system1, self._system2, self._rng = system1, system2, rng
        self._period_steps = 2 * int(rng.integers(1, 6))
        self._delay_steps = int(rng.integers(2, 10))
        # A plan is played from as many actions into it as it took, for as many actions.
        delays = [delay for delay in DELAYS if 2 * delay <= system1.action.horizon]
        self._plan_delay_steps = delays[int(rng.integers(len(delays)))]
        self._prefix = rng.random() < PREFIX_CHANCE
        self._noise_scale = NOISE_SCALES[int(rng.integers(len(NOISE_SCALES)))]
        self._latents: deque[tuple[int, str, NDArray[np.float32]]] = deque(maxlen=24)
        self._features: deque[NDArray[np.float32]] = deque(maxlen=PREVIOUS_FRAME_STEPS + 1)
        self._chunk: tuple[int, NDArray[np.float32]] | None = None
        self._next: tuple[int, NDArray[np.float32]] | None = None

    def __call__(self, step: Step) -> NDArray[np.float64]:
        """The action `[4]` of a step."""
        index, snapshot = step.index, step.snapshot
        state = np.array(
            [
                *snapshot.tool_m,
                *(step.command_m - snapshot.tool_m),
                snapshot.width_m,
                snapshot.width_speed_m_s,
                step.gripper,
            ],
            dtype=np.float32,
        )
        if index % self._period_steps == 0:
            output = self._system2.encode({"fixed": step.images["fixed"]}, state, step.instruction)
            tokens: NDArray[np.float32] = output.tensors["tokens"].astype(np.float32)
            self._latents.append((index, step.instruction, tokens))
        self._features.append(self._system1.encode_wrist(step.images["wrist"]))
        self._take_next(index)
        if self._next is None:
            self._next = (index, self._plan(index, state))
            self._take_next(index)
        if self._chunk is None:
            return np.array([0.0, 0.0, 0.0, step.gripper])
        start, chunk = self._chunk
        return chunk[index - start].astype(np.float64)

    def _take_next(self, index: int) -> None:
        """Play the plan that is under way from this step on, if it is done."""
        if self._next is not None and index - self._next[0] >= self._plan_delay_steps:
            self._chunk, self._next = self._next, None

    def _plan(self, index: int, state: NDArray[np.float32]) -> NDArray[np.float32]:
        arrived = [latent for latent in self._latents if index - latent[0] >= self._delay_steps]
        newest = arrived[-1] if arrived else self._latents[0]
        # Those for other words are not the past of this one.
        read = [newest, *takewhile(lambda latent: latent[1] == newest[1], reversed(arrived[:-1]))]
        read = read[: self._system1.latents]
        read += read[-1:] * (self._system1.latents - len(read))
        ages_s = np.array([index - latent[0] for latent in read], np.float32) * np.float32(
            arena.POLICY_STEP_S
        )
        frames = np.stack([self._features[-1], self._features[0]])
        tokens = np.stack([latent[2] for latent in read])
        condition = self._system1.condition(tokens, ages_s, frames, state)
        noise = self._rng.standard_normal(self._system1.action.chunk.shape).astype(np.float32)
        noise *= np.float32(self._noise_scale)
        if not self._prefix or self._chunk is None or not self._plan_delay_steps:
            return self._system1.sample(noise, condition)
        start, chunk = self._chunk
        prefix, given = np.zeros_like(noise), np.zeros(len(noise), np.float32)
        prefix[: self._plan_delay_steps] = chunk[index - start : index - start + self._plan_delay_steps]
        given[: self._plan_delay_steps] = 1.0
        return self._system1.sample_prefix(noise, prefix, given, condition)


def policy_actor(system1: Path, system2: Path, rng: np.random.Generator) -> Actor:
    """An actor from two bundle folders."""
    return PolicyActor(*_systems(system1, system2), rng)


@cache
def _systems(system1: Path, system2: Path) -> tuple[OnnxSystem1, OnnxSystem2]:
    """The two systems, loaded once in a process: that takes as long as seconds of driving."""
    return OnnxSystem1(system1), OnnxSystem2(system2)
