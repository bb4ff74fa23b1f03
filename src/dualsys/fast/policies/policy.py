"""What a System 1 policy is to the planner."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dualsys.specs import ActionSpec, SystemSpecs, TensorSpec

Float32Array = NDArray[np.float32]


Condition = Any
"""What a policy has made of everything that it knows before it samples; only that policy can read it."""


class System1(Protocol):
    """A policy that turns latents, wrist images and the state of the arm into chunks of actions.

    Every method is a pure function of its arguments: the same input gives the same output, to the bit.
    """

    @property
    def action(self) -> ActionSpec:
        """What a chunk is."""
        ...

    @property
    def specs(self) -> SystemSpecs:
        """What System 2 is shown and what it publishes."""
        ...

    @property
    def wrist(self) -> TensorSpec:
        """The wrist image, uint8 `[height, width, 3]` RGB."""
        ...

    @property
    def weights(self) -> str:
        """Short hash of the weights."""
        ...

    def encode_wrist(self, image: NDArray[np.uint8]) -> Float32Array:
        """Features of one wrist image; the planner asks once per frame and keeps them."""
        ...

    def condition(
        self,
        tokens: Float32Array,
        latent_age_s: Float32Array,
        wrist: Float32Array,
        proprioception: Float32Array,
    ) -> Condition:
        """Encode everything that does not depend on the chunk.

        Args:
            tokens: float32 `[2, tokens, width]`, the newest latent, then the one before.
            latent_age_s: float32 `[2]`, their ages when the chunk starts.
            wrist: float32 `[2, tokens, width]`, features of the newest frame, then of the one a moment ago.
            proprioception: float32 `[9]`, see `planner.proprioception`.

        Raises:
            PolicyError: A shape or element type does not fit the model.
        """
        ...

    def sample(self, noise: Float32Array, condition: Condition) -> Float32Array:
        """A chunk float32 `[H, 4]` from standard normal noise of that shape."""
        ...

    def guided(
        self,
        noise: Float32Array,
        condition: Condition,
        previous: Float32Array,
        weights: Float32Array,
        beta: float,
    ) -> Float32Array:
        """A chunk float32 `[H, 4]` that is pulled towards what is already planned.

        Args:
            noise: float32 `[H, 4]`, standard normal.
            condition: From `condition`.
            previous: float32 `[H, 4]`, actions to follow; without meaning where the weight is 0.
            weights: float32 `[H]`, in [0, 1].
            beta: Largest guidance weight.
        """
        ...
