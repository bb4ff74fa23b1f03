"""Samplers of a flow-matching chunk model: plain Euler, and real-time chunking with the exact Jacobian.

Formulas: "Real-Time Execution of Action Chunking Flow Policies", arXiv 2506.07339, Eq. 2-4, with the paper's
convention (noise at tau = 0).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Field = Callable[[Tensor, int], Tensor]
"""Velocity at a noisy chunk `[B, H, A]` for Euler step number i (flow time i / n)."""


def sample(field: Field, noise: Tensor, steps: int) -> Tensor:
    """Integrate the field from noise to a chunk with `steps` Euler steps."""
    x = noise
    for step in range(steps):
        x = x + field(x, step) / steps
    return x


def guidance_weight(tau: float, beta: Tensor) -> Tensor:
    """w(tau) = min(beta, (tau^2 + (1 - tau)^2) / (tau (1 - tau))), and beta at tau = 0."""
    if tau == 0.0:
        return beta
    return torch.clamp(beta, max=(tau**2 + (1 - tau) ** 2) / (tau * (1 - tau)))


def sample_guided(
    field: Field, noise: Tensor, previous: Tensor, weights: Tensor, beta: Tensor, steps: int
) -> Tensor:
    """Integrate while pulling the estimated clean chunk towards the previous one.

    With A1(x) = x + (1 - tau) v(x, tau), each step adds w(tau) J^T (W * (Y - A1)), J = dA1/dx: a
    vector-Jacobian product through the network.

    Args:
        field: Velocity field.
        noise: `[B, H, A]`.
        previous: Y, what is already planned for the same steps, `[B, H, A]`; ignored where the weight is 0.
        weights: W `[B, H]` in [0, 1].
        beta: Largest guidance weight `[B]`.
        steps: Euler steps n.
    """
    x = noise
    for step in range(steps):
        tau = step / steps
        velocity, pull_back = torch.func.vjp(lambda chunk, step=step: field(chunk, step), x)  # type: ignore[misc]
        error = weights.unsqueeze(-1) * (previous - (x + (1 - tau) * velocity))
        (through_network,) = pull_back(error)
        correction = error + (1 - tau) * through_network
        x = x + (velocity + guidance_weight(tau, beta).reshape(-1, 1, 1) * correction) / steps
    return x
