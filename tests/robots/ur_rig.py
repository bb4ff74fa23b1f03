"""What the tests of the UR driver share: a controller in software, and the driver, on one stepped clock."""

from __future__ import annotations

import time

from dualsys.clock import nanoseconds
from dualsys.robots.registry import Option, RobotSettings
from dualsys.robots.ur import UrRobot

from .stepped_clock import SteppedClock
from .ur_double import CYCLE_S, UrDouble


class UrRig:
    """A controller, and drivers that reach it.

    Args:
        double: The controller.
    """

    def __init__(self, double: UrDouble) -> None:
        self.double = double
        self.robot: UrRobot | None = None
        self._t_s = 0.0
        self.clock = SteppedClock(nanoseconds(CYCLE_S), self._step, self._settled, self._seen)

    def open(self, host: str = "", **options: Option) -> UrRobot:
        """A driver, not connected yet; time now waits for it."""
        chosen = {"host": host or self.double.address, **options}
        self.robot = UrRobot(RobotSettings("", "", "", 5.0, self.clock, options=chosen))
        return self.robot

    def wait_s(self, duration_s: float) -> None:
        """Let time pass, in steps of 20 ms."""
        for _ in range(round(duration_s / 0.02)):
            self.clock.sleep_until_ns(self.clock.now_ns() + nanoseconds(0.02))

    def _step(self, cycles: int) -> None:
        self._t_s = self.double.step(cycles)

    def _settled(self) -> bool:
        sender = self.robot and self.robot._sender
        return sender is None or sender.settled()

    def _seen(self) -> bool:
        robot = self.robot
        if robot is None or robot._sender is None:
            # While it connects it waits for packets, which come in real time.
            time.sleep(0.02)
            return True
        if not robot._receive.isConnected():
            return True
        return bool(robot._receive.getTimestamp() >= self._t_s)
