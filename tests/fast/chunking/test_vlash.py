from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dualsys.fast.chunking.requests import RollForward
from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.chunking.vlash import Vlash
from dualsys.fast.planner.track import Box, Chunk, Track

STEP_NS = 40_000_000


def test_it_asks_for_a_chunk_that_starts_after_the_delay() -> None:
    assert Vlash().request(Overlap(np.zeros((16, 4), np.float32), 16, 3)) == RollForward(3)


def test_motion_that_ends_sooner_is_not_waited_beyond() -> None:
    assert Vlash().request(Overlap(np.zeros((16, 4), np.float32), 2, 3)) == RollForward(2)
    assert Vlash().request(Overlap(np.zeros((16, 4), np.float32), 0, 3)) == RollForward(0)


def test_a_chunk_that_is_early_waits_for_its_time_and_a_late_one_has_lost_its_first_actions(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    for ready, moved in ((3, 4 - 4), (6, 6 - 2)):
        strategy = Vlash()
        track = strategy.merge(resting, chunk_of([1.0] * 8), 0, everywhere)
        track = strategy.merge(track, chunk_of([-1.0] * 4, step=4), ready * STEP_NS, everywhere)
        assert track.at(8 * STEP_NS)[0][0] - 0.5 == pytest.approx(0.012 * moved)
        assert track.end_ns == 8 * STEP_NS
