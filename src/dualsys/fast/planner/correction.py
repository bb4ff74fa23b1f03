"""Correction of the motion under way by a residual head, between two plan jobs.

Source: A2C2, arXiv:2509.23224: the action of each step is a = a_base[k] + head(what is seen now, a_base[k],
sin and cos of 2 pi k / H, the latents). The chunk may be old; what is seen is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from dualsys.errors import ConfigError
from dualsys.fast.chunking.strategy import About
from dualsys.fast.planner.track import ActionArray, Box, Track, tool_scale_m
from dualsys.fast.policies.policy import Capability, Float32Array, ResidualHead
from dualsys.specs import ActionSpec, TensorSpec

ABOUT: Final = About(
    summary="with any strategy: corrects each action once, between two plans, by what is seen then",
    paper="A2C2, arXiv:2509.23224",
    needs="residual",
    cost="and for each action a context and a small head",
)
"""What people switch it on by."""


@dataclass(frozen=True)
class Seen:
    """What a head is shown of the present.

    Attributes:
        tokens: float32 `[K, tokens, width]`, newest latent first.
        latent_age_s: float32 `[K]`, their ages now.
        wrist: float32 `[2, tokens, width]`, features of the newest frame, then of the one a moment ago.
        proprioception: float32 `[9]`.
    """

    tokens: Float32Array
    latent_age_s: Float32Array
    wrist: Float32Array
    proprioception: Float32Array


class Corrector:
    """Corrects each step of the chunk being played once.

    Args:
        head: Says what to add.
        action: What a chunk is.
    """

    def __init__(self, head: ResidualHead, action: ActionSpec) -> None:
        self._head = head
        self._action = action
        self._residual = TensorSpec(action.chunk.shape[1:], "float32")
        self._grid_ns = 0
        self._corrected = action.horizon

    def follow(self, grid_ns: int) -> None:
        """Another chunk is being played, whose first action started, or will start, then."""
        self._grid_ns, self._corrected = grid_ns, -1

    def clear(self) -> None:
        """No chunk is being played."""
        self._corrected = self._action.horizon

    def due(self, now_ns: int) -> bool:
        """Whether the step under way has not been corrected yet."""
        return self._corrected < self._step(now_ns) < self._action.horizon

    def correct(self, track: Track, now_ns: int, seen: Seen, workspace: Box) -> Track:
        """The track with what is left of the step under way corrected; all that follows moves along.

        The corrected action stays within -1 and 1, so it moves no faster than any action may.

        Args:
            track: What is being played.
            now_ns: A time for which a correction is `due`; it then is no longer, whatever comes of it.
            seen: The present.
            workspace: Box that the commanded tool is kept in.

        Raises:
            PolicyError: The head failed.
            SpecError: It returned something of a wrong shape or type, or that is not finite.
        """
        step, step_ns = self._step(now_ns), self._action.step_ns
        self._corrected = step
        start_ns = self._grid_ns + step * step_ns
        scale_m = tool_scale_m(self._action)
        planned: ActionArray = track.displacements(start_ns, step_ns, 1, scale_m)[0][0]
        angle = 2.0 * math.pi * step / self._action.horizon
        residual = self._head.residual(
            planned,
            np.array([math.sin(angle), math.cos(angle)], np.float32),
            seen.tokens,
            seen.latent_age_s,
            seen.wrist,
            seen.proprioception,
        )
        self._residual.validate(residual, "residual")
        action = np.clip(planned + residual, -1.0, 1.0).astype(np.float64)
        until_ns = min(start_ns + step_ns, track.end_ns)
        left = (until_ns - now_ns) / step_ns
        offset_m = (action[:3] - planned[:3]) * np.asarray(scale_m) * left
        return track.nudged(now_ns, until_ns, offset_m, float(action[3]), workspace)

    def _step(self, now_ns: int) -> int:
        return (now_ns - self._grid_ns) // self._action.step_ns


def require_residual(offered: frozenset[Capability], who: str) -> None:
    """Raise ConfigError unless `who` offers a residual head."""
    if "residual" not in offered:
        fault = (
            f"fast.strategy.residual: expected false, got true: {who} has no residual head; "
            "export a bundle with one, or switch it off"
        )
        raise ConfigError("residual correction", [fault])
