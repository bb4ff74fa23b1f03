"""The cameras that models want, as a configuration says how to reach them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dualsys.bus.sockets import ZmqContext
from dualsys.cameras.feed import Feed
from dualsys.cameras.registry import CAMERAS, CameraSettings
from dualsys.clock import NS_PER_MS, Clock
from dualsys.errors import ConfigError
from dualsys.specs import ObservationSpec, TensorSpec

if TYPE_CHECKING:
    from dualsys.config import SystemConfig

Size = tuple[int, int]
"""Height and width."""


def wanted_by(observation: ObservationSpec, wrist: TensorSpec) -> dict[str, Size]:
    """Name and size of every camera: `wrist` of System 1, and those that System 2 is shown."""
    shapes = {name: spec.shape for name, spec in observation.cameras.items()} | {"wrist": wrist.shape}
    return {name: (shape[0], shape[1]) for name, shape in sorted(shapes.items())}


def feeds_of(
    config: SystemConfig, wanted: Mapping[str, Size | None], context: ZmqContext, clock: Clock
) -> dict[str, Feed]:
    """A feed for each wanted camera; none is connected yet.

    Cameras that the configuration does not name are those of the process at `endpoints.robot.cameras`.

    Args:
        config: The whole system.
        wanted: Name to size; None for the camera's own.
        context: For frames that come over the bus.
        clock: Stamps frames.

    Raises:
        ConfigError: The configuration names a camera that nobody wants.
        CameraError: A driver cannot be used, or an option is wrong.
        MissingExtraError: The library of a driver is not installed.
    """
    from dualsys.config import CameraConfig

    if strange := sorted(config.cameras.keys() - wanted.keys()):
        expected = f"expected one that the models look through: {', '.join(wanted)}"
        raise ConfigError(config.name, [f"cameras.{name}: {expected}" for name in strange])
    simulated = {"fixed": config.sim.camera_fixed_hz, "wrist": config.sim.camera_wrist_hz}
    feeds: dict[str, Feed] = {}
    for name, size in wanted.items():
        how = config.cameras.get(name, CameraConfig())
        width, height, rate_hz = how.width, how.height, how.rate_hz
        if how.driver in ("link", "simulated") and size is not None:
            # Whoever publishes frames cannot be asked for anything: what the models want is what is expected.
            height, width = height or size[0], width or size[1]
            rate_hz = rate_hz or simulated.get(name)
        settings = CameraSettings(
            name=name,
            clock=clock,
            width=width,
            height=height,
            rate_hz=rate_hz,
            connect_timeout_s=how.connect_timeout_s,
            context=context,
            endpoint=config.endpoints.robot.cameras,
            options=how.options,
        )
        camera = CAMERAS.named(how.driver).open(settings)
        feeds[name] = Feed(camera, clock, size, how.fit, round(how.max_age_ms * NS_PER_MS))
    return feeds


def close_feeds(feeds: Mapping[str, Feed]) -> None:
    """Let go of all cameras."""
    for feed in feeds.values():
        feed.close()
