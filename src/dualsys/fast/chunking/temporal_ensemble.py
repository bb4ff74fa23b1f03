"""Temporal ensembling: average everything that was ever predicted for each moment.

Source: T. Z. Zhao, V. Kumar, S. Levine, C. Finn, "Learning Fine-Grained Bimanual Manipulation with Low-Cost
Hardware" (ACT), arXiv:2304.13705: w_i = exp(-m i), i = 0 being the *oldest* prediction, m = 0.01. Some later
systems count from the newest; that is the option `newest_first`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import ConfigError
from dualsys.fast.chunking.strategy import Guidance, Overlap
from dualsys.fast.planner.track import ActionArray, Box, Chunk, Track
from dualsys.specs import ActionSpec


class TemporalEnsemble:
    """Averages the chunks that still cover a moment. Chunks may start at any time: older ones are resampled.

    Args:
        decay: m, how fast the weight falls with the number of the prediction.
        newest_first: Count predictions from the newest instead of the oldest.

    Raises:
        ConfigError: A decay that is negative or not finite.
    """

    name = "temporal_ensemble"

    def __init__(self, decay: float = 0.01, newest_first: bool = False) -> None:
        if not (math.isfinite(decay) and decay >= 0):
            raise ConfigError(self.name, [f"decay: expected a finite number >= 0, got {decay}"])
        self._decay = decay
        self._newest_first = newest_first
        self._paths: list[Track] = []

    def check(self, action: ActionSpec) -> None:
        """Every horizon suits."""
        del action

    def wants_plan(self, now_ns: int, track: Track) -> bool:
        """Always: the more predictions, the better the average."""
        del now_ns, track
        return True

    def request(self, overlap: Overlap) -> Guidance | None:
        """A plain sample."""
        del overlap
        return None

    def merge(self, track: Track, chunk: Chunk, now_ns: int, workspace: Box) -> Track:
        """Average the new chunk with the earlier ones that reach beyond now, and switch to the average."""
        self._paths = [path for path in [*self._paths, chunk.path()] if path.end_ns > now_ns]
        if not self._paths:
            return track
        return track.spliced(now_ns, replace(chunk, actions=self._average(chunk)), workspace)

    def reset(self) -> None:
        """Forget all predictions."""
        self._paths = []

    def statistics(self) -> Mapping[str, int]:
        """Nothing can go wrong."""
        return {}

    def _average(self, chunk: Chunk) -> ActionArray:
        """Weighted mean float32 `[H, 4]` of all predictions that cover a step, on the grid of `chunk`."""
        horizon = len(chunk.actions)
        predictions = np.zeros((len(self._paths), horizon, 4))
        covers = np.zeros((len(self._paths), horizon), dtype=np.bool_)
        for row, path in enumerate(self._paths):
            predictions[row], valid = path.displacements(chunk.t0_ns, chunk.step_ns, horizon, chunk.scale_m)
            covers[row, :valid] = True
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
    weights = np.where(covers, np.exp(-decay * number), 0.0)
    total: NDArray[np.float64] = weights / weights.sum(axis=0)
    return total
