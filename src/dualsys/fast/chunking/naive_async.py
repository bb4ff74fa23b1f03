"""Naive asynchronous execution: a chunk replaces what is left of the one before as soon as it is there."""

from __future__ import annotations

from collections.abc import Mapping

from dualsys.fast.chunking.strategy import Guidance, Overlap
from dualsys.fast.planner.track import Box, Chunk, Track
from dualsys.specs import ActionSpec


class NaiveAsync:
    """Plans all the time, ignorant of the motion under way; the velocity may jump at every join."""

    name = "naive_async"

    def check(self, action: ActionSpec) -> None:
        """Every horizon suits."""
        del action

    def wants_plan(self, now_ns: int, track: Track) -> bool:
        """Always."""
        del now_ns, track
        return True

    def request(self, overlap: Overlap) -> Guidance | None:
        """A plain sample."""
        del overlap
        return None

    def merge(self, track: Track, chunk: Chunk, now_ns: int, workspace: Box) -> Track:
        """Switch to the new chunk now, at the action whose time it is."""
        return track.spliced(now_ns, chunk, workspace)

    def reset(self) -> None:
        """Nothing is remembered."""

    def statistics(self) -> Mapping[str, int]:
        """Nothing can go wrong."""
        return {}
