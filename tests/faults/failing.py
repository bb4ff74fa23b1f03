"""Control with a driver that fails when it is told to: `python failing.py control CONFIG PARENT`.

The arm is the simulated one, and the driver its own, until the file `fault` beside the configuration says how
to fail.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualsys.config import load_config
from dualsys.errors import RobotError
from dualsys.fast.control.process import run_control
from dualsys.robots import registry
from dualsys.robots.contract import ArmReading
from dualsys.robots.simulated import SimulatedRobot
from dualsys.robots.tabletop import geometry_of
from dualsys.supervisor.lifeline import die_with


class FailingRobot(SimulatedRobot):
    """The simulated arm behind a driver that fails."""

    def __init__(self, settings: registry.RobotSettings) -> None:
        super().__init__(settings)
        self._file = Path(sys.argv[2]).with_name("fault")
        self._frozen: ArmReading | None = None

    def _fault(self) -> str:
        return self._file.read_text("utf-8") if self._file.exists() else ""

    def read(self) -> ArmReading:
        reading, fault = super().read(), self._fault()
        if fault == "read":
            raise RobotError("the cable is pulled")
        if fault == "protective_stop":
            return replace(reading, status="protective_stop", detail="joint 3 is too hot")
        if fault == "frozen":
            # Whoever passes an old reading on as a new one: its stamp is of now.
            self._frozen = self._frozen or reading
            return replace(self._frozen, t_ns=reading.t_ns)
        return reading

    def write(self, command: NDArray[np.float64]) -> None:
        if self._fault() == "write":
            raise RobotError("the cable is pulled")
        super().write(command)


DRIVER = registry.RobotDriver(
    "the simulated arm, until it fails", FailingRobot, simulated=True, geometry=geometry_of
)

if __name__ == "__main__":
    die_with(int(sys.argv[3]))
    registry.BUILT_IN["pybullet"] = "failing:DRIVER"
    run_control(load_config(sys.argv[2]))
