"""Overlap ramp: start from the planned actions in place of noise and let go of them gradually.

Source: the overlap of Isaac GR00T N1.7. The first o rows of the noise are the planned actions, clean. The
velocity of row i is multiplied by 0 for i < f, by (1 - exp(-r u)) / (1 - exp(-r)) over the rest of the
overlap, u being the inner points of o - f + 2 evenly spaced ones in [0, 1], and by 1 from there on.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dualsys.fast.chunking.asynchronous import Continuing
from dualsys.fast.chunking.requests import Ramp, Request
from dualsys.fast.chunking.strategy import About, Overlap
from dualsys.fast.policies.policy import Capability


class GrootRamp(Continuing):
    """Freezes the first d actions and ramps the velocity up over the rest of the overlap.

    Args:
        overlap_steps: o, actions that start from the planned ones at most; None: all that are planned.
        rate: r, how fast the ramp rises.
        execution_horizon: Actions that are at least begun between the starts of two plan jobs.

    Raises:
        ConfigError: A value that is not allowed; names all of them.
    """

    name = "groot_ramp"
    about = About(
        summary="starts from the planned actions and ramps the velocity up along the chunk",
        paper="Isaac GR00T N1.7 (code)",
        needs="velocity",
        cost="n",
    )

    def __init__(
        self, overlap_steps: int | None = None, rate: float = 6.0, execution_horizon: int = 1
    ) -> None:
        faults = []
        if overlap_steps is not None and overlap_steps < 1:
            faults.append(f"overlap_steps: expected at least 1, got {overlap_steps}")
        if not (math.isfinite(rate) and rate > 0):
            faults.append(f"rate: expected a finite number > 0, got {rate}")
        super().__init__(execution_horizon, tuple(faults))
        self._overlap_steps, self._rate = overlap_steps, rate

    @property
    def needs(self) -> frozenset[Capability]:
        """The velocity; plain samples where nothing is planned yet."""
        return frozenset({"sampler", "velocity"})

    def continuing(self, overlap: Overlap, shared: int) -> Request:
        """Start from the planned actions; those that will be over when the chunk is there stay."""
        wanted = shared if self._overlap_steps is None else self._overlap_steps
        count = max(overlap.delay_steps, min(wanted, shared))
        strengths = ramp_strengths(overlap.delay_steps, count, len(overlap.previous), self._rate)
        return Ramp(overlap.held(shared), count, strengths)


def ramp_strengths(frozen: int, overlap: int, horizon: int, rate: float) -> NDArray[np.float32]:
    """Velocity factors float32 `[horizon]`.

    Args:
        frozen: f, leading actions that do not move, at most `overlap`.
        overlap: o, leading actions that start from planned ones, at most `horizon`.
        horizon: H.
        rate: r > 0.
    """
    strengths = np.ones(horizon)
    strengths[:frozen] = 0.0
    rise = np.linspace(0.0, 1.0, overlap - frozen + 2)[1:-1]
    strengths[frozen:overlap] = np.expm1(-rate * rise) / math.expm1(-rate)
    return strengths.astype(np.float32)


STRATEGY = GrootRamp
