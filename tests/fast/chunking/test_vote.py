from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dualsys.fast.chunking.vote import Vote, vote_weights
from dualsys.fast.planner.track import Box, Chunk, Track

STEP_NS = 40_000_000
RIGHT, LEFT, UP = [1.0, 0, 0, 0], [-1.0, 0, 0, 0], [0, 1.0, 0, 0]


def weights_of(
    *actions: list[float], threshold: float = 0.5, covered: list[bool] | None = None
) -> list[float]:
    predictions = np.array(actions)[:, None]
    covers = np.array(covered or [True] * len(actions))[:, None]
    return [float(value) for value in vote_weights(predictions, covers, threshold)[:, 0]]


def test_those_that_agree_with_the_newest_are_averaged() -> None:
    assert weights_of(RIGHT, LEFT, RIGHT, RIGHT) == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])


def test_a_newest_prediction_on_its_own_is_outvoted() -> None:
    assert weights_of(LEFT, LEFT, UP, LEFT, RIGHT) == pytest.approx([0.25, 0.25, 0.25, 0.25, 0])


def test_half_of_the_committee_rounded_down_is_enough() -> None:
    assert weights_of(LEFT, RIGHT) == [0, 1]
    assert weights_of(LEFT, LEFT, RIGHT) == [0, 0, 1]
    assert weights_of(LEFT, LEFT, RIGHT, RIGHT) == [0, 0, 0.5, 0.5]
    assert weights_of(LEFT, LEFT, LEFT, RIGHT) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


def test_the_cosine_must_exceed_the_threshold() -> None:
    tilted = [0.5, np.sqrt(0.75), 0, 0]
    assert weights_of(tilted, RIGHT, threshold=0.49) == [0.5, 0.5]
    assert weights_of(tilted, RIGHT, threshold=0.51) == [0, 1]


def test_a_prediction_that_does_not_cover_the_step_has_no_vote() -> None:
    assert weights_of(LEFT, LEFT, LEFT, RIGHT, covered=[False, False, False, True]) == [0, 0, 0, 1]


def test_a_zero_action_has_no_direction_and_agrees_with_itself_only() -> None:
    assert weights_of([0.0] * 4, [0.0] * 4) == [0, 1]
    assert weights_of([0.0] * 4, RIGHT, RIGHT, RIGHT) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])


def test_the_motion_follows_the_vote_and_the_committee_is_limited(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    for committee, moved in ((8, 1.0), (1, -1.0)):
        strategy = Vote(committee)
        track = resting
        # The gripper is part of the vote; at its middle only the direction counts.
        for start, value in enumerate([1.0, 1.0, 1.0, 1.0, -1.0]):
            chunk = chunk_of([value] * 8, step=start * 0.1)
            chunk.actions[:, 3] = 0.0
            track = strategy.merge(track, chunk, chunk.t0_ns, everywhere)
        now_ns = chunk.t0_ns
        travelled_m = track.at(now_ns + 2 * STEP_NS)[0][0] - track.at(now_ns)[0][0]
        assert travelled_m == pytest.approx(2 * 0.012 * moved, abs=1e-6)


def test_a_reset_forgets_the_committee(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    strategy = Vote()
    track = strategy.merge(resting, chunk_of([1.0] * 8), 0, everywhere)
    strategy.reset()
    merged = strategy.merge(track, chunk_of([0.5] * 8, step=1), STEP_NS, everywhere)
    assert merged.at(2 * STEP_NS)[0][0] - merged.at(STEP_NS)[0][0] == pytest.approx(0.006)


def test_a_chunk_that_is_over_is_not_on_the_committee(
    resting: Track, chunk_of: Callable[..., Chunk], everywhere: Box
) -> None:
    assert Vote().merge(resting, chunk_of([1.0] * 8), 8 * STEP_NS, everywhere) is resting
