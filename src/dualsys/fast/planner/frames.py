"""The wrist images that System 1 reads: the newest, and the one a moment before, so that it sees motion."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import SpecError
from dualsys.specs import TensorSpec

_KEPT_FRAMES = 64


class WristFrame:
    """One image with its features, which are computed at most once.

    Args:
        image: uint8 `[height, width, 3]`.
        t_ns: When it arrived.
    """

    def __init__(self, image: NDArray[np.uint8], t_ns: int) -> None:
        self.image = image
        self.t_ns = t_ns
        self._features: NDArray[np.float32] | None = None

    def features(self, encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Features of the image, from `encode` on first use."""
        if self._features is None:
            self._features = encode(self.image)
        return self._features


class FrameHistory:
    """Recent wrist images in the order of their stamps.

    Args:
        spec: What an image must look like.
        lag_ns: How far the second image should lie behind the newest.
    """

    def __init__(self, spec: TensorSpec, lag_ns: int) -> None:
        self._spec = spec
        self._lag_ns = lag_ns
        self._frames: deque[WristFrame] = deque(maxlen=_KEPT_FRAMES)

    @property
    def newest(self) -> WristFrame | None:
        """The newest image."""
        return self._frames[-1] if self._frames else None

    def add(self, image: NDArray[np.uint8], t_ns: int) -> None:
        """Take in an image; it is copied.

        Raises:
            SpecError: Not such an image, or not newer than the newest.
        """
        self._spec.validate(image, "wrist image")
        if self._frames and t_ns <= self._frames[-1].t_ns:
            raise SpecError(f"wrist image: expected a stamp after {self._frames[-1].t_ns} ns, got {t_ns} ns")
        self._frames.append(WristFrame(image.copy(), t_ns))
        # One image at or beyond the lag is enough to know which is nearest to it.
        while len(self._frames) > 2 and self._frames[1].t_ns <= t_ns - 2 * self._lag_ns:
            self._frames.popleft()

    def pair(self) -> tuple[WristFrame, WristFrame]:
        """The newest image and the one nearest to a lag before it; a single image stands for both."""
        newest = self._frames[-1]
        wanted_ns = newest.t_ns - self._lag_ns
        return newest, min(self._frames, key=lambda frame: abs(frame.t_ns - wanted_ns))

    def clear(self) -> None:
        """Forget all images."""
        self._frames.clear()
