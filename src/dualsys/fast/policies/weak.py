"""A weak policy beside System 1: a second bundle, whose samples show a strategy what to keep away from.

Both see the same latents, wrist images and states, each with encoders of its own, and make chunks of the same
kind. What has to be equal for that is compared here: by the manifests before anything is loaded, and by the
graphs when it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from dualsys.bundles import MANIFEST, Manifest, load_manifest
from dualsys.errors import BundleError, MismatchError
from dualsys.fast.policies.offer import with_weak
from dualsys.fast.policies.policy import Capability, Condition, Float32Array, ResidualHead, System1
from dualsys.specs import ActionSpec, SystemSpecs, TensorSpec

SETTING = "fast.weak_bundle"


class Kind(Protocol):
    """What a manifest and a loaded policy both say of what they read and what they make."""

    @property
    def specs(self) -> SystemSpecs:
        """What System 2 is shown and what it publishes."""
        ...

    @property
    def action(self) -> ActionSpec | None:
        """What a chunk is."""
        ...


@dataclass(frozen=True)
class Conditions:
    """What each of the two has made of what it knows."""

    strong: Condition
    weak: Condition


class WithWeak:
    """A System 1 with a weak policy beside it, see `policy.WeakSampler`.

    It is the strong one in everything; that and the samples of the weak one are all that it offers, see
    `offer.with_weak`. The features of a wrist image are those of both, end to end, float32 `[n]`.

    Args:
        strong: Whose chunks are played.
        weak: A policy of the same kind.
        source: Where the weak one came from, for errors.

    Raises:
        BundleError: They differ in what they read or make; names the first difference and both values.
    """

    def __init__(self, strong: System1, weak: System1, source: str) -> None:
        require_alike(strong, weak, source)
        for field, ours, theirs in (
            ("wrist image", strong.wrist.describe(), weak.wrist.describe()),
            ("latents that are read", strong.latents, weak.latents),
        ):
            if ours != theirs:
                raise _unlike(source, field, ours, theirs)
        self._strong, self._weak = strong, weak
        self.action: ActionSpec = strong.action
        self.specs: SystemSpecs = strong.specs
        self.wrist: TensorSpec = strong.wrist
        self.latents: int = strong.latents
        self.weights: str = strong.weights
        self.weak_weights: str = weak.weights
        self.steps: int = strong.steps
        self.capabilities: frozenset[Capability] = with_weak(strong.capabilities)
        black = np.zeros(strong.wrist.shape, np.uint8)
        self._strong_shape = strong.encode_wrist(black).shape
        self._weak_shape = weak.encode_wrist(black).shape

    def encode_wrist(self, image: NDArray[np.uint8]) -> Float32Array:
        """Features of one wrist image by both encoders, float32 `[n]`. Raises PolicyError if it is none."""
        return np.concatenate(
            [self._strong.encode_wrist(image).ravel(), self._weak.encode_wrist(image).ravel()]
        )

    def condition(
        self,
        tokens: Float32Array,
        latent_age_s: Float32Array,
        wrist: Float32Array,
        proprioception: Float32Array,
    ) -> Conditions:
        """See `System1.condition`; wrist is float32 `[2, n]`. Raises PolicyError if an array does not fit."""
        strong, weak = self._apart(wrist)
        return Conditions(
            self._strong.condition(tokens, latent_age_s, strong, proprioception),
            self._weak.condition(tokens, latent_age_s, weak, proprioception),
        )

    def sample(self, noise: Float32Array, condition: Conditions) -> Float32Array:
        """See `System1.sample`. Raises PolicyError if an array does not fit."""
        return self._strong.sample(noise, condition.strong)

    def sample_weak(self, noise: Float32Array, condition: Conditions) -> Float32Array:
        """See `WeakSampler.sample_weak`. Raises PolicyError if an array does not fit."""
        return self._weak.sample(noise, condition.weak)

    def residual(
        self,
        action: Float32Array,
        phase: Float32Array,
        tokens: Float32Array,
        latent_age_s: Float32Array,
        wrist: Float32Array,
        proprioception: Float32Array,
    ) -> Float32Array:
        """See `ResidualHead.residual`; by the strong one. Raises PolicyError as `condition` does."""
        head = cast(ResidualHead, self._strong)
        return head.residual(action, phase, tokens, latent_age_s, self._apart(wrist)[0], proprioception)

    def _apart(self, wrist: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Features `[2, n]` of both as those of each, `[2, tokens, width]`."""
        size = int(np.prod(self._strong_shape))
        strong = wrist[:, :size].reshape(len(wrist), *self._strong_shape)
        return strong, wrist[:, size:].reshape(len(wrist), *self._weak_shape)


def weak_manifest(folder: Path, strong: Manifest) -> Manifest:
    """Read and verify the manifest of a weak bundle; no graph is opened.

    Args:
        folder: The setting `fast.weak_bundle`.
        strong: The manifest of the System 1 that it is to stand beside.

    Raises:
        BundleError: It is missing, damaged, of another role, or of another kind than the strong one.
    """
    with told_of_weak():
        manifest = load_manifest(folder, "system1")
    require_alike(strong, manifest, str(folder / MANIFEST))
    return manifest


@contextmanager
def told_of_weak() -> Iterator[None]:
    """Errors of a bundle that is loaded within this say that it is the weak one."""
    try:
        yield
    except BundleError as error:
        raise BundleError(f"{SETTING}: {error}") from error


def require_alike(strong: Kind, weak: Kind, source: str) -> None:
    """Return if two Systems 1 read the same and make chunks of the same kind.

    Raises:
        BundleError: Names the first difference, both values, where the weak one is from, and what to do.
    """
    try:
        strong.specs.require_equal(weak.specs)
    except MismatchError as error:
        raise _unlike(source, error.field, error.ours, error.theirs) from None
    for name in ActionSpec.__struct_fields__:
        ours, theirs = getattr(strong.action, name), getattr(weak.action, name)
        if ours != theirs:
            raise _unlike(source, f"action.{name}", ours, theirs)


def _unlike(source: str, field: str, ours: object, theirs: object) -> BundleError:
    return BundleError(
        f"{SETTING}: {source}: {field}: expected {ours!r}, as fast.bundle has, got {theirs!r}; give the "
        "folder of a System 1 of the same kind, such as an early checkpoint of it"
    )
