"""Several ways to do the same thing, timed against each other.

Runs are interleaved: every round runs each candidate once, in an order that changes from round to round, so
that whatever else happens to the machine happens to all of them alike. What is counted is the time that the
thread computes (`CpuClock`), next to the time that passes: on an idle machine they are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np

WARM_UP_ROUNDS = 5


class Reading(Protocol):
    """Anything that tells a time."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary origin."""
        ...


class Runs(msgspec.Struct, frozen=True):
    """Durations of one candidate, one for each round.

    Attributes:
        computed_ns: Time that the thread computed.
        passed_ns: Time that passed.
    """

    computed_ns: tuple[int, ...]
    passed_ns: tuple[int, ...]


class Timing(msgspec.Struct, frozen=True):
    """What the runs of one candidate come to.

    Attributes:
        median_ms, low_ms, high_ms: Median, 10 % and 90 % quantile of the time that the thread computed.
        passed_ms: Median of the time that passed.
        runs: How many.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    passed_ms: float
    runs: int


class Ratio(msgspec.Struct, frozen=True):
    """How many times as long one candidate takes as another.

    Attributes:
        median: Of the quotients of the rounds.
        low, high: Their quartiles.
    """

    median: float
    low: float
    high: float


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    computed: Reading,
    passed: Reading,
    seed: int = 0,
) -> dict[str, Runs]:
    """Run every candidate once a round.

    Args:
        candidates: What to run, by name.
        rounds: Rounds that count; `WARM_UP_ROUNDS` before them do not.
        computed: Clock of the thread.
        passed: Clock of the machine.
        seed: Of the orders.
    """
    order, random = list(candidates), np.random.default_rng(seed)
    found: dict[str, tuple[list[int], list[int]]] = {name: ([], []) for name in candidates}
    for number in range(-WARM_UP_ROUNDS, rounds):
        random.shuffle(order)
        for name in order:
            begun = computed.now_ns(), passed.now_ns()
            candidates[name]()
            ended = computed.now_ns(), passed.now_ns()
            if number >= 0:
                for kept, begin, end in zip(found[name], begun, ended, strict=True):
                    kept.append(end - begin)
    return {name: Runs(*map(tuple, kept)) for name, kept in found.items()}


def together(*parts: Runs) -> Runs:
    """Candidates that are run one after another, as one: their sums, round by round."""
    computed = zip(*(part.computed_ns for part in parts), strict=True)
    passed = zip(*(part.passed_ns for part in parts), strict=True)
    return Runs(tuple(map(sum, computed)), tuple(map(sum, passed)))


def timing_of(runs: Runs) -> Timing:
    """Median and spread."""
    low, median, high = np.quantile(runs.computed_ns, (0.1, 0.5, 0.9)) / 1e6
    passed = float(np.median(runs.passed_ns)) / 1e6
    return Timing(float(median), float(low), float(high), passed, len(runs.computed_ns))


def ratio_of(slower: Runs, faster: Runs) -> Ratio:
    """How many times as long the first takes as the second, by the time that the thread computed."""
    quotients = np.array(slower.computed_ns) / np.array(faster.computed_ns)
    low, median, high = np.quantile(quotients, (0.25, 0.5, 0.75))
    return Ratio(float(median), float(low), float(high))


def share_of_a_core(runs: Sequence[Runs]) -> float:
    """Time computed over time passed: 1 on an idle machine, less where other work took the core."""
    computed = sum(sum(one.computed_ns) for one in runs)
    return computed / max(1, sum(sum(one.passed_ns) for one in runs))
