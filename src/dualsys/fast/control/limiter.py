"""What turns set-points into commands within the limits of the arm, tick by tick; it remembers the last ones.

Two kinds: `WindowLimiter` follows the plan as it is and averages over a few ticks where a jerk limit asks for
it; `online.OnlineLimiter` makes a time-optimal trajectory with limited jerk (extra `ruckig`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, Protocol

import numpy as np

from dualsys.clock import NS_PER_S
from dualsys.fast.control.limits import AxisLimits, FloatArray, Limits, Moved, Step, step_of

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

    def follow(self, target: Iterable[float], rate: Iterable[float]) -> Step:
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
        self._limits = limits
        self._dt_s = period_ns / NS_PER_S
        self._keep_within(limits)
        self._ticks = limits.smoothing_ticks(self._dt_s)
        self.ahead_ns = (self._ticks - 1) * period_ns // 2
        self._window = np.zeros((self._ticks, limits.axes))
        self._newest = 0
        self._still = self._ticks
        self.start(np.zeros(limits.axes))

    @property
    def at_rest(self) -> bool:
        """Whether commands no longer change until `follow` is called."""
        return self._still >= self._ticks

    def start(self, position: FloatArray) -> None:
        """Forget everything, and be at rest at a position [A]."""
        self._keep_within(self._limits.around(position))
        self._position = position
        self._raw = position.tolist()
        self._raw_velocity = [0.0] * self._limits.axes
        self._window[:] = position
        self._still = self._ticks

    def follow(self, target: Iterable[float], rate: Iterable[float]) -> Step:
        """The next command on the way to a target [A] that changes at a rate [A] per second."""
        if self._bounds is not self._limits and self.at_rest:
            self._keep_within(self._limits.around(np.array(self._raw)))
        return self._smooth(self._each.follow(target, rate, self._raw, self._raw_velocity))

    def brake(self) -> Step:
        """The next command of coming to rest."""
        return self._smooth(self._each.brake(self._raw, self._raw_velocity))

    def _keep_within(self, bounds: Limits) -> None:
        self._bounds = bounds
        self._each = AxisLimits(bounds, self._dt_s)

    def _smooth(self, moved: Moved) -> Step:
        step = step_of(moved)
        self._raw, self._raw_velocity, _ = moved
        self._still = 0 if any(self._raw_velocity) else self._still + 1
        if self._ticks == 1:
            return step
        self._newest = (self._newest + 1) % self._ticks
        self._window[self._newest] = step.position
        # Relative to the newest, so that the mean of equal positions is that position to the last bit.
        # (`mean` gives the same bits and takes longer.)
        mean = step.position + np.add.reduce(self._window - step.position, axis=0) / self._ticks
        position = self._bounds.clip(mean)
        velocity = (position - self._position) / self._dt_s
        self._position = position
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
