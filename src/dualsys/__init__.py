"""Slow-fast (dual-system) robot policies, run as the processes that they are.

A slow system looks and reads; a fast system acts; a hard loop keeps the arm inside its limits whatever the
other two do. These names are what a program around dualsys, a driver for another arm or a backend for another
model needs. Each is loaded when it is first used, so that `import dualsys` costs nothing and a process loads
only what it is for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dualsys.clock import Clock, VirtualClock, WallClock
    from dualsys.errors import (
        BundleError,
        BusError,
        ConfigError,
        DualsysError,
        InstructionError,
        KinematicsError,
        MessageError,
        MismatchError,
        MissingExtraError,
        PeerTimeoutError,
        PolicyError,
        RobotError,
        SpecError,
    )
    from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

__version__ = "0.1.0"

__all__ = [
    "ActionSpec",
    "BundleError",
    "BusError",
    "Clock",
    "ConfigError",
    "DualsysError",
    "InstructionError",
    "KinematicsError",
    "LatentSpec",
    "MessageError",
    "MismatchError",
    "MissingExtraError",
    "ObservationSpec",
    "PeerTimeoutError",
    "PolicyError",
    "RobotError",
    "SpecError",
    "SystemSpecs",
    "TensorSpec",
    "VirtualClock",
    "WallClock",
    "__version__",
]

_MODULES = {
    "ActionSpec": "specs",
    "Clock": "clock",
    "LatentSpec": "specs",
    "ObservationSpec": "specs",
    "SystemSpecs": "specs",
    "TensorSpec": "specs",
    "VirtualClock": "clock",
    "WallClock": "clock",
}
"""Where each public name lives, apart from the errors."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'dualsys' has no public name {name!r}: it has {', '.join(__all__)}")
    value: object = getattr(import_module(f"dualsys.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))
