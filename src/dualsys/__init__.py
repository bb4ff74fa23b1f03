"""Slow-fast (dual-system) robot policies, run as the processes that they are.

A slow system looks and reads; a fast system acts; a hard loop keeps the arm inside its limits whatever the
other two do. These names are what a program around dualsys, a driver for another arm or a backend for another
model needs. Each is loaded when it is first used, so that `import dualsys` costs nothing and a process loads
only what it is for.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dualsys.clock import Clock, VirtualClock, WallClock
    from dualsys.config import SystemConfig, load_config
    from dualsys.errors import (
        AddressInUseError,
        AdmissionError,
        BundleError,
        BusError,
        CameraError,
        ConfigError,
        DualsysError,
        InstructionError,
        KeyStoreError,
        KinematicsError,
        MessageError,
        MismatchError,
        MissingExtraError,
        PeerTimeoutError,
        PolicyError,
        RecordingError,
        RobotError,
        SpecError,
    )
    from dualsys.fast.chunking.requests import Request
    from dualsys.fast.chunking.strategy import ChunkStrategy, Overlap
    from dualsys.fast.policies.policy import System1
    from dualsys.robots.contract import ArmReading, Robot, RobotSpec
    from dualsys.slow.backend import System2, System2Output
    from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec
    from dualsys.twin.evaluate import evaluate

# As soon as it is loaded, ONNX Runtime 1.31 for Linux notes its use in a file under the home folder, for its
# makers. Only this, set before, prevents it; a variable that somebody has set is left as it is.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = [
    "ActionSpec",
    "AddressInUseError",
    "AdmissionError",
    "ArmReading",
    "BundleError",
    "BusError",
    "CameraError",
    "ChunkStrategy",
    "Clock",
    "ConfigError",
    "DualsysError",
    "InstructionError",
    "KeyStoreError",
    "KinematicsError",
    "LatentSpec",
    "MessageError",
    "MismatchError",
    "MissingExtraError",
    "ObservationSpec",
    "Overlap",
    "PeerTimeoutError",
    "PolicyError",
    "RecordingError",
    "Request",
    "Robot",
    "RobotError",
    "RobotSpec",
    "SpecError",
    "System1",
    "System2",
    "System2Output",
    "SystemConfig",
    "SystemSpecs",
    "TensorSpec",
    "VirtualClock",
    "WallClock",
    "__version__",
    "evaluate",
    "load_config",
]

_MODULES = {
    "ActionSpec": "specs",
    "ArmReading": "robots.contract",
    "ChunkStrategy": "fast.chunking.strategy",
    "Clock": "clock",
    "LatentSpec": "specs",
    "ObservationSpec": "specs",
    "Overlap": "fast.chunking.strategy",
    "Request": "fast.chunking.requests",
    "Robot": "robots.contract",
    "RobotSpec": "robots.contract",
    "System1": "fast.policies.policy",
    "System2": "slow.backend",
    "System2Output": "slow.backend",
    "SystemConfig": "config",
    "SystemSpecs": "specs",
    "TensorSpec": "specs",
    "VirtualClock": "clock",
    "WallClock": "clock",
    "evaluate": "twin.evaluate",
    "load_config": "config",
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
