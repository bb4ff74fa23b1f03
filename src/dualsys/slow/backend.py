"""What a System 2 model is to its server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dualsys.specs import SystemSpecs, TensorSpec


@dataclass(frozen=True)
class System2Input:
    """What one robot shows and says, for one forward pass.

    Attributes:
        images: Camera name to uint8 `[height, width, 3]` RGB, as `specs.observation.cameras` says; to a
            `LanguageModel`, to the features of that image.
        proprioception: float32, as `specs.observation.proprioception` says.
        instruction: One that `check_instruction` accepts.
    """

    images: Mapping[str, NDArray[np.uint8]] | Mapping[str, NDArray[np.float32]]
    proprioception: NDArray[np.float32]
    instruction: str


@dataclass(frozen=True)
class System2Output:
    """One forward pass.

    Attributes:
        tensors: The latent, as `specs.latent` says.
        text: What the model has to say to people; may be empty.
        act: Whether there is anything to do; if not, an arm that has not set off stays where it is.
    """

    tensors: dict[str, NDArray[np.generic]]
    text: str = ""
    act: bool = True


class Model(Protocol):
    """What both ways to run System 2 have in common."""

    @property
    def specs(self) -> SystemSpecs:
        """What it is shown and what it publishes."""
        ...

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def weights(self) -> str:
        """Short hash of the weights."""
        ...

    def check_instruction(self, text: str) -> None:
        """Return if the instruction can be understood. May be called while `encode` runs in another thread.

        Raises:
            InstructionError: It cannot; lists the unknown words and the known ones.
        """
        ...


class System2(Model, Protocol):
    """A slow model. Forward passes run one at a time, in a thread of their own."""

    def encode(
        self, images: Mapping[str, NDArray[np.uint8]], proprioception: NDArray[np.float32], instruction: str
    ) -> System2Output:
        """Run the model.

        Args:
            images: Camera name to uint8 `[height, width, 3]` RGB, as `specs.observation.cameras` says.
            proprioception: float32, as `specs.observation.proprioception` says.
            instruction: One that `check_instruction` accepts.

        Raises:
            InstructionError: The instruction cannot be understood.
            PolicyError: The model failed.
        """
        ...


@runtime_checkable
class LanguageModel(Model, Protocol):
    """A slow model without its vision tower, which runs at the edge. Its weights are those of the whole."""

    @property
    def features(self) -> Mapping[str, TensorSpec]:
        """What it is given of each camera, float32 `[tokens, width]`."""
        ...

    def encode(
        self,
        features: Mapping[str, NDArray[np.float32]],
        proprioception: NDArray[np.float32],
        instruction: str,
    ) -> System2Output:
        """As `System2.encode`, from what the vision tower made of each camera's image."""
        ...


@runtime_checkable
class BatchedSystem2(Model, Protocol):
    """A slow model, whole or its language half, that can take several robots in one forward pass."""

    def batch_sizes(self, largest: int) -> tuple[int, ...]:
        """The sizes of a batch that one pass can have, ascending from 1.

        Args:
            largest: The largest size that is wanted, at least 1.
        """
        ...

    def encode_batch(self, inputs: Sequence[System2Input]) -> list[System2Output]:
        """Run the model once. What becomes of an input does not depend on the others, beyond rounding.

        Args:
            inputs: As many as one of `batch_sizes` says.

        Returns:
            One output for each input, in their order.

        Raises:
            InstructionError: An instruction cannot be understood.
            PolicyError: The model failed, or there is no pass of that size.
        """
        ...

    def rehearse(self, size: int) -> None:
        """Run the model once on nothing in particular: the first passes of a size allocate and are slow.

        Raises:
            PolicyError: As `encode_batch`.
        """
        ...


def batch_sizes(system2: System2 | LanguageModel, largest: int) -> tuple[int, ...]:
    """The sizes of a batch that a model can take, ascending from 1, up to `largest`."""
    return system2.batch_sizes(largest) if isinstance(system2, BatchedSystem2) else (1,)


def encode_all(system2: System2 | LanguageModel, inputs: Sequence[System2Input]) -> list[System2Output]:
    """Run the model on all inputs, in as few passes as its sizes allow.

    Raises:
        InstructionError, PolicyError: As `encode`.
    """
    if not isinstance(system2, BatchedSystem2):
        # It takes what its sight makes.
        encode: Callable[[Any, NDArray[np.float32], str], System2Output] = system2.encode
        return [encode(one.images, one.proprioception, one.instruction) for one in inputs]
    outputs: list[System2Output] = []
    while left := inputs[len(outputs) :]:
        outputs += system2.encode_batch(left[: system2.batch_sizes(len(left))[-1]])
    return outputs
