"""Frames that another process publishes, such as the simulated robot: one topic for each camera."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from dualsys.bus.channel import LatestSubscriber
from dualsys.bus.codec import from_image
from dualsys.cameras.contract import Camera, CameraSpec, Frame
from dualsys.cameras.registry import CameraDriver, CameraSettings
from dualsys.clock import Clock
from dualsys.errors import CameraError
from dualsys.messages import CameraFrame

DEFAULT_RATE_HZ: Final = 30.0


class FrameChannel(Protocol):
    """Where messages come from."""

    def receive(self) -> CameraFrame | None:
        """The newest message since the last call, or None. Never blocks."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class LinkCamera:
    """A camera at the other end of a channel; see `contract.Camera`.

    Nobody is waited for: whoever publishes may start later, and again. Frames are stamped when they are read,
    for the stamps of another machine's clock mean nothing here.

    Args:
        spec: What frames must be: RGB.
        subscribe: Connects to where they come from.
        clock: Stamps them.

    Attributes:
        spec: What frames must be.
        channel: Where they come from; None before `connect` and after `close`.
    """

    def __init__(self, spec: CameraSpec, subscribe: Callable[[], FrameChannel], clock: Clock) -> None:
        self.spec = spec
        self.channel: FrameChannel | None = None
        self._subscribe = subscribe
        self._clock = clock

    def connect(self) -> None:
        """Subscribe. Raises BusError if the address cannot be used."""
        if self.channel is None:
            self.channel = self._subscribe()

    def read(self) -> Frame | None:
        """The newest frame since the last call. Raises MessageError if it is no image of its stated size."""
        if self.channel is None:
            raise CameraError(f"cameras.{self.spec.name}: is not connected")
        message = self.channel.receive()
        return None if message is None else Frame(self._clock.now_ns(), from_image(message.image))

    def close(self) -> None:
        """Disconnect."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None


def open_link(settings: CameraSettings) -> Camera:
    """The frames of one camera. Raises CameraError for an option, without a size, or without a bus."""
    settings.require_options()
    context, endpoint, topic = settings.context, settings.endpoint, settings.name.encode()
    if settings.width is None or settings.height is None or context is None:
        raise CameraError(
            f"cameras.{settings.name}: give width and height: a process that publishes frames is not asked"
        )
    spec = CameraSpec(settings.name, settings.width, settings.height, settings.rate_hz or DEFAULT_RATE_HZ)
    setting = "endpoints.robot.cameras"

    def subscribe() -> FrameChannel:
        return LatestSubscriber(
            context, endpoint, bind=False, setting=setting, types=(CameraFrame,), topic=topic
        )

    return LinkCamera(spec, subscribe, settings.clock)


DRIVER: Final = CameraDriver(
    "frames that a process publishes at endpoints.robot.cameras, in any language", open_link, hardware=False
)
SIMULATED: Final = CameraDriver("the cameras of the simulated table", open_link, hardware=False)
