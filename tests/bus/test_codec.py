"""Encoding and decoding of messages and images."""

from __future__ import annotations

import struct

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bus.codec import MAX_FRAME_BYTES, decode, encode, from_image, to_image
from dualsys.errors import MessageError
from dualsys.messages import (
    MAX_DETAIL,
    ArmCommand,
    ArmState,
    CameraFrame,
    Hello,
    Image,
    LatentPacket,
    Message,
    Observation,
    Reply,
    Request,
    Tensor,
    Welcome,
)
from dualsys.specs import LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((2, 3, 3), "uint8")}, TensorSpec((9,))),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((8, 128))}),
)
PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
EXAMPLES: list[Message] = [
    Observation(
        session=1,
        episode=2,
        seq=3,
        t_capture_ns=4,
        images={"fixed": to_image(PIXELS)},
        proprioception=Tensor.of(np.arange(9, dtype=np.float32)),
        instruction="pick up the red block",
    ),
    LatentPacket(
        session=1,
        episode=2,
        seq=3,
        observation_seq=4,
        t_capture_ns=5,
        instruction="pick up the red block",
        compute_ns=6,
        weights="abc",
        kind="latent_sequence",
        tensors={"tokens": Tensor.of(np.ones((8, 128), np.float32))},
        text="red block at the left",
    ),
    ArmState(
        seq=1,
        t_robot_ns=2,
        position=(0.1,),
        velocity=(0.2,),
        status="protective_stop",
        command_seq=-1,
        detail="elbow: 71 \u00b0C, at most 70",
    ),
    ArmCommand(seq=1, position=(0.5, -0.5)),
    CameraFrame(camera="wrist", seq=1, t_robot_ns=2, image=to_image(PIXELS)),
    Hello(protocol=1, role="planner", session=7, digest=SPECS.digest(), specs=SPECS),
    Welcome(protocol=1, role="system2", specs=SPECS, details={"model": "scripted"}),
    Request(verb="status"),
    Reply(ok=True, values={"ticks": "12"}),
]
arrays = st.sampled_from(["float16", "float32", "float64", "uint8", "int8", "int32", "int64"]).flatmap(
    lambda dtype: st.lists(st.integers(0, 4), max_size=6).map(
        lambda shape: np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    )
)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert decode(encode(message)) == message
    assert decode(memoryview(encode(message)), type(message)) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_an_independent_decoder_reads_the_same_fields(message: Message) -> None:
    tree = msgpack.unpackb(encode(message))
    assert tree.pop("type") == msgspec.structs.asdict(message).get(
        "type", type(message).__struct_config__.tag
    )
    assert set(tree) == {field.name for field in msgspec.structs.fields(message)}


@pytest.mark.fault_row(32)
@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_truncation_is_refused(message: Message) -> None:
    frame = encode(message)
    for length in {*range(min(len(frame), 200)), len(frame) - 1}:
        with pytest.raises(MessageError):
            decode(frame[:length])


@pytest.mark.fault_row(32)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_never_crash(frame: bytes) -> None:
    with pytest.raises(MessageError):
        decode(frame)


@pytest.mark.fault_row(32)
@given(st.sampled_from(EXAMPLES), st.data())
def test_a_damaged_message_decodes_to_a_message_or_is_refused(message: Message, data: st.DataObject) -> None:
    frame = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(0, min(len(frame), 300) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(bytes(frame))
    except MessageError:
        return
    assert isinstance(decoded, Message)


@given(arrays)
def test_an_array_survives_the_wire(array: np.ndarray) -> None:
    message = msgspec.structs.replace(EXAMPLES[0], proprioception=Tensor.of(array))
    unwrapped = decode(encode(message), Observation).proprioception.array()
    assert unwrapped.dtype == array.dtype
    assert unwrapped.shape == array.shape
    assert unwrapped.tobytes() == array.tobytes()
    assert not unwrapped.flags.writeable


def test_another_type_than_expected_is_refused() -> None:
    with pytest.raises(MessageError, match="not a valid ArmState or ArmCommand"):
        decode(encode(Request(verb="status")), ArmState, ArmCommand)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(MessageError, match="unknown field `more`"):
        decode(msgpack.packb({"type": "request", "verb": "status", "more": 1}))


def test_a_negative_count_is_refused_with_its_path() -> None:
    frame = msgpack.packb({"type": "arm_command", "seq": -1, "position": [0.0]})
    with pytest.raises(MessageError, match=r"at `\$\.seq`"):
        decode(frame)


def arm_state(**changes: object) -> dict[str, object]:
    """A reading as a robot of another make sends it."""
    told = {"type": "arm_state", "seq": 1, "t_robot_ns": 2, "position": [0.1], "velocity": [0.0]}
    return told | {"status": "protective_stop", "command_seq": -1} | changes


def test_a_robot_without_words_leaves_them_out() -> None:
    state = decode(msgpack.packb(arm_state()), ArmState)
    assert state.detail == ""
    assert msgpack.unpackb(encode(state)) == arm_state()


@pytest.mark.fault_row(32)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("x" * (MAX_DETAIL + 1), r"length <= 256 - at `\$\.detail`"),
        ("two\nlines", r"matching regex .* - at `\$\.detail`"),
        ("ends in one\n", r"\$\.detail"),
        ("\x1b[2J", r"\$\.detail"),
        ("\x7f", r"\$\.detail"),
        ("\u0085", r"\$\.detail"),
        (b"bytes", r"\$\.detail"),
        (None, r"\$\.detail"),
    ],
)
def test_words_of_a_robot_that_are_too_long_or_no_line_are_refused(words: object, said: str) -> None:
    with pytest.raises(MessageError, match=said):
        decode(msgpack.packb(arm_state(detail=words)), ArmState)


def test_words_of_a_robot_that_are_not_unicode_are_refused() -> None:
    frame = msgpack.packb(arm_state(detail="??")).replace(b"??", b"\xc3\x28")
    with pytest.raises(MessageError):
        decode(frame, ArmState)


def test_the_longest_words_of_a_robot_fit_into_its_message_in_any_script() -> None:
    words = "\U0001f916" * MAX_DETAIL
    assert decode(msgpack.packb(arm_state(detail=words)), ArmState).detail == words


@pytest.mark.fault_row(32)
def test_deep_nesting_is_refused() -> None:
    frame = b"\x82\xa1a" + b"\x91" * 200_000 + b"\xc0" + b"\xa4type\xa7request"
    with pytest.raises(MessageError):
        decode(frame)


@pytest.mark.fault_row(31, 33)
def test_a_header_that_promises_gigabytes_is_refused() -> None:
    with pytest.raises(MessageError):
        decode(b"\x82\xa4type\xa7request\xa4verb\xdb" + struct.pack(">I", 2**32 - 1))


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(MessageError):
        decode(b"\x82\xa4type\xa7request\xa4verb\xa2\xff\xfe")


@pytest.mark.fault_row(21, 33)
@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("float32", [3], b"\0" * 11),
        ("object", [1], b"\0" * 8),
        ("float128", [1], b"\0" * 16),
        ("float32", [0, 2**62, 2**62], b""),
        ("uint8", [2**25 + 1], b""),
        ("uint8", [1] * 7, b"\0"),
        ("uint8", [-1], b""),
    ],
)
def test_an_inconsistent_tensor_is_refused_with_the_whole_message(
    dtype: str, shape: list[int], data: bytes
) -> None:
    tree = msgpack.unpackb(encode(EXAMPLES[0]))
    tree["proprioception"] = [dtype, shape, data]
    with pytest.raises(MessageError, match=r"\$\.proprioception"):
        decode(msgpack.packb(tree))


def test_what_cannot_be_sent_is_named() -> None:
    with pytest.raises(MessageError, match="ArmCommand cannot be sent"):
        encode(ArmCommand(seq=2**64, position=()))


@pytest.mark.fault_row(31)
def test_a_frame_above_the_limit_is_neither_sent_nor_read() -> None:
    with pytest.raises(MessageError, match="at most"):
        decode(bytes(MAX_FRAME_BYTES + 1))
    blob = bytes(MAX_FRAME_BYTES)
    with pytest.raises(MessageError, match="make it smaller"):
        encode(CameraFrame(camera="c", seq=0, t_robot_ns=0, image=Image("raw", 1, 1, blob)))
    with pytest.raises(MessageError, match=r"Request takes \d+ bytes, at most 131072 can be sent"):
        encode(Request(verb="say", arguments={str(number): "x" * 2000 for number in range(70)}))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_raw_image_survives_exactly(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    back = from_image(to_image(pixels))
    np.testing.assert_array_equal(back, pixels)
    assert not back.flags.writeable


def test_an_image_view_with_holes_survives(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (9, 8, 3), np.uint8)[::2, ::-1]
    np.testing.assert_array_equal(from_image(to_image(pixels)), pixels)


def test_a_jpeg_keeps_size_colour_order_and_most_of_the_values() -> None:
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[..., 0] = 200
    pixels[:, 12:] = (10, 40, 220)
    image = to_image(pixels, "jpeg", 90)
    back = from_image(
        decode(encode(CameraFrame(camera="c", seq=0, t_robot_ns=0, image=image)), CameraFrame).image
    )
    assert back.shape == pixels.shape
    assert np.abs(back.astype(int) - pixels).max() < 12


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_only_colour_images_are_sent(array: np.ndarray) -> None:
    with pytest.raises(MessageError, match=r"expected uint8\[height, width, 3\]"):
        to_image(array)


def test_a_raw_image_of_another_size_than_stated_is_refused() -> None:
    with pytest.raises(MessageError, match="takes 36 bytes, got 35"):
        from_image(Image("raw", 4, 3, b"\0" * 35))


def test_a_jpeg_of_another_size_than_stated_is_refused() -> None:
    small = to_image(PIXELS, "jpeg")
    with pytest.raises(MessageError, match="but the JPEG is"):
        from_image(msgspec.structs.replace(small, width=4000, height=4000))


@pytest.mark.fault_row(32)
def test_a_jpeg_that_would_be_drawn_over_and_over_is_refused_before_it_is_read() -> None:
    image = to_image(PIXELS, "jpeg")
    data = bytes(image.data)
    scan = data.index(b"\xff\xda")
    often = data[:scan] + data[scan:-2] * 65 + data[-2:]
    with pytest.raises(MessageError, match="a JPEG of 65 scans was refused: at most 64 are read"):
        from_image(msgspec.structs.replace(image, data=often))


@given(st.binary(max_size=60), st.booleans())
def test_damaged_jpeg_bytes_are_refused(noise: bytes, from_real: bool) -> None:
    real = bytes(to_image(PIXELS, "jpeg").data)
    data = real[: len(real) // 2] + noise if from_real else noise
    with pytest.raises(MessageError, match="image"):
        from_image(Image("jpeg", 3, 2, data))
