"""How old may be what the arm is led by, and what is too old now. All ages are by the edge clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from dualsys.clock import NS_PER_MS
from dualsys.errors import SpecError


@dataclass(frozen=True)
class Ages:
    """How old things may get, ns. Past a soft age, where that is below the hard one, the arm slows down.

    Attributes:
        latent_soft_ns, latent_hard_ns: Of the latent behind the plan; past the hard age the arm holds.
        observation_soft_ns, observation_hard_ns: Of the arm state and the frame that the plan was made from;
            past the hard age the arm holds.
        plan_soft_ns, plan_hard_ns: Time without a new plan; past the hard age the arm holds.
        reading_soft_ns, reading_hard_ns: Of the reading of the arm; past the hard age control stops.
        gap_hard_ns: Time between two ticks, or without commands reaching the robot, past which it holds.

    Raises:
        SpecError: An age is not positive.
    """

    latent_soft_ns: int = 1000 * NS_PER_MS
    latent_hard_ns: int = 2000 * NS_PER_MS
    plan_hard_ns: int = 500 * NS_PER_MS
    reading_hard_ns: int = 100 * NS_PER_MS
    gap_hard_ns: int = 200 * NS_PER_MS
    plan_soft_ns: int = 400 * NS_PER_MS
    reading_soft_ns: int = 50 * NS_PER_MS
    observation_soft_ns: int = 1500 * NS_PER_MS
    observation_hard_ns: int = 3000 * NS_PER_MS

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise SpecError(f"ages.{name}: expected a positive number, got {getattr(self, name)}")

    @classmethod
    def from_ms(cls, ages_ms: Mapping[str, float]) -> Self:
        """From numbers in ms under the same names with `_ms`, as in the configuration."""
        ages_ns = {f"{name.removesuffix('_ms')}_ns": round(ms * NS_PER_MS) for name, ms in ages_ms.items()}
        return cls(**ages_ns)


class Stamps(NamedTuple):
    """When the newest of each was made or came, ns of edge time; -1 for none."""

    latent_ns: int
    observation_ns: int
    plan_ns: int
    reading_ns: int


class Staleness(NamedTuple):
    """What is too old, in words; empty for nothing.

    Attributes:
        hold: What is past its hard age.
        slow: What is past its soft age.
    """

    hold: str
    slow: str


FRESH = Staleness("", "")
"""Nothing is too old."""

FUTURE_NS = 100 * NS_PER_MS
"""What is stamped further ahead than this was not stamped by the clock of this machine."""

FOR_EVER_NS = 2**63 - 1
"""Later than any stamp."""


def judge(ages: Ages, stamps: Stamps, now_ns: int) -> Staleness:
    """What is too old now. A reading past its hard age is not judged here: that stops control."""
    latent = now_ns - stamps.latent_ns if stamps.latent_ns >= 0 else 0
    observation = now_ns - stamps.observation_ns if stamps.observation_ns >= 0 else 0
    plan = now_ns - stamps.plan_ns if stamps.plan_ns >= 0 else 0
    reading = now_ns - stamps.reading_ns if stamps.reading_ns >= 0 else 0
    if latent > ages.latent_hard_ns:
        return Staleness(_old("latent is", latent, ages.latent_hard_ns), "")
    if observation > ages.observation_hard_ns:
        oldest_ns = ages.observation_hard_ns
        return Staleness(_old("the observation behind the plan is", observation, oldest_ns), "")
    if plan > ages.plan_hard_ns:
        return Staleness(_silent(plan, ages.plan_hard_ns), "")
    if latent > ages.latent_soft_ns:
        return Staleness("", f"latent is more than {ages.latent_soft_ns // NS_PER_MS} ms old")
    if observation > ages.observation_soft_ns:
        oldest_ms = ages.observation_soft_ns // NS_PER_MS
        return Staleness("", f"the observation behind the plan is more than {oldest_ms} ms old")
    if plan > ages.plan_soft_ns:
        return Staleness("", f"no plan for more than {ages.plan_soft_ns // NS_PER_MS} ms")
    if reading > ages.reading_soft_ns:
        oldest_ms = ages.reading_soft_ns // NS_PER_MS
        return Staleness("", f"the reading of the arm is more than {oldest_ms} ms old")
    return FRESH


def fresh_until_ns(ages: Ages, latent_ns: int, observation_ns: int, plan_ns: int) -> int:
    """Edge time up to which `judge` finds nothing too old, but perhaps the reading; stamps as in `Stamps`.

    They change with a plan and not with a tick, and so does this.
    """
    stamped = (
        (latent_ns, ages.latent_soft_ns, ages.latent_hard_ns),
        (observation_ns, ages.observation_soft_ns, ages.observation_hard_ns),
        (plan_ns, ages.plan_soft_ns, ages.plan_hard_ns),
    )
    known = [stamp_ns + min(soft_ns, hard_ns) for stamp_ns, soft_ns, hard_ns in stamped if stamp_ns >= 0]
    return min(known, default=FOR_EVER_NS)


def _old(what: str, age_ns: int, oldest_ns: int) -> str:
    return f"{what} {age_ns // NS_PER_MS} ms old, at most {oldest_ns // NS_PER_MS} ms"


def _silent(age_ns: int, oldest_ns: int) -> str:
    return f"no plan for {age_ns // NS_PER_MS} ms, at most {oldest_ns // NS_PER_MS} ms"
