"""What an arm can do, and commands that stay within it: position, velocity and acceleration of every axis.

All of it depends on limits, target, previous command, previous velocity and tick alone; `AxisLimits` works
out once for many ticks what it needs. The velocity of a command is the difference of two commands divided by
the tick, exactly as a robot that is fed one set-point per tick sees it. All bounds are exact in discrete
time: an axis that obeys them can always come to rest before its position limit. Jerk is limited on top of
that, by `limiter` or `online`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dualsys.errors import SpecError

FloatArray = NDArray[np.float64]

ROUNDING = 1e-9
"""Relative excess that is rounding and not a request for more than is allowed."""

FAR = 2.0
"""Room in terms of what stopping takes that is more than enough, whatever the rounding."""

CATCH_UP_S = 0.1
"""Time constant of making up for what the limits made the command miss; shorter, corners become lunges."""


def none() -> FloatArray:
    """No vector."""
    return np.zeros(0)


def unlimited() -> FloatArray:
    """No limit on any axis."""
    return np.array(np.inf)


@dataclass(frozen=True, eq=False)
class Limits:
    """Limits of A axes: joints first, in rad, then gripper openings, in m.

    Attributes:
        lower: [A], smallest position, rad or m.
        upper: [A], largest position, rad or m.
        velocity: [A], largest speed in either direction, rad/s or m/s.
        acceleration: [A], largest acceleration and deceleration, rad/s^2 or m/s^2.
        joints: How many of the axes are joints; the rest are gripper openings.
        jerk: [A], largest jerk, rad/s^3 or m/s^3; infinity where there is no limit.
        braking: [A], largest deceleration that a position limit may be approached with, rad/s^2 or m/s^2;
            never more than `acceleration`. An axis at a distance d from a limit is no faster towards it than
            sqrt(2 * braking * d): a velocity limit that depends on the position.
        frames: [K + 1, 4, 4], frames of the first K joints and of the tool, as in `robots.kinematics.Chain`;
            empty where the kinematics are not known.
        workspace: [2, 3], lowest and highest x, y, z of the tool point in the base frame, m, infinite where
            there is no bound; empty for none.

    Raises:
        SpecError: A limit is not finite, not positive, of another length, or leaves no room.
    """

    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    acceleration: FloatArray
    joints: int
    jerk: FloatArray = field(default_factory=unlimited)
    braking: FloatArray = field(default_factory=unlimited)
    frames: FloatArray = field(default_factory=none)
    workspace: FloatArray = field(default_factory=none)
    backwards: FloatArray = field(init=False, repr=False)
    """[A]: the largest speed in negative direction, below zero."""

    def __post_init__(self) -> None:
        axes = np.shape(self.lower)
        for name in ("lower", "upper", "velocity", "acceleration", "jerk", "braking"):
            array = np.array(getattr(self, name), dtype=np.float64)
            optional = name in ("jerk", "braking")
            if optional and array.ndim == 0:
                array = np.full(axes, array)
            if array.ndim != 1 or array.shape != axes or not array.size:
                raise SpecError(f"limits.{name}: expected one number for each axis, got shape {array.shape}")
            if not (np.isfinite(array) | (optional & (array == np.inf))).all():
                raise SpecError(f"limits.{name}: expected finite numbers, got {array.tolist()}")
            if name == "braking":
                array = np.minimum(array, self.acceleration)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if not (self.lower < self.upper).all():
            raise SpecError(f"limits.lower must be below limits.upper: {self.lower} and {self.upper}")
        for name in ("velocity", "acceleration", "jerk", "braking"):
            if not (getattr(self, name) > 0).all():
                raise SpecError(
                    f"limits.{name}: expected positive numbers, got {getattr(self, name).tolist()}"
                )
        if not 0 <= self.joints <= self.axes:
            raise SpecError(f"limits.joints: expected 0 to {self.axes}, got {self.joints}")
        self._check_workspace()
        object.__setattr__(self, "backwards", -self.velocity)

    def _check_workspace(self) -> None:
        # A record has them as plain vectors.
        frames = np.array(self.frames, dtype=np.float64).reshape(-1, 4, 4)
        box = np.array(self.workspace, dtype=np.float64)
        if len(frames) - 1 > self.joints or not np.isfinite(frames).all():
            raise SpecError(f"limits.frames: expected at most {self.joints} finite joints and a tool")
        if box.size and not len(frames):
            raise SpecError(
                "limits.workspace: the kinematics of the arm have to be known, give limits.frames"
            )
        if box.size not in (0, 6) or not (box.reshape(2, -1)[0] < box.reshape(2, -1)[1]).all():
            raise SpecError(f"limits.workspace: expected [2, 3], lowest below highest, got {box.tolist()}")
        object.__setattr__(self, "frames", frames)
        object.__setattr__(self, "workspace", box.reshape(2, 3) if box.size else box)

    @property
    def axes(self) -> int:
        """Number of axes A."""
        return len(self.lower)

    def scaled(self, speed_fraction: float, acceleration_fraction: float) -> Limits:
        """The same ranges and jerks with a part of the speeds and accelerations; each fraction in (0, 1].

        Raises:
            SpecError: A fraction is outside (0, 1].
        """
        for name, value in (
            ("speed_fraction", speed_fraction),
            ("acceleration_fraction", acceleration_fraction),
        ):
            if not 0 < value <= 1:
                raise SpecError(f"{name}: expected more than 0 and at most 1, got {value}")
        speeds, accelerations = self.velocity * speed_fraction, self.acceleration * acceleration_fraction
        return replace(self, velocity=speeds, acceleration=accelerations)

    def around(self, position: FloatArray) -> Limits:
        """The same limits, with ranges that reach as far as a position [A], rad then m, that is outside."""
        if (self.clip(position) == position).all():
            return self
        lower, upper = np.minimum(self.lower, position), np.maximum(self.upper, position)
        return replace(self, lower=lower, upper=upper)

    def smoothing_ticks(self, dt_s: float) -> int:
        """Ticks over which commands have to be averaged to keep the jerk limits; 1 where none is needed.

        The accelerations of two successive averages over n ticks differ by at most 2 * acceleration / n, so
        that n = 2 * acceleration / (jerk * dt) is enough.
        """
        ticks = 2.0 * self.acceleration / (self.jerk * dt_s)
        return max(1, math.ceil(float(ticks.max()) * (1.0 - ROUNDING)))

    def clip(self, position: ArrayLike) -> FloatArray:
        """The nearest positions [..., A] within the limits."""
        clipped: FloatArray = np.minimum(np.maximum(position, self.lower), self.upper)
        return clipped


class Step(NamedTuple):
    """One limited command.

    Attributes:
        position: [A], the command, rad or m.
        velocity: [A], its difference to the previous command divided by dt, rad/s or m/s.
        clamped_position: The target lay outside the position limits.
        clamped_velocity: Following the target would have taken more speed than allowed.
        clamped_acceleration: Following the target would have taken more acceleration than allowed.
    """

    position: FloatArray
    velocity: FloatArray
    clamped_position: bool
    clamped_velocity: bool
    clamped_acceleration: bool


def stopping_speed(gap: FloatArray, deceleration: FloatArray, dt_s: float) -> FloatArray:
    """Largest speed of this tick that still allows a stop within `gap`, exact for one command every `dt_s`.

    Travelling at u for one tick and then slowing by d = deceleration * dt_s in each further tick covers
    dt_s * ((n + 1) u - d n (n + 1) / 2) with n = floor(u / d); this inverts it.

    Args:
        gap: [..., A], room ahead, rad or m; negative room counts as none.
        deceleration: [..., A], rad/s^2 or m/s^2.
        dt_s: Tick, s.
    """
    room = np.maximum(gap, 0.0) / dt_s
    slowing = deceleration * dt_s
    ticks = np.floor(0.5 * (np.sqrt(1.0 + 8.0 * room / slowing) - 1.0))
    speed: FloatArray = room / (ticks + 1.0) + 0.5 * ticks * slowing
    return speed


Moved = tuple[list[float], list[float], tuple[bool, bool, bool]]
"""Position and velocity of a command, each [A], and the three flags of `Step`."""


class AxisLimits:
    """The limits of each axis for one tick, and commands that keep them.

    An arm has so few axes that each call of numpy costs many times what its numbers do, and far more where
    the caches are cold, as they are a tick later. So axes are worked out one by one, with the operations of
    the formulas on arrays in their order: the results are those, to the last bit. A limit is taken where the
    two are equal, as numpy does, and what is not a number is never taken for a limit. Two roots are left out
    where their results are known: what is made up for within a tick needs no stopping speed, and where a
    position limit is farther than `FAR` times what stopping takes, no speed is too great for it.

    Args:
        limits: What the arm can do.
        dt_s: Tick, s.
    """

    def __init__(self, limits: Limits, dt_s: float) -> None:
        self._dt_s = dt_s
        self._catch_up_s = max(dt_s, CATCH_UP_S)
        stopping = limits.velocity * (limits.velocity / limits.braking + dt_s)
        columns = (
            limits.lower,
            limits.upper,
            limits.velocity,
            limits.acceleration * dt_s,
            limits.braking * dt_s,
            limits.lower + FAR * stopping,
            limits.upper - FAR * stopping,
        )
        self._axes = list(zip(*(column.tolist() for column in columns), strict=True))

    def follow(
        self,
        target: Iterable[float],
        target_velocity: Iterable[float],
        command: Sequence[float],
        velocity: Sequence[float],
    ) -> Moved:
        """Follow a target as closely as the limits allow.

        A target that moves within the limits is followed exactly. One that does not is caught up with within
        a few `CATCH_UP_S`, and without swinging past it. All arguments are [A] in rad or m (per s), and
        finite. Jerk is not limited here.

        Args:
            target: Where the command should be at the end of this tick.
            target_velocity: Velocity of the target during this tick.
            command: Previous command; within the position limits.
            velocity: Velocity of the previous command; such that it can stop within the position limits.
        """
        dt_s, catch_up_s = self._dt_s, self._catch_up_s
        positions, speeds, wishes = [], [], []
        outside = differs = False
        for (lower, upper, fastest, change, slowing, low_end, high_end), aim, rate, start, before in zip(
            self._axes, target, target_velocity, command, velocity, strict=True
        ):
            inside = lower if aim <= lower else aim
            inside = upper if inside >= upper else inside
            outside = outside or inside != aim
            pace = -fastest if rate <= -fastest else rate
            pace = fastest if pace >= fastest else pace
            error = inside - pace * dt_s - start
            gap = abs(error)
            chase, at_once = gap / dt_s, 0.5 * change
            # What half the acceleration corrects in one tick is corrected at once; the rest decays.
            if not chase < at_once:
                chase, decaying = _stopping_speed(chase, change), gap / catch_up_s
                most = at_once if decaying <= at_once else decaying
                chase = most if chase >= most else chase
            wanted = pace + math.copysign(chase, error)
            low, high = before - change, before + change
            low = -fastest if low <= -fastest else low
            high = fastest if high >= fastest else high
            speed = low if wanted <= low else wanted
            speed = high if speed >= high else speed
            # An axis is never so fast towards a position limit that it could not stop there.
            if speed > 0.0 and not start < high_end:
                room = upper - start
                rise = _stopping_speed(room / dt_s, slowing) if room > 0.0 else 0.0
                speed = rise if speed >= rise else speed
            elif speed < 0.0 and not start > low_end:
                room = start - lower
                fall = _stopping_speed(room / dt_s, slowing) if room > 0.0 else 0.0
                speed = -fall if speed <= -fall else speed
            differs = differs or speed != wanted
            wishes.append(wanted)
            position = start + speed * dt_s
            position = lower if position <= lower else position
            position = upper if position >= upper else position
            positions.append(position)
            speeds.append((position - start) / dt_s)
        clamped = self._clamped(wishes, velocity) if differs else (False, False)
        return positions, speeds, (outside, *clamped)

    def brake(self, command: Sequence[float], velocity: Sequence[float]) -> Moved:
        """Slow down as fast as the limits allow, to rest. Arguments as in `follow`."""
        dt_s = self._dt_s
        positions, speeds = [], []
        for (lower, upper, _, change, *_), start, before in zip(self._axes, command, velocity, strict=True):
            less = -change if before <= -change else before
            less = change if less >= change else less
            position = start + (before - less) * dt_s
            position = lower if position <= lower else position
            position = upper if position >= upper else position
            positions.append(position)
            speeds.append((position - start) / dt_s)
        return positions, speeds, (False, False, False)

    def _clamped(self, wanted: Sequence[float], velocity: Sequence[float]) -> tuple[bool, bool]:
        """Whether what was wanted of an axis would have taken too much speed, and too much acceleration."""
        slack = 1.0 + ROUNDING
        too_fast = too_sudden = False
        for (_, _, fastest, change, *_), wish, before in zip(self._axes, wanted, velocity, strict=True):
            too_fast = too_fast or abs(wish) > slack * fastest
            too_sudden = too_sudden or abs(wish - before) > slack * change
        return too_fast, too_sudden


def _stopping_speed(room: float, slowing: float) -> float:
    """As `stopping_speed`, of one axis: `room` is gap / dt_s, at least 0, `slowing` deceleration * dt_s."""
    ticks = 0.5 * (math.sqrt(1.0 + 8.0 * room / slowing) - 1.0) // 1.0
    return room / (ticks + 1.0) + 0.5 * ticks * slowing


def step_of(moved: Moved) -> Step:
    """The same with arrays."""
    position, velocity, flags = moved
    return Step(np.array(position), np.array(velocity), *flags)
