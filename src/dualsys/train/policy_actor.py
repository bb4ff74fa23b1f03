"""Lets trained bundles drive an episode at policy rate, with a slow System 2 and a late System 1."""

from __future__ import annotations

from collections import deque
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

PLAN_STEPS: Final = 2
"""Policy steps between plans, and from an observation to the moment that its plan is played."""


class PolicyActor:
    """Plays chunks as the runtime does, but simpler.

    Every second step makes a plan, which is played two steps later, without blending. How slow System 2 is,
    is drawn for each episode.
    """

    def __init__(self, system1: OnnxSystem1, system2: OnnxSystem2, rng: np.random.Generator) -> None:
        self._system1, self._system2, self._rng = system1, system2, rng
        self._period_steps = 2 * int(rng.integers(1, 6))
        self._delay_steps = int(rng.integers(2, 10))
        self._latents: deque[tuple[int, str, NDArray[np.float32]]] = deque(maxlen=24)
        self._features: deque[NDArray[np.float32]] = deque(maxlen=PREVIOUS_FRAME_STEPS + 1)
        self._chunks: deque[tuple[int, NDArray[np.float32]]] = deque(maxlen=PLAN_STEPS + 1)

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
        if index % PLAN_STEPS == 0:
            self._chunks.append((index, self._plan(index, state)))
        ready = [chunk for chunk in self._chunks if index - chunk[0] >= PLAN_STEPS]
        if not ready:
            return np.array([0.0, 0.0, 0.0, step.gripper])
        start, chunk = ready[-1]
        return chunk[index - start].astype(np.float64)

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
        return self._system1.sample(noise, condition)


def policy_actor(system1: Path, system2: Path, rng: np.random.Generator) -> Actor:
    """An actor from two bundle folders."""
    return PolicyActor(OnnxSystem1(system1), OnnxSystem2(system2), rng)
