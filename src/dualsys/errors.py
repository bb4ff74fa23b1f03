"""Every error that dualsys raises on purpose, in one tree.

DualsysError
├── ConfigError            a setting is wrong: lists every fault with its dotted path
├── MissingExtraError      an optional package is not installed: names the pip line
├── SpecError              a value does not fit its specification
├── MessageError           bytes from a peer are not a valid message
├── BusError               the transport
│   ├── AddressInUseError  a port is taken: names the port and its setting
│   ├── AdmissionError     a System 2 cannot serve one more robot: names the ages
│   ├── KeyStoreError      a key is missing, damaged, or could be read by others
│   ├── MismatchError      two sides disagree: names both values
│   └── PeerTimeoutError   nobody answered in time
├── BundleError            a model bundle is damaged, or does not fit
├── InstructionError       a word or a task is unknown: lists what is known
├── PolicyError            a model produced something that cannot be used
├── KinematicsError        a pose or joint vector is not finite or not reachable
├── RobotError             the arm or its driver failed
├── CameraError            a camera or its driver failed
└── RecordingError         a recording cannot be written, read or replayed
"""

from __future__ import annotations

from collections.abc import Sequence


class DualsysError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(DualsysError):
    """One or more settings are wrong.

    Args:
        source: Where the settings came from, for example a file name.
        faults: One line for each fault: dotted path, value, what was expected.
    """

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {fault}" for fault in self.faults)]))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, tuple[str, ...]]]:
        # Pickled as it was made: worker processes hand it back.
        return type(self), (self.source, self.faults)


class MissingExtraError(DualsysError, ImportError):
    """An optional package is missing. The message names the line that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{purpose} needs {package!r}: pip install 'dualsys[{extra}]'")


class SpecError(DualsysError, ValueError):
    """A value does not fit its specification."""


class MessageError(DualsysError, ValueError):
    """Bytes from a peer are not a valid message. Nothing of it was applied."""


class BusError(DualsysError):
    """The transport failed."""


class AddressInUseError(BusError):
    """An address is taken by another process."""

    def __init__(self, endpoint: str, setting: str) -> None:
        self.endpoint = endpoint
        self.setting = setting
        super().__init__(
            f"{endpoint} is in use by another process: stop that process, or choose another "
            f"address with the setting {setting!r}"
        )


class AdmissionError(BusError):
    """A System 2 cannot serve one more robot without making latents too old."""


class KeyStoreError(BusError):
    """A key is missing, damaged, or in a file that others can read or write."""


class MismatchError(BusError):
    """Two sides of a connection disagree about something that must be equal."""

    def __init__(self, field: str, ours: object, theirs: object, remedy: str) -> None:
        self.field = field
        self.ours = ours
        self.theirs = theirs
        self.remedy = remedy
        super().__init__(f"{field} differs: ours {ours!r}, theirs {theirs!r}; {remedy}")

    def __reduce__(self) -> tuple[type[MismatchError], tuple[str, object, object, str]]:
        # Pickled as it was made: worker processes hand it back.
        return type(self), (self.field, self.ours, self.theirs, self.remedy)


class PeerTimeoutError(BusError):
    """A peer did not answer in time."""

    def __init__(self, peer: str, endpoint: str, waited_s: float, advice: str = "") -> None:
        self.peer = peer
        self.endpoint = endpoint
        told = f"no answer from {peer} at {endpoint} within {waited_s:g} s: is it running?"
        super().__init__(f"{told} {advice}".rstrip())


class BundleError(DualsysError):
    """A model bundle is damaged, too new, or does not fit the robot."""


class InstructionError(DualsysError, ValueError):
    """An instruction or a task is not known."""


class PolicyError(DualsysError):
    """A model produced something that cannot be used, such as a NaN."""


class KinematicsError(DualsysError, ValueError):
    """A pose or a joint vector is not finite, or no solution was found."""


class RobotError(DualsysError):
    """The arm or its driver failed."""


class CameraError(DualsysError):
    """A camera or its driver failed."""


class RecordingError(DualsysError):
    """A recording cannot be written, read or replayed."""
