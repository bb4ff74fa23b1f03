"""Words to numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.errors import InstructionError
from dualsys.slow.vocabulary import Vocabulary, split_words

WORDS = ["", "push", "the", "red", "block", "left"]


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(WORDS, 5)


def test_case_and_punctuation_do_not_matter(vocabulary: Vocabulary) -> None:
    expected = np.array([1, 2, 3, 4, 0])
    for text in ("push the red block", "  Push, the RED-block! ", "push\tthe\nred (block)."):
        np.testing.assert_array_equal(vocabulary.encode(text), expected)
    assert vocabulary.encode("push").dtype == np.int64


def test_unknown_words_are_listed_once_with_the_known_ones(vocabulary: Vocabulary) -> None:
    with pytest.raises(InstructionError) as caught:
        vocabulary.encode("lift the purple purple block")
    assert str(caught.value) == "unknown words: lift, purple; known words: block, left, push, red, the"


@pytest.mark.parametrize("text", ["", "   ", "?!", "__"])
def test_an_instruction_needs_words(vocabulary: Vocabulary, text: str) -> None:
    with pytest.raises(InstructionError, match="has no words"):
        vocabulary.encode(text)


def test_an_instruction_that_is_too_long_is_refused_not_cut(vocabulary: Vocabulary) -> None:
    with pytest.raises(InstructionError, match="6 words, at most 5"):
        vocabulary.encode("push the red block left left")


def test_padding_cannot_be_said() -> None:
    with pytest.raises(InstructionError, match="unknown words: pad"):
        Vocabulary(["pad", "push"], 5).encode("pad push")


@given(st.lists(st.sampled_from(WORDS[1:]), min_size=1, max_size=5))
def test_what_is_encoded_can_be_read_back(words: list[str]) -> None:
    indices = Vocabulary(WORDS, 5).encode(" ".join(words))
    assert [WORDS[index] for index in indices if index] == words
    assert len(indices) == 5


@given(st.text())
def test_words_split_into_themselves(text: str) -> None:
    words = split_words(text)
    assert split_words(" ".join(words)) == words
