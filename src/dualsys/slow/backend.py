"""What a System 2 model is to its server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dualsys.specs import SystemSpecs


@dataclass(frozen=True)
class System2Output:
    """One forward pass.

    Attributes:
        tensors: The latent, as `specs.latent` says.
        text: What the model has to say to people; may be empty.
    """

    tensors: dict[str, NDArray[np.generic]]
    text: str = ""


class System2(Protocol):
    """A slow model. Forward passes run one at a time, in a thread of their own."""

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
