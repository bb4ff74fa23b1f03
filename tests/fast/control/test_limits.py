"""Limits: whatever comes in, what goes out is something that the arm can do."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dualsys.errors import SpecError
from dualsys.fast.control.limits import (
    CATCH_UP_S,
    ROUNDING,
    AxisLimits,
    Limits,
    Step,
    step_of,
    stopping_speed,
)
from dualsys.robots.profiles import PANDA_LIMITS

DT_S = 0.004
AXES = PANDA_LIMITS.axes
MIDDLE = (PANDA_LIMITS.lower + PANDA_LIMITS.upper) / 2
REST = np.zeros(AXES)

finite = st.one_of(
    st.floats(-4.0, 4.0),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from((0.0, -0.0, 1e308, -1e308, 5e-324)),
)
vectors = st.lists(finite, min_size=AXES, max_size=AXES).map(lambda row: np.array(row, dtype=np.float64))
fractions = st.lists(st.floats(0.0, 1.0), min_size=AXES, max_size=AXES).map(np.array)


def limit_step(limits: Limits, *rows_and_tick: Any) -> Step:
    """`AxisLimits.follow` on arrays, with the tick last."""
    *rows, dt_s = rows_and_tick
    return step_of(AxisLimits(limits, dt_s).follow(*(row.tolist() for row in rows)))


def brake_step(
    limits: Limits, command: NDArray[np.float64], velocity: NDArray[np.float64], dt_s: float
) -> Step:
    """`AxisLimits.brake` on arrays."""
    return step_of(AxisLimits(limits, dt_s).brake(command.tolist(), velocity.tolist()))


def obeys(limits: Limits, commands: NDArray[np.float64], dt_s: float = DT_S) -> None:
    """Assert that rows [N, A] of commands, the first at rest, keep every limit."""
    speeds = np.diff(commands, axis=0, prepend=commands[:1]) / dt_s
    changes = np.diff(speeds, axis=0, prepend=0 * speeds[:1]) / dt_s
    assert (commands >= limits.lower).all()
    assert (commands <= limits.upper).all()
    assert (np.abs(speeds) <= limits.velocity * (1 + 1e-9) + 1e-9).all()
    assert (np.abs(changes) <= limits.acceleration * (1 + 1e-6) + 1e-6).all()


def follow(
    limits: Limits,
    start: NDArray[np.float64],
    stream: list[tuple[NDArray[np.float64], ...]],
    repeat: int,
    dt_s: float = DT_S,
) -> NDArray[np.float64]:
    """Commands [N, A] that follow a stream of (target, target velocity), each shown `repeat` ticks."""
    command, velocity = start, 0 * start
    rows = [start]
    for target, pace in stream:
        for _ in range(repeat):
            command, velocity, *_ = limit_step(limits, target, pace, command, velocity, dt_s)
            rows.append(command)
    return np.array(rows)


@pytest.mark.fault_row(22)
@settings(max_examples=25)
@given(
    fractions, st.lists(st.tuples(vectors, vectors), min_size=1, max_size=12), st.sampled_from((1, 2, 7, 60))
)
def test_whatever_finite_numbers_come_in_the_commands_obey_position_velocity_and_acceleration(
    start: NDArray[np.float64], stream: list[tuple[NDArray[np.float64], ...]], repeat: int
) -> None:
    first = PANDA_LIMITS.lower + start * (PANDA_LIMITS.upper - PANDA_LIMITS.lower)
    obeys(PANDA_LIMITS, follow(PANDA_LIMITS, PANDA_LIMITS.clip(first), stream, repeat))


@pytest.mark.fault_row(22)
@settings(max_examples=25)
@given(
    st.floats(0.01, 50.0), st.floats(0.01, 200.0), st.sampled_from((0.001, 0.002, 0.004, 0.05)),
    st.lists(st.tuples(st.floats(-3.0, 3.0), st.floats(-60.0, 60.0), st.integers(1, 40)), min_size=1),
)  # fmt: skip
def test_the_rule_holds_for_any_limits_and_any_tick(
    speed: float, acceleration: float, dt_s: float, stream: list[tuple[float, float, int]]
) -> None:
    limits = Limits(np.array([-1.0]), np.array([1.0]), np.array([speed]), np.array([acceleration]), 1)
    rows = [(np.array([target]), np.array([pace])) for target, pace, repeat in stream for _ in range(repeat)]
    obeys(limits, follow(limits, np.zeros(1), rows, 1, dt_s), dt_s)


@pytest.mark.fault_row(3, 22)
@settings(max_examples=25)
@given(st.lists(st.tuples(vectors, vectors), min_size=1, max_size=8), st.integers(1, 80))
def test_braking_from_anywhere_stays_within_the_limits_and_comes_to_rest(
    stream: list[tuple[NDArray[np.float64], ...]], repeat: int
) -> None:
    rows = follow(PANDA_LIMITS, MIDDLE, stream, repeat)
    command, velocity = rows[-1], (rows[-1] - rows[-2]) / DT_S
    braking = [command]
    for _ in range(int((PANDA_LIMITS.velocity / PANDA_LIMITS.acceleration).max() / DT_S) + 2):
        command, velocity, *_ = brake_step(PANDA_LIMITS, command, velocity, DT_S)
        braking.append(command)
    obeys(PANDA_LIMITS, np.concatenate([rows, braking[1:]]))
    assert (velocity == 0).all()
    assert (braking[-1] == braking[-2]).all()


def on_arrays(
    limits: Limits,
    target: NDArray[np.float64],
    pace: NDArray[np.float64],
    command: NDArray[np.float64],
    velocity: NDArray[np.float64],
) -> Step:
    """The formulas of `AxisLimits.follow` on whole arrays."""
    pace = np.minimum(np.maximum(pace, -limits.velocity), limits.velocity)
    change = limits.acceleration * DT_S
    inside = limits.clip(target)
    error = inside - pace * DT_S - command
    chase = stopping_speed(np.abs(error), limits.acceleration, DT_S)
    chase = np.minimum(chase, np.maximum(np.abs(error) / CATCH_UP_S, 0.5 * change))
    wanted = pace + np.copysign(chase, error)
    low, high = (
        np.maximum(velocity - change, -limits.velocity),
        np.minimum(velocity + change, limits.velocity),
    )
    speed = np.minimum(np.maximum(wanted, low), high)
    fall = stopping_speed(command - limits.lower, limits.braking, DT_S)
    rise = stopping_speed(limits.upper - command, limits.braking, DT_S)
    speed = np.minimum(np.maximum(speed, -fall), rise)
    position = limits.clip(command + speed * DT_S)
    slack, clamped = 1.0 + ROUNDING, bool((speed != wanted).any())
    too_fast = clamped and bool((np.abs(wanted) > slack * limits.velocity).any())
    too_sudden = clamped and bool((np.abs(wanted - velocity) > slack * change).any())
    outside = bool((inside != target).any())
    return Step(position, (position - command) / DT_S, outside, too_fast, too_sudden)


zeros_and_bounds = st.sampled_from((0.0, -0.0, "lower", "upper"))


@settings(max_examples=50)
@given(
    vectors,
    vectors,
    fractions,
    st.lists(st.floats(-1.0, 1.0), min_size=AXES, max_size=AXES).map(np.array),
    st.lists(st.tuples(st.integers(0, AXES - 1), zeros_and_bounds), max_size=4),
)
def test_axis_by_axis_the_commands_are_those_of_the_formulas_on_arrays_to_the_last_bit(
    target: NDArray[np.float64],
    pace: NDArray[np.float64],
    fraction: NDArray[np.float64],
    speed: NDArray[np.float64],
    special: list[tuple[int, float | str]],
) -> None:
    limits = PANDA_LIMITS
    command = limits.lower + fraction * (limits.upper - limits.lower)
    for axis, place in special:
        command[axis] = getattr(limits, place)[axis] if isinstance(place, str) else place
    velocity = speed * limits.velocity
    made = limit_step(limits, target, pace, limits.clip(command), velocity, DT_S)
    expected = on_arrays(limits, target, pace, limits.clip(command), velocity)
    assert made.position.tobytes() == expected.position.tobytes()
    assert made.velocity.tobytes() == expected.velocity.tobytes()
    assert made[2:] == expected[2:]


@settings(max_examples=50)
@given(
    st.lists(st.floats(0.0, 8.0), min_size=AXES, max_size=AXES).map(np.array),
    st.lists(st.floats(-3.0, 3.0), min_size=AXES, max_size=AXES).map(np.array),
    st.lists(st.floats(-1.0, 1.0), min_size=AXES, max_size=AXES).map(np.array),
    st.booleans(),
)
def test_where_roots_are_left_out_the_commands_are_those_of_the_formulas_to_the_last_bit(
    stops: NDArray[np.float64], parts: NDArray[np.float64], speed: NDArray[np.float64], up: bool
) -> None:
    """About where a limit gets near, in stopping distances, and about what is made up for within a tick."""
    limits = PANDA_LIMITS
    velocity = speed * limits.velocity
    room = stops * limits.velocity * (limits.velocity / limits.braking + DT_S) / 4
    command = limits.clip(limits.upper - room if up else limits.lower + room)
    target = command + velocity * DT_S + parts * 0.5 * limits.acceleration * DT_S**2
    made = limit_step(limits, target, velocity, command, velocity, DT_S)
    expected = on_arrays(limits, target, velocity, command, velocity)
    assert made.position.tobytes() == expected.position.tobytes()
    assert made.velocity.tobytes() == expected.velocity.tobytes()
    assert made[2:] == expected[2:]


def test_what_is_not_a_number_is_never_made_one() -> None:
    wrong = np.full(AXES, np.nan)
    for given_row in range(3):
        rows = [MIDDLE, REST, MIDDLE, REST]
        rows[given_row] = wrong
        assert np.isnan(limit_step(PANDA_LIMITS, *rows, DT_S).position).all()
    assert np.isnan(brake_step(PANDA_LIMITS, wrong, REST, DT_S).position).all()
    assert np.isnan(brake_step(PANDA_LIMITS, MIDDLE, wrong, DT_S).position).all()


@given(st.floats(0.0, 10.0), st.floats(0.05, 100.0), st.sampled_from((0.001, 0.004, 0.02)))
def test_the_stopping_speed_uses_up_the_gap_and_no_more(gap: float, deceleration: float, dt_s: float) -> None:
    speed = float(stopping_speed(np.array([gap]), np.array([deceleration]), dt_s)[0])
    travelled = 0.0
    while speed > 0:
        travelled += speed * dt_s
        speed -= deceleration * dt_s
    assert travelled == pytest.approx(gap, rel=1e-6, abs=1e-9)


def test_a_target_that_moves_within_the_limits_is_followed_exactly_and_nothing_is_clamped() -> None:
    times = np.arange(500) * DT_S
    wave = MIDDLE + 0.02 * (1 - np.cos(3 * times))[:, None] * np.array([1.0] * 7 + [0.5])
    command, velocity = wave[0], REST
    for before, after in itertools.pairwise(wave):
        step = limit_step(PANDA_LIMITS, after, (after - before) / DT_S, command, velocity, DT_S)
        command, velocity = step.position, step.velocity
        assert step[2:] == (False, False, False)
        np.testing.assert_allclose(command, after, atol=1e-12)


def test_a_far_target_is_reached_without_swinging_past_it() -> None:
    target = MIDDLE + np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 0.03])
    rows = follow(PANDA_LIMITS, MIDDLE, [(target, REST)], 1200)
    np.testing.assert_allclose(rows[-1], target, atol=1e-9)
    towards = np.sign(target - MIDDLE)
    assert ((rows - target) * towards <= 1e-9).all()


@pytest.mark.fault_row(22)
def test_each_kind_of_clamp_is_reported() -> None:
    near, far = MIDDLE + 1e-6, MIDDLE + 0.5 * (PANDA_LIMITS.upper - MIDDLE)
    calm = limit_step(PANDA_LIMITS, near, REST, MIDDLE, REST, DT_S)
    assert (calm.clamped_position, calm.clamped_velocity, calm.clamped_acceleration) == (False, False, False)
    outside = limit_step(PANDA_LIMITS, PANDA_LIMITS.upper + 1, REST, PANDA_LIMITS.upper, REST, DT_S)
    assert (outside.clamped_position, outside.clamped_velocity) == (True, False)
    fast = limit_step(PANDA_LIMITS, far, PANDA_LIMITS.velocity, MIDDLE, PANDA_LIMITS.velocity, DT_S)
    assert fast.clamped_velocity
    sudden = limit_step(PANDA_LIMITS, MIDDLE, PANDA_LIMITS.velocity / 2, MIDDLE, REST, DT_S)
    assert sudden.clamped_acceleration


def test_a_fraction_scales_speeds_and_accelerations_but_not_ranges() -> None:
    half = PANDA_LIMITS.scaled(0.5, 0.25)
    np.testing.assert_array_equal(half.velocity, PANDA_LIMITS.velocity / 2)
    np.testing.assert_array_equal(half.acceleration, PANDA_LIMITS.acceleration / 4)
    np.testing.assert_array_equal(half.upper, PANDA_LIMITS.upper)
    for wrong in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(SpecError, match="speed_fraction"):
            PANDA_LIMITS.scaled(wrong, 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lower", [2.0]),
        ("velocity", [0.0]),
        ("acceleration", [-1.0]),
        ("upper", [np.nan]),
        ("velocity", [1.0, 1.0]),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(name: str, value: list[float]) -> None:
    fields = {"lower": [-1.0], "upper": [1.0], "velocity": [1.0], "acceleration": [1.0]} | {name: value}
    with pytest.raises(SpecError, match=f"limits.{name}"):
        Limits(**{key: np.array(row) for key, row in fields.items()}, joints=1)
