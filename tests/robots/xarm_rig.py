"""What the tests of the xArm driver share: a controller in software, and the driver, on one stepped clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dualsys.clock import nanoseconds
from dualsys.robots import xarm
from dualsys.robots.registry import Option, RobotSettings
from dualsys.robots.xarm import XarmRobot

from .stepped_clock import SteppedClock
from .xarm_double import CYCLE_S, XarmDouble, XarmServer, xarm_server


class XarmRig:
    """A controller, and drivers that reach it.

    Args:
        server: The controller.
    """

    def __init__(self, server: XarmServer) -> None:
        self.server = server
        self.double = server.double
        self.robot: XarmRobot | None = None
        self.clock = SteppedClock(nanoseconds(CYCLE_S), self.double.step, self._settled, self._seen)

    def open(self, host: str = "", **options: Option) -> XarmRobot:
        """A driver, not connected yet; time now waits for it."""
        chosen: dict[str, Option] = {"host": host or self.server.address, "model": "xarm6", **options}
        self.robot = XarmRobot(RobotSettings("", "", "", 2.0, self.clock, options=chosen))
        return self.robot

    def wait_s(self, duration_s: float) -> None:
        """Let time pass, in steps of 4 ms."""
        for _ in range(round(duration_s / CYCLE_S)):
            self.clock.sleep_until_ns(self.clock.now_ns() + nanoseconds(CYCLE_S))

    def _seen(self) -> bool:
        if self.robot is not None and self.robot._sender is None:
            # While it connects it waits for reports, which come in real time.
            time.sleep(0.02)
        return self._settled()

    def _settled(self) -> bool:
        sender = self.robot and self.robot._sender
        return sender is None or sender.settled()


@contextmanager
def xarm_rig(patch: pytest.MonkeyPatch, address: str) -> Iterator[XarmRig]:
    """A rig; driver and SDK look for the controller where it listens."""
    from xarm.core.config.x_config import XCONF

    with xarm_server(XarmDouble(), address) as server:
        patch.setattr(xarm, "CONTROL_PORT", server.control_port)
        patch.setattr(XCONF.SocketConf, "TCP_CONTROL_PORT", server.control_port)
        rig = XarmRig(server)
        try:
            yield rig
        finally:
            if rig.robot is not None:
                rig.robot.close()
