"""Limiters: jerk-limited where the profile says so, exact otherwise, and at rest when told to be."""

from __future__ import annotations

import builtins
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS
from dualsys.errors import MissingExtraError
from dualsys.fast.control.limiter import SMOOTHINGS, Limiter, Smoothing, WindowLimiter, make_limiter
from dualsys.fast.control.limits import Limits
from dualsys.robots.profiles import PROFILES

from .conftest import obeys

FloatArray = NDArray[np.float64]

PERIOD_NS = 4 * NS_PER_MS
ONE = Limits(np.array([-1.0]), np.array([1.0]), np.array([2.0]), np.array([10.0]), 1, np.array([500.0]))
"""One joint that needs 0.2 s to its full speed, and 20 ms to its full acceleration."""


def run(
    limiter: Limiter, target: Callable[[float], float], ticks: int, rate: float = 0.0
) -> list[FloatArray]:
    """Commands for a target that is a function of time in s, asked for as far ahead as the limiter wants."""
    rows = []
    for tick in range(1, ticks + 1):
        time_s = (tick * PERIOD_NS + limiter.ahead_ns) * 1e-9
        rows.append(limiter.follow(np.array([target(time_s)]), np.array([rate])).position)
    return rows


@pytest.mark.fault_row(22)
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@settings(max_examples=25)
@given(
    acceleration=st.floats(0.5, 50.0), jerk=st.floats(5.0, 20_000.0), speed=st.floats(0.1, 6.0),
    braking=st.floats(0.1, 1.0), period_ms=st.sampled_from((1, 2, 4, 20)),
    stream=st.lists(st.tuples(st.floats(-1.5, 1.5), st.floats(-9.0, 9.0), st.integers(1, 60), st.booleans()),
                    min_size=1, max_size=8),
)  # fmt: skip
def test_any_limits_are_kept_jerk_and_braking_included(
    smoothing: Smoothing,
    acceleration: float,
    jerk: float,
    speed: float,
    braking: float,
    period_ms: int,
    stream: list[tuple[float, float, int, bool]],
) -> None:
    limits = Limits(
        np.array([-1.0]), np.array([1.0]), np.array([speed]), np.array([acceleration]), 1,
        np.array([jerk]), np.array([braking * acceleration]),
    )  # fmt: skip
    limiter = make_limiter(smoothing, limits, period_ms * NS_PER_MS)
    limiter.start(np.array([0.3]))
    rows = [np.array([0.3])]
    for target, rate, ticks, brake in stream:
        for _ in range(ticks):
            step = limiter.brake() if brake else limiter.follow(np.array([target]), np.array([rate]))
            rows.append(step.position)
    obeys(limits, rows, period_ms * NS_PER_MS, jerk_slack=1e-3)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_braking_ends_in_rest_and_then_nothing_changes_any_more(smoothing: Smoothing) -> None:
    limiter = make_limiter(smoothing, ONE, PERIOD_NS)
    limiter.start(np.array([0.0]))
    assert limiter.at_rest
    run(limiter, lambda time_s: time_s, 100, 1.0)
    assert not limiter.at_rest
    rows = [limiter.brake().position for _ in range(100)]
    assert limiter.at_rest
    assert rows[-1] == rows[-30]
    assert limiter.brake().velocity == 0.0


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_a_set_point_that_moves_steadily_is_followed_without_lag(smoothing: Smoothing) -> None:
    limiter = make_limiter(smoothing, ONE, PERIOD_NS)
    limiter.start(np.array([0.0]))
    rows = run(limiter, lambda time_s: 0.3 * time_s, 400, 0.3)
    np.testing.assert_allclose(rows[-1], 0.3 * 400 * PERIOD_NS * 1e-9, atol=1e-5)


def test_online_generation_follows_a_curve_closely_and_calmly() -> None:
    limiter = make_limiter("ruckig", ONE, PERIOD_NS)
    limiter.start(np.array([0.0]))
    rows = []
    for tick in range(1, 600):
        time_s = tick * PERIOD_NS * 1e-9
        target, rate = 0.1 * np.sin(4 * time_s), 0.4 * np.cos(4 * time_s)
        rows.append(limiter.follow(np.array([target]), np.array([rate])).position[0] - target)
    assert np.abs(rows[200:]).max() < 1e-3
    calm = np.diff(rows[200:], n=2) / (PERIOD_NS * 1e-9) ** 2
    assert np.abs(calm).max() < 0.2, "accelerations beyond those of the curve, rad/s^2"


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_a_start_outside_is_left_inwards_and_never_returned_to(smoothing: Smoothing) -> None:
    limiter = make_limiter(smoothing, ONE, PERIOD_NS)
    limiter.start(np.array([1.05]))
    assert limiter.brake().position == 1.05
    rows = [np.array([1.05]), *run(limiter, lambda _: 0.5, 400)]
    assert (np.diff([row[0] for row in rows]) <= 1e-12).all()
    obeys(ONE, rows, PERIOD_NS, jerk_slack=1e-3)
    for _ in range(100):
        limiter.brake()
    outwards = run(limiter, lambda _: 3.0, 600)
    assert max(row[0] for row in outwards) <= ONE.upper[0]


def test_without_a_jerk_limit_commands_are_the_limited_set_points_themselves() -> None:
    plain = Limits(ONE.lower, ONE.upper, ONE.velocity, ONE.acceleration, 1)
    limiter = WindowLimiter(plain, PERIOD_NS)
    limiter.start(np.array([0.0]))
    assert limiter.ahead_ns == 0
    assert run(limiter, lambda _: 5e-5, 1) == [5e-5]


def test_the_window_is_as_long_as_the_jerk_limit_asks_for_and_no_longer() -> None:
    ticks = {
        (name, period_ms): PROFILES[name].limits.smoothing_ticks(period_ms * 1e-3)
        for name in ("panda", "xarm7", "ur5e")
        for period_ms in (1, 4)
    }
    assert ticks[("panda", 1)] == 4
    assert ticks[("panda", 4)] == 1, "from full acceleration to full deceleration within 4 ms is allowed"
    assert ticks[("xarm7", 4)] == 20
    assert ticks[("ur5e", 4)] == 1, "no jerk limit is published"


def test_without_ruckig_the_error_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *arguments: object) -> object:
        if name == "ruckig":
            raise ImportError(name)
        return found(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"control\.smoothing: ruckig needs 'ruckig': pip install"):
        make_limiter("ruckig", ONE, PERIOD_NS)
    assert make_limiter("limiter", ONE, PERIOD_NS).at_rest
