"""Move one axis a little, slowly, and say what should have been seen: what a new arm does first."""

from __future__ import annotations

from dataclasses import dataclass
from math import degrees, isfinite, pi
from typing import Final

import numpy as np

from dualsys.errors import RobotError
from dualsys.robots.kit.bench import HOLD_S, SETTLE_S, Bench
from dualsys.robots.kit.motion import duration_s, one_way

MOST: Final = {"rad": 0.2, "m": 0.02}
"""Longest way at a time."""

FASTEST: Final = {"rad": 0.1, "m": 0.02}
"""Highest speed, rad/s and m/s."""

SHORTEST_S: Final = 1.0


@dataclass(frozen=True)
class Jogged:
    """What a jog did.

    Attributes:
        axis: Name of the axis.
        unit: `rad` or `m`.
        before: Where the axis was.
        told: Where it was told to go.
        after: Where it was in the end.
    """

    axis: str
    unit: str
    before: float
    told: float
    after: float

    def __str__(self) -> str:
        moved, way = self.after - self.before, self.told - self.before
        seen = f"{degrees(way):+.2f} degrees" if self.unit == "rad" else f"{1000 * way:+.1f} mm"
        return (
            f"{self.axis}: {self.before:.4f} to {self.after:.4f} {self.unit}, {moved:+.4f} of {way:+.4f}; "
            f"did you see it move by {seen}?"
        )


def jog(bench: Bench, axis: str, by: float, unit: str) -> Jogged:
    """Move one axis and leave it there, at rest.

    Args:
        bench: The robot; somebody stands at its stop.
        axis: Name of the axis.
        by: How far, in its unit.
        unit: `rad` for joints, `m` for grippers.

    Raises:
        RobotError: There is no such axis, it has another unit, the way is too long or leads out of its
            limits, or the arm went elsewhere and was stopped.
        BusError: The robot cannot be reached.
    """
    if not bench.may_move:
        raise RobotError("jog: moves the arm: stand at the emergency stop, then add --i-am-at-the-stop")
    with bench.connected() as session:
        spec = session.spec
        if axis not in spec.axes:
            raise RobotError(f"jog: no axis {axis!r}; {spec.name} has {', '.join(spec.axes)}")
        number = spec.axes.index(axis)
        if (own := spec.units[number]) != unit:
            raise RobotError(f"jog: {axis} moves in {own}: give --by-{own} in place of --by-{unit}")
        if not isfinite(by) or not 0 < abs(by) <= MOST[unit]:
            raise RobotError(
                f"jog: --by-{unit}: got {by:g}, expected up to {MOST[unit]:g} {unit} either way, not zero"
            )
        before = float(session.robot.read().position[number])
        lower, upper = float(spec.limits.lower[number]), float(spec.limits.upper[number])
        inwards = (before < lower and by > 0) or (before > upper and by < 0)
        if not (lower <= before + by <= upper or inwards):
            raise RobotError(
                f"jog: {axis} is at {before:.4f} {unit}; {by:+g} would lead it out of {lower:g} to {upper:g} "
                f"{unit}"
            )
        here = session.hold(HOLD_S)
        step = np.zeros(len(spec.axes))
        step[number] = by
        lasts_s = duration_s(spec, step, max(SHORTEST_S, pi / 2 * abs(by) / FASTEST[unit]))
        session.play(lambda t_s: here + step * one_way(t_s / lasts_s), lasts_s + SETTLE_S)
        after = float(session.robot.read().position[number])
    return Jogged(axis, unit, float(here[number]), float(here[number]) + by, after)
