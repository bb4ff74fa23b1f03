"""What a robot driver is: a specification, readings in, joint set-points out, and a stop.

Units are fixed: joints in rad and rad/s, gripper openings in m and m/s, in one order that the specification
names. A driver converts at its own edge. `robots.kit` checks that it does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np

from dualsys.errors import RobotError, SpecError
from dualsys.fast.control.limits import FloatArray, Limits

CONTRACT_VERSION: Final = 1
"""Raised whenever a driver that was written before no longer fits."""

ArmStatus = Literal["ok", "watchdog", "protective_stop", "emergency_stop"]
"""What a robot says about itself; see `messages.ArmState`."""


@dataclass(frozen=True)
class RobotSpec:
    """What a robot is.

    Attributes:
        name: Model of the arm.
        axes: Name of each axis, in the order of every array: joints first, then gripper openings.
        limits: What the axes can do, and how many of them are joints.
        rate_hz: Set-points per second that the robot expects, and readings per second that it gives.
        rest_s: Longest time from `stop`, or from the last set-point of a process that is gone, to rest.

    Raises:
        SpecError: Names and limits do not match, a name is empty, has a blank or occurs twice, or a number is
            not positive and finite.
    """

    name: str
    axes: tuple[str, ...]
    limits: Limits
    rate_hz: float
    rest_s: float = 0.5

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise SpecError(f"robot {self.name!r}: expected a name")
        if len(self.axes) != self.limits.axes or len(set(self.axes)) != len(self.axes):
            raise SpecError(
                f"robot {self.name!r}: expected {self.limits.axes} different axis names, got {self.axes}"
            )
        # They are told to other processes in one line.
        if any(axis.split() != [axis] for axis in self.axes):
            raise SpecError(f"robot {self.name!r}: expected axis names without blanks, got {self.axes}")
        for name in ("rate_hz", "rest_s"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise SpecError(f"robot {self.name!r}: {name} must be positive and finite, got {value}")

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each axis: `rad` for joints, `m` for gripper openings."""
        joints = self.limits.joints
        return ("rad",) * joints + ("m",) * (len(self.axes) - joints)

    def require_command(self, command: FloatArray) -> FloatArray:
        """Return a set-point [A] that can be sent: the check that every driver's `write` begins with.

        Raises:
            RobotError: It has another shape, or a number of it is NaN or infinite; names the axis.
        """
        array = np.asarray(command)
        if array.shape != (len(self.axes),):
            raise RobotError(
                f"{self.name}: expected a set-point for each of {len(self.axes)} axes, got shape "
                f"{list(array.shape)}: nothing was sent"
            )
        # As a list: on arrays this short, each call costs more than its numbers do.
        if not all(map(math.isfinite, array.tolist())):
            axis = int(np.isfinite(array).argmin())
            raise RobotError(
                f"{self.name}: expected finite set-points, got {command[axis]} for {self.axes[axis]}: "
                "nothing was sent"
            )
        return command


@dataclass(frozen=True, slots=True)
class ArmReading:
    """One measurement of the arm. Nobody writes into its arrays any more: it is compared with later ones.

    Attributes:
        t_ns: Edge stamp of its arrival.
        position: float64 [A], rad, then gripper openings in m.
        velocity: float64 [A], rad/s, then m/s.
        status: What the robot says about itself.
        detail: Why it stopped, in the words of robot and driver, for people; nothing decides by it.
    """

    t_ns: int
    position: FloatArray
    velocity: FloatArray
    status: ArmStatus = "ok"
    detail: str = ""


class Robot(Protocol):
    """A robot driver. Nothing here blocks, apart from `connect` and `close`, and those for a bounded time.

    One thread uses it. Drivers neither limit nor smooth: what `write` is given already obeys `spec.limits`,
    begins where the arm is, and comes at the pace of control, which may be below `spec.rate_hz`. The arm, or
    the driver, must bring it to rest by itself when set-points stay away: no process lives for ever.

    A robot with a cycle of its own also has `wait_cycle`, as in `pacing.PacingDevice`: then it can set the
    pace of control (`control.pacing: device_paced`).
    """

    @property
    def spec(self) -> RobotSpec:
        """What the robot is; known before `connect`, unless only the robot itself can tell.

        Raises:
            RobotError: It is not known yet.
        """
        ...

    def connect(self) -> None:
        """Reach the robot, and wait for its first reading. Moves nothing. Works again after `close`.

        Raises:
            RobotError: It cannot be reached, or has a fault.
            BusError: Nobody answers, it is another robot than expected, or another control has it.
        """
        ...

    def read(self) -> ArmReading:
        """The newest reading; the same one again, with its old stamp, while there is no newer. Never waits.

        The stamp tells how old it is: one that is made anew for old numbers hides a lost connection.

        Raises:
            RobotError: The connection is lost for good, was closed, or was never made.
        """
        ...

    def write(self, command: FloatArray) -> None:
        """Send the set-point [A] of this tick: rad, then gripper openings in m. Never waits.

        Raises:
            RobotError: It is not one finite number for each axis (see `RobotSpec.require_command`), or it
                cannot be sent.
        """
        ...

    def stop(self, reason: str) -> None:
        """Ask the robot to come to rest by its own means, and to rest until the next `write`.

        It rests within `spec.rest_s`. May be called at any time and repeatedly, also before `connect` and
        after `close`.
        """
        ...

    def close(self) -> None:
        """Let go of the robot. Calling it again does nothing."""
        ...
