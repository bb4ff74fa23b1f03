"""Messages to bytes and back, and images to messages and back.

Whatever bytes come in, decoding either returns a complete, valid message or raises MessageError.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, Union, overload

import msgspec
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from dualsys.errors import MessageError
from dualsys.messages import (
    AnyMessage,
    ArmCommand,
    ArmState,
    ControlState,
    Hello,
    Image,
    Message,
    Plan,
    Request,
)

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Largest frame that is sent or read: a few raw images, or the largest tensor with room to spare."""

MESSAGE_BYTES: dict[type[Message], int] = {
    Plan: 1024 * 1024,
    ControlState: 64 * 1024,
    ArmState: 16 * 1024,
    ArmCommand: 16 * 1024,
    Hello: 128 * 1024,
    Request: 128 * 1024,
}
"""Smaller limits for what is small by nature: next to the arm, nobody can make a process reserve more, or
read for longer than a tick lasts."""

A = TypeVar("A", bound=Message)
B = TypeVar("B", bound=Message)

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `Decoder.decode` raises."""

_ENCODER = msgspec.msgpack.Encoder()
_UINT8 = np.dtype(np.uint8)
_SHOWN_CHARACTERS = 300
_MOST_SCANS = 64
_SCAN = b"\xff\xda"


def encode(message: Message) -> bytes:
    """Turn a message into one frame.

    Raises:
        MessageError: It holds something that cannot be sent, or is larger than messages of its type may be.
    """
    frame = bytearray()
    encode_into(message, frame, 0)
    return bytes(frame)


def encode_into(message: Message, frame: bytearray, start: int) -> None:
    """As `encode`, into memory that is used again: behind `start` bytes of `frame`, which then ends there.

    Raises:
        MessageError: As for `encode`; what `frame` holds then is not defined.
    """
    try:
        _ENCODER.encode_into(message, frame, start)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MessageError(f"{type(message).__name__} cannot be sent: {_shown(error)}") from error
    size, limit = len(frame) - start, MESSAGE_BYTES.get(type(message), MAX_FRAME_BYTES)
    if size > limit:
        name = type(message).__name__
        raise MessageError(f"{name} takes {size} bytes, at most {limit} can be sent: make it smaller")


def most_bytes(*types: type[Message]) -> int:
    """Largest frame of any of these types; of all types, where none is given."""
    return max((MESSAGE_BYTES.get(kind, MAX_FRAME_BYTES) for kind in types), default=MAX_FRAME_BYTES)


@overload
def decode(frame: bytes | memoryview, a: type[A], /) -> A: ...
@overload
def decode(frame: bytes | memoryview, a: type[A], b: type[B], /) -> A | B: ...
@overload
def decode(frame: bytes | memoryview, /, *types: type[Message]) -> Message: ...
def decode(frame: bytes | memoryview, /, *types: type[Message]) -> Message:
    """Turn one frame into a message. Tensors and images stay views into `frame`.

    Args:
        frame: One frame, as received.
        *types: Accepted message types; none: all.

    Raises:
        MessageError: Anything is wrong with it: truncated, malformed, too large, another type, a value out of
            its bounds, an inconsistent tensor. Names the path of the field.
    """
    return decoder(types)(frame)


class Decoder:
    """Turns frames into messages of some types, as `decode` does; it is made once for many frames.

    Args:
        types: Accepted message types; none: all.

    Attributes:
        most_bytes: Largest frame that is read.
        decode: Decodes a frame that is no larger, or raises one of `UNREADABLE`, which `fault` explains. For
            those who read frame after frame: a call costs as much as some of the checks.
    """

    def __init__(self, types: Sequence[type[Message]]) -> None:
        # A tuple of types cannot be joined by |.
        accepted: Any = Union[tuple(types)] if types else AnyMessage  # noqa: UP007
        self.decode: Callable[[bytes | memoryview], Message] = msgspec.msgpack.Decoder(accepted).decode
        self._expected = " or ".join(kind.__name__ for kind in types) or "message"
        self.most_bytes = most_bytes(*types)

    def __call__(self, frame: bytes | memoryview) -> Message:
        """Decode one frame; see `decode`."""
        if len(frame) > self.most_bytes:
            raise MessageError(
                f"a frame of {len(frame)} bytes was refused: at most {self.most_bytes} are read"
            )
        try:
            return self.decode(frame)
        except UNREADABLE as error:
            raise MessageError(self.fault(error)) from error

    def fault(self, error: Exception) -> str:
        """What was wrong with a frame that could not be decoded."""
        return f"not a valid {self._expected}: {_shown(error)}"


@functools.lru_cache(maxsize=64)
def decoder(types: tuple[type[Message], ...]) -> Decoder:
    """The decoder of these types."""
    return Decoder(types)


def _shown(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + " ..."


def to_image(array: NDArray[np.uint8], encoding: Literal["raw", "jpeg"] = "raw", quality: int = 80) -> Image:
    """Wrap a camera frame for the wire.

    Args:
        array: uint8 `[height, width, 3]`, RGB.
        encoding: `raw` loses nothing; `jpeg` is smaller.
        quality: JPEG quality, 1 to 100.

    Raises:
        MessageError: The array is not such an image.
    """
    if array.dtype != _UINT8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise MessageError(f"image: expected uint8[height, width, 3], got {array.dtype}{list(array.shape)}")
    pixels = np.ascontiguousarray(array)
    height, width = array.shape[:2]
    if encoding == "raw":
        return Image("raw", width, height, pixels.tobytes())
    return Image("jpeg", width, height, simplejpeg.encode_jpeg(pixels, quality, colorspace="RGB"))


def from_image(image: Image) -> NDArray[np.uint8]:
    """Unwrap a camera frame.

    Returns:
        uint8 `[height, width, 3]`, RGB; read-only.

    Raises:
        MessageError: The bytes are not an image of the stated size. The size is checked before memory is
            reserved.
    """
    shape = (image.height, image.width, 3)
    if image.encoding == "raw":
        expected = image.height * image.width * 3
        if len(image.data) != expected:
            raise MessageError(f"image: {list(shape)} takes {expected} bytes, got {len(image.data)}")
        pixels: NDArray[np.uint8] = np.ndarray(shape, _UINT8, image.data)
    else:
        pixels = _from_jpeg(image, shape)
    pixels.setflags(write=False)
    return pixels


def _from_jpeg(image: Image, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    # The decoder takes the address of the bytes, which not every view provides.
    data = bytes(image.data)
    # A camera makes one scan for each colour, a progressive picture about ten. Each may cost a pass over all
    # pixels and take a handful of bytes: a thousand of them in a small file would keep a process for seconds.
    if (scans := data.count(_SCAN)) > _MOST_SCANS:
        raise MessageError(f"image: a JPEG of {scans} scans was refused: at most {_MOST_SCANS} are read")
    try:
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        if (height, width) != shape[:2]:
            raise MessageError(f"image: stated as {list(shape)}, but the JPEG is {[height, width, 3]}")
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB")
    except (ValueError, OverflowError) as error:
        if isinstance(error, MessageError):
            raise
        raise MessageError(f"image: not a JPEG that can be read: {_shown(error)}") from error
    return pixels
