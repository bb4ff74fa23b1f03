from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dualsys.fast.chunking.requests import Plain
from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.chunking.synchronous import Synchronous
from dualsys.fast.planner.track import Box, Chunk, Track

STEP_NS = 40_000_000


def test_it_wants_a_plan_only_when_the_motion_has_ended(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = Synchronous()
    assert strategy.wants_plan(0, resting)
    track = strategy.merge(resting, chunk_of([1.0] * 8), 0, everywhere)
    assert not strategy.wants_plan(8 * STEP_NS - 1, track)
    assert strategy.wants_plan(8 * STEP_NS, track)


def test_it_never_asks_for_guidance() -> None:
    assert Synchronous().request(Overlap(np.zeros((16, 4), np.float32), 16, 1)) == Plain()


def test_the_whole_chunk_is_played_from_the_moment_it_is_ready(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    ready_ns = 123_456_789
    track = Synchronous().merge(resting, chunk_of([1.0] * 8), ready_ns, everywhere)
    assert track.at(ready_ns)[0][0] == 0.5
    assert track.at(ready_ns + 8 * STEP_NS)[0][0] == pytest.approx(0.5 + 8 * 0.012)
    assert track.end_ns == ready_ns + 8 * STEP_NS


def test_only_the_execution_horizon_is_played(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    track = Synchronous(execution_horizon=3).merge(resting, chunk_of([1.0] * 8), 0, everywhere)
    assert track.end_ns == 3 * STEP_NS
