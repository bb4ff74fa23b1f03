"""Which frames of a channel are news: each publisher numbers its frames, and numbers only ever rise."""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final

REMEMBERED_PUBLISHERS: Final = 64

_HEADER: Final = struct.Struct(">QQ")
HEADER_BYTES: Final = _HEADER.size
NUMBER: Final = struct.Struct(">Q")
"""The end of a header, which is all that changes from one message of a topic to the next."""


def header(publisher: int, number: int) -> bytes:
    """What stands before a message: who sends it, and which one of theirs it is.

    Args:
        publisher: Random number of one publisher, made when it was; below 2**64.
        number: Counts its messages on one topic from 0.
    """
    return _HEADER.pack(publisher, number)


def layout(prefix_bytes: int) -> struct.Struct:
    """Of the beginning of a frame: a prefix of so many bytes, and the two numbers of its `header`."""
    return struct.Struct(f">{prefix_bytes}sQQ")


class Order:
    """Tells news from what was seen before. One for each subscriber.

    Latest value wins, so numbers may be missing; they never fall or repeat. A frame that is repeated,
    overtaken by a newer one, or recorded and played again, by this or any remembered publisher, is no news. A
    process that starts anew is a new publisher.

    Args:
        remembered: How many publishers are remembered.

    Attributes:
        superseded: Messages that were sent and never seen, because newer ones replaced them on the way.
        outdated: Frames that were no news.
    """

    def __init__(self, remembered: int = REMEMBERED_PUBLISHERS) -> None:
        self._remembered = remembered
        self.superseded = 0
        self.outdated = 0
        # The last number of each publisher; apart from the others, that of the one heard last, who mostly is
        # the only one.
        self._publisher: int | None = None
        self._number = -1
        self._others: OrderedDict[int, int] = OrderedDict()

    def admit(self, publisher: int, number: int) -> bool:
        """Whether a frame is news. If so, only what comes later is news from then on.

        Args:
            publisher: As for `header`.
            number: As for `header`.
        """
        last = self._number if publisher == self._publisher else self._others.get(publisher)
        if last is not None:
            if number <= last:
                self.outdated += 1
                return False
            self.superseded += number - last - 1
        if publisher != self._publisher:
            self._turn_to(publisher)
        self._number = number
        return True

    def _turn_to(self, publisher: int) -> None:
        self._others.pop(publisher, None)
        if self._publisher is not None:
            self._others[self._publisher] = self._number
        if len(self._others) >= self._remembered:
            self._others.popitem(last=False)
        self._publisher = publisher
