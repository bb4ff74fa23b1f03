from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dualsys.fast.chunking.groot_ramp import ramp_strengths
from dualsys.fast.chunking.masks import MaskShape, guidance_schedule, soft_mask
from dualsys.fast.policies import euler
from dualsys.fast.policies.euler import Places

from .double import exactly_guided, swirl

Array = NDArray[np.float64]
CHUNK = (8, 4)
CHUNKS = arrays(np.float64, CHUNK, elements=st.floats(-2.0, 2.0))


def single(x: NDArray[np.float32], tau: NDArray[np.float32]) -> NDArray[np.float32]:
    return swirl(x, tau).astype(np.float32)


@pytest.fixture
def noise() -> Array:
    return np.random.default_rng(3).standard_normal(CHUNK)


@pytest.fixture
def previous() -> Array:
    return np.random.default_rng(4).uniform(-1.0, 1.0, CHUNK)


def test_plain_steps_integrate_a_constant_velocity_exactly(noise: Array) -> None:
    drift = np.random.default_rng(5).standard_normal(CHUNK)
    np.testing.assert_allclose(euler.sample(lambda *_: drift, noise, 7), noise + drift)


def test_flow_time_runs_from_noise_at_zero_to_the_step_before_data(noise: Array) -> None:
    times: list[Array] = []

    def field(x: Array, tau: Array) -> Array:
        times.append(tau)
        return np.zeros_like(x)

    euler.sample(field, noise, 4)
    np.testing.assert_array_equal(times, np.repeat([[0.0], [0.25], [0.5], [0.75]], 8, axis=1))


@given(CHUNKS, CHUNKS, st.integers(1, 10))
def test_zero_weights_give_the_plain_sample_to_the_bit(noise: Array, previous: Array, steps: int) -> None:
    plain = euler.sample(swirl, noise, steps)
    schedule = guidance_schedule(5.0, steps)
    nothing, everything = np.zeros(8), np.ones(8)
    assert (euler.guided(swirl, noise, previous, nothing, schedule) == plain).all()
    assert (euler.replaced(swirl, noise, previous, 0, steps) == plain).all()
    assert (euler.prefixed(swirl, noise, previous, nothing, steps) == plain).all()
    assert (euler.ramped(swirl, noise, previous, 0, everything, steps) == plain).all()


def test_the_constant_velocity_loop_is_the_formula_with_the_identity_for_the_jacobian(
    noise: Array, previous: Array
) -> None:
    weights = soft_mask(2, 6, 8).astype(np.float64)
    schedule = guidance_schedule(5.0, 5)
    x = noise.copy()
    for step, strength in enumerate([5.0, 4.25, 13 / 6, 13 / 6, 4.25]):
        tau = step / 5
        velocity = swirl(x, np.full(8, tau))
        for row in range(8):
            clean = x[row] + (1 - tau) * velocity[row]
            velocity[row] += strength * weights[row] * (previous[row] - clean)
        x = x + velocity / 5
    np.testing.assert_allclose(euler.guided(swirl, noise, previous, weights, schedule), x, rtol=1e-6)


def test_the_constant_velocity_variant_differs_measurably_from_the_exact_jacobian(
    noise: Array, previous: Array
) -> None:
    weights = soft_mask(2, 6, 8).astype(np.float64)
    schedule = guidance_schedule(5.0, 5)
    constant = euler.guided(swirl, noise, previous, weights, schedule)
    exact = exactly_guided(noise, previous, weights, schedule)
    assert np.abs(constant - exact).max() > 0.05


def test_a_path_is_pulled_as_places_are_and_what_is_no_travel_as_it_is(noise: Array, previous: Array) -> None:
    weights, schedule = soft_mask(2, 6, 8).astype(np.float64), guidance_schedule(5.0, 5)

    def places(chunk: Array) -> Array:
        return np.column_stack([chunk[:, :3].cumsum(axis=0), chunk[:, 3]])

    def travel(path: Array) -> Array:
        return np.column_stack([np.diff(path[:, :3], axis=0, prepend=0.0), path[:, 3]])

    def field(path: Array, tau: Array) -> Array:
        return places(swirl(travel(path), tau))

    wanted = travel(euler.guided(field, places(noise), places(previous), weights, schedule))
    found = euler.guided(swirl, noise, previous, weights, schedule, Places(3, weights, 8))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    assert np.abs(found - euler.guided(swirl, noise, previous, weights, schedule)).max() > 0.05


def test_behind_a_frozen_beginning_a_pulled_path_leads_where_it_led_and_pulled_actions_do_not() -> None:
    aim, previous = np.zeros((8, 4)), np.zeros((8, 4))
    aim[:, 0], previous[:, 0] = 0.5, 1.0
    weights = (np.arange(8) < 3).astype(np.float64)
    one_step = np.ones(1, dtype=np.float32)
    led = euler.guided(lambda x, _: aim - x, aim, previous, weights, one_step, Places(3, weights, 8))
    np.testing.assert_allclose(led[:3], previous[:3])
    assert led[:, 0].sum() == pytest.approx(aim[:, 0].sum())
    drifting = euler.guided(lambda x, _: aim - x, aim, previous, weights, one_step)
    assert drifting[:, 0].sum() == pytest.approx(aim[:, 0].sum() + 3 * 0.5)


def test_behind_what_is_planned_a_path_goes_on_as_the_chunk_does(noise: Array) -> None:
    aim, previous = np.zeros((8, 4)), noise.copy()
    previous[:3] = [0.5, 0.0, 0.0, 0.0]
    frozen, places = soft_mask(3, 3, 8).astype(np.float64), soft_mask(3, 7, 8, "linear").astype(np.float64)
    one_step = np.ones(1, dtype=np.float32)
    led = euler.guided(lambda x, _: aim - x, aim, previous, frozen, one_step, Places(3, places, 3))
    np.testing.assert_allclose(led[:3], previous[:3])
    np.testing.assert_allclose(led[3:, 0], np.full(5, -1.5 / 5), atol=1e-6)
    np.testing.assert_allclose(led[3:, 1:], 0.0, atol=1e-6)


def test_under_a_linear_mask_every_action_makes_good_an_equal_part_and_under_exp_the_first_most() -> None:
    aim, previous = np.zeros((8, 4)), np.zeros((8, 4))
    previous[:3, 0] = 0.5
    one_step = np.ones(1, dtype=np.float32)

    def behind(shape: MaskShape) -> Array:
        weights = soft_mask(3, 7, 8, shape).astype(np.float64)
        led = euler.guided(lambda x, _: aim - x, aim, previous, weights, one_step, Places(3, weights, 8))
        np.testing.assert_allclose(led[:3], previous[:3])
        return -led[3:, 0]

    np.testing.assert_allclose(behind("linear"), np.full(5, 1.5 / 5), atol=1e-6)
    exp = behind("exp")
    assert exp.sum() == pytest.approx(1.5)
    assert exp[0] == exp.max() > 0.4


def test_the_two_variants_agree_where_the_velocity_is_constant(noise: Array, previous: Array) -> None:
    weights, schedule = soft_mask(2, 6, 8).astype(np.float64), guidance_schedule(2.0, 5)
    constant = euler.guided(lambda x, _: np.ones_like(x), noise, previous, weights, schedule)
    exact = exactly_guided(noise, previous, weights, schedule, lambda x, _: np.ones_like(x))
    np.testing.assert_allclose(constant, exact, rtol=1e-6)


def test_what_stands_under_weight_zero_cannot_matter(noise: Array, previous: Array) -> None:
    weights = soft_mask(2, 5, 8).astype(np.float64)
    padded = previous.copy()
    padded[5:] = 1e6
    schedule = guidance_schedule(5.0, 5)
    one = euler.guided(swirl, noise, previous, weights, schedule)
    assert (euler.guided(swirl, noise, padded, weights, schedule) == one).all()


@given(CHUNKS, CHUNKS, st.integers(0, 8), st.integers(1, 6))
def test_replaced_actions_come_out_as_they_went_in(
    noise: Array, previous: Array, count: int, steps: int
) -> None:
    chunk = euler.replaced(swirl, noise, previous, count, steps)
    assert (chunk[:count] == previous[:count]).all()


def test_replaced_actions_are_on_the_path_to_their_targets_at_every_step(
    noise: Array, previous: Array
) -> None:
    seen: list[Array] = []

    def field(x: Array, tau: Array) -> Array:
        seen.append(x.copy())
        return swirl(x, tau)

    euler.replaced(field, noise, previous, 3, 4)
    for step, x in enumerate(seen):
        tau = step / 4
        np.testing.assert_allclose(x[:3], tau * previous[:3] + (1 - tau) * noise[:3])


@given(CHUNKS, CHUNKS, st.integers(0, 8), st.integers(1, 6))
def test_a_prefix_comes_out_equal_to_the_bit(noise: Array, previous: Array, count: int, steps: int) -> None:
    given_ = (np.arange(8) < count).astype(np.float64)
    chunk = euler.prefixed(swirl, noise, previous, given_, steps)
    assert (chunk[:count] == previous[:count]).all()


def test_the_network_sees_the_prefix_clean_at_flow_time_one(noise: Array, previous: Array) -> None:
    def field(x: Array, tau: Array) -> Array:
        assert (x[:3] == previous[:3]).all()
        assert (tau[:3] == 1.0).all()
        assert (tau[3:] < 1.0).all()
        return swirl(x, tau)

    euler.prefixed(field, noise, previous, np.array([1.0, 1, 1, 0, 0, 0, 0, 0]), 4)


def test_ramped_actions_start_from_the_planned_ones_and_frozen_ones_stay(
    noise: Array, previous: Array
) -> None:
    strengths = ramp_strengths(2, 6, 8, 6.0).astype(np.float64)
    chunk = euler.ramped(swirl, noise, previous, 6, strengths, 4)
    x = np.concatenate([previous[:6], noise[6:]])
    for step in range(4):
        velocity = swirl(x, np.full(8, step / 4))
        x = x + np.array([0, 0, 0.700542, 0.911542, 0.975093, 0.994235, 1, 1])[:, None] * velocity / 4
    np.testing.assert_allclose(chunk, x, atol=1e-5)
    assert (chunk[:2] == previous[:2]).all()


def test_single_precision_stays_single_and_agrees_with_double(noise: Array, previous: Array) -> None:
    weights, schedule = soft_mask(2, 6, 8), guidance_schedule(5.0, 5)
    strengths = ramp_strengths(2, 6, 8, 6.0)
    given_ = (np.arange(8) < 2).astype(np.float32)
    short, wide = (noise.astype(np.float32), previous.astype(np.float32)), (noise, previous)
    for loop, arguments in (
        (euler.guided, (weights, schedule)),
        (euler.replaced, (2, 5)),
        (euler.prefixed, (given_, 5)),
        (euler.ramped, (6, strengths, 5)),
    ):
        single_chunk = loop(single, *short, *arguments)  # type: ignore[operator]
        assert single_chunk.dtype == np.float32
        np.testing.assert_allclose(single_chunk, loop(swirl, *wide, *arguments), atol=2e-5)  # type: ignore[operator]
