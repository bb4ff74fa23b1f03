from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dualsys.fast.chunking.naive_async import NaiveAsync
from dualsys.fast.chunking.requests import Plain
from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.planner.track import Box, Chunk, Track

STEP_NS = 40_000_000


def test_it_always_wants_a_plan_and_never_asks_for_guidance(resting: Track) -> None:
    strategy = NaiveAsync()
    assert strategy.wants_plan(0, resting)
    assert strategy.request(Overlap(np.zeros((16, 4), np.float32), 16, 1)) == Plain()


def test_a_new_chunk_takes_over_in_the_middle_of_the_old_one(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = NaiveAsync()
    track = strategy.merge(resting, chunk_of([1.0] * 8), 0, everywhere)
    track = strategy.merge(track, chunk_of([-1.0] * 8, step=2), 3 * STEP_NS, everywhere)
    assert track.at(3 * STEP_NS)[0][0] == pytest.approx(0.5 + 3 * 0.012)
    assert track.at(5 * STEP_NS)[0][0] == pytest.approx(0.5 + 1 * 0.012)
    assert track.end_ns == 10 * STEP_NS


def test_a_chunk_that_is_over_changes_nothing(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    assert NaiveAsync().merge(resting, chunk_of([1.0] * 8), 8 * STEP_NS, everywhere) is resting
