"""What the bench does around a trial."""

from __future__ import annotations

import pytest

from dualsys.clock import VirtualClock
from dualsys.robots.kit import Bench
from dualsys.robots.scripted import ScriptedArm, ScriptedRobot


class BadStop(ScriptedRobot):
    """Its stop raises."""

    def stop(self, reason: str) -> None:
        raise ConnectionResetError(reason)


def test_a_robot_whose_stop_raises_is_let_go_of_all_the_same() -> None:
    clock = VirtualClock()
    robot = BadStop(ScriptedArm(clock))
    with pytest.raises(ConnectionResetError), Bench(lambda: robot, clock).connected():
        assert robot.connected
    assert not robot.connected
