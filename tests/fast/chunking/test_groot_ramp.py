from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.fast.chunking.groot_ramp import GrootRamp, ramp_strengths
from dualsys.fast.chunking.requests import Ramp
from dualsys.fast.chunking.strategy import Overlap

ACTIONS = np.arange(40, dtype=np.float32).reshape(10, 4)


def test_the_ramp_has_the_values_of_the_original() -> None:
    expected = [0, 0, 0.700542, 0.911542, 0.975093, 0.994235, 1, 1]
    strengths = ramp_strengths(2, 6, 8, 6.0)
    assert strengths.dtype == np.float32
    np.testing.assert_allclose(strengths, expected, atol=1e-6)


@given(st.integers(0, 12), st.integers(0, 12), st.floats(0.1, 20.0))
def test_the_ramp_rises_from_the_frozen_part_to_one(frozen: int, more: int, rate: float) -> None:
    strengths = ramp_strengths(frozen, min(12, frozen + more), 12, rate)
    assert (strengths[:frozen] == 0.0).all()
    assert (strengths[min(12, frozen + more) :] == 1.0).all()
    assert (np.diff(strengths) >= 0.0).all()


@pytest.mark.parametrize(("overlap_steps", "count"), [(None, 7), (5, 5), (2, 3), (9, 7)])
def test_the_overlap_holds_the_frozen_actions_and_no_more_than_is_planned(
    overlap_steps: int | None, count: int
) -> None:
    request = GrootRamp(overlap_steps).request(Overlap(ACTIONS, 7, 3))
    assert isinstance(request, Ramp)
    assert request.count == count
    assert (request.strengths[:3] == 0.0).all()
    assert (request.strengths[count:] == 1.0).all()
