"""Small motions stay small and slow, and what readings tell of them is found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dualsys.robots.contract import RobotSpec
from dualsys.robots.kit.motion import (
    SPEED_FRACTION,
    Trace,
    duration_s,
    excursion,
    explain_departure,
    one_way,
    out_and_back,
    response,
    scale_fault,
)
from dualsys.robots.profiles import PROFILES
from dualsys.robots.scripted import SCRIPTED_SPEC

RATE_HZ = 250.0
specs = st.sampled_from(
    [RobotSpec(one.name, one.axes, one.limits, one.rate_hz) for one in PROFILES.values()] + [SCRIPTED_SPEC]
)


@settings(max_examples=20)
@given(specs, st.data())
def test_a_motion_keeps_to_the_limits_wherever_it_begins(spec: RobotSpec, data: st.DataObject) -> None:
    part = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(spec.axes), max_size=len(spec.axes))))
    here = spec.limits.lower + part * (spec.limits.upper - spec.limits.lower)
    way = excursion(spec, here, 0.02, 0.004)
    assert (np.abs(way) <= 0.02).all()
    assert (way != 0).all()
    assert (spec.limits.clip(here + way) == here + way).all()
    lasts_s = duration_s(spec, way, 0.1)
    t_s = np.linspace(0, lasts_s, 201)
    path = np.array([out_and_back(t / lasts_s) for t in t_s])[:, None] * way
    speed = np.gradient(path, t_s, axis=0)
    assert (np.abs(speed) <= 1.02 * SPEED_FRACTION * spec.limits.velocity).all()
    acceleration = np.gradient(speed, t_s, axis=0)
    assert (np.abs(acceleration) <= 1.05 * SPEED_FRACTION * spec.limits.acceleration).all()


@given(st.floats(0, 1))
def test_ways_begin_and_end_at_rest_and_never_leave_their_range(phase: float) -> None:
    for way in (one_way, out_and_back):
        assert 0.0 <= way(phase) <= 1.0
    assert (one_way(-1.0), one_way(0.0), one_way(1.0), one_way(2.0)) == (0.0, 0.0, 1.0, 1.0)
    assert (out_and_back(0.0), out_and_back(1.0), out_and_back(0.5)) == (0.0, 0.0, 1.0)


def trace_of(way: float, gain: float, lag_s: float, noise: float = 0.0) -> Trace:
    t_s = np.arange(0, 1.0, 1 / RATE_HZ)
    rng = np.random.default_rng(1)
    shape = np.array([out_and_back(t / 0.6) for t in t_s])
    late = gain * way * np.array([out_and_back((t - lag_s) / 0.6) for t in t_s])
    command, position = np.zeros((len(t_s), 2)), rng.normal(0, noise, (len(t_s), 2))
    command[:, 0] = way * shape
    position[:, 0] += 0.3 + late
    velocity = np.zeros_like(position)
    velocity[:, 0] = np.gradient(late, t_s)
    return Trace(t_s + 5.0, command, position, velocity)


@settings(max_examples=15)
@given(
    st.sampled_from([0.02, -0.02]),
    st.floats(0.05, 100) | st.floats(-100, -0.05),
    st.floats(0, 0.4),
    st.floats(0, 5e-4),
)
def test_gain_lag_and_velocity_are_found_again(way: float, gain: float, lag_s: float, noise: float) -> None:
    assume(noise < 0.02 * abs(gain * way))
    found = response(trace_of(way, gain, lag_s, noise), 0, np.array([way, 0.02]))
    assert found.gain[0] == pytest.approx(gain, rel=0.1)
    assert abs(found.gain[1]) < 0.1
    assert found.lag_s == pytest.approx(lag_s, abs=0.02)
    assert found.velocity_gain == pytest.approx(1.0, abs=0.15)


def test_a_motion_that_was_cut_at_once_tells_nothing() -> None:
    whole = trace_of(0.02, 1.0, 0.0)
    short = Trace(whole.t_s[:2], whole.command[:2], whole.position[:2], whole.velocity[:2])
    found = response(short, 0, np.array([0.02, 0.02]))
    assert found.gain.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("gain", "cut_short", "told"),
    [
        (1.0, False, ""),
        (0.6, False, ""),
        (1.0, True, "was about to go on"),
        (0.0, False, "did not move"),
        (-1.0, False, "backwards"),
        (57.3, True, "arrive in degrees"),
        (0.01745, False, "taken for degrees"),
        (-57.3, True, "backwards, 57 times"),
        (10.0, False, "10 times as far"),
        (10.0, True, "10 times as far and was about to go on"),
        (1000.0, True, "millimetres"),
        (0.3, False, "0.3 times as far"),
    ],
)
def test_a_gain_is_told_in_words(gain: float, cut_short: bool, told: str) -> None:
    fault = scale_fault(gain, cut_short)
    assert (told in fault) if told else not fault


@pytest.mark.parametrize(
    ("went", "told"),
    [
        ((0.5, -0.8, 0.0), "set-points arrive in degrees"),
        ((-0.2, 0.4, 0.0), "set-points are taken for degrees"),
        ((-0.8, 1.4, 0.0), "signs are turned round"),
        ((-0.5, 0.5, 0.0), "another order"),
        ((0.0, 0.5, 0.0), ""),
    ],
)
def test_where_an_arm_goes_tells_what_may_be_wrong(went: tuple[float, ...], told: str) -> None:
    here, tolerance = np.array([0.4, -0.7, 0.02]), np.array([0.06, 0.06, 0.012])
    said = explain_departure(here, np.array(went), tolerance, 2)
    assert (told in said) if told else said == ""
