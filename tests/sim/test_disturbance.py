"""Disturbances: enough to learn from, never so much that a task cannot be shown."""

from __future__ import annotations

import numpy as np

from dualsys_sim.disturbance import Disturbance


def test_disturbances_are_brief_and_bounded() -> None:
    disturbance = Disturbance(np.random.default_rng(3))
    steady = np.array([0.0, 0.0, 0.0, 1.0])
    done = np.array([disturbance.apply(steady) for _ in range(3000)])
    flipped = done[:, 3] < 0.0
    assert 0.01 < flipped.mean() < 0.08
    assert np.abs(done[:, :3]).max() < 1.8
    assert np.abs(done[:, :3].mean(axis=0)).max() < 0.03


def test_the_wanted_action_is_left_as_it_was() -> None:
    disturbance = Disturbance(np.random.default_rng(3))
    wanted = np.array([0.1, -0.2, 0.3, 1.0])
    for _ in range(300):
        disturbance.apply(wanted)
    np.testing.assert_array_equal(wanted, [0.1, -0.2, 0.3, 1.0])


def test_disturbances_repeat_with_their_seed() -> None:
    one, other = (Disturbance(np.random.default_rng(8)) for _ in range(2))
    wanted = np.array([0.5, 0.0, -0.5, -1.0])
    for _ in range(200):
        np.testing.assert_array_equal(one.apply(wanted), other.apply(wanted))
