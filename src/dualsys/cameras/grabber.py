"""Makes a camera that never waits of a library that does: a thread grabs, and keeps the newest frame."""

from __future__ import annotations

import threading
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dualsys.cameras.contract import CameraSpec, Frame
from dualsys.clock import NS_PER_S, Clock, period_ns, seconds
from dualsys.errors import CameraError, DualsysError

RETRY_S: Final = 1.0
"""Time between two attempts to reach a camera that was lost."""

CLOSE_S: Final = 2.0
"""How long `close` waits for a library that does not return."""

SILENCE_NS: Final = 2 * NS_PER_S
SILENT_PERIODS: Final = 5
"""A camera that delivers nothing for so long, and for so many of its periods, is lost."""


class FrameSource(Protocol):
    """A library that is waited for. One thread, which is not the caller's, uses it from `open` to `close`."""

    def open(self) -> CameraSpec:
        """Reach the camera, also anew after `close`. Returns what it delivers.

        Raises:
            CameraError: It cannot be reached, or delivers something else than was asked for.
        """
        ...

    def grab(self) -> NDArray[np.uint8] | None:
        """Wait for the next image, of the shape of the specification; None: there will be none any more.

        Raises:
            CameraError: The camera is lost.
        """
        ...

    def close(self) -> None:
        """Let go of the camera."""
        ...


class Grabber:
    """A camera whose frames are grabbed by a thread; see `contract.Camera`.

    A camera that is lost is tried again once a second. A thread that hangs in the library is told of.

    Args:
        name: What the configuration calls the camera.
        source: The library.
        clock: Stamps frames on arrival.
        connect_timeout_s: Longest wait for the first frame.
    """

    def __init__(self, name: str, source: FrameSource, clock: Clock, connect_timeout_s: float) -> None:
        self._name = name
        self._source = source
        self._clock = clock
        self._connect_timeout_s = connect_timeout_s
        self._spec: CameraSpec | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._hung: threading.Thread | None = None
        self._end = threading.Event()
        self._began = threading.Event()
        self._newest: Frame | None = None
        self._fault = ""
        self._heard_ns = 0

    @property
    def spec(self) -> CameraSpec:
        """What it delivers. Raises CameraError before `connect`."""
        if self._spec is None:
            raise CameraError(f"cameras.{self._name}: what it delivers is known once it is connected")
        return self._spec

    def connect(self) -> None:
        """Start grabbing, and wait for the first frame. Raises CameraError if there is none in time."""
        if self._thread is not None:
            return
        if self._hung is not None and self._hung.is_alive():
            raise CameraError(f"cameras.{self._name}: its library still hangs since it was closed")
        self._end, self._began = threading.Event(), threading.Event()
        self._newest, self._fault, self._spec = None, "", None
        arguments = (self._end, self._began)
        self._thread = threading.Thread(
            target=self._work, args=arguments, name=f"camera {self._name}", daemon=True
        )
        self._thread.start()
        began = self._began.wait(self._connect_timeout_s)
        with self._lock:
            fault = self._fault
        if not began or fault:
            self.close()
            raise CameraError(fault or f"cameras.{self._name}: no frame within {self._connect_timeout_s:g} s")

    def read(self) -> Frame | None:
        """The newest frame since the last call. Raises CameraError while the camera is lost."""
        if self._thread is None:
            raise CameraError(f"cameras.{self._name}: is not connected")
        with self._lock:
            frame, self._newest = self._newest, None
            fault, heard_ns = self._fault, self._heard_ns
        if frame is not None:
            return frame
        if fault:
            raise CameraError(fault)
        silent_ns = self._clock.now_ns() - heard_ns
        if silent_ns > max(SILENCE_NS, SILENT_PERIODS * period_ns(self.spec.rate_hz)):
            raise CameraError(f"cameras.{self._name}: nothing for {seconds(silent_ns):.1f} s")
        return None

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
            self._hung, self._thread = self._thread, None

    def _work(self, end: threading.Event, began: threading.Event) -> None:
        """Grab until the end; a loss before the first frame is final, `connect` tells it."""
        more = True
        while more and not end.is_set():
            try:
                more = self._grab_until_lost(end, began)
            except Exception as error:  # Whatever a library raises: told by `read`, where somebody looks.
                self._lost(error, end)
            try:
                self._source.close()
            except Exception as error:
                self._lost(error, end)
            if not began.is_set():
                began.set()
                return
            if more:
                end.wait(RETRY_S)

    def _grab_until_lost(self, end: threading.Event, began: threading.Event) -> bool:
        """Returns whether there may be more frames one day."""
        spec = self._source.open()
        # Not by its rate, which libraries estimate anew for streams.
        known = self._spec
        if known is not None and (spec.shape, spec.encoding) != (known.shape, known.encoding):
            raise CameraError(
                f"cameras.{self._name}: came back with {spec.describe()}, expected {known.describe()}: "
                "start again"
            )
        self._spec = spec
        while not end.is_set():
            image = self._source.grab()
            t_ns = self._clock.now_ns()
            if image is None:
                self._lost(CameraError(f"cameras.{self._name}: the last frame was shown"), end)
                return False
            with self._lock:
                if end.is_set():
                    # Closed while the library was waited for: another thread may be grabbing by now.
                    return False
                self._newest, self._fault, self._heard_ns = Frame(t_ns, image), "", t_ns
            began.set()
        return False

    def _lost(self, error: Exception, end: threading.Event) -> None:
        known = isinstance(error, DualsysError)
        fault = str(error) if known else f"cameras.{self._name}: {type(error).__name__}: {error}"
        with self._lock:
            if not end.is_set():
                self._fault = fault
