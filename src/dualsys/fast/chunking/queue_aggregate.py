"""Queue and aggregate: ask again when the queue runs low, mix the old and the new action of each moment.

Source: M. Shukor et al., "SmolVLA", arXiv:2506.01844, and the asynchronous client of LeRobot: an observation
is sent once at most g H actions are left; on arrival, actions whose time is over are skipped, those that are
also in the queue are aggregated, and the queue ends with the new chunk.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from dualsys.fast.chunking.asynchronous import Asynchronous, resume
from dualsys.fast.chunking.strategy import About
from dualsys.fast.planner.track import Box, Chunk, Track

Aggregate = Literal["weighted_average", "latest_only", "average", "conservative"]

NEW_SHARE: dict[Aggregate, float] = {
    "weighted_average": 0.7,
    "latest_only": 1.0,
    "average": 0.5,
    "conservative": 0.3,
}
"""Share of the new action in each mixture; the old one has the rest."""


class QueueAggregate(Asynchronous):
    """Mixes the planned motion and the new chunk in fixed shares.

    Args:
        aggregate: The shares; see `NEW_SHARE`.
        threshold: g, part of the horizon; the next job starts when no more actions than that are left.

    Raises:
        ConfigError: A threshold outside 0 to 1.
    """

    name = "queue_aggregate"
    about = About(
        summary="asks when the queue runs low; mixes old and new actions in fixed shares",
        paper="SmolVLA and LeRobot, arXiv:2506.01844",
        needs="",
        cost="n",
    )

    def __init__(self, aggregate: Aggregate = "weighted_average", threshold: float = 0.5) -> None:
        allowed = 0.0 <= threshold <= 1.0
        super().__init__(faults=() if allowed else (f"threshold: expected 0 to 1, got {threshold}",))
        self._new_share = NEW_SHARE[aggregate]
        self._threshold = threshold

    def wants_plan(self, now_ns: int, track: Track) -> bool:
        """Once at most `threshold` of the horizon is left."""
        if self._last is None:
            return True
        horizon_ns = len(self._last.actions) * self._last.step_ns
        return track.end_ns - now_ns <= self._threshold * horizon_ns

    def merge(self, track: Track, chunk: Chunk, now_ns: int, workspace: Box) -> Track:
        """Mix the new chunk with what is planned for the same steps, and switch to the mixture."""
        resumed = resume(track, chunk, now_ns)
        if resumed is None:
            return track
        old, valid = track.displacements(resumed.t0_ns, chunk.step_ns, len(chunk.actions), chunk.scale_m)
        mixed = chunk.actions.copy()
        new = mixed[:valid]
        mixed[:valid] = old[:valid] + self._new_share * (new - old[:valid])
        self._last = resumed
        return track.spliced(now_ns, replace(resumed, actions=mixed), workspace)


STRATEGY = QueueAggregate
