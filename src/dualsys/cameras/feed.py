"""What stands between a camera and the planner: frames are checked, counted, and made to fit."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dualsys.cameras.contract import Camera, CameraSpec, Encoding, Frame
from dualsys.cameras.fitting import Fit, How
from dualsys.clock import NS_PER_MS, Clock
from dualsys.errors import CameraError, MessageError, SpecError

DEFAULT_MAX_AGE_NS: Final = 500 * NS_PER_MS
REASONS: Final = ("unreadable", "wrong_size", "stale", "not_newer", "from_the_future")
"""Why frames are rejected."""


class Feed:
    """The good frames of one camera, as RGB images of the wanted size.

    Args:
        camera: Where frames come from.
        clock: The one that they are stamped by.
        wanted: Height and width that are wanted; None: those of the camera.
        how: What to do about another ratio of width to height.
        max_age_ns: Older frames are rejected.

    Attributes:
        camera: Where frames come from.
        last_fault: What was wrong last; empty while nothing was.
    """

    def __init__(
        self,
        camera: Camera,
        clock: Clock,
        wanted: tuple[int, int] | None = None,
        how: How | None = None,
        max_age_ns: int = DEFAULT_MAX_AGE_NS,
    ) -> None:
        self.camera = camera
        self.last_fault = ""
        self._clock = clock
        self._wanted = wanted
        self._how = how
        self._max_age_ns = max_age_ns
        # Until the camera has said what it delivers, nothing is cut to fit.
        self._fit = Fit(1, 1, 1, 1, None)
        self._newest_ns = -1
        self._accepted = 0
        self._rejected: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self._losses = 0
        self._lost = False

    def connect(self) -> Fit:
        """Reach the camera. Returns how its frames are made to fit.

        Raises:
            CameraError: It cannot be reached, or its frames do not fit; names both sizes.
        """
        self.camera.connect()
        spec = self.camera.spec
        try:
            self._fit = _fit_of(spec, self._wanted, self._how)
        except SpecError as error:
            self.camera.close()
            raise CameraError(f"cameras.{spec.name}: {error}") from error
        return self._fit

    def read(self) -> Frame | None:
        """The newest good frame since the last call, or None; what is wrong is counted. Never waits.

        Returns:
            uint8 `[height, width, 3]` RGB of the wanted size, with its stamp.
        """
        try:
            frame = self.camera.read()
        except CameraError as error:
            self._losses += not self._lost
            self._lost, self.last_fault = True, str(error)
            return None
        except (MessageError, SpecError) as error:
            self._reject("unreadable", str(error))
            return None
        if frame is None:
            return None
        self._lost = False
        spec = self.camera.spec
        if wrong := self._wrong_with(frame, spec):
            self._reject(wrong[0], f"cameras.{spec.name}: {wrong[1]}")
            return None
        self._newest_ns = frame.t_ns
        self._accepted += 1
        return Frame(frame.t_ns, to_rgb(self._fit(frame.image), spec.encoding))

    def close(self) -> None:
        """Let go of the camera."""
        self.camera.close()

    @property
    def rejected(self) -> int:
        """Frames that were rejected, for whatever reason."""
        return self._rejected.total()

    def statistics(self) -> dict[str, str | int]:
        """Totals by name: frames accepted, frames rejected and why, losses of the camera, the last fault."""
        return {
            "accepted": self._accepted,
            **self._rejected,
            "losses": self._losses,
            "lost": str(self._lost),
            "last_fault": self.last_fault,
        }

    def _wrong_with(self, frame: Frame, spec: CameraSpec) -> tuple[str, str] | None:
        """Why a frame is to be rejected, and in words; None if it is good."""
        image, age_ns = frame.image, self._clock.now_ns() - frame.t_ns
        if image.shape != spec.shape or image.dtype != np.uint8:
            return "wrong_size", f"expected {spec.describe()}, got {image.dtype}{list(image.shape)}"
        if age_ns < 0:
            return "from_the_future", f"a stamp {-age_ns} ns in the future"
        if age_ns > self._max_age_ns:
            return "stale", f"a frame that is {age_ns / NS_PER_MS:.0f} ms old"
        if frame.t_ns <= self._newest_ns:
            return "not_newer", "a frame that is not newer than the last"
        return None

    def _reject(self, reason: str, fault: str) -> None:
        self._rejected[reason] += 1
        self.last_fault = fault


def to_rgb(image: NDArray[np.uint8], encoding: Encoding) -> NDArray[np.uint8]:
    """An image of any encoding as uint8 `[height, width, 3]` RGB."""
    if encoding == "mono8":
        return np.repeat(image[:, :, None], 3, axis=2)
    return np.ascontiguousarray(image[:, :, ::-1]) if encoding == "bgr8" else image


def _fit_of(spec: CameraSpec, wanted: tuple[int, int] | None, how: How | None) -> Fit:
    height, width = wanted or (spec.height, spec.width)
    return Fit(spec.width, spec.height, width, height, how)
