"""The plan that control follows: set-points over time, checked when they come in, linear in between."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import lt
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import MessageError
from dualsys.fast.control.limits import FloatArray, Limits
from dualsys.messages import Plan

MAX_KNOTS = 4096
NS_TO_S = 1e-9


class PlanRefusedError(MessageError):
    """A plan cannot be followed. Nothing of it was applied.

    Args:
        kind: One word, used as the name of a counter.
        text: Which field, what came, and what was expected.
    """

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


@dataclass(frozen=True, eq=False)
class Reference:
    """Piecewise linear set-points, held before the first knot and after the last.

    Attributes:
        t_ns: N strictly increasing times, ns.
        setpoints: float64 [N, A], rad, then m.
        rows: The same as a list for each of the N times: on arrays as short as a row, calls cost more than
            their numbers do.
        slopes: N - 1 rows of A, per second.
        rest: A zeros, per second.
    """

    t_ns: list[int]
    setpoints: FloatArray
    rows: list[list[float]]
    slopes: list[list[float]]
    rest: list[float]

    @classmethod
    def through(cls, t_ns: NDArray[np.int64], setpoints: FloatArray) -> Self:
        """Lines through set-points [N, A] at times [N]; both are known to be valid."""
        spans_s, moves = _between(t_ns, setpoints)
        return cls._of(t_ns.tolist(), setpoints, moves / spans_s)

    @classmethod
    def _of(cls, t_ns: list[int], setpoints: FloatArray, slopes: FloatArray) -> Self:
        return cls(t_ns, setpoints, setpoints.tolist(), slopes.tolist(), [0.0] * setpoints.shape[1])

    @property
    def start_ns(self) -> int:
        """Time of the first knot."""
        return self.t_ns[0]

    @property
    def end_ns(self) -> int:
        """Time of the last knot."""
        return self.t_ns[-1]

    def at(self, t_ns: int) -> tuple[list[float], list[float]]:
        """Set-point [A] and its rate of change [A] per second at one time."""
        times = self.t_ns
        right = bisect_right(times, t_ns)
        if right == 0 or right == len(times):
            return self.rows[right - 1 if right else 0], self.rest
        slope, elapsed_s = self.slopes[right - 1], (t_ns - times[right - 1]) * NS_TO_S
        return [
            knot + rate * elapsed_s for knot, rate in zip(self.rows[right - 1], slope, strict=True)
        ], slope

    def followed_by(self, later: Reference, t_ns: int) -> Reference:
        """This reference from `t_ns` on, until `later` starts; then `later`.

        Where the two differ at the join, the segment before it leads over: the set-point never jumps.
        """
        if later.start_ns <= t_ns:
            return later
        first, last = bisect_right(self.t_ns, t_ns), bisect_right(self.t_ns, later.start_ns - 1)
        here = self.at(t_ns)[0]
        times = [t_ns, *self.t_ns[first:last], *later.t_ns]
        rows = [here, *self.rows[first:last], *later.rows]
        setpoints = np.concatenate([[here], self.setpoints[first:last], later.setpoints])
        # Only two lines are new: from here to the next knot, and from the last knot that is kept to the join.
        slopes = [
            _slope(times, rows, 0),
            *self.slopes[first : max(first, last - 1)],
            *([_slope(times, rows, last - first)] if last > first else []),
            *later.slopes,
        ]
        return Reference(times, setpoints, rows, slopes, self.rest)


def _between(t_ns: NDArray[np.int64], setpoints: FloatArray) -> tuple[FloatArray, FloatArray]:
    """From each knot to the next: time [N - 1, 1] in s, and difference of the set-points [N - 1, A]."""
    spans_s: FloatArray = np.subtract(t_ns[1:], t_ns[:-1])[:, None] * np.float64(NS_TO_S)
    return spans_s, setpoints[1:] - setpoints[:-1]


def _slope(times: list[int], rows: list[list[float]], index: int) -> list[float]:
    """Rate of change [A] per second from one knot to the next, as `through` has it to the last bit."""
    span_s = (times[index + 1] - times[index]) * NS_TO_S
    return [(end - start) / span_s for start, end in zip(rows[index], rows[index + 1], strict=True)]


def read_plan(plan: Plan, limits: Limits, gross_rad: float) -> tuple[Reference, bool]:
    """Check the arrays of a plan.

    Args:
        plan: The plan.
        limits: What the arm can do.
        gross_rad: How far a set-point of a joint may be from what the arm can do; less is moved to that.

    Returns:
        The reference, and whether set-points had to be moved to the position limits.

    Raises:
        PlanRefusedError: `shape` for a wrong size or element type, `finite` for NaN or infinity, `times`
            unless the times increase strictly, `gross` for set-points that are far outside the position
            limits, or so far apart that no speed limit lets the arm get there in time.
    """
    times: NDArray[Any] = plan.t_ns.array()
    setpoints: NDArray[Any] = plan.setpoints.array()
    if times.dtype != np.int64 or times.ndim != 1 or not 1 <= len(times) <= MAX_KNOTS:
        got = f"{times.dtype}{list(times.shape)}"
        raise PlanRefusedError("shape", f"plan.t_ns: expected int64[N], N from 1 to {MAX_KNOTS}, got {got}")
    if setpoints.dtype != np.float64 or setpoints.shape != (len(times), limits.axes):
        got = f"{setpoints.dtype}{list(setpoints.shape)}"
        expected = f"float64[{len(times)}, {limits.axes}]"
        raise PlanRefusedError("shape", f"plan.setpoints: expected {expected}, got {got}")
    if not np.isfinite(setpoints).all():
        raise PlanRefusedError("finite", "plan.setpoints: expected finite numbers, got NaN or infinity")
    known = times.tolist()
    if known[0] < 0 or not all(map(lt, known, known[1:])):
        raise PlanRefusedError("times", "plan.t_ns: expected strictly increasing times from zero on")
    inside = limits.clip(setpoints)
    moved = bool((inside != setpoints).any())
    if moved:
        _refuse_far_outside(setpoints - inside, limits.joints, gross_rad)
    spans_s, moves = _between(times, inside)
    _refuse_far_apart(spans_s, moves, limits, gross_rad)
    return Reference._of(known, inside, moves / spans_s), moved


def _refuse_far_outside(beyond: FloatArray, joints: int, gross_rad: float) -> None:
    """Refuse a plan for joints that are far outside their limits; grippers are often told to crush."""
    outside = np.abs(beyond[:, :joints]).max(initial=0.0)
    if outside > gross_rad:
        raise PlanRefusedError(
            "gross",
            f"plan.setpoints: a joint is {outside:.3g} rad outside its limits, at most {gross_rad:g} rad",
        )


def _refuse_far_apart(spans_s: FloatArray, moves: FloatArray, limits: Limits, gross_rad: float) -> None:
    """Refuse a plan for joints that cannot get from one set-point to the next in time."""
    joints = limits.joints
    beyond = (np.abs(moves[:, :joints]) - limits.velocity[:joints] * spans_s).max(initial=0.0)
    if beyond > gross_rad:
        raise PlanRefusedError(
            "gross",
            f"plan.setpoints: two set-points in a row are {beyond:.3g} rad farther apart than a joint can "
            f"move, at most {gross_rad:g} rad",
        )
