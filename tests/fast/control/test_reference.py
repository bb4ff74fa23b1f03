"""References: linear between knots, held outside, and joined without a jump."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.fast.control.reference import Reference

MS = 1_000_000


def line(start_ms: int, values: list[float], step_ms: int = 40) -> Reference:
    times = (start_ms + step_ms * np.arange(len(values), dtype=np.int64)) * MS
    return Reference.through(times, np.array(values)[:, None])


def test_a_reference_is_linear_between_knots_and_held_outside() -> None:
    reference = line(100, [0.0, 1.0, 3.0])
    for time_ms, value, rate in [(0, 0, 0), (100, 0, 25), (120, 0.5, 25), (140, 1, 50), (179, 2.95, 50),
                                 (180, 3, 0), (999, 3, 0)]:  # fmt: skip
        setpoint, slope = reference.at(time_ms * MS)
        assert setpoint[0] == pytest.approx(value)
        assert slope[0] == pytest.approx(rate)


def test_a_single_knot_is_a_place_to_be() -> None:
    setpoint, slope = line(100, [0.5]).at(0)
    assert (setpoint[0], slope[0]) == (0.5, 0.0)


def test_a_later_plan_holds_from_its_first_knot_and_the_earlier_one_before_it() -> None:
    joined = line(0, [0, 1, 2, 3, 4]).followed_by(line(100, [2.5, 2.5, 0.0]), 30 * MS)
    values = [joined.at(time * MS)[0][0] for time in (30, 60, 90, 100, 140, 180)]
    np.testing.assert_allclose(values, [0.75, 1.5, 2.25, 2.5, 2.5, 0.0])
    assert joined.start_ns == 30 * MS


def test_a_later_plan_that_has_begun_replaces_the_earlier_one() -> None:
    later = line(20, [5.0, 6.0])
    assert line(0, [0, 1, 2]).followed_by(later, 30 * MS) is later


@pytest.mark.fault_row(18, 48)
@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=9),
    st.lists(st.floats(-1, 1), min_size=1, max_size=9),
    st.integers(0, 300),
    st.integers(0, 300),
)
def test_a_join_never_moves_the_set_point_of_this_moment(
    early: list[float], late: list[float], now_ms: int, start_ms: int
) -> None:
    before, later = line(0, early), line(start_ms, late)
    joined = before.followed_by(later, now_ms * MS)
    if start_ms > now_ms:
        np.testing.assert_allclose(joined.at(now_ms * MS)[0], before.at(now_ms * MS)[0], atol=1e-12)
    after = max(now_ms, start_ms) * MS
    np.testing.assert_allclose(joined.at(after)[0], later.at(after)[0], atol=1e-12)
    assert (np.diff(joined.t_ns) > 0).all()


knots = st.lists(st.integers(1, 10**9), min_size=1, max_size=6)


@given(knots, knots, st.integers(0, 4 * 10**9), st.integers(1, 10**9), st.integers(0, 2**32 - 1))
def test_a_joined_reference_is_the_one_through_all_its_knots_to_the_last_bit(
    early: list[int], late: list[int], t_ns: int, ahead_ns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    first, second = np.cumsum(early, dtype=np.int64), t_ns + ahead_ns + np.cumsum(late, dtype=np.int64)
    before = Reference.through(first, rng.normal(size=(len(first), 3)))
    later = Reference.through(second, rng.normal(size=(len(second), 3)))
    kept = (first > t_ns) & (first < second[0])
    times = np.concatenate([[t_ns], first[kept], second])
    rows = np.concatenate([[before.at(t_ns)[0]], before.setpoints[kept], later.setpoints])
    slopes = np.diff(rows, axis=0) / (np.diff(times) * 1e-9)[:, None]
    joined = before.followed_by(later, t_ns)
    assert joined.t_ns == times.tolist()
    assert joined.setpoints.tobytes() == rows.tobytes()
    assert np.array(joined.rows).tobytes() == rows.tobytes()
    assert np.array(joined.slopes).tobytes() == slopes.tobytes()
