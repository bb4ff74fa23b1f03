"""Whether a reading of the arm can be believed and acted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dualsys.clock import NS_PER_MS
from dualsys.errors import SpecError
from dualsys.fast.control.ages import FUTURE_NS
from dualsys.fast.control.limits import FloatArray, Limits
from dualsys.robots.contract import ArmReading


@dataclass(frozen=True)
class Tolerances:
    """How far apart things may be that should be equal.

    Attributes:
        start_rad: Joints of a plan where it takes over, from the command or from the plan before it.
        gross_rad: Joints of a plan beyond their limits, or beyond what they can move between two set-points.
        malformed: Plans in a row that are refused for what they are, to stop.
        moved_rad: Measured joints from the commanded ones after a rest; beyond, somebody moved the arm.
        moved_m: The same for gripper openings.
        rest_rad_s: Measured joint speed of an arm at rest.
        outside_rad: Measured joints beyond their limits.
        outside_m: Measured gripper openings beyond their limits.
        speed_factor: Measured speeds relative to their limits.
        violations: Readings in a row that must be beyond a limit, to tell a violation from a spike.
        agreeing: Readings in a row that must say the same of an arm at rest, to tell a pose from a spike.
        frozen_rad: Commanded travel during which the reading must change.
        frozen_ns: Least time without any change that counts as frozen, ns.
        following_rad: Measured joints from the commanded ones while the arm is led. An arm that follows lags
            by its joint speed times its delay, which has to be less.
        following_ns: Longest time beyond that, ns.
    """

    start_rad: float = 0.15
    gross_rad: float = 0.5
    malformed: int = 3
    moved_rad: float = 0.05
    moved_m: float = 0.01
    rest_rad_s: float = 0.1
    outside_rad: float = 0.02
    outside_m: float = 0.01
    speed_factor: float = 1.5
    violations: int = 3
    agreeing: int = 3
    frozen_rad: float = 0.05
    frozen_ns: int = 200 * NS_PER_MS
    following_rad: float = 0.3
    following_ns: int = 300 * NS_PER_MS

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise SpecError(f"tolerances.{name}: expected a positive number, got {getattr(self, name)}")

    def per_axis(self, limits: Limits, rad: float, m: float) -> FloatArray:
        """One number for each axis: `rad` for the joints and `m` for the gripper openings."""
        return np.array([rad] * limits.joints + [m] * (limits.axes - limits.joints), dtype=np.float64)


class RestWatch:
    """Tells where an arm rests, while nobody leads it: commands begin there, and a spike is no such place.

    Args:
        limits: What the arm can do.
        tolerances: How far apart readings of one pose may be, and how fast an arm at rest.
    """

    def __init__(self, limits: Limits, tolerances: Tolerances) -> None:
        self._near = tolerances.per_axis(limits, tolerances.moved_rad, tolerances.moved_m)
        self._joints = limits.joints
        self._slow_rad_s = tolerances.rest_rad_s
        self._needed = tolerances.agreeing
        self._last: ArmReading | None = None
        self._in_a_row = 0

    def note(self, reading: ArmReading, *, plausible: bool) -> None:
        """Take in a good reading; `plausible` unless it is beyond the limits, which one alone may be."""
        before, self._last = self._last, reading
        if reading is before:
            return
        resting = np.abs(reading.velocity[: self._joints]).max(initial=0.0) <= self._slow_rad_s
        if not (plausible and resting):
            self._in_a_row = 0
        elif before is not None and (np.abs(reading.position - before.position) <= self._near).all():
            self._in_a_row += 1
        else:
            self._in_a_row = 1

    @property
    def possible(self) -> bool:
        """Whether the newest reading is one of an arm at rest."""
        return self._in_a_row > 0

    @property
    def certain(self) -> bool:
        """Whether several in a row are, and say the same."""
        return self._in_a_row >= self._needed


class ReadingGuard:
    """Finds readings that are old, not finite, frozen, beyond the limits of the arm, or not where it is led.

    Args:
        limits: What the arm can do.
        tolerances: How far beyond it a reading may be.
        oldest_ns: Greatest age of a reading, ns.
    """

    def __init__(self, limits: Limits, tolerances: Tolerances, oldest_ns: int) -> None:
        margin = tolerances.per_axis(limits, tolerances.outside_rad, tolerances.outside_m)
        self._lowest = (limits.lower - margin).tolist()
        self._highest = (limits.upper + margin).tolist()
        self._fastest = (limits.velocity * tolerances.speed_factor).tolist()
        self._limits = limits
        self._shape = (limits.axes,)
        self._tolerances = tolerances
        self._oldest_ns = oldest_ns
        self._violations = 0
        self._seen: ArmReading | None = None
        self._seen_position: list[float] = []
        self._still_since_ns = 0
        self._still_command: FloatArray | None = None
        self._behind_since_ns = -1

    @property
    def plausible(self) -> bool:
        """Whether the newest good reading is within the limits: what is beyond them may yet be a spike."""
        return self._violations == 0

    def silence(self, now_ns: int, reading: ArmReading) -> str:
        """How long there has been no reading, if that is too long."""
        age_ns = now_ns - reading.t_ns
        if age_ns <= self._oldest_ns:
            return ""
        return (
            f"no reading of the arm for {age_ns // NS_PER_MS} ms, at most {self._oldest_ns // NS_PER_MS} ms"
        )

    def fault(self, now_ns: int, reading: ArmReading, command: FloatArray | None, *, led: bool) -> str:
        """What is wrong with the newest reading, or nothing.

        Args:
            now_ns: Edge time.
            reading: The newest reading.
            command: [A], the last command; None before the first.
            led: The arm is led along a plan: nobody else moves it, and it has to follow.
        """
        if reading.status in ("protective_stop", "emergency_stop"):
            return _reported(reading)
        still = reading is self._seen
        if not still:
            # As lists: on arrays this short, each call costs more than its numbers do.
            position = reading.position.tolist()
            if fault := self._fault_of_new(now_ns, reading, position):
                return fault
            still = self._seen is not None and position == self._seen_position
            self._seen, self._seen_position = reading, position
        return self._frozen(now_ns, still, command) or self._left_behind(now_ns, command if led else None)

    def _fault_of_new(self, now_ns: int, reading: ArmReading, position: list[float]) -> str:
        axes = self._shape
        if reading.t_ns > now_ns + FUTURE_NS:
            ahead_ms = (reading.t_ns - now_ns) // NS_PER_MS
            return f"reading: expected a stamp of the edge clock in the past, got {ahead_ms} ms from now"
        if reading.position.shape != axes or reading.velocity.shape != axes:
            got = f"{list(reading.position.shape)} and {list(reading.velocity.shape)}"
            return f"reading: expected {axes[0]} positions and velocities, got {got}"
        speeds = reading.velocity.tolist()
        good = [
            lowest <= at <= highest and -fastest <= speed <= fastest
            for at, speed, lowest, highest, fastest in zip(
                position, speeds, self._lowest, self._highest, self._fastest, strict=True
            )
        ]
        if all(good):
            self._violations = 0
            return ""
        # NaN and infinity are never within limits, so only what is not good has to be looked at.
        if not (np.isfinite(reading.position).all() and np.isfinite(reading.velocity).all()):
            return "reading: expected finite numbers, got NaN or infinity"
        self._violations += 1
        if self._violations < self._tolerances.violations:
            return ""
        axis = good.index(False)
        if not self._lowest[axis] <= position[axis] <= self._highest[axis]:
            limit = f"{self._limits.lower[axis]:g} to {self._limits.upper[axis]:g}"
            return f"reading: position of axis {axis} is {reading.position[axis]:g}, the limits are {limit}"
        limit = f"{self._limits.velocity[axis]:g}"
        return f"reading: velocity of axis {axis} is {reading.velocity[axis]:g}, the limit is {limit}"

    def _frozen(self, now_ns: int, still: bool, command: FloatArray | None) -> str:
        if not still or command is None or self._still_command is None:
            self._still_since_ns, self._still_command = now_ns, command
            return ""
        still_ns = now_ns - self._still_since_ns
        if still_ns < self._tolerances.frozen_ns:
            return ""
        joints = self._limits.joints
        travel = np.abs(command[:joints] - self._still_command[:joints]).max(initial=0.0)
        if travel < self._tolerances.frozen_rad:
            return ""
        return f"reading: frozen for {still_ns // NS_PER_MS} ms while {travel:.3f} rad were commanded"

    def _left_behind(self, now_ns: int, command: FloatArray | None) -> str:
        """An arm that is blocked, or does nothing, need not be frozen: its sensors may tremble."""
        most_rad = self._tolerances.following_rad
        away_rad = (
            []
            if command is None
            else [abs(at - led) for at, led in zip(self._seen_position, command.tolist(), strict=True)]
        )[: self._limits.joints]
        if not away_rad or max(away_rad) <= most_rad:
            self._behind_since_ns = -1
            return ""
        if self._behind_since_ns < 0:
            self._behind_since_ns = now_ns
        behind_ns = now_ns - self._behind_since_ns
        if behind_ns < self._tolerances.following_ns:
            return ""
        axis = away_rad.index(max(away_rad))
        return (
            f"reading: joint {axis + 1} is {away_rad[axis]:.2f} rad from where it is led, and for "
            f"{behind_ns // NS_PER_MS} ms a joint was more than {most_rad:g}: the arm does not follow"
        )


def _reported(reading: ArmReading) -> str:
    """What a robot that has stopped says, in one line."""
    detail = " ".join(reading.detail.split())
    return f"the robot reports {reading.status}" + (f": {detail}" if detail else "")
