"""What the checks share: how outcomes are made, and how calls of a driver are watched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dualsys.clock import seconds
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.contract import RobotSpec
from dualsys.robots.kit.bench import Bench, Trial
from dualsys.robots.kit.outcomes import Outcome

BoolArray = NDArray[np.bool_]
Check = Callable[[Bench], Outcome]


def judged(check: Check, bench: Bench) -> Outcome:
    """The outcome of a check; also where the driver raises in the middle of it."""
    try:
        return check(bench)
    except Exception as error:
        # The driver is what is examined: whatever it raises is a finding, not a fault of the kit.
        name = check.__name__.replace("_", " ")
        seen = f"cut short by {type(error).__name__}: {error}"
        return Outcome(name, "failed", seen, "a driver that connects, reads and stops", "see what it raised")


def named(name: str) -> tuple[Callable[[str], Outcome], Callable[[str, str, str], Outcome]]:
    """What makes an outcome that passed, and one that failed, of seen, expected and remedy."""
    return (
        lambda seen: Outcome(name, "passed", seen),
        lambda seen, expected, remedy: Outcome(name, "failed", seen, expected, remedy),
    )


def skipped(name: str, trial: Trial) -> Outcome:
    return Outcome(name, "skipped", f"not reached: {trial.fault or 'an earlier check failed'}")


def raised(bench: Bench, act: Callable[[], object]) -> tuple[Exception | None, float]:
    """What a call raised, and how long it took, s."""
    before_ns = bench.clock.now_ns()
    error: Exception | None = None
    try:
        act()
    except Exception as raised:
        # The driver is what is examined: whatever it raises is a finding, not a fault of the kit.
        error = raised
    return error, seconds(bench.clock.now_ns() - before_ns)


def ended(error: Exception | None) -> str:
    return "raised nothing" if error is None else f"raised {type(error).__name__} ({error})"


def per_axis(spec: RobotSpec, rad: float, m: float) -> FloatArray:
    return np.where(np.arange(len(spec.axes)) < spec.limits.joints, rad, m)


def beyond_limits(spec: RobotSpec, position: FloatArray, margin: FloatArray) -> BoolArray:
    """Which positions [..., A] are outside the limits by more than a margin [A]."""
    return (position < spec.limits.lower - margin) | (position > spec.limits.upper + margin)
