"""All predictions that still reach beyond now, on one grid: what ensembles and votes are made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dualsys.fast.planner.track import Chunk, Track


class Predictions:
    """Remembers chunks, from the oldest to the newest.

    Args:
        limit: How many are kept; None keeps all that are not over.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._paths: list[Track] = []

    def add(self, chunk: Chunk, now_ns: int) -> None:
        """Take in a chunk that is not over, and drop those that are."""
        paths = [path for path in [*self._paths, chunk.path()] if path.end_ns > now_ns]
        self._paths = paths if self._limit is None else paths[-self._limit :]

    def on_grid_of(self, chunk: Chunk) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The predictions float64 `[K, H, 4]` as actions on the grid of `chunk`, and which of its steps each
        covers, bool `[K, H]`. Chunks may have started at any time: they are resampled."""
        horizon = len(chunk.actions)
        predictions = np.zeros((len(self._paths), horizon, 4))
        covers = np.zeros((len(self._paths), horizon), dtype=np.bool_)
        for row, path in enumerate(self._paths):
            predictions[row], valid = path.displacements(chunk.t0_ns, chunk.step_ns, horizon, chunk.scale_m)
            covers[row, :valid] = True
        return predictions, covers

    def clear(self) -> None:
        """Forget all."""
        self._paths = []
