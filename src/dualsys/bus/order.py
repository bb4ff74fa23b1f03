"""Which frames of a channel are news: each publisher numbers its frames, and numbers only ever rise."""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final

from dualsys.errors import MessageError

REMEMBERED_PUBLISHERS: Final = 64

_HEADER = struct.Struct(">QQ")
HEADER_BYTES: Final = _HEADER.size


def header(publisher: int, number: int) -> bytes:
    """What stands before a message: who sends it, and which one of theirs it is.

    Args:
        publisher: Random number of one publisher, made when it was; below 2**64.
        number: Counts its messages on one topic from 0.
    """
    return _HEADER.pack(publisher, number)


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
        self._last: OrderedDict[int, int] = OrderedDict()
        self._newest = -1

    def admit(self, frame: memoryview, start: int = 0) -> bool:
        """Whether a frame is news. If so, only what comes later is news from then on.

        Args:
            frame: The frame.
            start: Where its header begins.

        Raises:
            MessageError: It is too short to have a header.
        """
        if len(frame) < start + HEADER_BYTES:
            raise MessageError(f"a frame of {len(frame) - start} bytes has no header of {HEADER_BYTES}")
        publisher, number = _HEADER.unpack_from(frame, start)
        last = self._last.get(publisher)
        if last is not None and number <= last:
            self.outdated += 1
            return False
        if last is not None:
            self.superseded += number - last - 1
        self._last[publisher] = number
        if publisher == self._newest:
            return True
        self._newest = publisher
        self._last.move_to_end(publisher)
        if len(self._last) > self._remembered:
            self._last.popitem(last=False)
        return True
