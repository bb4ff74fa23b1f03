"""The residual head of System 1: what to add to one action of a chunk that may be old.

Source: A2C2, "Leave No Observation Behind: Real-time Correction for VLA Action Chunks", arXiv:2509.23224. The
head is a perceptron on top of a frozen System 1: what is seen now goes through its context encoder, as it
would for a plan; the head adds what only the chunk tells, the planned action and its place.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

PHASES = 2
"""Sine and cosine of 2 pi k / H for action k."""
HIDDEN = 256
DIGEST_BYTES = 32


class ResidualNet(nn.Module):
    """The planned action, its phase and what System 1 makes of the present, to a correction `[B, A]`.

    It starts from no correction at all.

    Args:
        actions: Length of an action, A.
        features: Length of what System 1 makes of the present, see `System1Net.summary`.
    """

    def __init__(self, actions: int, features: int) -> None:
        super().__init__()
        last = nn.Linear(HIDDEN, actions)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Linear(actions + PHASES + features, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.SiLU(),
            last,
        )
        self.trained_on: Tensor
        self.register_buffer("trained_on", torch.zeros(DIGEST_BYTES, dtype=torch.uint8))
        """SHA-256 of the System 1 that it was trained on: to any other its features mean nothing."""

    def forward(self, action: Tensor, phase: Tensor, features: Tensor) -> Tensor:
        """Correction `[B, A]` for actions `[B, A]` at phases `[B, 2]` with features `[B, F]`."""
        return cast(Tensor, self.layers(torch.cat([action, phase, features], dim=-1)))
