"""All checks, in the order in which they are made: at first nothing moves, at last the connection is cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dualsys.robots.kit.bench import Bench
from dualsys.robots.kit.connection_checks import absence, close, connection, lost_connection, reconnection
from dualsys.robots.kit.judging import Check, judged
from dualsys.robots.kit.motion_checks import (
    lag,
    limits,
    order,
    refuses_nonsense,
    scale,
    silence,
    stays,
    stop,
    velocities,
)
from dualsys.robots.kit.outcomes import Outcome, Report
from dualsys.robots.kit.reading_checks import (
    calls_do_not_wait,
    cycle,
    range_of_readings,
    reading,
    readings_in_time,
    specification,
)

CHECKS: Final[tuple[Check, ...]] = (
    absence,
    connection,
    specification,
    reading,
    range_of_readings,
    readings_in_time,
    cycle,
    refuses_nonsense,
    stays,
    order,
    scale,
    lag,
    velocities,
    limits,
    calls_do_not_wait,
    stop,
    silence,
    close,
    reconnection,
    lost_connection,
)
"""Every check. The last one may leave a robot that cannot be reached any more."""


def examine(bench: Bench, told: Callable[[Outcome], object] = lambda _: None) -> Report:
    """Make every check.

    Args:
        bench: What to check.
        told: Called with each outcome as it comes.
    """
    outcomes = []
    for check in CHECKS:
        outcome = judged(check, bench)
        told(outcome)
        outcomes.append(outcome)
    spec = bench.watched.spec
    name = "unknown robot" if spec is None else f"{spec.name}, {len(spec.axes)} axes"
    return Report(name, tuple(outcomes))
