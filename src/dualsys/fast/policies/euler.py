"""Euler integration of a velocity field in numpy: the samplers that need no gradient of the network.

Convention of arXiv:2506.07339: x = tau * a + (1 - tau) * eps, v = a - eps, n steps x <- x + v / n at tau = 0,
1/n, ..., (n - 1)/n. Everything is computed in the element type of the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

Field = Callable[[Array, Array], Array]
"""From x `[H, A]` and the flow time of each action `[H]` to the velocity `[H, A]`."""


@dataclass(frozen=True)
class Places:
    """What of a chunk is travel, whose sums are compared in its place: see `chunking.rtc`.

    Attributes:
        travel: So many of the A components, the first.
        weights: W of the places, `[H]`.
        planned: How many actions of Y are planned. Behind them a place is off by what the last planned one
            is off.
    """

    travel: int
    weights: Array
    planned: int


def sample(field: Field, noise: Array, steps: int) -> Array:
    """A plain sample `[H, A]` from noise of that shape in `steps` Euler steps."""
    x = noise
    for step in range(steps):
        x = x + field(x, _times(noise, step / steps)) / steps
    return x


def guided(
    field: Field,
    noise: Array,
    previous: Array,
    weights: Array,
    guidance: NDArray[np.float32],
    places: Places | None = None,
    first: int = 0,
) -> Array:
    """A sample under guidance that takes the velocity for constant: the identity in place of the Jacobian.

    Each step adds w(tau) W * (Y - A1) to the velocity, A1 = x + (1 - tau) v (arXiv:2506.07339, Eq. 2, without
    the vector-Jacobian product of its Eq. 2-4).

    Args:
        field: The velocity.
        noise: `[H, A]`; behind a `first` step above 0, the chunk at flow time first / n.
        previous: Y, `[H, A]`.
        weights: W, `[H]`.
        guidance: float32 `[n]`, w of each step; their number is the number of steps.
        places: What is compared by the places that it leads to; None: nothing.
        first: The Euler step to begin with.
    """
    x, steps = noise, len(guidance)
    for step in range(first, steps):
        tau = step / steps
        velocity = field(x, _times(noise, tau))
        gap = previous - (x + (1.0 - tau) * velocity)
        error = weights[:, None] * gap
        if places is not None:
            gap[places.planned :, : places.travel] = 0.0
            aside = places.weights[:, None] * gap[:, : places.travel].cumsum(axis=0)
            error[:, : places.travel] = aside
            error[1:, : places.travel] -= aside[:-1]
        x = x + (velocity + guidance[step] * error) / steps
    return x


def replaced(field: Field, noise: Array, previous: Array, count: int, steps: int) -> Array:
    """A sample whose first `count` actions are replaced, before every step, by Y at that flow time.

    x[:count] = tau Y + (1 - tau) eps with the noise of the start, then a plain step; at the end x[:count] =
    Y. Inpainting as in M. Janner et al., "Planning with Diffusion for Flexible Behavior Synthesis",
    arXiv:2205.09991.
    """
    x = noise
    for step in range(steps):
        tau = step / steps
        x = np.concatenate([tau * previous[:count] + (1.0 - tau) * noise[:count], x[count:]])
        x = x + field(x, _times(noise, tau)) / steps
    return np.concatenate([previous[:count], x[count:]])


def prefixed(field: Field, noise: Array, prefix: Array, given: Array, steps: int) -> Array:
    """A sample that continues a prefix: the given actions stand still at flow time one (arXiv:2512.05964).

    Args:
        field: The velocity of a model that was trained with clean prefixes.
        noise: `[H, A]`.
        prefix: `[H, A]`.
        given: `[H]`, 1 for each action that is given, else 0.
        steps: Euler steps.
    """
    fixed = given != 0.0
    x = np.where(fixed[:, None], prefix, noise)
    for step in range(steps):
        tau = np.where(fixed, 1.0, _times(noise, step / steps)).astype(noise.dtype)
        x = np.where(fixed[:, None], prefix, x + field(x, tau) / steps)
    return x


def ramped(field: Field, noise: Array, previous: Array, count: int, strengths: Array, steps: int) -> Array:
    """A sample whose first `count` actions start from Y and move at their own fraction of the velocity.

    Args:
        field: The velocity.
        noise: `[H, A]`.
        previous: Y, `[H, A]`.
        count: Actions that start from Y in place of noise.
        strengths: `[H]`, fraction of the velocity of each action.
        steps: Euler steps.
    """
    x = np.concatenate([previous[:count], noise[count:]])
    for step in range(steps):
        x = x + strengths[:, None] * field(x, _times(noise, step / steps)) / steps
    return x


def _times(noise: Array, tau: float) -> Array:
    return np.full(len(noise), tau, dtype=noise.dtype)
