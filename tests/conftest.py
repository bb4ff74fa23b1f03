"""What all tests share: one thread for numerics, repeatable examples, a clock that moves when told to."""

from __future__ import annotations

import os
from pathlib import Path

# Before numpy, onnxruntime or torch is imported: they read these once. Small machines run the tests too, and
# a plot must never look for a screen.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from hypothesis import settings

from dualsys.clock import VirtualClock

# The default examples are the same on every run; `pytest --hypothesis-profile=search` draws new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=60, database=None)
settings.register_profile("search", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture
def clock() -> VirtualClock:
    """A virtual clock that starts at one second, so that a zero stamp is never mistaken for now."""
    return VirtualClock(1_000_000_000)


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator with the same seed for every test."""
    return np.random.default_rng(20260131)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root folder of the repository."""
    return Path(__file__).resolve().parents[1]
