from __future__ import annotations

import numpy as np
import pytest

from dualsys.fast.chunking.masks import guidance_schedule, soft_mask
from dualsys.fast.chunking.requests import (
    Candidates,
    Guidance,
    Led,
    Plain,
    Prefix,
    Ramp,
    Replacement,
    Request,
    RollForward,
    led_steps,
    noises_for,
)
from dualsys.fast.policies import euler
from dualsys.fast.policies.sampling import draw

from .double import HORIZON, FieldPolicy, exactly_guided

RNG = np.random.default_rng(11)
PREVIOUS = RNG.uniform(-1, 1, (HORIZON, 4)).astype(np.float32)
WEIGHTS = soft_mask(2, 10, HORIZON)
LED = Led(WEIGHTS, 10)
GIVEN = (np.arange(HORIZON) < 3).astype(np.float32)


def noise_for(request: Request) -> np.ndarray:
    return RNG.standard_normal((noises_for(request), HORIZON, 4), dtype=np.float32)


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        (Plain(), ["sample"]),
        (RollForward(2), ["sample"]),
        (Guidance(PREVIOUS, WEIGHTS, 5.0), ["guided"]),
        (Guidance(PREVIOUS, WEIGHTS, 5.0, jacobian="constant_velocity"), ["velocity"] * 5),
        (Guidance(PREVIOUS, WEIGHTS, 5.0, led=LED), ["guided", "velocity", "velocity"]),
        (Replacement(PREVIOUS, 3), ["velocity"] * 5),
        (Ramp(PREVIOUS, 3, np.ones(HORIZON, np.float32)), ["velocity"] * 5),
        (Prefix(PREVIOUS, GIVEN), ["prefix"]),
        (Candidates(3, PREVIOUS, WEIGHTS), ["sample"] * 3),
        (Candidates(3, PREVIOUS, WEIGHTS, nearest=1), ["sample"] * 3 + ["weak"] * 3),
    ],
)
def test_each_request_asks_one_kind_of_sampler_as_often_as_it_costs(
    request_: Request, asked: list[str]
) -> None:
    policy = FieldPolicy()
    chunk = draw(policy, request_, noise_for(request_), 1)
    assert policy.asked == asked
    assert (chunk.shape, chunk.dtype) == ((HORIZON, 4), np.float32)


def test_a_prefix_is_returned_equal_to_the_bit_though_the_graph_rounds() -> None:
    request = Prefix(PREVIOUS, GIVEN)
    chunk = draw(FieldPolicy(), request, noise_for(request), 1)
    assert chunk[:3].tobytes() == PREVIOUS[:3].tobytes()
    assert (chunk[3:] != PREVIOUS[3:]).all()


@pytest.mark.parametrize("sigma_d", [1.0, 0.2])
def test_exact_guidance_is_the_vector_jacobian_product_of_a_nonlinear_network(sigma_d: float) -> None:
    request = Guidance(PREVIOUS, WEIGHTS, 5.0, sigma_d)
    noise = noise_for(request)
    policy = FieldPolicy()
    expected = exactly_guided(noise[0], PREVIOUS, WEIGHTS, guidance_schedule(5.0, 5, sigma_d))
    np.testing.assert_allclose(draw(policy, request, noise, 1), expected, atol=1e-6)
    constant = Guidance(PREVIOUS, WEIGHTS, 5.0, sigma_d, "constant_velocity")
    assert np.abs(draw(policy, constant, noise, 1) - expected).max() > 0.05


def test_of_a_path_the_gripper_is_no_part() -> None:
    noise = noise_for(Plain())
    way = Guidance(PREVIOUS, WEIGHTS, 5.0, jacobian="constant_velocity", led=LED)
    field = FieldPolicy()
    expected = euler.guided(
        lambda x, tau: field.velocity(x.astype(np.float32), tau.astype(np.float32), 1),
        noise[0], PREVIOUS, WEIGHTS, guidance_schedule(5.0, 5), euler.Places(3, LED.weights, LED.planned),
    )  # fmt: skip
    np.testing.assert_allclose(draw(FieldPolicy(), way, noise, 1), expected, atol=1e-6)


def test_an_exactly_guided_chunk_is_led_along_the_path_in_the_last_half_of_its_steps() -> None:
    noise, field = noise_for(Plain()), FieldPolicy()
    chunk = draw(FieldPolicy(), Guidance(PREVIOUS, WEIGHTS, 5.0), noise, 1).astype(np.float64)
    x = 0.6 * chunk + 0.4 * noise[0]
    for tau, strength in ((0.6, 13 / 6), (0.8, 4.25)):
        times = np.full(HORIZON, tau, np.float32)
        velocity = field.velocity(x.astype(np.float32), times, 1)
        gap = PREVIOUS - (x + (1 - tau) * velocity)
        aside = WEIGHTS[:, None] * gap[:, :3].cumsum(axis=0)
        error = np.column_stack([np.diff(aside, axis=0, prepend=0.0), WEIGHTS * gap[:, 3]])
        x = x + (velocity + strength * error) / 5
    found = draw(FieldPolicy(), Guidance(PREVIOUS, WEIGHTS, 5.0, led=LED), noise, 1)
    np.testing.assert_allclose(found, x, atol=1e-5)
    assert np.abs(found - chunk).max() > 0.05


@pytest.mark.parametrize(("steps", "led"), [(1, 1), (2, 1), (5, 2), (10, 5)])
def test_of_any_number_of_steps_the_last_half_is_led_and_at_least_one(steps: int, led: int) -> None:
    assert led_steps(steps) == led


def test_without_weights_every_guided_variant_is_the_plain_sample() -> None:
    policy, nothing = FieldPolicy(), np.zeros(HORIZON, np.float32)
    noise = noise_for(Plain())
    plain = draw(policy, Plain(), noise, 1)
    for request in (
        Guidance(PREVIOUS, nothing, 5.0, jacobian="constant_velocity"),
        Replacement(PREVIOUS, 0),
        Ramp(PREVIOUS, 0, np.ones(HORIZON, np.float32)),
    ):
        assert draw(policy, request, noise, 1).tobytes() == plain.tobytes()
    exact = draw(policy, Guidance(PREVIOUS, nothing, 5.0), noise, 1)
    np.testing.assert_allclose(exact, plain, atol=1e-6)


def test_a_larger_guidance_weight_brings_the_chunk_nearer_to_the_planned_motion() -> None:
    policy, noise = FieldPolicy(), noise_for(Plain())
    weights = np.ones(HORIZON, np.float32)
    gaps = [
        np.abs(draw(policy, Guidance(PREVIOUS, weights, beta), noise, 1) - PREVIOUS).mean()
        for beta in (0.0, 1.0, 5.0)
    ]
    assert gaps[0] > gaps[1] > gaps[2]


def test_candidates_are_drawn_from_different_noise_and_the_nearest_wins() -> None:
    request = Candidates(4, PREVIOUS, WEIGHTS)
    noise, policy = noise_for(request), FieldPolicy()
    singles = [policy.sample(one, 1) for one in noise]
    losses = [(WEIGHTS * np.linalg.norm(single - PREVIOUS, axis=-1)).sum() for single in singles]
    chunk = draw(policy, request, noise, 1)
    assert chunk.tobytes() == singles[int(np.argmin(losses))].tobytes()
