"""What a robot driver is: a specification, readings in, joint set-points out, and a stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from dualsys.errors import SpecError
from dualsys.fast.control.limits import FloatArray, Limits

ArmStatus = Literal["ok", "watchdog", "protective_stop", "emergency_stop"]
"""What a robot says about itself; see `messages.ArmState`."""


@dataclass(frozen=True)
class RobotSpec:
    """What a robot is.

    Attributes:
        name: Model of the arm.
        axes: Name of each axis, in the order of every array: joints first, then gripper openings.
        limits: What the axes can do.
        rate_hz: Set-points per second that the robot expects.

    Raises:
        SpecError: Names and limits do not match, or a name occurs twice.
    """

    name: str
    axes: tuple[str, ...]
    limits: Limits
    rate_hz: float

    def __post_init__(self) -> None:
        if len(self.axes) != self.limits.axes or len(set(self.axes)) != len(self.axes):
            raise SpecError(
                f"robot {self.name!r}: expected {self.limits.axes} different axis names, got {self.axes}"
            )
        if not self.rate_hz > 0:
            raise SpecError(f"robot {self.name!r}: rate_hz must be positive, got {self.rate_hz}")


@dataclass(frozen=True, slots=True)
class ArmReading:
    """One measurement of the arm.

    Attributes:
        t_ns: Edge stamp of its arrival.
        position: float64 [A], rad, then gripper openings in m.
        velocity: float64 [A], rad/s, then m/s.
        status: What the robot says about itself.
    """

    t_ns: int
    position: FloatArray
    velocity: FloatArray
    status: ArmStatus = "ok"


class Robot(Protocol):
    """A robot driver. Nothing here blocks, apart from `connect` and `close`, and those for a bounded time.

    Drivers neither limit nor smooth: what `write` is given already obeys `spec.limits`.
    """

    @property
    def spec(self) -> RobotSpec:
        """What the robot is; known before `connect`."""
        ...

    def connect(self) -> None:
        """Reach the robot, and wait until its first reading is there.

        Raises:
            RobotError: It cannot be reached, or it is another robot than expected.
        """
        ...

    def read(self) -> ArmReading:
        """The newest reading; the same one again while there is no newer. Never waits.

        Raises:
            RobotError: The connection is lost for good, or was never made.
        """
        ...

    def write(self, command: FloatArray) -> None:
        """Send the set-point [A] of this tick: rad, then gripper openings in m. Never waits.

        Raises:
            RobotError: It cannot be sent.
        """
        ...

    def stop(self, reason: str) -> None:
        """Ask the robot to come to rest and stay there by its own means. May be called repeatedly."""
        ...

    def close(self) -> None:
        """Let go of the robot. Calling it again does nothing."""
        ...
