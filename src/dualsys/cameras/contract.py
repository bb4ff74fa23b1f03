"""What a camera driver is: a specification, and the newest frame with the stamp of its arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import SpecError

CONTRACT_VERSION: Final = 1
"""Raised whenever a driver that was written before no longer fits."""

Encoding = Literal["rgb8", "bgr8", "mono8"]
"""What the numbers of a pixel are: uint8 `[height, width, 3]`, or `[height, width]` for mono8."""

MOST_PIXELS: Final = 4096
"""Largest width and largest height."""


@dataclass(frozen=True)
class CameraSpec:
    """What a camera delivers.

    Attributes:
        name: What the configuration calls it.
        width, height: Of every frame, in pixels.
        rate_hz: Frames per second.
        encoding: What the numbers of a pixel are.

    Raises:
        SpecError: A size or the rate is out of range, or the encoding is unknown.
    """

    name: str
    width: int
    height: int
    rate_hz: float
    encoding: Encoding = "rgb8"

    def __post_init__(self) -> None:
        for side in ("width", "height"):
            if not 1 <= getattr(self, side) <= MOST_PIXELS:
                got = getattr(self, side)
                raise SpecError(f"camera {self.name!r}: {side}: expected 1 to {MOST_PIXELS}, got {got}")
        if not 0 < self.rate_hz <= 1000:
            raise SpecError(f"camera {self.name!r}: rate_hz: expected 0 to 1000 Hz, got {self.rate_hz}")
        if self.encoding not in get_args(Encoding):
            known = ", ".join(get_args(Encoding))
            raise SpecError(f"camera {self.name!r}: encoding: expected {known}, got {self.encoding!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of a frame."""
        return (self.height, self.width) if self.encoding == "mono8" else (self.height, self.width, 3)

    def describe(self) -> str:
        """One line, such as `640x480 rgb8 at 30 Hz`."""
        return f"{self.width}x{self.height} {self.encoding} at {self.rate_hz:g} Hz"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image.

    Attributes:
        t_ns: When it reached this process, on the clock of the settings.
        image: uint8, of `CameraSpec.shape`; nobody writes into it any more.
    """

    t_ns: int
    image: NDArray[np.uint8]


class Camera(Protocol):
    """A camera driver. One thread uses it. Only `connect` and `close` may block, for a bounded time.

    Where a library waits for frames, `cameras.grabber.Grabber` makes this of it.
    """

    @property
    def spec(self) -> CameraSpec:
        """What it delivers; known after `connect`.

        Raises:
            CameraError: It is not known yet.
        """
        ...

    def connect(self) -> None:
        """Reach the camera. Works again after `close`.

        Raises:
            CameraError: It is not there, delivers nothing in time, or not what was asked for.
        """
        ...

    def read(self) -> Frame | None:
        """The newest frame since the last call, or None. Never waits, and never gives a frame twice.

        Raises:
            CameraError: The camera is lost. It may come back: ask again.
            MessageError: What came is no image; the next one may be.
        """
        ...

    def close(self) -> None:
        """Let go of the camera. Calling it again does nothing."""
        ...
