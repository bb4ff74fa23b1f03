"""Temporal ensembling: average everything that was ever predicted for each moment.

Source: T. Z. Zhao, V. Kumar, S. Levine, C. Finn, "Learning Fine-Grained Bimanual Manipulation with Low-Cost
Hardware" (ACT), arXiv:2304.13705: w_i = exp(-m i), i = 0 being the *oldest* prediction, m = 0.01. Some later
systems count from the newest; that is the option `newest_first`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dualsys.fast.chunking.asynchronous import Asynchronous, resume
from dualsys.fast.chunking.predictions import Predictions
from dualsys.fast.chunking.strategy import About
from dualsys.fast.planner.track import ActionArray, Box, Chunk, Track


class TemporalEnsemble(Asynchronous):
    """Averages the chunks that still cover a moment. Plans without pause: the more predictions, the better.

    Args:
        decay: m of exp(-m i), i counting the predictions for a moment from the oldest one.
        newest_first: Count them from the newest one instead.

    Raises:
        ConfigError: A decay that is negative or not finite.
    """

    name = "temporal_ensemble"
    about = About(
        summary="averages all chunks that cover an instant",
        paper="ACT, arXiv:2304.13705",
        needs="",
        cost="n",
    )

    def __init__(self, decay: float = 0.01, newest_first: bool = False) -> None:
        finite = math.isfinite(decay) and decay >= 0
        super().__init__(faults=() if finite else (f"decay: expected a finite number >= 0, got {decay}",))
        self._decay = decay
        self._newest_first = newest_first
        self._predictions = Predictions()

    def merge(self, track: Track, chunk: Chunk, now_ns: int, workspace: Box) -> Track:
        """Average the new chunk with the earlier ones that reach beyond now, and switch to the average."""
        resumed = resume(track, chunk, now_ns)
        if resumed is None:
            return track
        self._predictions.add(resumed, now_ns)
        return track.spliced(now_ns, replace(resumed, actions=self._average(resumed)), workspace)

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions.clear()

    def _average(self, chunk: Chunk) -> ActionArray:
        """Weighted mean float32 `[H, 4]` of all predictions that cover a step, on the grid of `chunk`."""
        predictions, covers = self._predictions.on_grid_of(chunk)
        weights = ensemble_weights(covers, self._decay, newest_first=self._newest_first)
        mean: ActionArray = np.einsum("kh,kha->ha", weights, predictions).astype(np.float32)
        return mean


def ensemble_weights(
    covers: NDArray[np.bool_], decay: float, *, newest_first: bool = False
) -> NDArray[np.float64]:
    """Weights float64 `[K, H]`, summing to one over each step, of K predictions ordered from the oldest.

    Args:
        covers: bool `[K, H]`, whether a prediction covers a step; the others get weight zero and no number.
        decay: m of exp(-m i).
        newest_first: i = 0 is the newest instead of the oldest.
    """
    number = np.cumsum(covers, axis=0) - 1
    if newest_first:
        number = covers.sum(axis=0) - 1 - number
    # One that covers nothing may have a number below zero, whose weight a large decay would overflow.
    weights = np.where(covers, np.exp(-decay * np.maximum(number, 0)), 0.0)
    total: NDArray[np.float64] = weights / weights.sum(axis=0)
    return total


STRATEGY = TemporalEnsemble
