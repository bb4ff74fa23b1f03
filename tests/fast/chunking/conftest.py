"""Chunks and tracks for the tests of the strategies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dualsys.fast.planner.track import Box, Chunk, Track

STEP_NS = 40_000_000
SCALE_M = (0.012, 0.012, 0.012)


@pytest.fixture
def everywhere() -> Box:
    """A box that never clips."""
    return Box((-9.0, -9.0, -9.0), (9.0, 9.0, 9.0))


@pytest.fixture
def resting() -> Track:
    """A track that rests above the middle of the table from time zero on."""
    return Track.holding(0, np.array([0.5, 0.0, 0.2]), 1.0)


@pytest.fixture
def chunk_of() -> Callable[..., Chunk]:
    """Builds a chunk whose actions along x are given, starting at a given step of a 40 ms grid."""

    def build(values: list[float], step: float = 0.0) -> Chunk:
        actions = np.zeros((len(values), 4), np.float32)
        actions[:, 0], actions[:, 3] = values, 1.0
        return Chunk(round(step * STEP_NS), STEP_NS, actions, SCALE_M)

    return build
