from __future__ import annotations

from collections.abc import Callable

import pytest

from dualsys.fast.chunking.latest_overwrite import LatestOverwrite
from dualsys.fast.planner.track import Box, Chunk, Track

STEP_NS = 40_000_000


def test_it_plans_without_pause_and_the_newest_chunk_overwrites_the_overlap_unblended(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = LatestOverwrite()
    track = strategy.merge(resting, chunk_of([1.0] * 8), 0, everywhere)
    assert strategy.wants_plan(1, track)
    merged = strategy.merge(track, chunk_of([-1.0] * 8, step=2), 4 * STEP_NS, everywhere)
    actions, _ = merged.displacements(2 * STEP_NS, STEP_NS, 8, (0.012, 0.012, 0.012))
    assert actions[:, 0].tolist() == pytest.approx([1, 1, -1, -1, -1, -1, -1, -1], abs=1e-6)
