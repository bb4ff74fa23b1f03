"""Voting: for each moment, average the predictions on the winning side of a vote.

Source: VOTE, arXiv:2507.05116. The committee of a step is what the last K chunks predict for it. Members vote
with the newest one if the cosine of their actions exceeds a threshold; if at least half of the committee
(rounded down) does, these are averaged, else all the others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dualsys.fast.chunking.asynchronous import Asynchronous, resume
from dualsys.fast.chunking.predictions import Predictions
from dualsys.fast.chunking.strategy import About
from dualsys.fast.planner.track import Box, Chunk, Track


class Vote(Asynchronous):
    """Outvotes single stray predictions in place of averaging them in.

    Args:
        committee: K, chunks that vote at most.
        threshold: Cosine above which a prediction agrees with the newest.

    Raises:
        ConfigError: A value that is not allowed; names all of them.
    """

    name = "vote"
    about = About(
        summary="averages the chunks that agree with the newest one, or outvotes it",
        paper="VOTE, arXiv:2507.05116",
        needs="",
        cost="n",
    )

    def __init__(self, committee: int = 8, threshold: float = 0.5) -> None:
        faults = []
        if committee < 1:
            faults.append(f"committee: expected at least 1, got {committee}")
        if not -1.0 <= threshold < 1.0:
            faults.append(f"threshold: expected a cosine from -1 to below 1, got {threshold}")
        super().__init__(faults=tuple(faults))
        self._threshold = threshold
        self._predictions = Predictions(committee)

    def merge(self, track: Track, chunk: Chunk, now_ns: int, workspace: Box) -> Track:
        """Vote on each step of the new chunk, and switch to what comes of it."""
        resumed = resume(track, chunk, now_ns)
        if resumed is None:
            return track
        self._predictions.add(resumed, now_ns)
        predictions, covers = self._predictions.on_grid_of(resumed)
        weights = vote_weights(predictions, covers, self._threshold)
        chosen = np.einsum("kh,kha->ha", weights, predictions).astype(np.float32)
        return track.spliced(now_ns, replace(resumed, actions=chosen), workspace)

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions.clear()


def vote_weights(
    predictions: NDArray[np.float64], covers: NDArray[np.bool_], threshold: float
) -> NDArray[np.float64]:
    """Weights float64 `[K, H]`, summing to one over each step: equal on the winning side, else zero.

    Args:
        predictions: float64 `[K, H, A]`, from the oldest; the newest covers every step.
        covers: bool `[K, H]`, whether a prediction covers a step; the others have no vote.
        threshold: Cosine above which a prediction agrees with the newest. A zero action has no direction and
            agrees with nobody but itself.
    """
    newest = predictions[-1]
    lengths = np.linalg.norm(predictions, axis=-1) * np.linalg.norm(newest, axis=-1)
    cosine = np.einsum("kha,ha->kh", predictions, newest) / np.where(lengths > 0.0, lengths, 1.0)
    agrees = covers & (cosine > threshold)
    agrees[-1] = covers[-1]
    carried = agrees.sum(axis=0) >= covers.sum(axis=0) // 2
    winners = np.where(carried, agrees, covers & ~agrees)
    weights: NDArray[np.float64] = winners / winners.sum(axis=0)
    return weights


STRATEGY = Vote
