"""One digest of everything that happens in an episode: two runs are the same if and only if it is."""

from __future__ import annotations

import hashlib
import struct

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.messages import Message


class Trace:
    """SHA-256 over commands, messages and named events, each with its time, in order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._encoder = msgspec.msgpack.Encoder(order="deterministic")
        self.entries = 0

    def command(self, t_ns: int, command: NDArray[np.float64] | None) -> None:
        """Add the command of one tick; None where nothing was commanded."""
        data = b"" if command is None else np.ascontiguousarray(command, dtype="<f8").tobytes()
        self._add("command", t_ns, data)

    def message(self, t_ns: int, message: Message) -> None:
        """Add a message as it would be on the wire."""
        self._add(type(message).__name__, t_ns, self._encoder.encode(message))

    def event(self, t_ns: int, name: str, detail: str = "") -> None:
        """Add something that happened."""
        self._add(name, t_ns, detail.encode())

    def hexdigest(self) -> str:
        """The digest so far, as 64 hexadecimal digits."""
        return self._digest.hexdigest()

    def _add(self, name: str, t_ns: int, data: bytes) -> None:
        # Lengths go in first, so that no two different sequences can run together into the same bytes.
        label = name.encode()
        self._digest.update(struct.pack("<qII", t_ns, len(label), len(data)))
        self._digest.update(label)
        self._digest.update(data)
        self.entries += 1
