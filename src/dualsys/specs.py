"""Specifications: what an array, an observation, a latent or an action looks like.

A spec validates values, describes itself in one line, draws a sample, and is compared at the handshake. Specs
are plain frozen structs, so they cross the wire and live in `bundle.json` as they are.
"""

from __future__ import annotations

import hashlib
import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.errors import MismatchError, SpecError

DTYPES: dict[str, np.dtype[np.generic]] = {
    name: np.dtype(name)
    for name in ("float16", "float32", "float64", "uint8", "uint16", "int8", "int32", "int64")
}
"""The only element types that cross a boundary."""

LATENT_KINDS = (
    "latent_vector",
    "latent_sequence",
    "special_token",
    "action_candidates",
    "policy_parameters",
    "route",
    "kv_cache",
    "text_subtask",
    "path_2d",
    "retrieved_trajectory",
)
"""The kinds of communication that dual systems use; one container carries them all."""


def all_finite(array: NDArray[np.generic]) -> bool:
    """Whether no element is NaN or infinite; of an array of floats."""
    # Searching the bytes costs half of what `all` does, which counts for something with every latent.
    return b"\0" not in np.isfinite(array).tobytes()


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shape, element type and range of one array.

    Attributes:
        shape: Exact shape.
        dtype: A name from `DTYPES`.
        minimum: Smallest allowed element, or None.
        maximum: Largest allowed element, or None.
        unit: Unit of the elements, for people.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SpecError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if any(size < 0 for size in self.shape):
            raise SpecError(f"shape {self.shape} has a negative size")
        for name in ("minimum", "maximum"):
            bound = getattr(self, name)
            if bound is not None:
                # 1 and 1.0 are equal but written differently, and so are 0.0 and -0.0: equal specs must have
                # equal digests.
                msgspec.structs.force_setattr(self, name, float(bound) + 0.0)
        least, most = self._limits()
        if not least <= most:
            raise SpecError(
                f"minimum {self.minimum} and maximum {self.maximum} leave no {self.dtype} between"
            )

    def _limits(self) -> tuple[float, float]:
        """Smallest and largest element that the bounds and the element type leave; integers are exact."""
        dtype = DTYPES[self.dtype]
        bounds = (self.minimum, self.maximum)
        if any(bound is not None and not math.isfinite(bound) for bound in bounds):
            raise SpecError(f"bounds {bounds} must be finite numbers, or None for no bound")
        if dtype.kind == "f":
            widest = float(np.finfo(dtype.name).max)
            low, high = (widest * sign if b is None else b for b, sign in zip(bounds, (-1, 1), strict=True))
            if max(abs(low), abs(high)) > widest:
                raise SpecError(f"bounds {bounds} are outside of what {self.dtype} can hold")
            return low, high
        info = np.iinfo(dtype.name)
        least = info.min if self.minimum is None else max(info.min, math.ceil(self.minimum))
        most = info.max if self.maximum is None else min(info.max, math.floor(self.maximum))
        return least, most

    @property
    def nbytes(self) -> int:
        """Size of one array in bytes."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize

    def describe(self) -> str:
        """One line, such as `float32[8, 128] in [-1, 1] m`."""
        shape = ", ".join(str(size) for size in self.shape)
        low, high = ("" if bound is None else f"{bound:g}" for bound in (self.minimum, self.maximum))
        bounds = f" in [{low}, {high}]" if low or high else ""
        return f"{self.dtype}[{shape}]{bounds}{' ' + self.unit if self.unit else ''}"

    def validate(self, value: NDArray[np.generic], name: str) -> NDArray[np.generic]:
        """Return `value` unchanged if it fits.

        Raises:
            SpecError: Wrong shape or element type, not finite, or out of range. Names the field, what came,
                and what was expected.
        """
        if value.dtype != DTYPES[self.dtype] or value.shape != self.shape:
            got = f"{value.dtype}{list(value.shape)}"
            raise SpecError(f"{name}: expected {self.describe()}, got {got}")
        return self.validate_elements(value, name)

    def validate_elements(self, value: NDArray[np.generic], name: str) -> NDArray[np.generic]:
        """As `validate`, for an array that is known to be of this shape and element type.

        Raises:
            SpecError: An element is not finite, or out of range.
        """
        if value.dtype.kind == "f" and not all_finite(value):
            raise SpecError(f"{name}: expected finite numbers, got NaN or infinity")
        if self.minimum is not None and value.size and value.min() < self.minimum:
            raise SpecError(f"{name}: expected {self.describe()}, got {value.min()}")
        if self.maximum is not None and value.size and value.max() > self.maximum:
            raise SpecError(f"{name}: expected {self.describe()}, got {value.max()}")
        return value

    def sample(self, rng: np.random.Generator) -> NDArray[np.generic]:
        """Draw an array that fits, uniformly in its range (unit normal where the range is open)."""
        dtype = DTYPES[self.dtype]
        if dtype.kind in "iu":
            least, most = map(int, self._limits())
            return rng.integers(least, most, size=self.shape, endpoint=True, dtype=np.int64).astype(dtype)
        low, high = self._limits()
        if self.minimum is None or self.maximum is None:
            drawn = np.asarray(rng.standard_normal(self.shape))
        else:
            part = np.asarray(rng.random(self.shape))
            drawn = low * (1 - part) + high * part
        return np.clip(drawn, low, high).astype(dtype)


class ObservationSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What System 2 is shown.

    Attributes:
        cameras: Camera name to image spec, uint8 `[height, width, 3]` RGB.
        proprioception: Robot state vector.
    """

    cameras: dict[str, TensorSpec]
    proprioception: TensorSpec

    def __post_init__(self) -> None:
        for name, image in self.cameras.items():
            if image.dtype != "uint8" or len(image.shape) != 3 or image.shape[2] != 3:
                raise SpecError(f"cameras.{name}: expected uint8[height, width, 3], got {image.describe()}")


class LatentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What System 2 publishes.

    Attributes:
        kind: One of `LATENT_KINDS`.
        tensors: Name to spec.
    """

    kind: str
    tensors: dict[str, TensorSpec]

    def __post_init__(self) -> None:
        if self.kind not in LATENT_KINDS:
            raise SpecError(f"kind {self.kind!r} is not one of {', '.join(LATENT_KINDS)}")


class ActionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What System 1 emits: chunks of normalised actions.

    Attributes:
        space: `tool_velocity`: displacement of the commanded tool point per step in the base frame, divided
            by `scale`, then the gripper (+1 open, -1 closed).
        names: Name of each action dimension, in order.
        horizon: Actions per chunk, H.
        step_ns: Duration of one action, ns.
        scale: Physical size of a normalised action of 1 for each dimension (metres per step for tool
            dimensions).
    """

    space: str
    names: tuple[str, ...]
    horizon: int
    step_ns: int
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.scale):
            raise SpecError(f"action: {len(self.names)} names but {len(self.scale)} scales")
        if not all(math.isfinite(scale) and scale > 0 for scale in self.scale):
            raise SpecError(f"action: scale {self.scale} must be positive, finite numbers")
        if self.horizon < 1 or self.step_ns < 1:
            raise SpecError(f"action: horizon {self.horizon} and step_ns {self.step_ns} must be positive")

    @property
    def chunk(self) -> TensorSpec:
        """Spec of one chunk, float32 `[horizon, dimensions]`."""
        return TensorSpec((self.horizon, len(self.names)), "float32")


class SystemSpecs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that the two systems must agree on."""

    observation: ObservationSpec
    latent: LatentSpec

    def digest(self) -> str:
        """Short hash of the canonical encoding, compared first at the handshake."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]

    def require_equal(self, theirs: SystemSpecs) -> None:
        """Raise MismatchError naming the first field that differs and both values."""
        ours_flat, theirs_flat = _flatten(msgspec.to_builtins(self)), _flatten(msgspec.to_builtins(theirs))
        for path in sorted(ours_flat.keys() | theirs_flat.keys()):
            ours, other = ours_flat.get(path, "absent"), theirs_flat.get(path, "absent")
            if ours != other:
                remedy = "use two bundles that were trained together, and cameras of that size"
                raise MismatchError(f"specs.{path}", ours, other, remedy)


def _flatten(tree: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
