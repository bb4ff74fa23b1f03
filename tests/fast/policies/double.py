"""A System 1 that can be worked out by hand, and that offers everything there is to offer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.fast.policies import euler
from dualsys.fast.policies.policy import CAPABILITIES, Capability
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

Array = NDArray[np.float32]

HORIZON = 16
STEP_NS = 40_000_000
ACTION = ActionSpec("tool_velocity", ("x", "y", "z", "gripper"), HORIZON, STEP_NS, (0.012, 0.012, 0.012, 1.0))
EVERYTHING: frozenset[Capability] = frozenset(CAPABILITIES)


def swirl(x: NDArray[Any], tau: NDArray[Any]) -> NDArray[Any]:
    """A smooth velocity in which every action depends on its neighbours and on its own flow time."""
    mixed = 0.6 * np.roll(x, 1, axis=0) - 0.4 * np.roll(x, -1, axis=0) + 0.3 * x[:, ::-1]
    return np.tanh(mixed) * (1.0 - 0.5 * tau[:, None]) - 0.3 * x


@dataclass
class FieldPolicy:
    """Integrates `swirl`; the exact guided sampler takes the Jacobian by central differences in float64.

    Attributes:
        offered: What it says that it offers.
        asked: Names of the samplers that were asked, in order.
        nudge: What the residual head adds.
        heard: Arguments of the residual head.
        conditions: Arguments of `condition`.
    """

    offered: frozenset[Capability] = EVERYTHING
    asked: list[str] = field(default_factory=list)
    nudge: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    heard: list[dict[str, Array]] = field(default_factory=list)
    conditions: list[dict[str, Array]] = field(default_factory=list)
    action: ActionSpec = ACTION
    specs: SystemSpecs = field(
        default_factory=lambda: SystemSpecs(
            ObservationSpec({"fixed": TensorSpec((6, 8, 3), "uint8")}, TensorSpec((9,))),
            LatentSpec("latent_sequence", {"tokens": TensorSpec((8, 128))}),
        )
    )
    wrist: TensorSpec = field(default_factory=lambda: TensorSpec((4, 4, 3), "uint8"))
    latents: int = 2
    weights: str = "by hand"
    weak_weights: str = "weak by hand"
    steps: int = 5

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.offered

    def encode_wrist(self, image: NDArray[np.uint8]) -> Array:
        return np.full((16, 128), float(image[0, 0, 0]), np.float32)

    def condition(self, tokens: Array, latent_age_s: Array, wrist: Array, proprioception: Array) -> int:
        del tokens, wrist
        self.conditions.append({"age": latent_age_s, "proprioception": proprioception})
        return len(self.conditions)

    def velocity(self, x: Array, tau: Array, condition: Any) -> Array:
        del condition
        self.asked.append("velocity")
        return swirl(x, tau).astype(np.float32)

    def sample(self, noise: Array, condition: Any) -> Array:
        del condition
        self.asked.append("sample")
        return euler.sample(lambda x, tau: swirl(x, tau).astype(np.float32), noise, self.steps)

    def guided(self, noise: Array, condition: Any, previous: Array, weights: Array, guidance: Array) -> Array:
        del condition
        self.asked.append("guided")
        return exactly_guided(noise, previous, weights, guidance).astype(np.float32)

    def sample_prefix(self, noise: Array, prefix: Array, given: Array, condition: Any) -> Array:
        del condition
        self.asked.append("prefix")
        chunk = euler.prefixed(lambda x, tau: swirl(x, tau).astype(np.float32), noise, prefix, given, 5)
        return chunk + np.float32(1e-7)

    def sample_weak(self, noise: Array, condition: Any) -> Array:
        del condition
        self.asked.append("weak")
        return np.zeros_like(noise)

    def residual(
        self,
        action: Array,
        phase: Array,
        tokens: Array,
        latent_age_s: Array,
        wrist: Array,
        proprioception: Array,
    ) -> Array:
        del tokens
        self.heard.append(
            {"action": action, "phase": phase, "age": latent_age_s, "wrist": wrist, "state": proprioception}
        )
        return np.array(self.nudge, np.float32)


def exactly_guided(
    noise: NDArray[Any],
    previous: NDArray[Any],
    weights: NDArray[Any],
    guidance: NDArray[Any],
    velocity: euler.Field = swirl,
) -> NDArray[np.float64]:
    """Eq. 2-4 of arXiv:2506.07339 written out in float64, with the Jacobian by central differences."""
    x = noise.astype(np.float64)
    count = len(guidance)
    for step in range(count):
        tau = step / count

        def predicted(at: NDArray[np.float64], tau: float = tau) -> NDArray[np.float64]:
            return at + (1.0 - tau) * velocity(at, np.full(len(at), tau))

        error = weights[:, None] * (previous - predicted(x))
        pulled = np.empty_like(x)
        for index in np.ndindex(x.shape):
            bump = np.zeros_like(x)
            bump[index] = 1e-6
            pulled[index] = (error * (predicted(x + bump) - predicted(x - bump))).sum() / 2e-6
        x = x + (velocity(x, np.full(len(x), tau)) + guidance[step] * pulled) / count
    return x
