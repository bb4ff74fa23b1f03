"""Which plan is followed, from where it takes over, and how far along it the arm is led."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dualsys.clock import NS_PER_MS
from dualsys.fast.control.ages import FUTURE_NS
from dualsys.fast.control.limits import FloatArray, Limits
from dualsys.fast.control.readings import Tolerances
from dualsys.fast.control.reference import PlanRefusedError, Reference, read_plan
from dualsys.messages import Plan

MALFORMED = ("shape", "finite", "times", "gross")
"""Kinds of refused plans that no planner in its right mind makes."""

REFUSALS = ("session", "epoch", "seq", *MALFORMED, "past", "stamp", "start", "workspace")
"""Kinds of refused plans, each with a counter of its own."""

CATCH_UP_PACE = 1.25
"""Pace of time within the plan while it makes up for a slow stretch."""


class PlanFollower:
    """The plan that the arm is led along.

    A plan takes over at its first knot; until then the one before it holds. Time within the plan may lag
    behind the edge clock: it falls behind at a pace below one, and is made up for afterwards.

    Args:
        limits: What the arm may do.
        session: Plans of another session are refused.
        tolerances: How far a plan may be from where the arm is led, and from what it can do.

    Attributes:
        seen_plan_ns: When the last plan came that was well formed and meant for now, followed or not; -1 for
            none.
        seen_latent_ns: Newest capture stamp behind such plans; -1 for none.
    """

    def __init__(self, limits: Limits, session: int, tolerances: Tolerances) -> None:
        self._limits = limits
        self._session = session
        self._start_rad = tolerances.start_rad
        self._gross_rad = tolerances.gross_rad
        self.clear()

    def clear(self) -> None:
        """Forget every plan."""
        self._reference: Reference | None = None
        self._lag_ns = 0
        self._last_seq = -1
        self.seen_plan_ns = -1
        self.seen_latent_ns = -1

    @property
    def has_plan(self) -> bool:
        """Whether there is a plan, over or not."""
        return self._reference is not None

    def is_over(self, now_ns: int) -> bool:
        """Whether the plan has been followed to its end, or there is none."""
        return self._reference is None or now_ns - self._lag_ns >= self._reference.t_ns[-1]

    def admit(self, plan: Plan, epoch: int, now_ns: int) -> tuple[Reference, bool]:
        """Check a plan, and note that one has come.

        Returns:
            Its set-points, and whether some had to be moved to the position limits.

        Raises:
            PlanRefusedError: It is not meant for now, or malformed.
        """
        if plan.session != self._session:
            raise PlanRefusedError("session", f"plan.session: expected {self._session}, got {plan.session}")
        if plan.epoch != epoch:
            raise PlanRefusedError("epoch", f"plan.epoch: expected {epoch}, got {plan.epoch}")
        if plan.seq <= self._last_seq:
            raise PlanRefusedError("seq", f"plan.seq: expected more than {self._last_seq}, got {plan.seq}")
        reference, moved = read_plan(plan, self._limits, self._gross_rad)
        if reference.end_ns <= now_ns:
            over_ms = (now_ns - reference.end_ns) // NS_PER_MS
            raise PlanRefusedError(
                "past", f"plan.t_ns: expected an end in the future, it was {over_ms} ms ago"
            )
        if plan.latent_seq >= 0 and not 0 <= plan.t_latent_ns <= now_ns + FUTURE_NS:
            got = f"{plan.t_latent_ns}, {(plan.t_latent_ns - now_ns) // NS_PER_MS} ms from now"
            raise PlanRefusedError("stamp", f"plan.t_latent_ns: expected a time in the past, got {got}")
        if plan.t_observation_ns > now_ns + FUTURE_NS:
            ahead_ms = (plan.t_observation_ns - now_ns) // NS_PER_MS
            raise PlanRefusedError(
                "stamp", f"plan.t_observation_ns: expected a time in the past, got {ahead_ms} ms from now"
            )
        self._last_seq = plan.seq
        self.seen_plan_ns = now_ns
        if plan.latent_seq >= 0:
            self.seen_latent_ns = max(self.seen_latent_ns, plan.t_latent_ns)
        return reference, moved

    def join(self, later: Reference, now_ns: int, command: FloatArray, following: bool) -> None:
        """Let a plan take over, from the plan before it or from where the arm is.

        Args:
            later: The plan.
            now_ns: Edge time.
            command: [A], the last command, rad then m.
            following: Whether the arm is being led along the plan before it.

        Raises:
            PlanRefusedError: It starts elsewhere.
        """
        if self._reference is not None and following:
            plan_ns = now_ns - self._lag_ns
            join_ns = max(plan_ns, later.start_ns)
            apart = self._apart(later.at(join_ns)[0], self._reference.at(join_ns)[0])
            if join_ns <= self._reference.end_ns and apart <= self._start_rad:
                self._reference = self._reference.followed_by(later, plan_ns)
                return
        apart = self._apart(later.at(now_ns)[0], command)
        if not apart <= self._start_rad:
            raise PlanRefusedError(
                "start",
                f"plan.setpoints: starts {apart:.3f} rad from where the arm is led, "
                f"at most {self._start_rad:g} rad",
            )
        self._reference, self._lag_ns = later, 0

    def lead(
        self, now_ns: int, elapsed_ns: int, pace: float, ahead_ns: int = 0
    ) -> tuple[list[float], list[float]]:
        """Set-point [A] for now, and its rate of change [A] per second.

        Args:
            now_ns: Edge time.
            elapsed_ns: Edge time since the call before.
            pace: Wanted pace of time within the plan, in (0, 1]; at 1 a lag is made up for.
            ahead_ns: How much later than now the set-point is for, at that pace.

        Raises:
            ValueError: There is no plan.
        """
        if self._reference is None:
            raise ValueError("there is no plan to follow")
        if pace < 1.0:
            self._lag_ns += round((1.0 - pace) * elapsed_ns)
        elif self._lag_ns > 0:
            pace = CATCH_UP_PACE
            self._lag_ns = max(0, self._lag_ns - round((CATCH_UP_PACE - 1.0) * elapsed_ns))
        target, slope = self._reference.at(now_ns - self._lag_ns + round(ahead_ns * pace))
        return target, slope if pace == 1.0 else [rate * pace for rate in slope]

    def _apart(self, one: ArrayLike, other: ArrayLike) -> float:
        """Greatest difference of a joint, rad."""
        return float(np.abs(np.subtract(one, other)[: self._limits.joints]).max(initial=0.0))
