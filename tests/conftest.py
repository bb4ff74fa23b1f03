"""What all tests share: one thread for numerics, repeatable examples, a clock that moves when told to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
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


@pytest.fixture
def driver_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed package with a robot driver, for this process and those it starts; yields its name."""
    folder = tmp_path / "packages"
    described = folder / "next_room-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: next-room\nVersion: 1.0\n", "utf-8")
    (described / "entry_points.txt").write_text("[dualsys.robots]\nnext_room = next_room:DRIVER\n", "utf-8")
    (folder / "next_room.py").write_text(
        "from dualsys.robots.registry import RobotDriver\n"
        "from dualsys.robots.simulated import SimulatedRobot\n"
        "DRIVER = RobotDriver('the arm in the next room', open=SimulatedRobot)\n",
        "utf-8",
    )
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([inherited] if inherited else [])]))
    monkeypatch.syspath_prepend(folder)
    yield "next_room"
    sys.modules.pop("next_room", None)
