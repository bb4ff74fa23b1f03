from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dualsys.bus.latent_codec import CODECS, RELATIVE_ERROR, encode_latent
from dualsys.errors import SpecError
from dualsys.fast.planner.latents import LatentHistory
from dualsys.messages import LatentCodec, LatentPacket, Observation, Tensor
from dualsys.specs import LatentSpec, TensorSpec

SESSION = 77
SPEC = LatentSpec("latent_sequence", {"tokens": TensorSpec((8, 128))})
Answer = Callable[..., LatentPacket]


@pytest.fixture
def answer(make_bench: Callable[..., object]) -> Answer:
    return make_bench.answer  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def history() -> LatentHistory:
    return LatentHistory(SESSION, SPEC)


def sent(history: LatentHistory, seq: int, t_ns: int = -1, instruction: str = "go") -> Observation:
    state = Tensor.of(np.zeros(9, np.float32))
    stamp_ns = 1000 * seq if t_ns < 0 else t_ns
    observation = Observation(
        session=SESSION, episode=0, seq=seq, t_capture_ns=stamp_ns, images={}, proprioception=state,
        instruction=instruction,
    )  # fmt: skip
    history.expect(observation)
    return observation


def test_the_answer_to_an_observation_is_accepted(history: LatentHistory, answer: Answer) -> None:
    assert history.newest is None
    assert history.offer(answer(sent(history, 3), seq=9), 0, "go")
    assert history.newest is not None
    assert (history.newest.seq, history.newest.t_capture_ns) == (9, 3000)
    assert history.counts == {"latents_accepted": 1}


@pytest.mark.fault_row(6, 20, 21)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"session": 78}, "latents_other_session"),
        ({"episode": 1}, "latents_other_episode"),
        ({"instruction": "stop"}, "latents_other_instruction"),
        ({"observation_seq": 4}, "latents_unknown_observation"),
        ({"t_capture_ns": 9999}, "latents_unknown_observation"),
        ({"kind": "latent_vector"}, "latents_rejected"),
        ({"tensors": {}}, "latents_rejected"),
        ({"tensors": {"token": Tensor.of(np.zeros((8, 128), np.float32))}}, "latents_rejected"),
        ({"tensors": {"tokens": Tensor.of(np.zeros((8, 127), np.float32))}}, "latents_rejected"),
        ({"tensors": {"tokens": Tensor.of(np.zeros((8, 128), np.float64))}}, "latents_rejected"),
        ({"codec": "float16"}, "latents_rejected"),
        ({"tensors": {"tokens": Tensor.of(np.zeros((8, 128), np.float16))}}, "latents_rejected"),
        ({"tensors": {"tokens": Tensor.of(np.full((8, 128), np.nan, np.float32))}}, "latents_rejected"),
        ({"tensors": {"tokens": Tensor.of(np.full((8, 128), -np.inf, np.float32))}}, "latents_rejected"),
    ],
)
def test_a_latent_that_does_not_belong_or_fit_is_dropped_and_counted(
    history: LatentHistory, answer: Answer, changes: dict[str, object], reason: str
) -> None:
    assert not history.offer(answer(sent(history, 3), **changes), 0, "go")
    assert history.counts == {reason: 1}
    assert history.newest is None
    assert bool(history.last_fault) == (reason == "latents_rejected")


def test_the_same_latent_counts_once(history: LatentHistory, answer: Answer) -> None:
    packet = answer(sent(history, 3))
    assert history.offer(packet, 0, "go")
    assert not history.offer(packet, 0, "go")
    assert history.counts["latents_not_newer"] == 1


@pytest.mark.fault_row(7, 27)
def test_a_late_latent_is_dropped(history: LatentHistory, answer: Answer) -> None:
    older, newer = sent(history, 3), sent(history, 4)
    assert history.offer(answer(newer), 0, "go")
    assert not history.offer(answer(older), 0, "go")
    assert history.counts["latents_not_newer"] == 1


@pytest.mark.fault_row(6)
def test_a_system_2_that_was_restarted_may_count_from_zero(history: LatentHistory, answer: Answer) -> None:
    assert history.offer(answer(sent(history, 3), seq=500), 0, "go")
    assert history.offer(answer(sent(history, 4), seq=0), 0, "go")


def test_a_rejected_latent_does_not_stand_in_the_way_of_a_good_one(
    history: LatentHistory, answer: Answer
) -> None:
    observation = sent(history, 3)
    assert not history.offer(answer(observation, kind="latent_vector"), 0, "go")
    assert history.offer(answer(observation), 0, "go")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_as_many_are_read_as_are_wanted_newest_first(count: int, answer: Answer) -> None:
    history = LatentHistory(SESSION, SPEC, count=count)
    for seq in range(1, 6):
        assert history.offer(answer(sent(history, seq), value=float(seq)), 0, "go")
    tokens, age_s = history.read(10_000)
    assert tokens.shape == (count, 8, 128)
    np.testing.assert_array_equal(tokens[:, 0, 0], [5.0, 4.0, 3.0, 2.0][:count])
    np.testing.assert_allclose(age_s, np.array([5e-6, 6e-6, 7e-6, 8e-6][:count]))
    assert tokens.dtype == age_s.dtype == np.float32


def test_the_oldest_stands_for_those_before_it(answer: Answer) -> None:
    history = LatentHistory(SESSION, SPEC, count=4)
    for seq in (1, 2):
        assert history.offer(answer(sent(history, seq), value=float(seq)), 0, "go")
    tokens, age_s = history.read(10_000)
    np.testing.assert_array_equal(tokens[:, 0, 0], [2.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(age_s, [8e-6, 9e-6, 9e-6, 9e-6])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_what_two_latents_say_is_told_however_many_are_read(count: int, answer: Answer) -> None:
    history = LatentHistory(SESSION, SPEC, count=count)
    for seq, act in ((1, True), (2, False), (3, True)):
        assert history.offer(answer(sent(history, seq), act=act), 0, "go")
    assert history.said == (False, True)


def test_a_system_1_that_reads_no_latent_is_refused() -> None:
    with pytest.raises(SpecError, match="latents: expected System 1 to read at least 1, got 0"):
        LatentHistory(SESSION, SPEC, count=0)


def test_a_latent_for_new_words_does_not_follow_one_for_the_old_ones(
    history: LatentHistory, answer: Answer
) -> None:
    assert history.offer(answer(sent(history, 1), value=1.0), 0, "go")
    changed = sent(history, 2, instruction="stop")
    assert history.offer(answer(changed, value=2.0), 0, "stop")
    tokens, _ = history.read(10_000)
    assert (tokens[0, 0, 0], tokens[1, 0, 0]) == (2.0, 2.0)


def rest_after(history: LatentHistory, answer: Answer, said: str) -> bool:
    """Whether the arm is to stay after latents that say to act (`a`) or that there is nothing to do (`n`)."""
    for seq, one in enumerate(said, start=history.counts["latents_accepted"]):
        assert history.offer(answer(sent(history, seq), act=one == "a"), 0, "go")
    return history.resting


@pytest.mark.parametrize(
    ("said", "rests"),
    [
        ("", False),
        ("a", False),
        ("n", True),
        ("nna", False),
        ("aan", True),
        ("aaan", False),
        ("nnnaaannn", False),
    ],
)
def test_an_arm_that_has_not_set_off_stays_while_there_is_nothing_to_do(
    history: LatentHistory, answer: Answer, said: str, rests: bool
) -> None:
    assert rest_after(history, answer, said) == rests


def test_a_new_episode_or_new_words_make_it_wait_again(history: LatentHistory, answer: Answer) -> None:
    assert not rest_after(history, answer, "aaan")
    assert history.offer(answer(sent(history, 50, instruction="stop"), act=False), 0, "stop")
    assert history.resting
    for seq in (51, 52, 53):
        assert history.offer(answer(sent(history, seq, instruction="stop")), 0, "stop")
    history.clear()
    assert not history.resting
    assert history.offer(answer(sent(history, 54, instruction="stop"), act=False), 0, "stop")
    assert history.resting


@pytest.mark.fault_row(6)
def test_after_a_new_episode_old_answers_are_unknown(history: LatentHistory, answer: Answer) -> None:
    observation = sent(history, 1)
    history.clear()
    assert not history.offer(answer(observation), 0, "go")
    assert history.counts["latents_unknown_observation"] == 1


def test_only_recent_observations_are_remembered(history: LatentHistory, answer: Answer) -> None:
    first = sent(history, 0)
    for seq in range(1, 1025):
        last = sent(history, seq)
    assert not history.offer(answer(first), 0, "go")
    assert history.offer(answer(last), 0, "go")


def test_a_specification_without_tokens_is_refused() -> None:
    with pytest.raises(SpecError, match="expected a tensor named 'tokens', the specification has route"):
        LatentHistory(SESSION, LatentSpec("route", {"route": TensorSpec((1,))}))


@pytest.mark.parametrize("codec", CODECS)
def test_a_latent_of_the_agreed_codec_is_read_within_its_error(
    answer: Answer, codec: LatentCodec, rng: np.random.Generator
) -> None:
    history = LatentHistory(SESSION, SPEC, codec)
    tokens = rng.standard_normal((8, 128)).astype(np.float32)
    parts = encode_latent({"tokens": tokens}, codec)
    assert history.offer(answer(sent(history, 3), tensors=parts, codec=codec), 0, "go")
    assert history.newest is not None
    worst = RELATIVE_ERROR[codec] * np.abs(tokens).max(axis=1, keepdims=True)
    assert (np.abs(history.newest.tokens - tokens) <= worst + 1e-7).all()


@pytest.mark.parametrize("expected", CODECS)
def test_a_latent_of_another_codec_than_agreed_is_rejected_with_both(
    answer: Answer, expected: LatentCodec
) -> None:
    history = LatentHistory(SESSION, SPEC, expected)
    sent_as: LatentCodec = "int8" if expected != "int8" else "bfloat16"
    parts = encode_latent({"tokens": np.ones((8, 128), np.float32)}, sent_as)
    assert not history.offer(answer(sent(history, 3), tensors=parts, codec=sent_as), 0, "go")
    assert history.last_fault == f"latent.codec: expected {expected!r}, got {sent_as!r}"
