"""The colour stream of an Intel RealSense camera, by the maker's own library."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dualsys.cameras.contract import CameraSpec
from dualsys.cameras.grabber import Grabber
from dualsys.cameras.registry import CameraDriver, CameraSettings
from dualsys.errors import CameraError, MissingExtraError

DEFAULT_WIDTH: Final = 640
DEFAULT_HEIGHT: Final = 480
DEFAULT_RATE_HZ: Final = 30
WAIT_MS: Final = 1000
"""Longest wait for one frame."""


class RealSenseSource:
    """One `pyrealsense2.pipeline`; see `grabber.FrameSource`.

    Args:
        settings: Options: `serial`, the number on the camera; the first one that is found by default.

    Raises:
        CameraError: An option is wrong, or the library cannot be loaded.
        MissingExtraError: The library is not installed.
    """

    def __init__(self, settings: CameraSettings) -> None:
        settings.require_options("serial")
        self._settings = settings
        self._serial = str(settings.option("serial", str, ""))
        try:
            import pyrealsense2
        except ModuleNotFoundError as error:
            raise MissingExtraError("pyrealsense2", "realsense", "the camera driver realsense") from error
        except ImportError as error:
            raise self._fault(
                f"pyrealsense2 is installed and cannot be loaded: {error}; on Debian and Ubuntu, apt install "
                "libusb-1.0-0"
            ) from error
        self._library: Any = pyrealsense2
        self._pipeline: Any = None

    def open(self) -> CameraSpec:
        """Start the colour stream."""
        library, settings = self._library, self._settings
        width, height = settings.width or DEFAULT_WIDTH, settings.height or DEFAULT_HEIGHT
        rate_hz = round(settings.rate_hz or DEFAULT_RATE_HZ)
        config = library.config()
        if self._serial:
            config.enable_device(self._serial)
        config.enable_stream(library.stream.color, width, height, library.format.rgb8, rate_hz)
        pipeline = library.pipeline()
        try:
            pipeline.start(config)
        except RuntimeError as error:
            which = f"RealSense {self._serial}" if self._serial else "a RealSense"
            raise self._fault(
                f"{which} cannot be started with {width}x{height} at {rate_hz} Hz: {error}; is it plugged "
                "in, and does it have that mode (`rs-enumerate-devices`)?"
            ) from error
        self._pipeline = pipeline
        return CameraSpec(settings.name, width, height, float(rate_hz), "rgb8")

    def grab(self) -> NDArray[np.uint8]:
        """Wait for the next image, RGB."""
        try:
            frame = self._pipeline.wait_for_frames(WAIT_MS).get_color_frame()
        except RuntimeError as error:
            raise self._fault(f"no frame within {WAIT_MS} ms: {error}") from error
        if not frame:
            raise self._fault("a set of frames without a colour image")
        # The library takes its memory back.
        return np.array(frame.get_data(), dtype=np.uint8)

    def close(self) -> None:
        """Stop the stream."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            pipeline.stop()

    def _fault(self, wrong: str) -> CameraError:
        return CameraError(f"cameras.{self._settings.name}: {wrong}")


def open_realsense(settings: CameraSettings) -> Grabber:
    """A RealSense. Raises as `RealSenseSource`."""
    return Grabber(settings.name, RealSenseSource(settings), settings.clock, settings.connect_timeout_s)


DRIVER: Final = CameraDriver(
    "the colour stream of an Intel RealSense",
    open_realsense,
    library="pyrealsense2",
    install="pip install 'dualsys[realsense]'",
)
