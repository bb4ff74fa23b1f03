"""Cameras and libraries that do as they are told."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.cameras.contract import CameraSpec, Frame
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock

CLOCK = WallClock()


class ScriptedCamera:
    """Gives out the frames, or raises the errors, that it was handed."""

    def __init__(self, spec: CameraSpec) -> None:
        self.spec = spec
        self.script: list[Frame | Exception | None] = []
        self.closed = False

    def connect(self) -> None:
        self.closed = False

    def read(self) -> Frame | None:
        told = self.script.pop(0) if self.script else None
        if isinstance(told, Exception):
            raise told
        return told

    def close(self) -> None:
        self.closed = True


class ScriptedSource:
    """A library whose every answer is put into a queue by the test: images, None, or errors."""

    def __init__(self, spec: CameraSpec) -> None:
        self.spec = spec
        self.answers: queue.Queue[NDArray[np.uint8] | Exception | None] = queue.Queue()
        self.opened = self.closed = 0
        self.refuses: Exception | None = None

    def open(self) -> CameraSpec:
        self.opened += 1
        if self.refuses is not None:
            raise self.refuses
        return self.spec

    def grab(self) -> NDArray[np.uint8] | None:
        told = self.answers.get()
        if isinstance(told, Exception):
            raise told
        return told

    def close(self) -> None:
        self.closed += 1


def image(spec: CameraSpec, value: int = 0) -> NDArray[np.uint8]:
    return np.full(spec.shape, value, np.uint8)


def until(condition: Callable[[], Any]) -> Any:
    """Wait for a thread, generously; what the condition gives is returned."""
    deadline_ns = CLOCK.now_ns() + 20 * NS_PER_S
    while not (found := condition()):
        assert CLOCK.now_ns() < deadline_ns
        CLOCK.sleep_until_ns(CLOCK.now_ns() + NS_PER_MS)
    return found


class ScriptedCv2:
    """As much of the module `cv2` as the driver uses, with one device."""

    CAP_V4L2, CAP_ANY = 200, 0
    CAP_PROP_FOURCC, CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT = 6, 3, 4
    CAP_PROP_FPS, CAP_PROP_BUFFERSIZE = 5, 38

    class error(Exception):  # noqa: N801, N818 - as in the library
        """What the library raises."""

    VideoWriter = SimpleNamespace(fourcc=lambda *signs: sum(ord(s) << 8 * i for i, s in enumerate(signs)))

    def __init__(self, width: int, height: int, fps: float = 30.0) -> None:
        self.there = threading.Event()
        self.there.set()
        self.native = (width, height)
        self.fps = fps
        self.asked: dict[int, float] = {}
        self.opened_with: tuple[Any, int] | None = None
        self.opened = self.released = 0
        self.raises: Exception | None = None

    def VideoCapture(self, device: Any, backend: int) -> Any:  # noqa: N802 - as in the library
        self.opened_with = (device, backend)
        self.opened += 1
        return self

    def isOpened(self) -> bool:  # noqa: N802
        return self.there.is_set()

    def set(self, what: int, value: float) -> bool:
        self.asked[what] = value
        return True

    def get(self, what: int) -> float:
        return self.fps if what == self.CAP_PROP_FPS else self.asked.get(what, 0.0)

    def read(self) -> tuple[bool, Any]:
        if self.raises is not None:
            raise self.raises
        if not self.there.is_set():
            return False, None
        width, height = self.native
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[:, :, 0] = 200  # Blue, as the library has it first.
        return True, pixels

    def release(self) -> None:
        self.released += 1
