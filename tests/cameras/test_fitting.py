"""From one size to another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.cameras.fitting import Fit, How, taps
from dualsys.errors import SpecError

SIDE = st.integers(1, 40)
HOW: st.SearchStrategy[How] = st.sampled_from(["crop", "pad", "stretch"])


def test_an_image_of_the_wanted_size_is_handed_on_as_it_is() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    fit = Fit(3, 2, 3, 2, None)
    assert fit.is_identity
    assert fit(image) is image


def test_another_shape_is_refused_with_both_sizes_unless_something_says_how() -> None:
    with pytest.raises(SpecError, match=r"640x480 pixels do not fit into 64x64: say how with fit: crop, pad"):
        Fit(640, 480, 64, 64, None)


def test_half_the_size_is_the_mean_of_four_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    mean = image.reshape(4, 2, 6, 2, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_allclose(Fit(12, 8, 6, 4, None)(image), mean, atol=0.51)


def test_a_pixel_that_two_share_counts_by_its_parts() -> None:
    index, weight = taps(3, 2)
    whole = np.zeros((3, 2))
    np.add.at(whole, (index, np.arange(2)), weight)
    np.testing.assert_allclose(whole, [[2 / 3, 0], [1 / 3, 1 / 3], [0, 2 / 3]], atol=1e-6)


def test_larger_is_linear_between_the_centres_of_pixels() -> None:
    line = np.array([[0, 100]], np.uint8)
    assert Fit(2, 1, 4, 1, "stretch")(line).tolist() == [[0, 25, 75, 100]]


def test_cutting_keeps_the_middle() -> None:
    image = np.zeros((4, 8), np.uint8)
    image[:, 2:6] = 9
    fit = Fit(8, 4, 4, 4, "crop")
    assert (fit(image) == 9).all()
    assert fit.describe() == "8x4, its middle 4x4"


def test_filling_up_keeps_everything_between_black_bars() -> None:
    image = np.full((4, 8, 3), 9, np.uint8)
    padded = Fit(8, 4, 8, 8, "pad")(image)
    assert (padded[2:6] == 9).all()
    assert (padded[:2] == 0).all()
    assert (padded[6:] == 0).all()


@given(width=SIDE, height=SIDE, wanted=st.tuples(SIDE, SIDE), how=HOW, value=st.integers(0, 255))
def test_any_size_becomes_any_other_and_one_colour_stays_what_it_is(
    width: int, height: int, wanted: tuple[int, int], how: How, value: int
) -> None:
    image = np.full((height, width, 3), value, np.uint8)
    fitted = Fit(width, height, *wanted, how)(image)
    assert fitted.shape == (wanted[1], wanted[0], 3)
    assert fitted.dtype == np.uint8
    assert set(np.unique(fitted).tolist()) <= {value, 0}
    assert value in fitted
    if how != "pad":
        assert (fitted == value).all()


@given(size=SIDE, wanted=SIDE)
def test_every_pixel_counts_as_much_as_any_other_where_an_image_becomes_smaller(
    size: int, wanted: int
) -> None:
    index, weight = taps(size, wanted)
    assert index.min() >= 0
    assert index.max() < size
    assert (weight >= 0).all()
    np.testing.assert_allclose(weight.sum(axis=0), 1.0, atol=1e-5)
    if wanted <= size:
        counted = np.zeros(size)
        np.add.at(counted, index, weight)
        np.testing.assert_allclose(counted, wanted / size, atol=1e-4)
