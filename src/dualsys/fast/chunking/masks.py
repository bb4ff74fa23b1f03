"""Numbers of real-time chunking: the soft mask over the overlap and the guidance weight over flow time.

Source: K. Black, M. Y. Galliker, S. Levine, "Real-Time Execution of Action Chunking Flow Policies",
arXiv:2506.07339 (NeurIPS 2025): the mask is its Eq. 5, the weight is the factor of its Eq. 2 with r^2 of Eq.
4. Convention of that paper: flow time tau runs from 0 (noise) to 1 (data).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import ConfigError

MaskShape = Literal["exp", "linear", "ones", "zeros"]
"""How the mask falls between the frozen part and the end of the overlap; `zeros` is the hard mask."""

MASK_SHAPES: tuple[MaskShape, ...] = get_args(MaskShape)


def soft_mask(frozen: int, overlap: int, horizon: int, shape: str = "exp") -> NDArray[np.float32]:
    """Weights float32 `[horizon]` with which a new chunk is pulled towards the previous one (Eq. 5).

    With `end = min(overlap, horizon)` and `start = min(frozen, end)`, action i weighs 1 for `i < start`,
    falls over `start <= i < end` along `c_i = (end - i) / (end - start + 1)`, and weighs 0 from `end` on,
    where there is no previous action to follow. In the paper's symbols `frozen` is d and `overlap` is H - s.

    Args:
        frozen: Actions that will have been executed before the new chunk is ready, d.
        overlap: Actions of the previous chunk that are still ahead.
        horizon: Actions per chunk, H.
        shape: `exp`: c (e^c - 1) / (e - 1); `linear`: c; `ones`: 1; `zeros`: 0.

    Raises:
        ConfigError: An unknown shape.
        ValueError: A negative count.
    """
    if shape not in MASK_SHAPES:
        raise ConfigError("chunk strategy", [f"mask: {shape!r} is not one of {', '.join(MASK_SHAPES)}"])
    if min(frozen, overlap, horizon) < 0:
        raise ValueError(
            f"counts must not be negative: frozen {frozen}, overlap {overlap}, horizon {horizon}"
        )
    end = min(overlap, horizon)
    start = min(frozen, end)
    weights = np.zeros(horizon)
    weights[:start] = 1.0
    slope = (end - np.arange(start, end)) / (end - start + 1)
    if shape == "exp":
        weights[start:end] = slope * np.expm1(slope) / math.expm1(1.0)
    elif shape == "linear":
        weights[start:end] = slope
    elif shape == "ones":
        weights[start:end] = 1.0
    return weights.astype(np.float32)


def guidance_weight(tau: float, beta: float, sigma_d: float = 1.0) -> float:
    """Factor w(tau) of the guidance term, at most `beta`.

    `r^2 = (1 - tau)^2 s^2 / ((1 - tau)^2 + s^2 tau^2)` with s = sigma_d, and `w = min(beta, (1 - tau) / (tau
    r^2))`; both ends are `beta` by their limit. With s = 1 that is the paper's `min(beta, (tau^2 + (1 -
    tau)^2) / (tau (1 - tau)))`. A smaller s takes the data for less spread and raises w.

    Args:
        tau: Flow time, 0 at noise, 1 at data.
        beta: Cap, >= 0; 5 in the paper.
        sigma_d: Assumed spread of the data around its mean, > 0.

    Raises:
        ValueError: `tau` outside [0, 1], `beta` negative, or `sigma_d` not positive.
    """
    if not 0.0 <= tau <= 1.0 or not beta >= 0.0 or not sigma_d > 0.0:
        raise ValueError(
            "expected 0 <= tau <= 1, beta >= 0 and sigma_d > 0, "
            f"got tau {tau}, beta {beta} and sigma_d {sigma_d}"
        )
    spread = tau * (1.0 - tau) * sigma_d**2
    return beta if spread == 0.0 else min(beta, ((sigma_d * tau) ** 2 + (1.0 - tau) ** 2) / spread)


def guidance_schedule(beta: float, steps: int, sigma_d: float = 1.0) -> NDArray[np.float32]:
    """Guidance weights float32 `[steps]` of the Euler steps at tau = 0, 1/n, ..., (n - 1)/n.

    The first is always `beta`. Arguments as for `guidance_weight`.
    """
    weights = [guidance_weight(step / steps, beta, sigma_d) for step in range(steps)]
    return np.array(weights, dtype=np.float32)
