"""Plans on their way to control, numbered within the session."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS
from dualsys.fast.planner.records import PlanJob
from dualsys.messages import Plan, Tensor

REPEAT_NS = 100 * NS_PER_MS
"""Longest silence towards control while a plan is being followed."""


class PlanWriter:
    """Writes plans, and repeats the newest one when there is no other for a while.

    Args:
        session: Random number of this run.

    Attributes:
        written: Plans written, one for each job.
        amended: Plans that a correction has changed.
        repeated: Plans repeated.
    """

    def __init__(self, session: int) -> None:
        self._session = session
        self._newest: Plan | None = None
        self._sent_ns = 0
        self.written = 0
        self.amended = 0
        self.repeated = 0

    def clear(self) -> None:
        """Forget the newest plan: it is void."""
        self._newest = None

    def write(
        self, job: PlanJob, t_ns: NDArray[np.int64], setpoints: NDArray[np.float64], now_ns: int
    ) -> Plan:
        """Write the plan of a job.

        Args:
            job: What it came from.
            t_ns: int64 `[N]`, times of the knots.
            setpoints: float64 `[N, A]`.
            now_ns: When its chunk was ready. It leaves the plan before it then, or where its grid starts.
        """
        plan = Plan(
            session=self._session,
            episode=job.episode,
            epoch=job.epoch,
            seq=self._seq,
            t_ns=Tensor.of(t_ns),
            setpoints=Tensor.of(setpoints),
            latent_seq=job.latent.seq,
            t_latent_ns=job.latent.t_capture_ns,
            t_observation_ns=job.t_observation_ns,
            splice_ns=max(now_ns, job.grid_ns),
            delay_ns=now_ns - job.t0_ns,
            delay_steps=job.overlap.delay_steps,
        )
        self.written += 1
        self._newest, self._sent_ns = plan, now_ns
        return plan

    def amend(self, t_ns: NDArray[np.int64], setpoints: NDArray[np.float64], now_ns: int) -> Plan | None:
        """The newest plan with other knots from `now_ns` on; None if there is none. The stamps stay.

        Args:
            t_ns: int64 `[N]`, times of the knots.
            setpoints: float64 `[N, A]`.
            now_ns: Where it leaves the newest plan.
        """
        if self._newest is None:
            return None
        plan = msgspec.structs.replace(
            self._newest,
            seq=self._seq,
            t_ns=Tensor.of(t_ns),
            setpoints=Tensor.of(setpoints),
            splice_ns=now_ns,
        )
        self.amended += 1
        self._newest, self._sent_ns = plan, now_ns
        return plan

    def repeat(self, now_ns: int) -> Plan | None:
        """The newest plan under a new number, if nothing was sent for `REPEAT_NS`."""
        if self._newest is None or now_ns - self._sent_ns < REPEAT_NS:
            return None
        plan = msgspec.structs.replace(self._newest, seq=self._seq)
        self.repeated += 1
        self._sent_ns = now_ns
        return plan

    @property
    def _seq(self) -> int:
        return self.written + self.amended + self.repeated
