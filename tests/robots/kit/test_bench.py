"""What the bench does around a trial."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dualsys.clock import VirtualClock
from dualsys.robots.contract import ArmReading
from dualsys.robots.kit import Bench
from dualsys.robots.kit.motion_checks import scale
from dualsys.robots.scripted import ScriptedArm, ScriptedRobot


class BadStop(ScriptedRobot):
    """Its stop raises."""

    def stop(self, reason: str) -> None:
        raise ConnectionResetError(reason)


class OneBuffer(ScriptedRobot):
    """Fills the same arrays for each reading."""

    buffer = np.zeros(3)

    def read(self) -> ArmReading:
        self.buffer[:] = (found := super().read()).position
        return replace(found, position=self.buffer)


def test_a_driver_that_fills_one_buffer_again_and_again_is_told() -> None:
    clock = VirtualClock()
    arm = ScriptedArm(clock)
    bench = Bench(lambda: OneBuffer(arm), clock, may_move=True)
    assert scale(bench).state == "failed"
    assert "written over the one before" in scale(bench).seen


def test_a_robot_whose_stop_raises_is_let_go_of_all_the_same() -> None:
    clock = VirtualClock()
    robot = BadStop(ScriptedArm(clock))
    with pytest.raises(ConnectionResetError), Bench(lambda: robot, clock).connected():
        assert robot.connected
    assert not robot.connected
