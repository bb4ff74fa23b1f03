"""Real-time chunking: the new chunk is sampled under guidance towards the motion that is already planned.

Source: K. Black, M. Y. Galliker, S. Levine, "Real-Time Execution of Action Chunking Flow Policies",
arXiv:2506.07339. The guided velocity is v + w(tau) J^T (W * (Y - A1)), A1 = x + (1 - tau) v, J = dA1/dx (Eq.
2-4); the sampler with the exact Jacobian is `System1.guided`. This file supplies Y, W (Eq. 5) and the cap
beta. The d actions that will have been played before the chunk is ready are guided with weight one; nothing
of the chunk is overwritten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dualsys.errors import ConfigError
from dualsys.fast.chunking.masks import MASK_SHAPES, soft_mask
from dualsys.fast.chunking.strategy import Guidance, Overlap
from dualsys.fast.planner.track import Box, Chunk, Track
from dualsys.specs import ActionSpec


class RealTimeChunking:
    """Guided replanning.

    Feasible while d <= H - s: the planned motion must last until the new chunk is ready. Where it does not,
    guidance would pull the chunk towards actions that do not exist; the chunk is then sampled plainly and
    `infeasible_requests` counts it.

    Args:
        beta: Largest guidance weight.
        mask: How the weights fall after the frozen part, one of `masks.MASK_SHAPES`.
        execution_horizon: s_min, actions that are at least begun between the starts of two plan jobs. The
            overlap ends no later than H - s_min.

    Raises:
        ConfigError: A value that is not allowed; names all of them.
    """

    name = "rtc"

    def __init__(self, beta: float = 5.0, mask: str = "exp", execution_horizon: int = 1) -> None:
        faults = []
        if not (math.isfinite(beta) and beta >= 0):
            faults.append(f"beta: expected a finite number >= 0, got {beta}")
        if mask not in MASK_SHAPES:
            faults.append(f"mask: expected one of {', '.join(MASK_SHAPES)}, got {mask!r}")
        if execution_horizon < 1:
            faults.append(f"execution_horizon: expected at least 1, got {execution_horizon}")
        if faults:
            raise ConfigError(self.name, faults)
        self._beta = beta
        self._mask = mask
        self._execution_horizon = execution_horizon
        self._last: Chunk | None = None
        self._infeasible = 0

    def check(self, action: ActionSpec) -> None:
        """Raise ConfigError unless some overlap is left after the execution horizon."""
        if self._execution_horizon >= action.horizon:
            fault = f"execution_horizon: expected less than {action.horizon}, got {self._execution_horizon}"
            raise ConfigError(self.name, [fault])

    def wants_plan(self, now_ns: int, track: Track) -> bool:
        """Once `execution_horizon` actions of the last chunk have begun, or the motion has ended."""
        if self._last is None or now_ns >= track.end_ns:
            return True
        begun = -(-(now_ns - self._last.t0_ns) // self._last.step_ns)
        return begun >= self._execution_horizon

    def request(self, overlap: Overlap) -> Guidance | None:
        """Guidance over the planned motion; None if there is none, or if it ends too early."""
        horizon = len(overlap.previous)
        shared = min(overlap.valid, horizon - self._execution_horizon)
        if shared <= 0:
            return None
        if overlap.delay_steps > shared:
            self._infeasible += 1
            return None
        # Weight zero from `shared` on: what stands there cannot matter. The last real action is still the
        # best filler.
        previous = np.concatenate(
            [
                overlap.previous[:shared],
                np.repeat(overlap.previous[shared - 1 : shared], horizon - shared, axis=0),
            ]
        )
        return Guidance(previous, soft_mask(overlap.delay_steps, shared, horizon, self._mask), self._beta)

    def merge(self, track: Track, chunk: Chunk, now_ns: int, workspace: Box) -> Track:
        """Switch to the new chunk now, at the action whose time it is, however late it came."""
        self._last = chunk
        return track.spliced(now_ns, chunk, workspace)

    def reset(self) -> None:
        """Forget when the last job started."""
        self._last = None

    def statistics(self) -> Mapping[str, int]:
        """`infeasible_requests`: chunks sampled plainly because the planned motion would end too early."""
        return {"infeasible_requests": self._infeasible}
