from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dualsys.fast.chunking.queue_aggregate import QueueAggregate
from dualsys.fast.planner.track import Box, Chunk, Track

STEP_NS = 40_000_000


@pytest.mark.parametrize(
    ("aggregate", "mixed"),
    [("weighted_average", 0.7), ("latest_only", 1.0), ("average", 0.5), ("conservative", 0.3)],
)
def test_old_and_new_actions_are_mixed_in_the_shares_of_the_original(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box, aggregate: Any, mixed: float
) -> None:
    strategy = QueueAggregate(aggregate)
    track = strategy.merge(resting, chunk_of([0.0] * 8), 0, everywhere)
    track = strategy.merge(track, chunk_of([1.0] * 8, step=4), 5 * STEP_NS, everywhere)
    actions, _ = track.displacements(4 * STEP_NS, STEP_NS, 8, (0.012, 0.012, 0.012))
    # The first step is over and was not replaced; three are shared; four are new.
    assert actions[:, 0].tolist() == pytest.approx([0.0, mixed, mixed, mixed, 1.0, 1.0, 1.0, 1.0], abs=1e-6)


def test_the_queue_ends_with_the_new_chunk(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = QueueAggregate()
    track = strategy.merge(resting, chunk_of([1.0] * 12), 0, everywhere)
    track = strategy.merge(track, chunk_of([1.0] * 4, step=2), 2 * STEP_NS, everywhere)
    assert track.end_ns == 6 * STEP_NS


def test_the_next_job_starts_once_no_more_than_the_threshold_is_left(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = QueueAggregate(threshold=0.25)
    assert strategy.wants_plan(0, resting)
    track = strategy.merge(resting, chunk_of([1.0] * 8), 0, everywhere)
    assert not strategy.wants_plan(6 * STEP_NS - 1, track)
    assert strategy.wants_plan(6 * STEP_NS, track)
    strategy.reset()
    assert strategy.wants_plan(0, track)


def test_a_chunk_that_is_over_changes_nothing(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    assert QueueAggregate().merge(resting, chunk_of([1.0] * 8), 8 * STEP_NS, everywhere) is resting
