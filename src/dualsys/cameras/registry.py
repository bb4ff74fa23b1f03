"""Camera drivers by name: those that come with dualsys, and those that installed packages offer.

A package offers a driver with an entry point of the group `dualsys.cameras`: its name is the driver's name,
and it points to a `CameraDriver`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from dualsys.bus.sockets import ZmqContext
from dualsys.cameras.contract import CONTRACT_VERSION, Camera
from dualsys.clock import Clock
from dualsys.errors import CameraError
from dualsys.plugins import Option, Plugins, installed, unknown_options

GROUP: Final = "dualsys.cameras"

BUILT_IN: Final = {
    "files": "dualsys.cameras.files:DRIVER",
    "link": "dualsys.cameras.link:DRIVER",
    "opencv": "dualsys.cameras.opencv:DRIVER",
    "realsense": "dualsys.cameras.realsense:DRIVER",
    "simulated": "dualsys.cameras.link:SIMULATED",
}
"""Name to `module:object`; imported only when asked for."""


@dataclass(frozen=True)
class CameraSettings:
    """What a driver needs to know to reach its camera.

    Attributes:
        name: What the configuration calls the camera.
        clock: Stamps frames on arrival.
        width, height, rate_hz: What to ask the camera for; None leaves it to the camera.
        connect_timeout_s: Longest wait for the first frame.
        context, endpoint: For frames that come over the bus; None and empty for other drivers.
        options: What the driver itself wants to be told, such as a device: `cameras.NAME.options` of the
            configuration. A driver refuses what it does not know.
    """

    name: str
    clock: Clock
    width: int | None = None
    height: int | None = None
    rate_hz: float | None = None
    connect_timeout_s: float = 10.0
    context: ZmqContext | None = None
    endpoint: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)

    def require_options(self, *known: str) -> None:
        """Refuse options that a driver does not know.

        Raises:
            CameraError: There is another one; names those that are known.
        """
        if fault := unknown_options(self.options, known):
            raise CameraError(f"cameras.{self.name}.options: {fault}")

    def option(self, name: str, kind: type[Option], default: Option = None) -> Option:
        """An option, `default` if it is not given.

        Raises:
            CameraError: It is of another type; or it is not given, and there is no default.
        """
        value = self.options.get(name, default)
        if value is None:
            raise CameraError(f"cameras.{self.name}.options.{name}: is missing, expected {_word_for(kind)}")
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise CameraError(
                f"cameras.{self.name}.options.{name}: got {value!r}, expected {_word_for(kind)}"
            )
        return value


def _word_for(kind: type[Option]) -> str:
    """What to call a type of options to people."""
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(kind, f"a {kind.__name__}")


@dataclass(frozen=True)
class CameraDriver:
    """What is known of a driver before it is used. Libraries are best loaded by `open` only.

    Attributes:
        says: What it reaches, in a line for people.
        open: Makes the camera; it is not connected yet.
        contract: Version of the contract that the driver was written for. Say it when it is not the first.
        library: Top-level module that it needs, such as `cv2`; empty if none.
        install: How to get that library, such as `pip install 'dualsys[opencv]'`.
        tried: Cameras that it was tried on, with versions and dates; empty if it never saw a real one.
        hardware: There is a camera at all behind it.
    """

    says: str
    open: Callable[[CameraSettings], Camera]
    contract: int = 1
    library: str = ""
    install: str = ""
    tried: str = ""
    hardware: bool = True

    @property
    def usable(self) -> bool:
        """Whether its library is installed, or it needs none."""
        return installed(self.library)


CAMERAS: Final = Plugins(GROUP, BUILT_IN, CameraDriver, "cameras.NAME.driver", CONTRACT_VERSION, CameraError)
