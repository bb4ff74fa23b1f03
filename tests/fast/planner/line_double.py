"""A line with System 2 at its end, on a virtual clock: what an uplink does to what the edge knows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dualsys.bus.link_model import Conditions, Line, Schedule
from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.fast.planner.rate_control import RateBounds, RateChoice, RateController

T = TypeVar("T")
STEP_NS = 5 * NS_PER_MS
AHEAD_NS = -7 * NS_PER_S
"""System 2's clock, minus ours."""

BOUNDS = RateBounds(
    least_rate_hz=1.0,
    most_rate_hz=10.0,
    least_quality=40,
    most_quality=90,
    queue_ns=100 * NS_PER_MS,
    answer_ns=500 * NS_PER_MS,
)


def jpeg_bytes(quality: int) -> int:
    """Size of an observation: about that of the table's fixed camera."""
    return 1300 + round(28 * (quality / 10) ** 2.1)


@dataclass
class Outcome:
    """What came of it; everything by time.

    Attributes:
        choices: The choice at each observation, with the time, ns.
        ages_ms: Age of the newest observation that was answered, at each step from the first answer on.
        sent_bytes: Bytes that left, with the time, ns.
        budgets: The controller's budget at each observation.
    """

    choices: list[tuple[int, RateChoice]] = field(default_factory=list)
    ages_ms: list[tuple[int, float]] = field(default_factory=list)
    sent_bytes: list[tuple[int, int]] = field(default_factory=list)
    budgets: list[tuple[int, float]] = field(default_factory=list)

    def worst_age_ms(self, start_s: float, end_s: float) -> float:
        """Greatest age in an interval."""
        return max(self._within(self.ages_ms, start_s, end_s))

    def bytes_per_s(self, start_s: float, end_s: float) -> float:
        """Mean rate in an interval."""
        return sum(self._within(self.sent_bytes, start_s, end_s)) / (end_s - start_s)

    def chosen(self, start_s: float, end_s: float) -> list[RateChoice]:
        """Choices in an interval."""
        return self._within(self.choices, start_s, end_s)

    @staticmethod
    def _within(series: list[tuple[int, T]], start_s: float, end_s: float) -> list[T]:
        return [value for t_ns, value in series if start_s * NS_PER_S <= t_ns < end_s * NS_PER_S]


def drive(
    controller: RateController,
    steps: Sequence[Conditions],
    duration_s: float,
    *,
    system2_ns: int = 200 * NS_PER_MS,
    reads_every_ns: int = 200 * NS_PER_MS,
    size: Callable[[int], int] = jpeg_bytes,
    seed: int = 1,
) -> Outcome:
    """Send observations over a line that queues without limit, to a System 2 that reads the newest there is.

    Args:
        controller: Who is tried.
        steps: What the line is like, both ways.
        duration_s: How long.
        system2_ns: From the arrival of an observation that is read to its answer.
        reads_every_ns: Least time between two that are read.
        size: Bytes of an observation by its quality.
        seed: Of jitter and losses.
    """
    outcome = Outcome()
    up = Line(Schedule(steps), random.Random(seed))
    down = Line(Schedule(steps), random.Random(seed + 1))
    flying: list[tuple[int, int]] = []
    answers: list[tuple[int, int, int]] = []
    captured: dict[int, int] = {}
    slot: tuple[int, int] | None = None
    free_ns = seq = 0
    newest_ns: int | None = None
    for now_ns in range(0, round(duration_s * NS_PER_S), STEP_NS):
        if controller.due(now_ns):
            choice = controller.choose(now_ns)
            count = size(choice.quality)
            outcome.choices.append((now_ns, choice))
            outcome.sent_bytes.append((now_ns, count))
            controller.sent(seq, count, now_ns)
            outcome.budgets.append((now_ns, controller.budget))
            captured[seq] = now_ns
            flying.append((up.arrival_ns(now_ns, count), seq))
            seq += 1
        while flying and flying[0][0] <= now_ns:
            slot = flying.pop(0)
        if slot is not None and now_ns >= free_ns:
            received_ns, read = slot
            slot, free_ns = None, now_ns + reads_every_ns
            left_ns = max(now_ns, received_ns + system2_ns)
            answers.append((down.arrival_ns(left_ns, 700), read, received_ns))
        while answers and answers[0][0] <= now_ns:
            _, read, received_ns = answers.pop(0)
            controller.answered(read, received_ns + AHEAD_NS, now_ns)
            newest_ns = captured[read]
        if newest_ns is not None:
            outcome.ages_ms.append((now_ns, (now_ns - newest_ns) / NS_PER_MS))
    return outcome
