"""One world for all tests of the simulator: it is meant to be reused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("pybullet")

from dualsys_sim.world import World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """A world without a window."""
    with World() as made:
        yield made
