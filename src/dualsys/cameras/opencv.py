"""What OpenCV reaches: USB cameras over V4L2, network cameras, and whatever else its build knows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dualsys.cameras.contract import CameraSpec
from dualsys.cameras.grabber import Grabber
from dualsys.cameras.registry import CameraDriver, CameraSettings
from dualsys.errors import CameraError, MissingExtraError

DEFAULT_RATE_HZ: Final = 30.0


class OpenCvSource:
    """One `cv2.VideoCapture`; see `grabber.FrameSource`.

    Args:
        settings: Options: `device`, such as `/dev/video0`, a number, or the address of a stream; `fourcc`,
            the pixel format to ask for, such as MJPG.

    Raises:
        CameraError: An option is wrong.
        MissingExtraError: OpenCV is not installed.
    """

    def __init__(self, settings: CameraSettings) -> None:
        settings.require_options("device", "fourcc")
        self._settings = settings
        number = isinstance(settings.options.get("device"), int)
        device = settings.option("device", int if number else str)
        self._device: int | str = device if isinstance(device, int) else str(device)
        self._fourcc = str(settings.option("fourcc", str, ""))
        if self._fourcc and len(self._fourcc) != 4:
            raise self._fault(f"options.fourcc: got {self._fourcc!r}, expected four signs such as MJPG")
        try:
            import cv2
        except ImportError as error:
            raise MissingExtraError("cv2", "opencv", "the camera driver opencv") from error
        self._cv2: Any = cv2
        self._capture: Any = None

    def open(self) -> CameraSpec:
        """Open the device, ask it for size and rate, and look at a first frame."""
        cv2, settings = self._cv2, self._settings
        local = isinstance(self._device, int) or self._device.startswith("/dev/")
        backend = cv2.CAP_V4L2 if local and sys.platform == "linux" else cv2.CAP_ANY
        self._capture = cv2.VideoCapture(self._device, backend)
        if not self._capture.isOpened():
            raise self._fault(f"{self._device} cannot be opened; {_there_are()}")
        asked: list[tuple[int, float | None]] = [
            (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._fourcc) if self._fourcc else None),
            (cv2.CAP_PROP_FRAME_WIDTH, settings.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, settings.height),
            (cv2.CAP_PROP_FPS, settings.rate_hz),
            # Frames that wait in the driver would be old when they are stamped.
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ]
        for what, value in asked:
            if value is not None:
                self._capture.set(what, value)
        first = self.grab()
        height, width = first.shape[:2]
        if (settings.width or width, settings.height or height) != (width, height):
            raise self._fault(
                f"asked for {settings.width}x{settings.height}, {self._device} delivers {width}x{height}: "
                "ask for a size that it has (`v4l2-ctl --list-formats-ext`)"
            )
        told_hz = float(self._capture.get(cv2.CAP_PROP_FPS))
        rate_hz = told_hz if 0 < told_hz <= 1000 else settings.rate_hz or DEFAULT_RATE_HZ
        return CameraSpec(settings.name, width, height, rate_hz, "bgr8")

    def grab(self) -> NDArray[np.uint8]:
        """Wait for the next image, BGR."""
        try:
            good, image = self._capture.read()
        except self._cv2.error as error:
            raise self._fault(f"{self._device}: {error}") from error
        if not good or image is None:
            raise self._fault(f"{self._device} delivers no frames: unplugged, in use, or over")
        pixels: NDArray[np.uint8] = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise self._fault(f"expected BGR images, got {pixels.dtype}{list(pixels.shape)}")
        return pixels

    def close(self) -> None:
        """Release the device."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _fault(self, wrong: str) -> CameraError:
        return CameraError(f"cameras.{self._settings.name}: {wrong}")


def _there_are() -> str:
    devices = sorted(str(path) for path in Path("/dev").glob("video[0-9]*"))
    return f"there are {', '.join(devices)}" if devices else "there is no /dev/video*"


def open_opencv(settings: CameraSettings) -> Grabber:
    """A camera that OpenCV reaches. Raises as `OpenCvSource`."""
    return Grabber(settings.name, OpenCvSource(settings), settings.clock, settings.connect_timeout_s)


DRIVER: Final = CameraDriver(
    "USB cameras (V4L2), network streams and what else OpenCV opens",
    open_opencv,
    library="cv2",
    install="pip install 'dualsys[opencv]'",
)
