"""Tensors and limits of the messages. Their encoding is tested with the codec."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dualsys import messages
from dualsys.bus.codec import decode, encode
from dualsys.errors import MessageError
from dualsys.messages import (
    MAX_CAMERAS,
    MAX_DETAIL,
    MAX_TENSOR_BYTES,
    MAX_TEXT,
    ArmState,
    Image,
    Message,
    Observation,
    Tensor,
    clip_detail,
    clip_text,
)
from dualsys.specs import DTYPES

arrays = hnp.arrays(
    st.sampled_from(list(DTYPES.values())), hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=4)
)


@given(arrays)
def test_an_array_comes_back_as_it_was(array: np.ndarray) -> None:
    back = Tensor.of(array).array()
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@given(arrays.filter(lambda array: array.ndim > 0))
def test_views_and_foreign_byte_orders_are_put_in_order(array: np.ndarray) -> None:
    np.testing.assert_array_equal(Tensor.of(array[::-1]).array(), array[::-1])
    np.testing.assert_array_equal(Tensor.of(array.T).array(), array.T)
    np.testing.assert_array_equal(Tensor.of(array.astype(array.dtype.newbyteorder(">"))).array(), array)


def test_an_observation_carries_images_or_features_and_never_both() -> None:
    tensor = Tensor.of(np.zeros(9, np.float32))
    known: dict[str, Any] = {"session": 1, "episode": 0, "seq": 0, "t_capture_ns": 0, "instruction": "go"}
    known |= {"proprioception": tensor}
    image = {"fixed": Image("raw", 1, 1, b"rgb")}
    for content in ({"images": image}, {"images": {}, "features": {"fixed": tensor}}):
        sent = Observation(**known, **content)
        assert decode(encode(sent), Observation).features.keys() == content.get("features", {}).keys()
    with pytest.raises(MessageError, match="images or features, got both"):
        Observation(**known, images=image, features={"fixed": tensor})
    forged = msgspec.msgpack.decode(encode(Observation(**known, images=image)))
    forged["features"] = {"fixed": ["uint8", [1], b"x"]}
    with pytest.raises(MessageError, match="images or features, got both"):
        decode(msgspec.msgpack.encode(forged), Observation)


def test_features_of_more_cameras_than_there_may_be_are_refused() -> None:
    tensor = Tensor("uint8", (1,), b"x")
    known: dict[str, Any] = {"session": 1, "episode": 0, "seq": 0, "t_capture_ns": 0, "instruction": "go"}
    many = {str(number): tensor for number in range(2 * MAX_CAMERAS + 1)}
    sent = encode(Observation(**known, images={}, proprioception=tensor, features=many))
    with pytest.raises(MessageError, match=r"length <= 32"):
        decode(sent, Observation)


def test_an_unwrapped_array_is_read_only_even_over_writable_bytes() -> None:
    array = Tensor("uint8", (3,), memoryview(bytearray(3))).array()
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize(
    "array", [np.array([None]), np.array(["text"]), np.array([True]), np.zeros(1, complex)]
)
def test_only_plain_numbers_are_wrapped(array: np.ndarray) -> None:
    with pytest.raises(MessageError, match="is not one of float16"):
        Tensor.of(array)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("float32", (2, 2), 15),
        ("float32", (2, 2), 17),
        ("object", (1,), 8),
        ("uint8", (MAX_TENSOR_BYTES + 1,), 0),
        ("uint8", (0, 2**40), 0),
        ("uint8", (1,) * 7, 1),
    ],
)
def test_a_tensor_that_contradicts_itself_cannot_be_made(
    dtype: str, shape: tuple[int, ...], size: int
) -> None:
    with pytest.raises(MessageError, match="tensor"):
        Tensor(dtype, shape, bytes(size))


@given(st.text(max_size=3 * MAX_TEXT))
def test_clipped_text_fits_and_short_text_is_kept(text: str) -> None:
    clipped = clip_text(text)
    assert len(clipped) <= MAX_TEXT
    assert clipped == text or clipped.endswith(" ...")


@given(st.text(st.characters(codec=None), max_size=2 * MAX_DETAIL))
def test_whatever_a_robot_says_is_clipped_to_what_travels(text: str) -> None:
    clipped = clip_detail(text)
    state = ArmState(
        seq=0, t_robot_ns=0, position=(), velocity=(), status="ok", command_seq=-1, detail=clipped
    )
    assert decode(encode(state), ArmState).detail == clipped
    assert clip_detail(clipped) == clipped


def test_words_of_a_robot_that_are_shortened_show_it() -> None:
    assert clip_detail("elbow:\n\t71 \u00b0C ") == "elbow: 71 \u00b0C"
    assert clip_detail("x" * MAX_DETAIL) == "x" * MAX_DETAIL
    assert clip_detail("x" * (MAX_DETAIL + 1)) == "x" * (MAX_DETAIL - 4) + " ..."


def test_every_message_is_in_the_union_and_has_its_own_tag() -> None:
    kinds = {kind for kind in Message.__subclasses__() if kind.__module__ == messages.__name__}
    assert kinds == set(messages.AnyMessage.__args__)
    assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds)


def test_every_message_refuses_unknown_fields_and_changes() -> None:
    for kind in Message.__subclasses__():
        # Every version reads the handshake, so that a mismatch of versions can be named.
        strict = kind not in (messages.Hello, messages.Welcome)
        assert kind.__struct_config__.forbid_unknown_fields is strict, kind
        assert kind.__struct_config__.frozen, kind
    with pytest.raises(AttributeError):
        messages.Request(verb="stop").verb = "go"  # type: ignore[misc]


def test_values_that_default_to_empty_are_not_shared() -> None:
    one, other = messages.Reply(ok=True), messages.Reply(ok=True)
    one.values["a"] = "b"
    assert other.values == {}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(other), type=messages.Reply).values == {}
