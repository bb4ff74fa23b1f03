from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.errors import ConfigError
from dualsys.fast.chunking.masks import MASK_SHAPES, guidance_schedule, guidance_weight, soft_mask


@pytest.mark.parametrize(
    ("shape", "horizon", "frozen", "executed", "expected"),
    [
        ("exp", 10, 2, 4, [1, 1, 0.570589, 0.287072, 0.114492, 0.025770, 0, 0, 0, 0]),
        ("linear", 10, 2, 4, [1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0]),
        ("exp", 8, 1, 1, [1, 0.676632, 0.433459, 0.256334, 0.133455, 0.054991, 0.012767, 0]),
        ("exp", 8, 3, 3, [1, 1, 1, 0.367706, 0.076746, 0, 0, 0]),
        ("ones", 8, 3, 3, [1, 1, 1, 1, 1, 0, 0, 0]),
        ("zeros", 8, 3, 3, [1, 1, 1, 0, 0, 0, 0, 0]),
    ],
)
def test_the_mask_has_the_values_of_the_paper(
    shape: str, horizon: int, frozen: int, executed: int, expected: list[float]
) -> None:
    weights = soft_mask(frozen, horizon - executed, horizon, shape)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, expected, atol=1e-6)


@given(st.sampled_from(MASK_SHAPES), st.integers(0, 20), st.integers(0, 20), st.integers(1, 16))
def test_the_mask_falls_from_one_to_zero_and_ends_with_the_overlap(
    shape: str, frozen: int, overlap: int, horizon: int
) -> None:
    weights = soft_mask(frozen, overlap, horizon, shape)
    assert weights.shape == (horizon,)
    assert (weights[: min(frozen, overlap)] == 1).all()
    assert (weights[min(overlap, horizon) :] == 0).all()
    assert (np.diff(weights) <= 0).all()


@pytest.mark.parametrize(
    ("shape", "ours", "kept_slope"),
    [
        ("linear", [1, 1, 0.857143, 0.714286, 0.571429, 0.428571, 0.285714, 0.142857],
         [1, 1, 0.909091, 0.818182, 0.727273, 0.636364, 0.545455, 0.454545]),
        ("exp", [1, 1, 0.676632, 0.433459, 0.256334, 0.133455, 0.054991, 0.012767],
         [1, 1, 0.784116, 0.603001, 0.452642, 0.329461, 0.230270, 0.152228]),
    ],
)  # fmt: skip
def test_an_overlap_longer_than_the_chunk_falls_to_its_end_and_keeps_no_slope_beyond_it(
    shape: str, ours: list[float], kept_slope: list[float]
) -> None:
    # The code of the paper's simulations lets the mask fall along the overlap that it is told, even where
    # that ends behind the chunk; here an overlap has at most as many actions as there are.
    frozen, overlap, horizon = 2, 12, 8
    unclipped = soft_mask(frozen, overlap, overlap, shape)[:horizon]
    np.testing.assert_allclose(unclipped, kept_slope, atol=1e-6)
    found = soft_mask(frozen, overlap, horizon, shape)
    np.testing.assert_allclose(found, ours, atol=1e-6)
    np.testing.assert_array_equal(found, soft_mask(frozen, horizon, horizon, shape))
    # They agree where the old actions are frozen, and part from there to the edge.
    assert (found[:frozen] == unclipped[:frozen]).all()
    assert (unclipped[frozen:] - found[frozen:] > 0.05).all()
    assert unclipped[-1] - found[-1] > 0.13


def test_an_unknown_mask_shape_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'cosine' is not one of exp, linear, ones, zeros"):
        soft_mask(1, 4, 8, "cosine")


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="frozen -5"):
        soft_mask(-5, 4, 8)


@pytest.mark.parametrize(
    ("steps", "beta", "expected"),
    [
        (5, 5.0, [5, 4.25, 2.1667, 2.1667, 4.25]),
        (10, 10.0, [10, 9.1111, 4.25, 2.7619, 2.1667, 2.0, 2.1667, 2.7619, 4.25, 9.1111]),
    ],
)
def test_the_guidance_weight_has_the_values_of_the_paper(
    steps: int, beta: float, expected: list[float]
) -> None:
    weights = [guidance_weight(step / steps, beta) for step in range(steps)]
    np.testing.assert_allclose(weights, expected, atol=5e-5)


def test_the_guidance_weight_equals_its_definition_through_r_squared() -> None:
    for tau in (0.1, 0.35, 0.5, 0.9):
        r_squared = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        assert guidance_weight(tau, 1e9) == pytest.approx((1 - tau) / (tau * r_squared))


def test_both_ends_of_flow_time_weigh_beta() -> None:
    assert guidance_weight(0.0, 5.0) == guidance_weight(1.0, 5.0) == 5.0


@pytest.mark.parametrize(("tau", "beta"), [(-0.1, 5.0), (1.1, 5.0), (0.5, -1.0), (float("nan"), 5.0)])
def test_a_guidance_weight_outside_its_domain_is_refused(tau: float, beta: float) -> None:
    with pytest.raises(ValueError, match="expected 0 <= tau <= 1"):
        guidance_weight(tau, beta)


def test_a_smaller_spread_of_the_data_raises_the_guidance_weight_to_its_cap() -> None:
    uncapped = [guidance_weight(step / 10, 1e9, 0.2) for step in range(1, 10)]
    expected = [225.1, 100.25, 58.8, 38.2, 26.0, 18.2, 13.0, 10.25, 11.8]
    np.testing.assert_allclose(uncapped, expected, atol=0.06)
    assert (guidance_schedule(10.0, 10, 0.2) == 10.0).all()


@pytest.mark.parametrize(
    ("steps", "beta", "expected"),
    [
        (5, 5.0, [5, 4.25, 2.1667, 2.1667, 4.25]),
        (5, 4.25, [4.25, 4.25, 2.1667, 2.1667, 4.25]),
        (5, 2.0, [2, 2, 2, 2, 2]),
        (10, 10.0, [10, 9.1111, 4.25, 2.7619, 2.1667, 2.0, 2.1667, 2.7619, 4.25, 9.1111]),
    ],
)
def test_the_schedule_has_the_values_of_the_paper_at_every_euler_step(
    steps: int, beta: float, expected: list[float]
) -> None:
    schedule = guidance_schedule(beta, steps)
    assert schedule.dtype == np.float32
    np.testing.assert_allclose(schedule, expected, atol=5e-5)


@given(st.floats(0.0, 50.0), st.integers(1, 12), st.floats(0.05, 2.0))
def test_a_schedule_starts_with_its_cap_and_never_exceeds_it(beta: float, steps: int, sigma_d: float) -> None:
    schedule = guidance_schedule(beta, steps, sigma_d)
    assert schedule[0] == np.float32(beta)
    assert (schedule <= np.float32(beta)).all()


def test_a_spread_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="sigma_d > 0"):
        guidance_weight(0.5, 5.0, 0.0)


def test_the_end_of_the_soft_mask_is_what_is_left_of_the_horizon_and_not_the_execution_horizon() -> None:
    # A common slip takes s itself for the end of the overlap: with H 16 and s 4 that would end at 4.
    weights = soft_mask(2, 16 - 4, 16)
    assert weights[11] > 0.0
    assert (weights[12:] == 0.0).all()


def test_a_ramp_beyond_the_chunk_ends_with_the_chunk() -> None:
    np.testing.assert_array_equal(soft_mask(2, 30, 8, "linear"), soft_mask(2, 8, 8, "linear"))
