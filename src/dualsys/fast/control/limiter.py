"""What turns set-points into commands within the limits of the arm, tick by tick; it remembers the last ones.

Two kinds: `WindowLimiter` follows the plan as it is and averages over a few ticks where a jerk limit asks for
it; `online.OnlineLimiter` makes a time-optimal trajectory with limited jerk (extra `ruckig`).
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

import numpy as np

from dualsys.clock import NS_PER_S
from dualsys.fast.control.limits import FloatArray, Limits, Step, brake_step, limit_step, some

Smoothing = Literal["limiter", "ruckig"]
"""How commands are led along a plan."""


class Limiter(Protocol):
    """Commands within the limits. The first one is where it was started, at rest.

    Attributes:
        ahead_ns: How far ahead of now the set-points must be taken, so that commands do not lag behind.
    """

    ahead_ns: int

    @property
    def at_rest(self) -> bool:
        """Whether commands no longer change until `follow` is called."""
        ...

    def start(self, position: FloatArray) -> None:
        """Forget everything, and be at rest at a position [A], rad then m.

        A position outside the limits is left within the limits of speed, and never for one further outside.
        """
        ...

    def follow(self, target: FloatArray, rate: FloatArray) -> Step:
        """The next command on the way to a target.

        Args:
            target: [A], within the position limits, rad then m; finite.
            rate: [A], its rate of change per second; finite.
        """
        ...

    def brake(self) -> Step:
        """The next command of coming to rest as fast as the limits allow."""
        ...


class WindowLimiter:
    """Follows set-points exactly wherever the limits allow it.

    Where an axis has a jerk limit, each command is the mean of the last n commands that obey all other
    limits. A mean of positions within convex limits is within them, so position, velocity (also where it
    depends on the position) and acceleration still hold, and the jerk is at most 2 * acceleration / (n * dt).
    All axes are averaged alike, so that the path keeps its shape. The delay of (n - 1) / 2 ticks is made up
    for by taking set-points that much earlier. (Biagiotti and Melchiorri, "FIR filters for online trajectory
    planning with time- and frequency-domain specifications", Control Engineering Practice 20, 2012.)

    Args:
        limits: What the arm can do.
        period_ns: Time between two commands, ns.
    """

    def __init__(self, limits: Limits, period_ns: int) -> None:
        self._limits = self._bounds = limits
        self._dt_s = period_ns / NS_PER_S
        self._ticks = limits.smoothing_ticks(self._dt_s)
        self.ahead_ns = (self._ticks - 1) * period_ns // 2
        self._window = np.zeros((self._ticks, limits.axes))
        self._newest = 0
        self._still = self._ticks
        self._raw = self._position = self._velocity = self._raw_velocity = np.zeros(limits.axes)

    @property
    def at_rest(self) -> bool:
        """Whether commands no longer change until `follow` is called."""
        return self._still >= self._ticks

    def start(self, position: FloatArray) -> None:
        """Forget everything, and be at rest at a position [A]."""
        self._bounds = self._limits.around(position)
        self._raw = self._position = position
        self._raw_velocity = self._velocity = np.zeros(self._limits.axes)
        self._window[:] = position
        self._still = self._ticks

    def follow(self, target: FloatArray, rate: FloatArray) -> Step:
        """The next command on the way to a target [A] that changes at a rate [A] per second."""
        if self._bounds is not self._limits and self.at_rest:
            self._bounds = self._limits.around(self._raw)
        step = limit_step(self._bounds, target, rate, self._raw, self._raw_velocity, self._dt_s)
        return self._smooth(step)

    def brake(self) -> Step:
        """The next command of coming to rest."""
        return self._smooth(brake_step(self._bounds, self._raw, self._raw_velocity, self._dt_s))

    def _smooth(self, step: Step) -> Step:
        self._raw, self._raw_velocity = step.position, step.velocity
        self._still = 0 if some(step.velocity != 0.0) else self._still + 1
        if self._ticks == 1:
            self._position, self._velocity = step.position, step.velocity
            return step
        self._newest = (self._newest + 1) % self._ticks
        self._window[self._newest] = step.position
        # Relative to the newest, so that the mean of equal positions is that position to the last bit.
        # (`mean` gives the same bits and takes longer.)
        mean = step.position + np.add.reduce(self._window - step.position, axis=0) / self._ticks
        position = self._bounds.clip(mean)
        velocity = (position - self._position) / self._dt_s
        self._position, self._velocity = position, velocity
        return Step(position, velocity, *step[2:])


def make_limiter(smoothing: Smoothing, limits: Limits, period_ns: int) -> Limiter:
    """A limiter by the name that it has in the configuration.

    Raises:
        MissingExtraError: The package of that limiter is not installed.
    """
    if smoothing == "ruckig":
        from dualsys.fast.control.online import OnlineLimiter

        return OnlineLimiter(limits, period_ns)
    return WindowLimiter(limits, period_ns)


SMOOTHINGS: Final[tuple[Smoothing, ...]] = ("limiter", "ruckig")
"""Every limiter by name."""
