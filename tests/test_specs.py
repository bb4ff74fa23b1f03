"""What arrays, observations, latents and actions look like."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from dualsys.errors import MismatchError, SpecError
from dualsys.specs import (
    DTYPES,
    ActionSpec,
    LatentSpec,
    ObservationSpec,
    SystemSpecs,
    TensorSpec,
    all_finite,
)

bounds = st.none() | st.floats(-1e4, 1e4) | st.integers(-100, 100)


@st.composite
def tensor_specs(draw: st.DrawFn) -> TensorSpec:
    low, high = draw(bounds), draw(bounds)
    if low is not None and high is not None and low > high:
        low, high = high, low
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    try:
        return TensorSpec(
            shape, draw(st.sampled_from(list(DTYPES))), low, high, draw(st.sampled_from(["", "m"]))
        )
    except SpecError:
        assume(False)
        raise


def system_specs(**changes: Any) -> SystemSpecs:
    fields: dict[str, Any] = {
        "height": 96,
        "state": 9,
        "kind": "latent_sequence",
        "tokens": (8, 128),
    } | changes
    return SystemSpecs(
        ObservationSpec(
            {"fixed": TensorSpec((fields["height"], 128, 3), "uint8")}, TensorSpec((fields["state"],))
        ),
        LatentSpec(fields["kind"], {"tokens": TensorSpec(fields["tokens"])}),
    )


@given(tensor_specs(), st.integers(0, 2**32 - 1))
def test_a_sample_of_a_spec_fits_it(spec: TensorSpec, seed: int) -> None:
    sample = spec.sample(np.random.default_rng(seed))
    assert spec.validate(sample, "sample") is sample
    assert sample.nbytes == spec.nbytes


@given(tensor_specs())
def test_a_spec_survives_the_wire_with_its_digest(spec: TensorSpec) -> None:
    for codec in (msgspec.json, msgspec.msgpack):
        back = codec.decode(codec.encode(spec), type=TensorSpec)
        assert back == spec
        assert codec.encode(back) == codec.encode(spec)


def test_equal_bounds_have_equal_digests_however_they_are_written() -> None:
    written = [TensorSpec((1,), minimum=low, maximum=1) for low in (0, 0.0, -0.0)]
    encoded = {msgspec.json.encode(spec) for spec in written}
    assert len(encoded) == 1


@given(tensor_specs(), tensor_specs(), st.integers(0, 2**32 - 1))
def test_an_array_of_another_shape_or_type_is_refused(one: TensorSpec, other: TensorSpec, seed: int) -> None:
    assume((one.shape, one.dtype) != (other.shape, other.dtype))
    with pytest.raises(SpecError, match=r"it: expected .*, got"):
        one.validate(other.sample(np.random.default_rng(seed)), "it")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers_that_are_not_finite_are_refused(bad: float, dtype: str) -> None:
    with pytest.raises(SpecError, match="NaN or infinity"):
        TensorSpec((2,), dtype).validate(np.array([0, bad], dtype), "it")


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
        elements=st.floats(width=16),
    )
)
def test_one_element_that_is_not_finite_is_enough_wherever_it_is(array: NDArray[np.generic]) -> None:
    expected = bool(np.isfinite(array).all())
    assert all_finite(array) is expected
    assert all_finite(array.T) is expected
    # As an array of a message: at any byte of its frame.
    frame = b"x" + array.tobytes()
    unaligned: NDArray[np.generic] = np.ndarray(array.shape, array.dtype, frame, 1)
    assert all_finite(unaligned) is expected


def test_the_largest_numbers_are_finite() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        largest = np.finfo(dtype).max
        assert all_finite(np.array([largest] * 100 + [-largest] * 3, dtype))


def test_elements_are_validated_without_shape_and_type() -> None:
    spec = TensorSpec((2,), minimum=-1, maximum=1)
    fits = np.array([-1, 1], np.float32)
    assert spec.validate_elements(fits, "it") is fits
    for value in (math.nan, 1.5, -1.5):
        with pytest.raises(SpecError, match="it: expected"):
            spec.validate_elements(np.array([value, 0], np.float32), "it")


def test_numbers_out_of_range_are_refused_with_range_and_unit() -> None:
    spec = TensorSpec((2,), minimum=-1, maximum=1, unit="rad")
    for value in (-1.5, 1.5):
        with pytest.raises(SpecError, match=rf"joint: expected float32\[2\] in \[-1, 1\] rad, got {value}"):
            spec.validate(np.array([0, value], np.float32), "joint")
    spec.validate(np.array([-1, 1], np.float32), "joint")


def test_bytes_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(SpecError):
        TensorSpec((1,)).validate(np.ones(1, ">f4"), "it")


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "object"},
        {"dtype": "complex64"},
        {"shape": (2, -1)},
        {"minimum": 2, "maximum": 1},
        {"minimum": math.nan},
        {"maximum": math.inf},
        {"dtype": "uint8", "minimum": 256},
        {"dtype": "int8", "minimum": 0.2, "maximum": 0.8},
        {"dtype": "float16", "maximum": 1e6},
    ],
)
def test_a_spec_that_nothing_can_fit_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        TensorSpec(**({"shape": (1,)} | fields))


def test_a_spec_describes_itself_in_one_line() -> None:
    assert TensorSpec((8, 128), maximum=1, minimum=-1, unit="m").describe() == "float32[8, 128] in [-1, 1] m"
    assert TensorSpec((), "uint8").describe() == "uint8[]"
    assert TensorSpec((3,), minimum=0).describe() == "float32[3] in [0, ]"


def test_the_digest_does_not_depend_on_the_order_of_names() -> None:
    tensors = {"a": TensorSpec((1,)), "b": TensorSpec((2,))}
    backwards = dict(reversed(tensors.items()))
    observation = system_specs().observation
    one, other = (SystemSpecs(observation, LatentSpec("route", order)) for order in (tensors, backwards))
    assert one.digest() == other.digest()
    one.require_equal(other)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"height": 224}, "specs.observation.cameras.fixed.shape"),
        ({"state": 10}, "specs.observation.proprioception.shape"),
        ({"kind": "route"}, "specs.latent.kind"),
        ({"tokens": (4, 128)}, "specs.latent.tensors.tokens.shape"),
    ],
)
def test_a_difference_is_named_with_both_values(change: dict[str, Any], field: str) -> None:
    ours, theirs = system_specs(), system_specs(**change)
    assert ours.digest() != theirs.digest()
    with pytest.raises(MismatchError) as caught:
        ours.require_equal(theirs)
    assert caught.value.field == field
    assert caught.value.ours != caught.value.theirs
    ours.require_equal(system_specs())


def test_a_camera_that_one_side_lacks_is_named() -> None:
    ours = system_specs()
    more = {**ours.observation.cameras, "wrist": TensorSpec((64, 64, 3), "uint8")}
    theirs = SystemSpecs(ObservationSpec(more, ours.observation.proprioception), ours.latent)
    with pytest.raises(MismatchError) as caught:
        ours.require_equal(theirs)
    assert caught.value.field.startswith("specs.observation.cameras.wrist.")
    assert caught.value.ours == "absent"


@pytest.mark.parametrize(
    "image", [TensorSpec((4, 4), "uint8"), TensorSpec((4, 4, 3)), TensorSpec((4, 4, 4), "uint8")]
)
def test_a_camera_gives_colour_images(image: TensorSpec) -> None:
    with pytest.raises(SpecError, match=r"cameras\.fixed: expected uint8\[height, width, 3\]"):
        ObservationSpec({"fixed": image}, TensorSpec((9,)))


def test_an_unknown_kind_of_latent_is_refused() -> None:
    with pytest.raises(SpecError, match="kind 'telepathy' is not one of latent_vector"):
        LatentSpec("telepathy", {})


@pytest.mark.parametrize(
    "change",
    [
        {"names": ("x",)},
        {"horizon": 0},
        {"step_ns": 0},
        {"scale": (0.0, 1.0)},
        {"scale": (math.nan, 1.0)},
    ],
)
def test_an_action_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {"space": "tool_velocity", "names": ("x", "gripper"), "horizon": 16, "step_ns": 1}
    assert ActionSpec(**good, scale=(0.012, 1.0)).chunk == TensorSpec((16, 2))
    with pytest.raises(SpecError, match="action"):
        ActionSpec(**(good | {"scale": (0.012, 1.0)} | change))
