"""From observation to latent packet."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from dualsys.bus.codec import decode, encode, to_image
from dualsys.bus.latent_codec import CODECS, decode_latent
from dualsys.errors import DualsysError, InstructionError, MessageError, PolicyError, SpecError
from dualsys.messages import MAX_TEXT, Image, LatentCodec, LatentPacket, Observation, Tensor
from dualsys.slow.core import SlowCore

Observe = Callable[..., Observation]


@pytest.fixture
def core(system2) -> SlowCore:
    return SlowCore(system2)


def refused(core: SlowCore, observation: Observation, error: type[DualsysError], words: str) -> None:
    """Assert that an observation is refused with such an error, and that nothing came of it."""
    before = core.statistics()
    with pytest.raises(error, match=words):
        core.process(observation)
    after = core.statistics()
    assert after.processed == before.processed
    assert sum(after.rejected.values()) == sum(before.rejected.values()) + 1


def test_stamps_and_numbers_of_the_observation_are_echoed(core: SlowCore, observe: Observe) -> None:
    packet = core.process(observe(seq=5, grey=40), 123)
    assert (packet.session, packet.episode, packet.observation_seq, packet.t_capture_ns) == (7, 1, 5, 1005)
    assert packet.instruction == "Push the red block!"
    assert (packet.compute_ns, packet.weights, packet.kind, packet.text) == (
        123,
        "abc123",
        "latent_sequence",
        "seen",
    )
    np.testing.assert_array_equal(packet.tensors["tokens"].array(), np.full((2, 4), 40, np.float32))
    assert decode(encode(packet), LatentPacket) == packet


def test_packets_count_up_whatever_was_refused_in_between(core: SlowCore, observe: Observe) -> None:
    assert core.process(observe(seq=0)).seq == 0
    refused(core, observe(seq=1, instruction="fly"), InstructionError, "fly")
    assert core.process(observe(seq=2)).seq == 1


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
@pytest.mark.parametrize("shape", [(8, 6, 3), (6, 9, 3), (224, 224, 3)])
def test_an_image_of_the_wrong_size_is_refused(
    core: SlowCore, observe: Observe, encoding: str, shape: tuple[int, int, int]
) -> None:
    wrong = to_image(np.zeros(shape, np.uint8), encoding)  # type: ignore[arg-type]
    refused(core, observe(images={"fixed": wrong}), SpecError, r"images\.fixed: expected uint8\[6, 8, 3\]")
    assert core.statistics().rejected == {"images": 1}


def test_an_image_whose_bytes_do_not_fit_is_refused(core: SlowCore, observe: Observe) -> None:
    refused(
        core, observe(images={"fixed": Image("raw", 8, 6, b"short")}), MessageError, "takes 144 bytes, got 5"
    )


def test_cameras_must_be_those_of_the_specs(core: SlowCore, observe: Observe) -> None:
    good = observe().images["fixed"]
    refused(core, observe(images={}), SpecError, "expected cameras fixed, got none")
    both = {"fixed": good, "wrist": good}
    refused(core, observe(seq=1, images=both), SpecError, "got fixed, wrist")


@pytest.mark.parametrize(
    "vector",
    [
        np.full(9, np.nan, np.float32),
        np.full(9, np.inf, np.float32),
        np.zeros(8, np.float32),
        np.zeros(9, np.float64),
        np.zeros((9, 1), np.float32),
    ],
)
def test_proprioception_that_is_not_finite_or_of_another_shape_is_refused(
    core: SlowCore, observe: Observe, vector: np.ndarray
) -> None:
    refused(core, observe(proprioception=Tensor.of(vector)), SpecError, "proprioception: expected")
    assert core.statistics().rejected == {"proprioception": 1}


def test_unknown_words_make_no_latent_and_are_told(core: SlowCore, observe: Observe) -> None:
    unknown = observe(instruction="push the purple block")
    refused(core, unknown, InstructionError, "unknown words: purple; known words: block, push, red, the")
    assert core.statistics().last_fault.startswith("instruction: unknown words: purple")


def test_an_observation_that_comes_again_or_late_is_refused(core: SlowCore, observe: Observe) -> None:
    core.process(observe(seq=4))
    refused(core, observe(seq=4), MessageError, "came again")
    refused(core, observe(seq=3), MessageError, "after 4")
    assert core.process(observe(seq=5)).observation_seq == 5
    assert core.statistics().rejected == {"order": 2}


def test_a_new_session_is_followed_and_the_old_one_is_over(core: SlowCore, observe: Observe) -> None:
    core.process(observe(seq=50))
    assert core.process(observe(seq=0, session=8)).session == 8
    refused(core, observe(seq=51), MessageError, "session 7, which ended when 8 began")
    assert core.process(observe(seq=1, session=8)).observation_seq == 1
    assert core.statistics().rejected == {"session": 1}
    assert core.statistics().session == 8


def test_ended_sessions_are_remembered_within_bounds(core: SlowCore, observe: Observe) -> None:
    for session in range(1000):
        core.process(observe(session=session))
    refused(core, observe(seq=9, session=990), MessageError, "ended")
    assert len(core._ended) < 100


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "tokens, it made none"),
        ({"tokens": np.zeros((2, 4), np.float32), "more": np.zeros(1)}, "it made more, tokens"),
        ({"tokens": np.zeros((4, 2), np.float32)}, r"got float32\[4, 2\]"),
        ({"tokens": np.zeros((2, 4))}, r"got float64\[2, 4\]"),
        ({"tokens": np.full((2, 4), np.nan, np.float32)}, "NaN"),
    ],
)
def test_a_latent_that_cannot_be_used_is_never_sent(
    core: SlowCore, system2, observe: Observe, tensors: dict[str, np.ndarray], words: str
) -> None:
    system2.tensors = tensors
    refused(core, observe(), PolicyError, words)
    system2.tensors = None
    assert core.process(observe(seq=1)).seq == 0


def test_a_model_that_fails_is_counted_and_asked_again(core: SlowCore, system2, observe: Observe) -> None:
    system2.before_each = system2.fail
    refused(core, observe(), PolicyError, "the model failed")
    system2.before_each = lambda: None
    core.process(observe(seq=1))
    assert core.statistics().rejected == {"model": 1}


def test_each_kind_of_fault_is_logged_once(
    core: SlowCore, observe: Observe, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for seq in range(5):
            refused(core, observe(seq=seq, images={}), SpecError, "images")
        refused(core, observe(seq=9, instruction="fly"), InstructionError, "fly")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "observation rejected, images",
        "observation rejected, instruction",
    ]
    assert core.statistics().rejected == {"images": 5, "instruction": 1}


def test_the_edge_is_told_whether_there_is_anything_to_do(core: SlowCore, system2, observe: Observe) -> None:
    assert core.process(observe()).act
    system2.act = False
    assert not core.process(observe(seq=6)).act


def test_a_long_text_is_shortened_to_what_a_message_carries(
    core: SlowCore, system2, observe: Observe
) -> None:
    system2.text = "x" * (MAX_TEXT + 1)
    packet = core.process(observe())
    assert len(packet.text) == MAX_TEXT
    assert decode(encode(packet), LatentPacket) == packet


def test_the_same_observations_give_the_same_packets(system2, observe: Observe) -> None:
    traces = []
    for _ in range(2):
        core = SlowCore(system2)
        traces.append([msgspec.msgpack.encode(core.process(observe(seq=seq, grey=seq))) for seq in range(10)])
    assert traces[0] == traces[1]


@pytest.mark.parametrize("codec", CODECS)
def test_latents_leave_in_the_codec_that_was_chosen(system2, observe: Observe, codec: LatentCodec) -> None:
    packet = SlowCore(system2, codec).process(observe(grey=40))
    assert packet.codec == codec
    back = decode_latent(packet.tensors, codec, system2.specs.latent)
    np.testing.assert_allclose(back["tokens"], np.full((2, 4), 40), rtol=1e-6)


def test_a_latent_beyond_its_codec_is_refused_and_counted(system2, observe: Observe) -> None:
    core = SlowCore(system2, "float16")
    system2.tensors = {"tokens": np.full((2, 4), 1e6, np.float32)}
    refused(core, observe(), PolicyError, "beyond float16")
    assert core.statistics().rejected == {"model": 1}


def jpeg_that_states(height: int, width: int) -> bytes:
    """A JPEG whose own header promises another size than its pixels have."""
    data = bytearray(to_image(np.zeros((6, 8, 3), np.uint8), "jpeg").data)
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        jpeg_that_states(65_000, 65_000),
        jpeg_that_states(4096, 4096),
        bytes(to_image(np.zeros((6, 9, 3), np.uint8), "jpeg").data),
        bytes(to_image(np.zeros((6, 8, 3), np.uint8), "jpeg").data)[:-40],
        b"\xff\xd8\xff\xe0" + bytes(60),
        b"\x89PNG\r\n\x1a\n" + bytes(60),
        b"",
    ],
    ids=["bomb", "large", "other", "cut", "header only", "png", "empty"],
)
def test_a_jpeg_that_is_not_the_image_it_should_be_is_counted_and_no_memory_is_reserved_for_it(
    core: SlowCore, observe: Observe, data: bytes
) -> None:
    refused(core, observe(images={"fixed": Image("jpeg", 8, 6, data)}), MessageError, "image: ")
    assert core.statistics().rejected == {"images": 1}
    assert core.process(observe(seq=1)).observation_seq == 1
