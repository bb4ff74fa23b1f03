"""What a chunk strategy can ask System 1 for. Data only; `policies.sampling` does the asking.

`previous` is always the motion that is already planned, on the grid of the chunk to come, float32 `[H, A]`
normalised actions. Where there is no planned motion any more it repeats the last real action, under weight
zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dualsys.fast.chunking.masks import guidance_schedule
from dualsys.fast.planner.track import ActionArray

Jacobian = Literal["exact", "constant_velocity"]
"""How the error of the predicted chunk is carried back to the noisy one: by the vector-Jacobian product of
the network, or as if its velocity did not depend on the chunk (the identity in place of the Jacobian)."""

Pull = Literal["actions", "path"]
"""What of a chunk is pulled towards the planned motion: each action to the one that is planned for its time,
or, of actions that are travel, the places that they lead to."""


def led_steps(steps: int) -> int:
    """In how many of its Euler steps an exactly guided chunk is led along the path: the last half, or one."""
    return max(1, steps // 2)


@dataclass(frozen=True)
class Plain:
    """One sample, told nothing of the planned motion."""


@dataclass(frozen=True)
class RollForward:
    """One plain sample for the state in which its execution will begin.

    Attributes:
        lead_steps: Steps from now to that moment; the grid of the chunk starts there.
    """

    lead_steps: int


@dataclass(frozen=True)
class Led:
    """That a chunk is led along the path of the planned motion: places are compared in place of actions.

    Attributes:
        weights: float32 `[H]`, W of the places that the actions lead to.
        planned: How many of the actions of Y are planned. The path goes on behind them as the chunk does.
    """

    weights: NDArray[np.float32]
    planned: int


@dataclass(frozen=True)
class Guidance:
    """One sample, pulled towards the planned motion.

    Attributes:
        previous: Y.
        weights: float32 `[H]`, W, in [0, 1].
        beta: Largest guidance weight.
        sigma_d: Spread of the data in the guidance weight; 1 is the paper's.
        jacobian: How the error is carried back.
        led: What leads it along the path besides; None: nothing does.
    """

    previous: ActionArray
    weights: NDArray[np.float32]
    beta: float
    sigma_d: float = 1.0
    jacobian: Jacobian = "exact"
    led: Led | None = None

    def schedule(self, steps: int) -> NDArray[np.float32]:
        """Guidance weight float32 `[steps]` of each Euler step."""
        return guidance_schedule(self.beta, steps, self.sigma_d)


@dataclass(frozen=True)
class Replacement:
    """One sample whose first actions are put onto the path to the planned ones before every Euler step.

    Attributes:
        previous: Y.
        count: How many actions are replaced.
    """

    previous: ActionArray
    count: int


@dataclass(frozen=True)
class Prefix:
    """One sample of a model that was trained to continue a given beginning.

    Attributes:
        previous: Y.
        given: float32 `[H]`, one for each action that is given, else zero.
    """

    previous: ActionArray
    given: NDArray[np.float32]


@dataclass(frozen=True)
class Ramp:
    """One sample that starts from planned actions in place of noise, at a speed of its own for each action.

    Attributes:
        previous: Y.
        count: Leading actions that start from Y.
        strengths: float32 `[H]`, factor of the velocity of each action: 0 freezes it, 1 is plain.
    """

    previous: ActionArray
    count: int
    strengths: NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """The best of several plain samples.

    Attributes:
        count: How many are drawn, N.
        previous: Y.
        weights: float32 `[H]`, of the distance between a candidate and Y.
        nearest: K of the forward contrast with a weak policy, which then draws N of its own; 0: none.
    """

    count: int
    previous: ActionArray
    weights: NDArray[np.float32]
    nearest: int = 0


Request: TypeAlias = Plain | RollForward | Guidance | Replacement | Prefix | Ramp | Candidates


def noises_for(request: Request) -> int:
    """How many arrays of noise `[H, A]` a request takes."""
    if not isinstance(request, Candidates):
        return 1
    return 2 * request.count if request.nearest else request.count
