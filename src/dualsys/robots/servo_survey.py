"""Calibration of an arm of bus servos: from what a person shows to the file of the arm. Pure.

Three things are shown: every joint in its middle, each joint turned a little in its positive direction, and
every joint through its whole range. Where a joint reaches as far as its profile says, its middle follows from
its ends, which is more exact than a pose set by eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dualsys.errors import RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.profiles import PROFILES
from dualsys.robots.servo_calibration import TICKS_PER_TURN, ArmFile, JointEntry, TickScale

TURNED_TICKS: Final = 40
"""Least turn that tells a direction, 3.5 degrees."""

MARGIN_TICKS: Final = 12
"""How far from its ends, about 1 degree, a joint stays: at a stop the motor would push against it."""

SAME_RANGE_RAD: Final = 0.2
"""How well the range of a joint must fit that of its profile, for its middle to be taken from its ends."""

RECENTRE: Final = (
    "set the middle of the servo at this pose first, with the maker's tool or by LeRobot's calibration, "
    "which stores it in the servo"
)


class Survey:
    """What a person has shown so far.

    Args:
        draft: The arm; its ids and models are right, its homing, directions and ranges are not known yet.
    """

    def __init__(self, draft: ArmFile) -> None:
        self._draft = draft
        joints = len(draft.joints)
        profile = PROFILES.get(draft.arm)
        self._middle_rad: FloatArray = np.zeros(joints)
        self._width_rad: FloatArray = np.zeros(joints)
        if profile is not None:
            self._middle_rad = (profile.limits.lower + profile.limits.upper) / 2
            self._width_rad = profile.limits.upper - profile.limits.lower
        self._middle = [0] * joints
        self._direction = [1] * joints
        self._last: list[int] = []
        self._lowest = [TICKS_PER_TURN] * joints
        self._highest = [-1] * joints

    def middle(self, ticks: Sequence[int]) -> None:
        """Every joint is in its middle; without a profile, at angle zero.

        Raises:
            RobotError: A joint would cross the end of its encoder's turn on the way to its ends.
        """
        half = self._width_rad / 2 / TickScale.RAD_PER_TICK
        for name, tick, reach in zip(self._names, ticks, half.tolist(), strict=True):
            if not reach <= tick <= TICKS_PER_TURN - 1 - reach:
                raise RobotError(
                    f"{name}: reads {tick} in its middle, expected {reach:.0f} to "
                    f"{TICKS_PER_TURN - 1 - reach:.0f}: on the way to its ends it would pass the end of the "
                    f"encoder's turn; {RECENTRE}"
                )
        self._middle = list(ticks)

    def turned(self, joint: int, before: Sequence[int], after: Sequence[int]) -> str:
        """A joint was turned in its positive direction. Returns what was wrong with that, or nothing."""
        moved = np.subtract(after, before)
        most = int(np.abs(moved).argmax())
        if abs(moved[most]) < TURNED_TICKS:
            return f"nothing turned by {TURNED_TICKS} ticks or more"
        if most != joint:
            return f"{self._names[most]} turned, not {self._names[joint]}"
        self._direction[joint] = 1 if moved[joint] > 0 else -1
        return ""

    def sweep(self, ticks: Sequence[int]) -> None:
        """The joints are somewhere in their ranges.

        Raises:
            RobotError: One passed the end of its encoder's turn.
        """
        for at, tick in enumerate(ticks):
            if self._last and abs(tick - self._last[at]) > TICKS_PER_TURN // 2:
                raise RobotError(
                    f"{self._names[at]}: jumped from {self._last[at]} to {tick}: it passed the end of its "
                    f"encoder's turn; {RECENTRE}"
                )
            self._lowest[at] = min(self._lowest[at], tick)
            self._highest[at] = max(self._highest[at], tick)
        self._last = list(ticks)

    def widths(self) -> dict[str, tuple[int, int]]:
        """Lowest and highest position so far of each joint, ticks."""
        return dict(zip(self._names, zip(self._lowest, self._highest, strict=True), strict=True))

    def result(self) -> ArmFile:
        """The file of the arm.

        Raises:
            ValidationError: Something does not fit, such as a joint that was not moved.
        """
        joints = [self._joint(at, entry) for at, entry in enumerate(self._draft.joints)]
        tree = self._draft.model_dump(mode="json")
        return ArmFile.model_validate({**tree, "joints": [joint.model_dump(mode="json") for joint in joints]})

    def _joint(self, at: int, entry: JointEntry) -> JointEntry:
        lowest, highest = self._lowest[at], self._highest[at]
        middle = float(self._middle[at])
        width_rad = (highest - lowest) * TickScale.RAD_PER_TICK
        if abs(width_rad - self._width_rad[at]) < SAME_RANGE_RAD:
            middle = (lowest + highest) / 2
        homing = middle - self._direction[at] * self._middle_rad[at] / TickScale.RAD_PER_TICK
        changes = {
            "homing_ticks": round(homing),
            "direction": self._direction[at],
            "min_ticks": lowest + MARGIN_TICKS,
            "max_ticks": highest - MARGIN_TICKS,
        }
        return entry.model_copy(update=changes)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self._draft.joints)
