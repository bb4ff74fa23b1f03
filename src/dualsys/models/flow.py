"""Samplers of a flow-matching chunk model: plain Euler steps, guided ones, and ones behind a given prefix.

Formulas: "Real-Time Execution of Action Chunking Flow Policies", arXiv 2506.07339, Eq. 2-4, and "Training-
Time Action Conditioning for Efficient Real-Time Chunking", arXiv 2512.05964, with their convention (noise at
tau = 0, n Euler steps at tau = 0, 1/n, ..., (n - 1)/n). Shapes: chunks `[..., H, A]`, with any leading
dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Field = Callable[[Tensor, int], Tensor]
"""Velocity at a noisy chunk `[..., H, A]` for Euler step number i (flow time i / n)."""

PullBack = Callable[[Tensor], Tensor]
"""J^T times a tensor of the shape of a chunk, J the Jacobian of the velocity by the chunk."""

LinearField = Callable[[Tensor, int], tuple[Tensor, PullBack]]
"""As `Field`, with the transpose of its Jacobian at that point."""


def differentiated(field: Field) -> LinearField:
    """A field with the pull-back that automatic differentiation gives it."""

    def linear(x: Tensor, step: int) -> tuple[Tensor, PullBack]:
        velocity, pull_back = torch.func.vjp(lambda chunk: field(chunk, step), x)  # type: ignore[misc]
        return velocity, lambda gradient: pull_back(gradient)[0]

    return linear


def constant(field: Field) -> LinearField:
    """A field that is taken not to change with the chunk: guidance without the Jacobian of the network."""
    return lambda x, step: (field(x, step), torch.zeros_like)


def sample(field: Field, noise: Tensor, steps: int) -> Tensor:
    """Integrate the field from noise to a chunk with `steps` Euler steps."""
    x = noise
    for step in range(steps):
        x = x + field(x, step) / steps
    return x


def sample_guided(
    field: LinearField, noise: Tensor, previous: Tensor, weights: Tensor, guidance: Tensor
) -> Tensor:
    """Integrate while pulling the estimated clean chunk towards the previous one.

    With A1(x) = x + (1 - tau) v(x, tau) and J = dA1/dx, each step adds w(tau) J^T (W * (Y - A1)) to the
    velocity: a vector-Jacobian product through the network.

    Args:
        field: Velocity field with its pull-back.
        noise: `[..., H, A]`.
        previous: Y, what is already planned for the same steps, `[..., H, A]`; ignored where the weight is 0.
        weights: W `[..., H]` in [0, 1].
        guidance: w(tau) of each Euler step `[n]`; their number is the number of steps.
    """
    x, steps = noise, len(guidance)
    # All weights at once, and linear in them: the graph of a plan has that many operations less.
    pulls = (guidance / steps).reshape(-1, *[1] * noise.ndim) * weights.unsqueeze(-1)
    for step, pull in enumerate(pulls.split(1)):
        rest = 1.0 - step / steps
        velocity, pull_back = field(x, step)
        error = pull.squeeze(0) * (previous - (x + rest * velocity))
        x = x + velocity / steps + error + rest * pull_back(error)
    return x


def sample_prefix(field: Field, noise: Tensor, prefix: Tensor, given: Tensor, steps: int) -> Tensor:
    """Continue a given beginning; its actions come back to the bit.

    The field must take the given actions at flow time 1; they are put in place before every step, and once
    more at the end.

    Args:
        field: Velocity field of a network that was trained with clean prefixes.
        noise: `[..., H, A]`.
        prefix: `[..., H, A]`; ignored where not given.
        given: bool `[..., H]`.
        steps: Euler steps.
    """
    fixed = given.unsqueeze(-1)
    x = torch.where(fixed, prefix, noise)
    for step in range(steps):
        x = torch.where(fixed, prefix, x + field(x, step) / steps)
    return x
