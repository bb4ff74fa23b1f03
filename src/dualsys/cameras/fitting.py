"""From the size of a camera to the size that a model wants: cut, filled up, stretched, and averaged down."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import SpecError

How = Literal["crop", "pad", "stretch"]
"""What is done about another ratio of width to height: the sides are cut off, black bars are added, or the
image is distorted."""

MOST_DISTORTION: Final = 0.01
"""Ratios of width to height that differ by less pass for equal."""

FloatArray = NDArray[np.float32]
Taps = tuple[NDArray[np.intp], FloatArray]


class Fit:
    """Makes images of one size of images of another.

    Args:
        width, height: Of the camera.
        wanted_width, wanted_height: Of what comes out.
        how: What to do about another ratio of width to height; None: refuse.

    Raises:
        SpecError: The ratios differ and nothing says how; names both sizes.
    """

    def __init__(
        self, width: int, height: int, wanted_width: int, wanted_height: int, how: How | None
    ) -> None:
        self._source, self._wanted = (height, width), (wanted_height, wanted_width)
        ratio = width * wanted_height / (height * wanted_width)
        if how is None and abs(ratio - 1) > MOST_DISTORTION:
            raise SpecError(
                f"{width}x{height} pixels do not fit into {wanted_width}x{wanted_height}: say how with "
                "fit: crop, pad or stretch, or ask the camera for a size of that shape"
            )
        inner_width, inner_height = wanted_width, wanted_height
        self._top = self._left = self._above = self._beside = 0
        if how == "crop":
            height, self._top = _cut(height, min(height, round(width * wanted_height / wanted_width)))
            width, self._left = _cut(width, min(width, round(height * wanted_width / wanted_height)))
        elif how == "pad":
            inner_height = max(1, min(wanted_height, round(wanted_width * height / width)))
            inner_width = max(1, min(wanted_width, round(wanted_height * width / height)))
            self._above, self._beside = (wanted_height - inner_height) // 2, (wanted_width - inner_width) // 2
        self._cut = (height, width)
        self._inner = (inner_height, inner_width)
        self._rows, self._columns = taps(height, inner_height), taps(width, inner_width)

    @property
    def is_identity(self) -> bool:
        """Whether images stay as they are."""
        return self._source == self._wanted

    def describe(self) -> str:
        """What is done, such as `640x480, its middle 480x480, averaged to 64x64`."""
        words = [_size(self._source)]
        if self._cut != self._source:
            words.append(f"its middle {_size(self._cut)}")
        if self._inner != self._cut:
            words.append(f"resized to {_size(self._inner)}")
        if self._inner != self._wanted:
            words.append(f"with black bars {_size(self._wanted)}")
        return ", ".join(words)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Fit one image.

        Args:
            image: uint8 `[height, width]` or `[height, width, channels]` of the camera's size.

        Returns:
            uint8 of the wanted size, with as many channels.
        """
        if self.is_identity:
            return image
        cut = image[self._top : self._top + self._cut[0], self._left : self._left + self._cut[1]]
        rows = weighted(cut, self._rows)
        # The columns of the image are the rows of its transpose.
        small = weighted(rows.swapaxes(0, 1), self._columns).swapaxes(0, 1)
        pixels = np.rint(small).astype(np.uint8)
        if self._inner == self._wanted:
            return np.ascontiguousarray(pixels)
        whole = np.zeros((*self._wanted, *image.shape[2:]), np.uint8)
        whole[self._above : self._above + self._inner[0], self._beside : self._beside + self._inner[1]] = (
            pixels
        )
        return whole


def taps(size: int, wanted: int) -> Taps:
    """Which pixels of a line make up each pixel of another length, and how much each counts.

    Smaller: each is the mean of what it covers, parts of pixels by their length. Larger: linear in between.

    Args:
        size: Pixels of the line.
        wanted: Pixels of the other.

    Returns:
        Indices [taps, wanted] and weights [taps, wanted]; the weights of each pixel sum to 1.
    """
    scale = size / wanted
    at = np.arange(wanted)
    if scale <= 1:
        centre = np.clip((at + 0.5) * scale - 0.5, 0, size - 1)
        low = np.floor(centre).astype(np.intp)
        part = (centre - low).astype(np.float32)
        return np.stack([low, np.minimum(low + 1, size - 1)]), np.stack([1 - part, part])
    begin, end = at * scale, (at + 1) * scale
    first = np.floor(begin + 1e-9).astype(np.intp)
    index = first + np.arange(int(np.ceil(scale)) + 1)[:, None]
    covered = np.clip(np.minimum(end, index + 1) - np.maximum(begin, index), 0, None)
    used = covered.max(axis=1) > 1e-9
    weight = (covered / covered.sum(axis=0)).astype(np.float32)
    return np.minimum(index, size - 1)[used], weight[used]


def weighted(image: NDArray[np.generic], line: Taps) -> FloatArray:
    """Weighted sums of the rows of an image [rows, ...]: float32 [wanted, ...]."""
    index, weight = line
    shape = (-1, *(1,) * (image.ndim - 1))
    total = np.zeros((index.shape[1], *image.shape[1:]), np.float32)
    for which, part in zip(index, weight, strict=True):
        total += image[which] * part.reshape(shape)
    return total


def _cut(size: int, wanted: int) -> tuple[int, int]:
    """How much of a side is left, and where that begins."""
    wanted = max(1, wanted)
    return wanted, (size - wanted) // 2


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"
