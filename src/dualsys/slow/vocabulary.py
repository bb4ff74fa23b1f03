"""Words to numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import InstructionError

_WORD = re.compile(r"[^\W_]+")


def split_words(text: str) -> list[str]:
    """Lower-case words of a text: runs of letters and digits; all else separates them."""
    return _WORD.findall(text.lower())


class Vocabulary:
    """The words that a model knows.

    Args:
        words: Word of each index. Index 0 is padding and is never a word.
        max_words: Length of an encoded instruction.
    """

    def __init__(self, words: Sequence[str], max_words: int) -> None:
        self._index = {word: index for index, word in enumerate(words) if index > 0}
        self._max_words = max_words

    @property
    def words(self) -> tuple[str, ...]:
        """Known words, sorted."""
        return tuple(sorted(self._index))

    def encode(self, text: str) -> NDArray[np.int64]:
        """Turn an instruction into int64 `[max_words]`, padded with 0.

        Raises:
            InstructionError: It has no words, too many, or unknown ones; lists those and the known ones.
        """
        words = split_words(text)
        if not words:
            raise InstructionError(f"instruction {text!r} has no words; {self._known()}")
        if unknown := [word for word in dict.fromkeys(words) if word not in self._index]:
            raise InstructionError(f"unknown words: {', '.join(unknown)}; {self._known()}")
        if len(words) > self._max_words:
            raise InstructionError(
                f"instruction has {len(words)} words, at most {self._max_words} are understood"
            )
        indices = np.zeros(self._max_words, np.int64)
        indices[: len(words)] = [self._index[word] for word in words]
        return indices

    def _known(self) -> str:
        return f"known words: {', '.join(self.words)}"
