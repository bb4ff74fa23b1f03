"""The conformance kit: does a driver keep the contract of `robots.contract`?

`dualsys robot check` runs it from the command line. In the tests of a driver, derive from `RobotContract`.
Motions are small and slow, and only made with consent. The kit compares set-points with readings: what is
wrong in both alike, such as degrees in either direction, only a person at the arm can see (`dualsys robot
jog` tells what should have been seen).
"""

from dualsys.robots.kit.bench import Bench
from dualsys.robots.kit.checks import CHECKS, examine
from dualsys.robots.kit.mixin import RobotContract
from dualsys.robots.kit.outcomes import Outcome, Report

__all__ = ["CHECKS", "Bench", "Outcome", "Report", "RobotContract", "examine"]
