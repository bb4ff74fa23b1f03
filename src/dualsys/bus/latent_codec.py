"""How latents and features travel: arrays to the tensors of a message, and back.

A codec concerns the tensors that the specification calls float32; others travel as they are. What arrives is
judged by the specification and the codec, which both sides agreed on at the handshake: names, element types
and shapes must be exactly those that follow from them, before any array is made.

| codec | on the wire | largest error of an element x of a token |
|---|---|---|
| `float32` | float32 | none |
| `float16` | float16 | 2^-11 |x|, at least 2^-25 |
| `bfloat16` | its upper 16 bits, rounded to even, as uint16 | 2^-8 |x| |
| `int8` | int8, and a float32 scale for each token | 1/254 of the token's largest |element| |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import MessageError, SpecError
from dualsys.messages import LatentCodec, Tensor
from dualsys.specs import LatentSpec, TensorSpec, all_finite

CODECS: Final[tuple[LatentCodec, ...]] = get_args(LatentCodec)
SCALE: Final = ".scale"
"""What the name of an int8 tensor is followed by in the name of its scales: float32, one for each token."""

RELATIVE_ERROR: Final[dict[LatentCodec, float]] = {
    "float32": 0.0,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
    # A hair above 1/254: scale and quotient are float32 themselves.
    "int8": 1.0001 / 254,
}
"""Largest error of an element, relative to the largest of its token."""

_WIRE_DTYPE: Final[dict[LatentCodec, str]] = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "uint16",
    "int8": "int8",
}
_FLOAT32: Final = np.dtype(np.float32)
_LARGEST_STEP: Final = 127
_LARGEST_SCALE: Final = np.nextafter(np.finfo(np.float32).max / np.float32(_LARGEST_STEP), np.float32(0))


@dataclass(frozen=True)
class _Cargo:
    """What travels, for errors: what to call it, the field that carries it, and the setting of its codec."""

    name: str
    field: str
    setting: str


_LATENT: Final = _Cargo("latent", "latent.tensors", "slow.latent_codec")
_FEATURES: Final = _Cargo("features", "features", "slow.feature_codec")


def wire_specs(spec: LatentSpec, codec: LatentCodec) -> dict[str, TensorSpec]:
    """Name, element type and shape of every tensor that a packet carries; ranges are not kept.

    Raises:
        SpecError: Two tensors would have the same name.
    """
    return _wire_specs(spec.tensors, codec, _LATENT)


def _wire_specs(specs: Mapping[str, TensorSpec], codec: LatentCodec, cargo: _Cargo) -> dict[str, TensorSpec]:
    found: dict[str, TensorSpec] = {}
    for name, one in specs.items():
        coded = one.dtype == "float32"
        found[name] = TensorSpec(one.shape, _WIRE_DTYPE[codec] if coded else one.dtype)
        if coded and codec == "int8":
            if name + SCALE in specs:
                raise SpecError(
                    f"{cargo.field}: {name + SCALE!r} is the name of the int8 scales of {name!r}: "
                    "rename that tensor, or choose another codec"
                )
            found[name + SCALE] = TensorSpec(one.shape[:-1], "float32")
    return found


def encode_latent(tensors: Mapping[str, NDArray[np.generic]], codec: LatentCodec) -> dict[str, Tensor]:
    """Turn the arrays of a latent into the tensors of a packet.

    Args:
        tensors: By name. The last axis of each runs within a token, all others count tokens.
        codec: For those that are float32.

    Raises:
        MessageError: An element is NaN, infinite, or too large for the codec; an element type is not allowed;
            a tensor is above the cap.
    """
    return _encode(tensors, codec, _LATENT)


def encode_features(features: Mapping[str, NDArray[np.float32]], codec: LatentCodec) -> dict[str, Tensor]:
    """As `encode_latent`, for the features of each camera; the tensors are those of an observation."""
    return _encode(features, codec, _FEATURES)


def _encode(
    tensors: Mapping[str, NDArray[np.generic]] | Mapping[str, NDArray[np.float32]],
    codec: LatentCodec,
    cargo: _Cargo,
) -> dict[str, Tensor]:
    parts: dict[str, Tensor] = {}
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not all_finite(array):
            raise MessageError(f"{cargo.name}.{name}: expected finite numbers, got NaN or infinity")
        if codec != "float32" and array.dtype == _FLOAT32:
            for part, values in _narrowed(name, np.asarray(array, np.float32), codec, cargo).items():
                parts[part] = Tensor.of(values)
        else:
            parts[name] = Tensor.of(array)
    return parts


def decode_latent(
    parts: Mapping[str, Tensor], codec: LatentCodec, spec: LatentSpec
) -> dict[str, NDArray[np.generic]]:
    """Turn the tensors of a packet back into the arrays of a latent.

    Args:
        parts: By name, as received.
        codec: What both sides agreed on.
        spec: What a latent looks like. Rounding may carry an element past a bound of it by no more than the
            codec's error; it is then moved back onto the bound.

    Returns:
        An array for every tensor of the specification, of its shape and element type, finite and within its
        range; possibly read-only views.

    Raises:
        SpecError: A name, element type or shape is not what follows from specification and codec, a number is
            NaN or infinite, or out of range. Names the tensor, what came, and what was expected.
    """
    return LatentReader(spec, codec).read(parts)


class _Reader:
    """Decodes many messages whose tensors are of one specification."""

    def __init__(self, specs: Mapping[str, TensorSpec], codec: LatentCodec, cargo: _Cargo) -> None:
        self._specs = dict(specs)
        self._codec: LatentCodec = codec
        self._field = cargo.field
        self._wire = _wire_specs(specs, codec, cargo)
        self._expected = {name: (one.dtype, one.shape) for name, one in self._wire.items()}
        self._labels = {name: f"{cargo.field}.{name}" for name in specs}

    def read(self, parts: Mapping[str, Tensor]) -> dict[str, NDArray[np.generic]]:
        """Turn the tensors of a message into arrays.

        Raises:
            SpecError: As for `decode_latent`.
        """
        if len(parts) != len(self._expected):
            raise self._other_names(parts)
        for name, (dtype, shape) in self._expected.items():
            part = parts.get(name)
            if part is None:
                raise self._other_names(parts)
            if part.dtype != dtype or part.shape != shape:
                wanted, got = self._wire[name].describe(), f"{part.dtype}{list(part.shape)}"
                raise SpecError(f"{self._field}.{name}: expected {wanted} as {self._codec}, got {got}")
        arrays: dict[str, NDArray[np.generic]] = {}
        for name, one in self._specs.items():
            if self._codec != "float32" and one.dtype == "float32":
                wide = _within(_widened(name, parts, self._codec, self._field), one, self._codec)
                arrays[name] = one.validate(wide, self._labels[name])
            else:
                # Of the shape and element type of its part, which were compared above.
                arrays[name] = one.validate_elements(parts[name].array(), self._labels[name])
        return arrays

    def _other_names(self, parts: Mapping[str, Tensor]) -> SpecError:
        expected = sorted(self._expected)
        return SpecError(f"{self._field}: expected {expected} as {self._codec}, got {sorted(parts)}")


class LatentReader(_Reader):
    """Decodes many latents of one specification; see `decode_latent`.

    Args:
        spec: What a latent looks like.
        codec: What both sides agreed on.

    Raises:
        SpecError: The codec does not suit the specification.
    """

    def __init__(self, spec: LatentSpec, codec: LatentCodec) -> None:
        super().__init__(spec.tensors, codec, _LATENT)


class FeatureReader(_Reader):
    """As `LatentReader`, for the features of an observation.

    Args:
        features: What the features of each camera look like.
        codec: What both sides agreed on.
    """

    def __init__(self, features: Mapping[str, TensorSpec], codec: LatentCodec) -> None:
        super().__init__(features, codec, _FEATURES)


def _narrowed(
    name: str, array: NDArray[np.float32], codec: LatentCodec, cargo: _Cargo
) -> dict[str, NDArray[np.generic]]:
    if codec == "float16":
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if not all_finite(half):
            raise MessageError(_too_large(cargo, name, array, codec, float(np.finfo(np.float16).max)))
        return {name: half}
    if codec == "bfloat16":
        bits = array.view(np.uint32) if array.flags.c_contiguous else array.copy().view(np.uint32)
        # To the nearest, ties to even. The sum cannot overflow: a finite float32 is below 0xFF800000.
        upper = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
        if ((upper & 0x7F80) == 0x7F80).any():
            raise MessageError(_too_large(cargo, name, array, codec, 3.3895e38))
        return {name: upper.astype(np.uint16)}
    tokens = array.reshape(math.prod(array.shape[:-1]), array.shape[-1] if array.ndim else 1)
    scale = np.abs(tokens).max(axis=1, initial=0.0, keepdims=True) / np.float32(_LARGEST_STEP)
    # The largest float32 must not become infinite on the way back.
    scale = np.minimum(scale, _LARGEST_SCALE)
    # A token of zeros has scale zero, and stays zeros.
    steps = np.rint(tokens / np.where(scale > 0, scale, np.float32(1)))
    steps = steps.clip(-_LARGEST_STEP, _LARGEST_STEP).astype(np.int8)
    return {name: steps.reshape(array.shape), name + SCALE: scale.reshape(array.shape[:-1])}


def _widened(name: str, parts: Mapping[str, Tensor], codec: LatentCodec, field: str) -> NDArray[np.float32]:
    coded = parts[name].array()
    if codec == "float16":
        return coded.astype(np.float32)
    if codec == "bfloat16":
        wide: NDArray[np.float32] = (coded.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return wide
    scale = parts[name + SCALE].array().astype(np.float32)
    if not (all_finite(scale) and (scale >= 0).all()):
        raise SpecError(f"{field}.{name + SCALE}: expected finite numbers >= 0, got {scale.ravel()}")
    with np.errstate(over="ignore"):
        scaled: NDArray[np.float32] = coded.astype(np.float32) * (scale[..., None] if scale.ndim else scale)
    return scaled


def _within(array: NDArray[np.float32], spec: TensorSpec, codec: LatentCodec) -> NDArray[np.float32]:
    """Undo what rounding has carried past a bound; what is further out is left for `validate` to refuse."""
    if (spec.minimum is None and spec.maximum is None) or not all_finite(array):
        return array
    slack = RELATIVE_ERROR[codec] * float(np.abs(array).max(initial=0.0))
    low = -np.inf if spec.minimum is None else spec.minimum
    high = np.inf if spec.maximum is None else spec.maximum
    if (array < low - slack).any() or (array > high + slack).any():
        return array
    return array.clip(np.float32(low), np.float32(high))


def _too_large(
    cargo: _Cargo, name: str, array: NDArray[np.float32], codec: LatentCodec, largest: float
) -> str:
    return (
        f"{cargo.name}.{name}: {float(np.abs(array).max()):g} is beyond {codec}, whose largest number is "
        f"{largest:g}: set {cargo.setting} to int8 or float32"
    )
