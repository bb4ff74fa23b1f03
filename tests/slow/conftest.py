"""What the System 2 tests share: specs, observations, and a scripted model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.bus.codec import to_image
from dualsys.errors import PolicyError
from dualsys.messages import Observation, Tensor
from dualsys.slow.backend import System2Output
from dualsys.slow.vocabulary import Vocabulary
from dualsys.specs import LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((6, 8, 3), "uint8")}, TensorSpec((9,))),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((2, 4))}),
)


class ScriptedSystem2:
    """Puts the mean of the image into every element of the latent, and misbehaves when told to."""

    specs = SPECS
    name = "scripted"
    weights = "abc123"

    def __init__(self) -> None:
        self.vocabulary = Vocabulary(["", "push", "the", "red", "block"], 6)
        self.before_each: Callable[[], None] = lambda: None
        self.tensors: dict[str, NDArray[np.generic]] | None = None
        self.text = "seen"

    def check_instruction(self, text: str) -> None:
        self.vocabulary.encode(text)

    def encode(
        self, images: Mapping[str, NDArray[np.uint8]], proprioception: NDArray[np.float32], instruction: str
    ) -> System2Output:
        self.before_each()
        assert proprioception.shape == (9,)
        assert instruction
        tokens = np.full((2, 4), images["fixed"].mean(), np.float32)
        return System2Output({"tokens": tokens} if self.tensors is None else self.tensors, self.text)

    def fail(self) -> None:
        raise PolicyError("the model failed")


@pytest.fixture
def system2() -> ScriptedSystem2:
    return ScriptedSystem2()


@pytest.fixture
def observe() -> Callable[..., Observation]:
    """Make an observation; anything about it can be changed."""

    def make(seq: int = 0, grey: int = 100, **changes: object) -> Observation:
        fields: dict[str, object] = {
            "session": 7,
            "episode": 1,
            "seq": seq,
            "t_capture_ns": 1000 + seq,
            "images": {"fixed": to_image(np.full((6, 8, 3), grey, np.uint8))},
            "proprioception": Tensor.of(np.zeros(9, np.float32)),
            "instruction": "Push the red block!",
        }
        return Observation(**(fields | changes))  # type: ignore[arg-type]

    return make
