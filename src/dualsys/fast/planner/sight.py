"""From camera images to what System 2 is shown: these images, or what its vision tower makes of them.

The tower takes several milliseconds or more, and planning must not wait for it: it runs in a thread of its
own, on the newest images only.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS, Clock
from dualsys.errors import PolicyError
from dualsys.specs import SystemSpecs, TensorSpec

Images: TypeAlias = Mapping[str, NDArray[np.uint8]]
"""By camera, uint8 `[height, width, 3]`."""
Features: TypeAlias = Mapping[str, NDArray[np.float32]]
"""By camera, float32 `[tokens, width]`."""


class Vision(Protocol):
    """The vision tower of System 2; see `fast.policies.vision`."""

    @property
    def specs(self) -> SystemSpecs:
        """What its System 2 is shown and what it publishes."""
        ...

    @property
    def weights(self) -> str:
        """Short hash of the weights of the whole System 2."""
        ...

    @property
    def features(self) -> Mapping[str, TensorSpec]:
        """What it makes of each camera's image."""
        ...

    def encode(self, images: Images) -> Features:
        """Features of each camera's image. Raises PolicyError if it fails."""
        ...


@dataclass(frozen=True)
class Seen:
    """Something to show System 2.

    Attributes:
        t_ns: When the images were taken.
        shown: The images, or their features.
    """

    t_ns: int
    shown: Images | Features


@dataclass(frozen=True)
class SightStatistics:
    """Totals of the vision tower; all zero where images travel.

    Attributes:
        encoded: Images, or sets of them, that it made features of.
        superseded: Those that newer ones replaced before it was free.
        failed: Those on which it failed.
        last_ms: Duration of the last run.
        last_fault: Why it failed last; empty while it has not.
    """

    encoded: int = 0
    superseded: int = 0
    failed: int = 0
    last_ms: float = 0.0
    last_fault: str = ""


class Sight(Protocol):
    """What the planner's loop asks of either way."""

    def look(self, images: Images, t_ns: int) -> None:
        """Take images, taken at `t_ns`. Never blocks."""
        ...

    def seen(self) -> Seen | None:
        """The newest that can be shown and was not handed out yet. Never blocks."""
        ...

    def statistics(self) -> SightStatistics:
        """Totals since the start."""
        ...


class ImageSight:
    """Images are shown as they are, at once."""

    def __init__(self) -> None:
        self._newest: Seen | None = None

    def look(self, images: Images, t_ns: int) -> None:
        """See `Sight.look`."""
        self._newest = Seen(t_ns, images)

    def seen(self) -> Seen | None:
        """See `Sight.seen`."""
        newest, self._newest = self._newest, None
        return newest

    def statistics(self) -> SightStatistics:
        """Nothing happens here."""
        return SightStatistics()


class FeatureSight:
    """Features are shown, as soon as the tower has made them.

    Args:
        vision: The tower. It is run in a thread that ends with `close`.
        clock: Tells how long it takes.
    """

    def __init__(self, vision: Vision, clock: Clock) -> None:
        self._vision = vision
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: tuple[Images, int] | None = None
        self._made: Seen | None = None
        self._broken: Exception | None = None
        self._closed = False
        self._encoded = self._superseded = self._failed = 0
        self._last_ms = 0.0
        self._last_fault = ""
        self._thread = threading.Thread(target=self._work, name="vision tower", daemon=True)
        self._thread.start()

    def look(self, images: Images, t_ns: int) -> None:
        """See `Sight.look`."""
        with self._changed:
            self._superseded += self._waiting is not None
            self._waiting = (images, t_ns)
            self._changed.notify()

    def seen(self) -> Seen | None:
        """See `Sight.seen`.

        Raises:
            Exception: What ended the thread; a fault of the program.
        """
        with self._changed:
            if self._broken is not None:
                raise self._broken
            made, self._made = self._made, None
            return made

    def statistics(self) -> SightStatistics:
        """Totals since the start."""
        with self._changed:
            return SightStatistics(
                self._encoded, self._superseded, self._failed, self._last_ms, self._last_fault
            )

    def close(self) -> None:
        """End the thread. Waits for the run under way."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            while (taken := self._take()) is not None:
                self._encode(*taken)
        except Exception as error:
            # Handed to the loop, which ends of it: in silence it would pass for a lost line.
            with self._changed:
                self._broken = error

    def _take(self) -> tuple[Images, int] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting is not None)
            taken, self._waiting = self._waiting, None
            return None if self._closed else taken

    def _encode(self, images: Images, t_ns: int) -> None:
        begun_ns = self._clock.now_ns()
        try:
            made = Seen(t_ns, self._vision.encode(images))
        except PolicyError as error:
            with self._changed:
                self._failed += 1
                self._last_fault = str(error)
            return
        with self._changed:
            self._encoded += 1
            self._last_ms = (self._clock.now_ns() - begun_ns) / NS_PER_MS
            self._made = made
