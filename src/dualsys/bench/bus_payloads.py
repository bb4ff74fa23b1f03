"""What the bus benchmark moves, and what both ends of a line have in common."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from dualsys.clock import Clock, WallClock
from dualsys.errors import PeerTimeoutError

WIDTH: Final = 128
"""Elements of a token, as in the shipped System 2."""

TOKENS: Final = {"1 KB": 2, "64 KB": 128, "1 MB": 2048, "observation": 8}
"""Tokens of the latent that comes back, by payload; `observation` stands for what the demo sends."""

NAMES: Final = tuple(TOKENS)
CAMERA: Final = "fixed"
INSTRUCTION: Final = "pick up the red block"
ANSWER_S: Final = 10.0
"""How long an answer may take before a line counts as broken."""

_STAMPS = struct.Struct("<qq")


@dataclass(frozen=True)
class Line:
    """One way to move the payloads.

    Attributes:
        contender: ours, raw, typed, websocket or grpc.
        link: ipc, tcp, and either with `+curve`.
    """

    contender: str
    link: str

    @property
    def name(self) -> str:
        """Such as `ours tcp+curve`."""
        return f"{self.contender} {self.link}"

    @property
    def keyed(self) -> bool:
        """Whether it is encrypted and authenticated by CURVE."""
        return self.link.endswith("+curve")


@dataclass(frozen=True)
class Addresses:
    """Where the two ends of a line meet.

    Attributes:
        up: What goes to the far end; for lines of one connection, both ways.
        down: What comes back.
        homes: Folder with the key stores `cloud` and `edge`.
        stamp: File in which the far end notes when it sent.
    """

    up: str
    down: str
    homes: Path
    stamp: Path


@dataclass(frozen=True)
class Exchanged:
    """One exchange.

    Attributes:
        begun_ns: Before the near end made its message.
        answered_ns: Before the far end began to make its own.
        sent_ns: When the far end had made it, and handed it over to be sent.
        received_ns: When the near end was handed the message.
        ended_ns: When the near end had the arrays in it.
    """

    begun_ns: int
    answered_ns: int
    sent_ns: int
    received_ns: int
    ended_ns: int


class Near(Protocol):
    """The end of a line at which time is taken.

    Attributes:
        received_ns: When the last answer was handed over, before anything was made of it.
    """

    received_ns: int

    def exchange(self, number: int, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Send images, and return the latent that comes back, float32 [tokens, width].

        Args:
            number: Which payload, by its place in `NAMES`.
            images: uint8 [height, width, 3] by camera; may be empty.

        Raises:
            PeerTimeoutError: No answer.
        """
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class Stamps:
    """When the far end last began to make its answer, and to send it: in a file that both processes map.

    So no contender has to carry stamps in its message. The clock is one for all processes of a machine.

    Args:
        path: A file from `create`.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _STAMPS.size)
        self._clock: Clock = WallClock()

    @staticmethod
    def create(path: Path) -> None:
        """Make the file."""
        path.write_bytes(bytes(_STAMPS.size))

    def making(self) -> int:
        """The present, to be given to `sending`."""
        return self._clock.now_ns()

    def sending(self, making_ns: int) -> None:
        """Note when the answer was begun, and that it is sent now."""
        _STAMPS.pack_into(self._map, 0, making_ns, self._clock.now_ns())

    def read_ns(self) -> tuple[int, int]:
        """Both of the last answer."""
        making_ns, sending_ns = _STAMPS.unpack_from(self._map, 0)
        return making_ns, sending_ns

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._map.close()


def latents() -> list[NDArray[np.float32]]:
    """The latent of every payload, float32 [tokens, width], the same in every process."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((tokens, WIDTH)).astype(np.float32) for tokens in TOKENS.values()]


def no_answer(line: str, address: str) -> PeerTimeoutError:
    """The error of a line that is broken."""
    return PeerTimeoutError(f"the far end of {line}", address, ANSWER_S)
