"""How latents travel: what each codec loses, and what is never taken for a latent."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dualsys.bus.codec import decode, encode
from dualsys.bus.latent_codec import (
    CODECS,
    RELATIVE_ERROR,
    SCALE,
    FeatureReader,
    decode_latent,
    encode_features,
    encode_latent,
    wire_specs,
)
from dualsys.errors import MessageError, SpecError
from dualsys.messages import LatentCodec, LatentPacket, Tensor
from dualsys.specs import LatentSpec, TensorSpec

TOKENS = LatentSpec("latent_sequence", {"tokens": TensorSpec((8, 128))})
LARGEST: dict[LatentCodec, float] = {
    "float32": float(np.finfo(np.float32).max),
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "int8": float(np.finfo(np.float32).max),
}
SMALLEST_STEP: dict[LatentCodec, float] = {
    # Half of the step between the smallest numbers that a codec has.
    "float32": 0.0,
    "float16": 2.0**-25,
    "bfloat16": 2.0**-134,
    "int8": 128 * 2.0**-149,
}
codecs = st.sampled_from(CODECS)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def floats(codec: LatentCodec) -> st.SearchStrategy[float]:
    largest = float(np.float32(LARGEST[codec]))
    return st.floats(-largest, largest, width=32)


def spec_of(array: np.ndarray) -> LatentSpec:
    return LatentSpec("latent_vector", {"tokens": TensorSpec(array.shape, array.dtype.name)})


def bound(array: np.ndarray, codec: LatentCodec) -> np.ndarray:
    """Largest error that a codec may make, element by element."""
    exact = np.abs(array.astype(np.float64))
    if codec == "int8" and array.ndim and array.size:
        exact = np.broadcast_to(exact.max(axis=-1, keepdims=True), array.shape)
    return np.maximum(exact * RELATIVE_ERROR[codec], SMALLEST_STEP[codec])


@given(st.data(), codecs)
def test_no_element_is_further_off_than_its_codec_may_be(data: st.DataObject, codec: LatentCodec) -> None:
    array = data.draw(hnp.arrays(np.float32, shapes, elements=floats(codec)))
    parts = encode_latent({"tokens": array}, codec)
    back = decode_latent(parts, codec, spec_of(array))["tokens"]
    assert back.dtype == np.float32
    assert back.shape == array.shape
    assert (np.abs(back.astype(np.float64) - array) <= bound(array, codec)).all()


@given(st.data(), codecs)
def test_what_a_codec_has_made_it_leaves_as_it_is(data: st.DataObject, codec: LatentCodec) -> None:
    array = data.draw(hnp.arrays(np.float32, shapes, elements=st.floats(-1e4, 1e4, width=32)))
    once = decode_latent(encode_latent({"tokens": array}, codec), codec, spec_of(array))["tokens"]
    twice = decode_latent(encode_latent({"tokens": once}, codec), codec, spec_of(array))["tokens"]
    # Scales are divided anew, so int8 may be off by a rounding of float32.
    np.testing.assert_allclose(twice, once, rtol=0 if codec != "int8" else 3e-7, atol=0)


@given(hnp.arrays(np.float32, (3, 4), elements=floats("float32")))
def test_float32_loses_nothing(array: np.ndarray) -> None:
    parts = encode_latent({"tokens": array}, "float32")
    assert decode_latent(parts, "float32", spec_of(array))["tokens"].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1.0 + 2**-8, 1.0),
        (1.0 + 3 * 2**-8, 1.0 + 2**-6),
        (-1.0 - 2**-8, -1.0),
        (1.0 + 1.1 * 2**-8, 1 + 2**-7),
    ],
)
def test_bfloat16_rounds_to_the_nearest_and_ties_to_even(value: float, rounded: float) -> None:
    array = np.array([value], np.float32)
    back = decode_latent(encode_latent({"tokens": array}, "bfloat16"), "bfloat16", spec_of(array))
    assert back["tokens"].tolist() == [rounded]


def test_each_token_has_a_scale_of_its_own() -> None:
    array = np.array([[1e-6, -4e-6], [3e6, 4e6]], np.float32)
    parts = encode_latent({"tokens": array}, "int8")
    assert parts["tokens"].array().tolist() == [[32, -127], [95, 127]]
    np.testing.assert_allclose(parts["tokens" + SCALE].array(), [4e-6 / 127, 4e6 / 127], rtol=1e-6)


@pytest.mark.parametrize("codec", CODECS)
def test_a_packet_of_any_codec_survives_the_wire(codec: LatentCodec, rng: np.random.Generator) -> None:
    array = rng.standard_normal((8, 128)).astype(np.float32)
    packet = LatentPacket(
        session=1, episode=0, seq=0, observation_seq=0, t_capture_ns=0, instruction="", compute_ns=0,
        weights="", kind="latent_sequence", tensors=encode_latent({"tokens": array}, codec), codec=codec,
    )  # fmt: skip
    got = decode(encode(packet), LatentPacket)
    assert got == packet
    np.testing.assert_allclose(
        decode_latent(got.tensors, got.codec, TOKENS)["tokens"], array, atol=4 / 254, rtol=2**-8
    )


@pytest.mark.parametrize("codec", CODECS)
def test_the_bytes_of_a_packet_are_those_of_the_specification(codec: LatentCodec) -> None:
    parts = encode_latent({"tokens": np.ones((8, 128), np.float32)}, codec)
    expected = {"float32": 4096, "float16": 2048, "bfloat16": 2048, "int8": 1024 + 32}
    assert sum(len(part.data) for part in parts.values()) == expected[codec]
    assert {name: (part.dtype, part.shape) for name, part in parts.items()} == {
        name: (one.dtype, one.shape) for name, one in wire_specs(TOKENS, codec).items()
    }


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_neither_sent(codec: LatentCodec, value: float) -> None:
    array = np.zeros((8, 128), np.float32)
    array[3, 5] = value
    with pytest.raises(MessageError, match=r"latent\.tokens: expected finite"):
        encode_latent({"tokens": array}, codec)


@pytest.mark.parametrize(("codec", "value"), [("float16", 65520.0), ("bfloat16", 3.4e38)])
def test_what_is_too_large_for_a_codec_is_refused_with_a_remedy(codec: LatentCodec, value: float) -> None:
    with pytest.raises(MessageError, match=rf"beyond {codec}.*slow\.latent_codec"):
        encode_latent({"tokens": np.array([value], np.float32)}, codec)


@pytest.mark.parametrize(
    ("codec", "parts"),
    [
        ("float32", {"tokens": np.full((8, 128), np.nan, np.float32)}),
        ("float16", {"tokens": np.full((8, 128), np.inf, np.float16)}),
        ("bfloat16", {"tokens": np.full((8, 128), 0x7F80, np.uint16)}),
        ("bfloat16", {"tokens": np.full((8, 128), 0xFFFF, np.uint16)}),
        ("int8", {"tokens": np.ones((8, 128), np.int8), "tokens.scale": np.full(8, np.nan, np.float32)}),
        ("int8", {"tokens": np.ones((8, 128), np.int8), "tokens.scale": np.full(8, -1, np.float32)}),
        ("int8", {"tokens": np.full((8, 128), 127, np.int8), "tokens.scale": np.full(8, 3e38, np.float32)}),
    ],
)
def test_what_is_not_finite_is_not_received(codec: LatentCodec, parts: dict[str, np.ndarray]) -> None:
    with pytest.raises(SpecError, match=r"latent\.tensors\.tokens.*finite"):
        decode_latent({name: Tensor.of(array) for name, array in parts.items()}, codec, TOKENS)


@pytest.mark.parametrize("sent", CODECS)
@pytest.mark.parametrize("expected", CODECS)
def test_a_latent_of_another_codec_is_refused(sent: LatentCodec, expected: LatentCodec) -> None:
    parts = encode_latent({"tokens": np.ones((8, 128), np.float32)}, sent)
    if sent == expected:
        decode_latent(parts, expected, TOKENS)
        return
    with pytest.raises(SpecError, match=rf"expected .* as {expected}, got"):
        decode_latent(parts, expected, TOKENS)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"tokens": np.ones((8, 128), np.int8)},
        {"tokens": np.ones((8, 128), np.int8), "tokens.scale": np.ones(7, np.float32)},
        {"tokens": np.ones((8, 128), np.int8), "tokens.scale": np.ones((8, 1), np.float32)},
        {"tokens": np.ones((8, 128), np.int8), "tokens.scale": np.ones(8, np.float64)},
        {"tokens": np.ones((8, 129), np.int8), "tokens.scale": np.ones(8, np.float32)},
        {"tokens": np.ones((128, 8), np.int8), "tokens.scale": np.ones(128, np.float32)},
        {"tokens": np.ones((8, 128), np.int8), "scale": np.ones(8, np.float32)},
        {
            "tokens": np.ones((8, 128), np.int8),
            "tokens.scale": np.ones(8, np.float32),
            "more": np.ones(8, np.float32),
        },
    ],
)
def test_parts_that_do_not_follow_from_the_specification_are_refused(parts: dict[str, np.ndarray]) -> None:
    with pytest.raises(SpecError, match=r"latent\.tensors"):
        decode_latent({name: Tensor.of(array) for name, array in parts.items()}, "int8", TOKENS)


def test_parts_of_the_wrong_size_are_refused_before_an_array_is_made() -> None:
    parts = {
        "tokens": Tensor("int8", (8, 2**20), bytes(2**23)),
        "tokens.scale": Tensor("float32", (8,), bytes(32)),
    }
    tracemalloc.start()
    with pytest.raises(SpecError, match=r"got int8\[8, 1048576\]"):
        decode_latent(parts, "int8", TOKENS)
    assert tracemalloc.get_traced_memory()[1] < 2**16
    tracemalloc.stop()


@given(st.data(), codecs)
def test_features_are_coded_as_latents_are(data: st.DataObject, codec: LatentCodec) -> None:
    array = data.draw(hnp.arrays(np.float32, (3, 4), elements=floats(codec)))
    parts = encode_features({"fixed": array}, codec)
    assert parts == {
        name.replace("tokens", "fixed"): tensor
        for name, tensor in encode_latent({"tokens": array}, codec).items()
    }
    back = FeatureReader({"fixed": TensorSpec((3, 4))}, codec).read(parts)["fixed"]
    assert (np.abs(back - array.astype(np.float64)) <= bound(array, codec)).all()


def test_errors_about_features_name_their_field_and_their_setting() -> None:
    with pytest.raises(MessageError, match=r"features\.fixed: 1e\+09 is beyond .* set slow\.feature_codec"):
        encode_features({"fixed": np.full((1, 1), 1e9, np.float32)}, "float16")
    with pytest.raises(MessageError, match=r"features\.fixed: expected finite"):
        encode_features({"fixed": np.full((1, 1), np.inf, np.float32)}, "int8")
    with pytest.raises(SpecError, match=r"features: 'a\.scale' is the name of the int8 scales of 'a'"):
        FeatureReader({"a": TensorSpec((1, 1)), "a.scale": TensorSpec((1,))}, "int8")


@given(codecs, st.dictionaries(st.sampled_from(["tokens", "tokens.scale", "x"]), st.binary(max_size=24)))
def test_arbitrary_bytes_become_a_finite_latent_or_are_refused(
    codec: LatentCodec, blobs: dict[str, bytes]
) -> None:
    spec = LatentSpec("latent_vector", {"tokens": TensorSpec((2, 3))})
    wire = wire_specs(spec, codec)
    parts = {}
    for name, blob in blobs.items():
        one = wire.get(name, TensorSpec((len(blob),), "uint8"))
        if len(blob) == one.nbytes:
            parts[name] = Tensor(one.dtype, one.shape, blob)
    try:
        array = decode_latent(parts, codec, spec)["tokens"]
    except SpecError:
        return
    assert array.shape == (2, 3)
    assert np.isfinite(array).all()


@pytest.mark.parametrize("codec", CODECS)
def test_rounding_never_carries_a_number_past_a_bound_of_the_specification(codec: LatentCodec) -> None:
    # 0.702 is 0.70215 in float16 and 0.70313 in bfloat16.
    spec = LatentSpec("latent_vector", {"tokens": TensorSpec((2, 3), minimum=-0.7021, maximum=0.7021)})
    array = np.array([[-0.702, 0.702, 0.1], [0.2, 0.3, 0.702]], np.float32)
    back = decode_latent(encode_latent({"tokens": array}, codec), codec, spec)["tokens"]
    assert (np.abs(back - array) <= bound(array, codec) + 1e-7).all()


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_out_of_range_by_more_than_rounding_is_refused(codec: LatentCodec) -> None:
    spec = LatentSpec("latent_vector", {"tokens": TensorSpec((2,), minimum=-1, maximum=1)})
    with pytest.raises(SpecError, match=r"latent\.tensors\.tokens: expected"):
        decode_latent(encode_latent({"tokens": np.array([0, 1.1], np.float32)}, codec), codec, spec)


@pytest.mark.parametrize("codec", CODECS)
def test_tensors_of_other_element_types_travel_as_they_are(codec: LatentCodec) -> None:
    arrays = {
        "keys": np.arange(6, dtype=np.float16).reshape(2, 3),
        "route": np.array([3], np.int64),
        "tokens": np.array([1.0, 0.5], np.float32),
    }
    spec = LatentSpec("kv_cache", {name: TensorSpec(a.shape, a.dtype.name) for name, a in arrays.items()})
    back = decode_latent(encode_latent(arrays, codec), codec, spec)
    for name in ("keys", "route"):
        assert back[name].dtype == arrays[name].dtype
        np.testing.assert_array_equal(back[name], arrays[name])
    with pytest.raises(MessageError, match=r"latent\.keys: expected finite"):
        encode_latent({"keys": np.array([np.nan], np.float16)}, codec)


def test_scales_that_would_hide_another_tensor_are_refused() -> None:
    spec = LatentSpec("latent_vector", {"a": TensorSpec((2,)), "a.scale": TensorSpec((2,))})
    assert wire_specs(spec, "float16").keys() == spec.tensors.keys()
    with pytest.raises(SpecError, match=r"'a\.scale' is the name of the int8 scales of 'a'"):
        wire_specs(spec, "int8")
