"""On-line trajectory generation: speeds change in least time under limited jerk (extra `ruckig`).

(Berscheid and Kröger, "Jerk-limited Real-time Trajectory Generation with Arbitrary Target States", Robotics:
Science and Systems 2021.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from dualsys.clock import NS_PER_S
from dualsys.errors import MissingExtraError, RobotError
from dualsys.fast.control.limits import CATCH_UP_S, ROUNDING, FloatArray, Limits, Step, stopping_speed

if TYPE_CHECKING:
    from ruckig import InputParameter, Trajectory

CHASE_FRACTION: Final = 0.6
"""Part of the deceleration that a set-point is approached with; jerk takes a while to build it up."""

SETTLED: Final = 1e-9
"""Speeds, rad/s or m/s, and accelerations that are rest."""

TOLERANCE: Final = 1e-9
"""Excess of a position, rad or m, that is rounding."""

State = tuple[FloatArray, FloatArray, FloatArray]
"""Position, velocity and acceleration, each [A]; rad, then m."""


class OnlineLimiter:
    """Follows set-points with smooth commands: jerk is limited, and small errors decay instead of being cut.

    A set-point and the distance to it ask for a velocity, which ruckig reaches in least time under the
    limits of acceleration and jerk, planned anew every tick from the state that was commanded last. An axis
    takes such a step only if it can come to rest before its position limits from where it leads; otherwise it
    goes on along the way to rest that was found the tick before. So there always is one.

    Args:
        limits: What the arm can do.
        period_ns: Time between two commands, ns.

    Raises:
        MissingExtraError: ruckig is not installed.
    """

    ahead_ns = 0

    def __init__(self, limits: Limits, period_ns: int) -> None:
        try:
            import ruckig
        except ImportError as error:
            raise MissingExtraError("ruckig", "ruckig", "control.smoothing: ruckig") from error
        self._limits = self._bounds = limits
        self._dt_s = period_ns / NS_PER_S
        axes = limits.axes

        def changing_speed(acceleration: FloatArray) -> InputParameter:
            made = ruckig.InputParameter(axes)
            made.control_interface = ruckig.ControlInterface.Velocity
            # Each axis for itself: one that takes long must not slow down the others.
            made.synchronization = ruckig.Synchronization.No
            made.max_acceleration = acceleration.tolist()
            made.max_jerk = limits.jerk.tolist()
            made.target_velocity = made.target_acceleration = [0.0] * axes
            return made

        self._ruckig = ruckig.Ruckig(axes, self._dt_s)
        self._impossible = ruckig.RuckigError
        self._working = ruckig.Result.Working
        self._following = changing_speed(limits.acceleration)
        self._stopping = changing_speed(limits.braking)
        self._braking = changing_speed(limits.acceleration)
        self._way = ruckig.Trajectory(axes)
        self._way_to_rest, self._spare = ruckig.Trajectory(axes), ruckig.Trajectory(axes)
        self._rest = np.zeros(axes)
        self.start(self._rest)

    @property
    def at_rest(self) -> bool:
        """Whether commands no longer change until `follow` is called."""
        return not (self._state[1].any() or self._state[2].any())

    def start(self, position: FloatArray) -> None:
        """Forget everything, and be at rest at a position [A]."""
        self._bounds = self._limits.around(position)
        self._state: State = (position, self._rest, self._rest)
        self._look_for_rest()

    def follow(self, target: Iterable[float], rate: Iterable[float]) -> Step:
        """The next command on the way to a target [A] that changes at a rate [A] per second."""
        limits = self._limits
        if self._bounds is not limits and self.at_rest:
            self._bounds = limits.around(self._state[0])
        target, rate = np.fromiter(target, np.float64), np.fromiter(rate, np.float64)
        inside = self._bounds.clip(target)
        pace = np.minimum(np.maximum(rate, limits.backwards), limits.velocity)
        error = inside - pace * self._dt_s - self._state[0]
        chase = stopping_speed(np.abs(error), CHASE_FRACTION * limits.acceleration, self._dt_s)
        chase = np.minimum(chase, np.abs(error) / max(CATCH_UP_S, self._dt_s))
        wanted = pace + np.copysign(chase, error)
        velocity = np.minimum(np.maximum(wanted, limits.backwards), limits.velocity)
        self._following.target_velocity = velocity.tolist()
        before = self._state
        self._state = self._after_a_tick(self._following, self._way)
        beyond = self._look_for_rest()
        if beyond.any():
            rescue = self._at(self._spare)
            self._state = (
                np.where(beyond, rescue[0], self._state[0]),
                np.where(beyond, rescue[1], self._state[1]),
                np.where(beyond, rescue[2], self._state[2]),
            )
            self._look_for_rest()
        change = np.abs(wanted - before[1]) > (1.0 + ROUNDING) * limits.acceleration * self._dt_s
        return self._step(
            before[0],
            bool((inside != target).any()),
            bool((np.abs(wanted) > (1.0 + ROUNDING) * limits.velocity).any()),
            bool(change.any()),
        )

    def brake(self) -> Step:
        """The next command of coming to rest."""
        before = self._state
        if not self.at_rest:
            self._state = self._after_a_tick(self._braking, self._way)
            settled = max(np.abs(part).max() for part in self._state[1:]) < SETTLED
            if settled or self._way.duration <= self._dt_s:
                self._state = (self._state[0], self._rest, self._rest)
            self._look_for_rest()
        return self._step(before[0], False, False, False)

    def _after_a_tick(self, asked: InputParameter, way: Trajectory) -> State:
        self._calculate(asked, way)
        return self._at(way)

    def _at(self, way: Trajectory) -> State:
        position, velocity, acceleration = (np.array(part) for part in way.at_time(self._dt_s))
        return self._bounds.clip(position), velocity, acceleration

    def _look_for_rest(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Find the way to rest from the present state; the one before it is kept as the spare.

        Returns:
            bool [A]: Which axes would leave their position limits on it.
        """
        self._way_to_rest, self._spare = self._spare, self._way_to_rest
        self._calculate(self._stopping, self._way_to_rest)
        extremes = self._way_to_rest.position_extrema
        lowest = np.array([extreme.min for extreme in extremes])
        highest = np.array([extreme.max for extreme in extremes])
        bounds = self._bounds
        return (lowest < bounds.lower - TOLERANCE) | (highest > bounds.upper + TOLERANCE)

    def _calculate(self, asked: InputParameter, way: Trajectory) -> None:
        position, velocity, acceleration = self._state
        asked.current_position, asked.current_velocity = position.tolist(), velocity.tolist()
        asked.current_acceleration = acceleration.tolist()
        try:
            result = self._ruckig.calculate(asked, way)
        except self._impossible as error:
            raise RobotError(f"ruckig finds no trajectory: {error}") from error
        if result.value < self._working.value:
            raise RobotError(f"ruckig finds no trajectory from {self._state}: {result}")

    def _step(self, before: FloatArray, position: bool, velocity: bool, acceleration: bool) -> Step:
        now = self._state[0]
        return Step(now, (now - before) / self._dt_s, position, velocity, acceleration)
