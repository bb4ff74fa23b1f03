"""Real-time chunking: the new chunk is sampled under guidance towards the motion that is already planned.

Source: K. Black, M. Y. Galliker, S. Levine, "Real-Time Execution of Action Chunking Flow Policies",
arXiv:2506.07339. The guided velocity is v + w(tau) J^T (W * (Y - A1)), A1 = x + (1 - tau) v, J = dA1/dx (Eq.
2-4). This file supplies Y, W (Eq. 5) and what w is made of. The d actions that will have been played before
the chunk is ready are guided with weight one; nothing of the chunk is overwritten.

Two variants of others are options: the identity in place of J, which needs no gradient of the network, and a
spread `sigma_d` of the data below one, which raises w until its cap holds at every step.

One is our own. The paper's actions are places, ours are travel: a chunk that begins with what is already
planned ends beside where it was to lead, by what these first actions are off, and is not told to make that
good. With `pull: path` places are compared, the sums of travel: what comes behind the frozen actions leads
back. In places the guided velocity is u + w W (C Y - C A1) with C the running sum, so in travel it is
v + w C^-1 W C (Y - A1), the identity in place of J: the same with J, tried with steps of this size, did far
worse. But without J the chunk more often goes another way than what is planned. So with the exact Jacobian
the chunk is first sampled as ever, which settles which way it goes. It is then taken back to the flow time of
the last half of the steps, along the straight line to its noise, and these are done again with places
compared. How much of what the frozen actions are off is made good by an action is how far the mask falls
there: `linear` spreads it evenly over the overlap, `exp` leaves a third of it to the first action. Where
little is planned behind the frozen actions, as with d near H / 2, it would be left to the one or two that
are. So for places the mask ends no sooner than `RETURN_STEPS` actions behind the frozen ones, and the planned
path goes on behind its end as the chunk itself does: what the chunk is off there stays the same.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dualsys.fast.chunking.asynchronous import Continuing
from dualsys.fast.chunking.masks import MaskShape, soft_mask
from dualsys.fast.chunking.requests import Guidance, Jacobian, Led, Pull, Request
from dualsys.fast.chunking.strategy import About, Overlap
from dualsys.fast.policies.policy import Capability

MOST: Final = 1000.0
"""Largest beta and sigma_d that are taken. Far beyond what guides anything, and well within float32."""

RETURN_STEPS: Final = 4
"""Actions, at least, over which a chunk led along the path makes good what its frozen ones are off."""


class RealTimeChunking(Continuing):
    """Guided replanning.

    Args:
        beta: Largest guidance weight, up to `MOST`.
        mask: How the weights fall after the frozen part.
        execution_horizon: s_min, actions that are at least begun between the starts of two plan jobs. The
            overlap ends no later than H - s_min.
        jacobian: `exact`: by the vector-Jacobian product of the network; `constant_velocity`: without it.
        sigma_d: Spread of the data in the guidance weight, up to `MOST`; 1 is the paper's.
        pull: What is compared with the planned motion: `actions`, or the `path` they lead along.

    Raises:
        ConfigError: A value that is not allowed; names all of them.
    """

    name = "rtc"
    about = About(
        summary="guides each new chunk towards what is being executed",
        paper="real-time chunking, arXiv:2506.07339",
        needs="guided, and velocity with pull path; velocity with jacobian constant_velocity; "
        "guidance_schedule besides with sigma_d",
        cost="n, each with a backward pass, and n / 2 without with pull path; n with jacobian "
        "constant_velocity",
    )

    def __init__(
        self,
        beta: float = 5.0,
        mask: MaskShape = "exp",
        execution_horizon: int = 1,
        jacobian: Jacobian = "exact",
        sigma_d: float = 1.0,
        pull: Pull = "actions",
    ) -> None:
        faults = []
        if not 0 <= beta <= MOST:
            faults.append(f"beta: expected a number from 0 to {MOST:g}, got {beta}")
        if not 0 < sigma_d <= MOST:
            faults.append(f"sigma_d: expected a number above 0, up to {MOST:g}, got {sigma_d}")
        super().__init__(execution_horizon, tuple(faults))
        self._beta = float(beta)
        self._mask = mask
        self._jacobian: Jacobian = jacobian
        self._sigma_d = float(sigma_d)
        self._pull: Pull = pull

    @property
    def needs(self) -> frozenset[Capability]:
        """The sampler that carries the error back as chosen; plain samples where nothing is planned yet."""
        if self._jacobian == "constant_velocity":
            return frozenset({"sampler", "velocity"})
        needed: set[Capability] = {"sampler", "guided"}
        if self._sigma_d != 1.0:
            needed.add("guidance_schedule")
        if self._pull == "path":
            needed.add("velocity")
        return frozenset(needed)

    def continuing(self, overlap: Overlap, shared: int) -> Request:
        """Guidance over the planned motion."""
        weights = self._mask_of(overlap, shared, 0)
        led = Led(self._mask_of(overlap, shared, RETURN_STEPS), shared) if self._pull == "path" else None
        return Guidance(overlap.held(shared), weights, self._beta, self._sigma_d, self._jacobian, led)

    def _mask_of(self, overlap: Overlap, shared: int, least: int) -> NDArray[np.float32]:
        """The mask over what is shared, and over at least so many actions behind the frozen ones."""
        end = max(shared, overlap.delay_steps + least)
        return soft_mask(overlap.delay_steps, end, len(overlap.previous), self._mask)


STRATEGY = RealTimeChunking
