"""Images from a folder, or a video, played at their rate as a camera would show them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from dualsys.cameras.contract import MOST_PIXELS, CameraSpec
from dualsys.cameras.grabber import Grabber
from dualsys.cameras.registry import CameraDriver, CameraSettings
from dualsys.clock import period_ns
from dualsys.errors import CameraError, MissingExtraError

DEFAULT_RATE_HZ: Final = 30.0
JPEG: Final = (".jpg", ".jpeg")
IMAGES: Final = (*JPEG, ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp")

Image = NDArray[np.uint8]


class FileSource:
    """A folder or a film; see `grabber.FrameSource`. It plays slower where decoding takes too long.

    Args:
        settings: Options: `path`, a video, or a folder of images, which are shown in the order of their
            names; `loop`, whether it begins again, which it does by default.

    Raises:
        CameraError: An option is wrong, or there is nothing at that path.
        MissingExtraError: It needs PyAV, which is not installed.
    """

    def __init__(self, settings: CameraSettings) -> None:
        settings.require_options("path", "loop")
        self._settings = settings
        self._path = Path(str(settings.option("path", str))).expanduser()
        self._loop = bool(settings.option("loop", bool, True))
        self._images: list[Path] = []
        if self._path.is_dir():
            files = sorted(self._path.iterdir())
            self._images = [file for file in files if file.suffix.lower() in IMAGES]
            if not self._images:
                raise self._fault(f"{self._path} has no images: expected files {', '.join(IMAGES)}")
        elif not self._path.is_file():
            raise self._fault(f"there is no folder or video {self._path}")
        self._av: Any = None
        if any(path.suffix.lower() not in JPEG for path in self._images or [self._path]):
            self._av = _pyav()
        self._spec: CameraSpec | None = None
        self._frames: Iterator[Image] = iter(())
        self._due_ns = -1

    def open(self) -> CameraSpec:
        """Look at the first image."""
        first, rate_hz = self._first()
        height, width = first.shape[:2]
        asked = (self._settings.width or width, self._settings.height or height)
        if asked != (width, height):
            raise self._fault(f"asked for {asked[0]}x{asked[1]}, {self._path} has {width}x{height}")
        self._spec = CameraSpec(self._settings.name, width, height, self._settings.rate_hz or rate_hz)
        self._frames, self._due_ns = self._all(), -1
        return self._spec

    def grab(self) -> Image | None:
        """Sleep until the next image is due; None after the last."""
        clock, spec = self._settings.clock, self._spec
        if spec is None:
            raise self._fault("is not open")
        image = next(self._frames, None)
        clock.sleep_until_ns(self._due_ns)
        now_ns, period = clock.now_ns(), period_ns(spec.rate_hz)
        # After a delay the rhythm goes on from there: nothing is made up for.
        self._due_ns = (self._due_ns if now_ns - self._due_ns < period else now_ns) + period
        return image

    def close(self) -> None:
        """Let go of the files."""
        self._frames = iter(())

    def _first(self) -> tuple[Image, float]:
        """The first image, and the rate of the film."""
        if self._images:
            return self._decode(self._images[0]), DEFAULT_RATE_HZ
        with self._container() as container:
            told = container.streams.video[0].average_rate
            image = next(self._film(container), None)
        if image is None:
            raise self._fault(f"{self._path} has no frames")
        return image, float(told) if told else DEFAULT_RATE_HZ

    def _all(self) -> Iterator[Image]:
        """Every image, for ever if they are to begin again."""
        while True:
            if self._images:
                yield from map(self._decode, self._images)
            else:
                with self._container() as container:
                    yield from self._film(container)
            if not self._loop:
                return

    def _film(self, container: Any) -> Iterator[Image]:
        try:
            for frame in container.decode(video=0):
                self._require_size(frame.width, frame.height)
                yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
        except self._av.FFmpegError as error:
            raise self._fault(f"{self._path} cannot be decoded: {error}") from error

    def _container(self) -> Any:
        try:
            container = self._av.open(str(self._path))
        except (OSError, self._av.FFmpegError) as error:
            raise self._fault(f"{self._path} cannot be opened as a video: {error}") from error
        if not container.streams.video:
            container.close()
            raise self._fault(f"{self._path} has no video")
        return container

    def _decode(self, path: Path) -> Image:
        if path.suffix.lower() not in JPEG:
            try:
                with self._av.open(str(path)) as container:
                    return next(self._film(container))
            except (OSError, StopIteration, self._av.FFmpegError) as error:
                raise self._fault(f"{path} cannot be decoded: {error}") from error
        try:
            data = path.read_bytes()
            height, width = simplejpeg.decode_jpeg_header(data)[:2]
            self._require_size(width, height)
            image: Image = simplejpeg.decode_jpeg(data, colorspace="RGB")
        except (OSError, ValueError) as error:
            raise self._fault(f"{path} cannot be decoded: {error}") from error
        return image

    def _require_size(self, width: int, height: int) -> None:
        """Refuse what would take much memory, before any is taken."""
        if max(width, height) > MOST_PIXELS:
            raise self._fault(f"expected at most {MOST_PIXELS}x{MOST_PIXELS} pixels, got {width}x{height}")

    def _fault(self, wrong: str) -> CameraError:
        return CameraError(f"cameras.{self._settings.name}: {wrong}")


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "video", "a video, or images other than JPEG,") from error
    return av


def open_files(settings: CameraSettings) -> Grabber:
    """Images from files. Raises as `FileSource`."""
    return Grabber(settings.name, FileSource(settings), settings.clock, settings.connect_timeout_s)


DRIVER: Final = CameraDriver("a folder of images, or a video (extra `video`)", open_files, hardware=False)
