"""What a System 1 policy is to the planner.

Every policy can draw a plain sample. What else it offers it says in `capabilities`; each of those comes with
the methods of one protocol below. A chunk strategy that needs what a policy lacks is refused when the planner
is built.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import ConfigError
from dualsys.specs import ActionSpec, SystemSpecs, TensorSpec

Float32Array = NDArray[np.float32]

TOKENS = "tokens"
"""Name of the tensor of a latent that System 1 reads."""

Condition = Any
"""What a policy has made of everything that it knows before it samples; only that policy can read it."""

Capability = Literal["sampler", "guided", "guidance_schedule", "velocity", "prefix", "weak", "residual"]
"""What a policy can offer: `sampler`: plain samples; `guided`: `GuidedSampler`; `guidance_schedule`: that
sampler takes any weight at each step; `velocity`: `VelocityField`; `prefix`: `PrefixSampler`; `weak`:
`WeakSampler`; `residual`: `ResidualHead`."""

CAPABILITIES: tuple[Capability, ...] = get_args(Capability)


class System1(Protocol):
    """A policy that turns latents, wrist images and the state of the arm into chunks of actions.

    Every method is a pure function of its arguments: the same input gives the same output, to the bit. What
    it raises, the planner counts and survives as a PolicyError, see `policies.guard`.
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
    def latents(self) -> int:
        """How many of the newest latents it reads, K."""
        ...

    @property
    def weights(self) -> str:
        """Short hash of the weights."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it offers; `sampler` is always in it."""
        ...

    @property
    def steps(self) -> int:
        """Euler steps from noise to a chunk, n; 1 for a policy that takes none."""
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
            tokens: float32 `[K, tokens, width]`, the newest latent, then those before it.
            latent_age_s: float32 `[K]`, their ages when the chunk starts.
            wrist: float32 `[2, tokens, width]`, features of the newest frame, then of the one a moment ago.
            proprioception: float32 `[9]`, see `planner.proprioception`.

        Raises:
            PolicyError: A shape or element type does not fit the model.
        """
        ...

    def sample(self, noise: Float32Array, condition: Condition) -> Float32Array:
        """A chunk float32 `[H, 4]` from standard normal noise of that shape."""
        ...


def require_policy(policy: object, protocol: type = System1) -> None:
    """Return if something has all that a protocol names: what is there, not what it is worth.

    Raises:
        ConfigError: Names its class and everything that it lacks, each with what it is for.
    """
    needed = [name for name in vars(protocol) if not name.startswith("_")]
    missing = [name for name in needed if not hasattr(policy, name)]
    if not missing:
        return
    kind = type(policy)
    faults = [f"{name}: missing; add it: {_first_line(getattr(protocol, name))}" for name in missing]
    raise ConfigError(f"System 1 policy {kind.__module__}.{kind.__qualname__}", faults)


def _first_line(documented: object) -> str:
    return (documented.__doc__ or "").partition("\n")[0]


class GuidedSampler(Protocol):
    """Samples with the vector-Jacobian product of the network (arXiv:2506.07339, Eq. 2-4)."""

    def guided(
        self,
        noise: Float32Array,
        condition: Condition,
        previous: Float32Array,
        weights: Float32Array,
        guidance: Float32Array,
    ) -> Float32Array:
        """A chunk float32 `[H, 4]` that is pulled towards what is already planned.

        Args:
            noise: float32 `[H, 4]`, standard normal.
            condition: From `condition`.
            previous: float32 `[H, 4]`, actions to follow; without meaning where the weight is 0.
            weights: float32 `[H]`, in [0, 1].
            guidance: float32 `[n]`, weight of the pull at each Euler step. A policy without the capability
                `guidance_schedule` takes `masks.guidance_schedule(beta, n)` only, whose first is beta.
        """
        ...


class VelocityField(Protocol):
    """One evaluation of the network; the Euler steps are up to the caller, see `policies.euler`."""

    def velocity(self, x: Float32Array, tau: Float32Array, condition: Condition) -> Float32Array:
        """The velocity float32 `[H, 4]`, which estimates action minus noise.

        Args:
            x: float32 `[H, 4]`, tau * action + (1 - tau) * noise.
            tau: float32 `[H]`, flow time of each action, 0 at noise, 1 at data.
            condition: From `condition`.
        """
        ...


class PrefixSampler(Protocol):
    """Samples that continue a given beginning, by a model trained to do so (arXiv:2512.05964)."""

    def sample_prefix(
        self, noise: Float32Array, prefix: Float32Array, given: Float32Array, condition: Condition
    ) -> Float32Array:
        """A chunk float32 `[H, 4]` that begins with the given actions.

        Args:
            noise: float32 `[H, 4]`, standard normal.
            prefix: float32 `[H, 4]`; without meaning where `given` is 0.
            given: float32 `[H]`, 1 for each action that is given, else 0.
            condition: From `condition`.
        """
        ...


class WeakSampler(Protocol):
    """Samples of a weaker policy of the same kind, such as an early checkpoint (arXiv:2408.17355)."""

    @property
    def weak_weights(self) -> str:
        """Short hash of the weights of the weaker policy."""
        ...

    def sample_weak(self, noise: Float32Array, condition: Condition) -> Float32Array:
        """As `System1.sample`, by the weaker policy."""
        ...


class ResidualHead(Protocol):
    """A small head that corrects one action at a time by what is seen now (arXiv:2509.23224)."""

    def residual(
        self,
        action: Float32Array,
        phase: Float32Array,
        tokens: Float32Array,
        latent_age_s: Float32Array,
        wrist: Float32Array,
        proprioception: Float32Array,
    ) -> Float32Array:
        """What to add to the action, float32 `[4]`, normalised.

        Args:
            action: float32 `[4]`, the planned action k of the chunk being played.
            phase: float32 `[2]`, sine and cosine of 2 pi k / H.
            tokens: float32 `[K, tokens, width]`, the newest latents.
            latent_age_s: float32 `[K]`, their ages now.
            wrist: float32 `[2, tokens, width]`, features of the newest frame, then of the one a moment ago.
            proprioception: float32 `[9]`, of now.
        """
        ...
