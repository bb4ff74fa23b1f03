"""An arm in memory, on any clock: what drives an arm is tried on it, faults included.

`ScriptedArm` is the arm itself, which lives on when nobody is connected; `ScriptedRobot` is a driver that
keeps the contract. Derive from either to break one rule.
"""

from __future__ import annotations

from math import exp

import numpy as np
from numpy.typing import ArrayLike

from dualsys.clock import NS_PER_MS, NS_PER_S, Clock, seconds
from dualsys.errors import PeerTimeoutError, RobotError
from dualsys.fast.control.limits import FloatArray, Limits
from dualsys.robots.contract import ArmReading, RobotSpec

SCRIPTED_SPEC = RobotSpec(
    "scripted",
    ("shoulder", "elbow", "gripper"),
    Limits(
        lower=np.array([-2.0, -2.0, 0.0]),
        upper=np.array([2.0, 2.0, 0.08]),
        velocity=np.array([2.0, 2.0, 0.2]),
        acceleration=np.array([10.0, 10.0, 2.0]),
        joints=2,
    ),
    250.0,
)


class ScriptedArm:
    """Two joints and a gripper that follow their set-points with a lag, and rest when none come.

    Args:
        clock: Where time comes from.
        position: [A], where it is at first, rad then m.
        lag_s: Time constant with which it follows.
        watchdog_ns: Time without a set-point after which it rests where it is.

    Attributes:
        there: Whether it answers; set it to False to cut the connection.
        written: Set-points that it was sent.
    """

    def __init__(
        self,
        clock: Clock,
        position: ArrayLike = (0.4, -0.7, 0.02),
        lag_s: float = 0.02,
        watchdog_ns: int = 50 * NS_PER_MS,
    ) -> None:
        self.clock = clock
        self.there = True
        self.written = 0
        self.position: FloatArray = np.array(position, dtype=np.float64)
        self.velocity: FloatArray = np.zeros_like(self.position)
        self.target = self.position.copy()
        self._lag_s = lag_s
        self._watchdog_ns = watchdog_ns
        self._now_ns = self._told_ns = clock.now_ns()

    def tell(self, target: FloatArray) -> None:
        """Take in a set-point [A]."""
        self.measure()
        self.target = np.array(target, dtype=np.float64)
        self._told_ns = self._now_ns
        self.written += 1

    def halt(self) -> None:
        """Rest here."""
        self.measure()
        self.target = self.position.copy()

    def measure(self) -> ArmReading:
        """Move on to now, and say where it is."""
        dt_s = seconds(self.clock.now_ns() - self._now_ns)
        if dt_s > 0:
            self._now_ns = self.clock.now_ns()
            if self._now_ns - self._told_ns > self._watchdog_ns:
                self.at_watchdog()
            most = SCRIPTED_SPEC.limits.velocity * dt_s
            step = np.clip((self.target - self.position) * (1.0 - exp(-dt_s / self._lag_s)), -most, most)
            self.position = self.position + step
            self.velocity = step / dt_s
        return ArmReading(self._now_ns, self.position, self.velocity)

    def at_watchdog(self) -> None:
        """What it does while nobody says anything."""
        self.target = self.position.copy()


class ScriptedRobot:
    """A driver of a scripted arm that keeps the contract.

    Args:
        arm: What it drives.
    """

    def __init__(self, arm: ScriptedArm) -> None:
        self.arm = arm
        self.connected = False
        self.last: ArmReading | None = None

    @property
    def spec(self) -> RobotSpec:
        """What it is."""
        return SCRIPTED_SPEC

    def connect(self) -> None:
        """Connect. Raises PeerTimeoutError after a second if the arm does not answer."""
        if not self.arm.there:
            self.arm.clock.sleep_until_ns(self.arm.clock.now_ns() + NS_PER_S)
            raise PeerTimeoutError("the robot", "nowhere", 1.0)
        self.connected = True

    def read(self) -> ArmReading:
        """The newest reading. Raises RobotError if it is not connected."""
        self._require_connection()
        if self.arm.there or self.last is None:
            self.last = self.arm.measure()
        return self.last

    def write(self, command: FloatArray) -> None:
        """Send a set-point [A]. Raises RobotError if it is none, or it is not connected."""
        self._require_connection()
        self.send(self.spec.require_command(command))

    def send(self, command: FloatArray) -> None:
        """Send what was checked."""
        if self.arm.there:
            self.arm.tell(command)

    def stop(self, reason: str) -> None:
        """Have the arm rest."""
        del reason
        if self.connected:
            self.arm.halt()

    def close(self) -> None:
        """Let go of it."""
        self.connected, self.last = False, None

    def _require_connection(self) -> None:
        if not self.connected:
            raise RobotError("the scripted robot is not connected")
