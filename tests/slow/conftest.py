"""What the System 2 tests share: specs, observations, a scripted model, and a bundle with a tiny graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from dualsys.bundles import Manifest, hash_files, weights_digest, write_manifest
from dualsys.bus.codec import to_image
from dualsys.errors import PolicyError
from dualsys.messages import Observation, Tensor
from dualsys.slow.backend import System2Output
from dualsys.slow.vocabulary import Vocabulary
from dualsys.specs import LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

HEIGHT, WIDTH, MAX_WORDS = 6, 8, 5
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
        self.act = True

    def check_instruction(self, text: str) -> None:
        self.vocabulary.encode(text)

    def encode(
        self, images: Mapping[str, NDArray[np.uint8]], proprioception: NDArray[np.float32], instruction: str
    ) -> System2Output:
        self.before_each()
        assert proprioception.shape == (9,)
        assert instruction
        tokens = np.full((2, 4), images["fixed"].mean(), np.float32)
        return System2Output(
            {"tokens": tokens} if self.tensors is None else self.tensors, self.text, self.act
        )

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


def tiny_graph(path: Path, width: int = WIDTH, output: str = "tokens", batch: int | str = 1) -> None:
    """Write a graph: tokens[i, j] = mean of the image in [0, 1] + first word; presence is that mean too.

    `batch` is the size of the first axis; a name leaves it open.
    """
    helper, kinds = onnx.helper, onnx.TensorProto
    constants = [
        helper.make_tensor("scale", kinds.FLOAT, [], [255.0]),
        helper.make_tensor("zero", kinds.INT64, [1], [0]),
        helper.make_tensor("one", kinds.INT64, [1], [1]),
        helper.make_tensor("pixel_axes", kinds.INT64, [3], [1, 2, 3]),
        helper.make_tensor("token_shape", kinds.INT64, [3], [1, 2, 4]),
        helper.make_tensor("point_shape", kinds.INT64, [2], [1, 3]),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=kinds.FLOAT),
        helper.make_node("Div", ["pixels", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "pixel_axes"], ["presence"], keepdims=0),
        helper.make_node("Slice", ["words", "zero", "one", "one"], ["first"]),
        helper.make_node("Cast", ["first"], ["word"], to=kinds.FLOAT),
        helper.make_node("Unsqueeze", ["presence", "one"], ["column"]),
        helper.make_node("Add", ["word", "column"], ["sum"]),
        helper.make_node("Unsqueeze", ["sum", "one"], ["token"]),
        helper.make_node("Expand", ["token", "token_shape"], [output]),
        helper.make_node("Expand", ["column", "point_shape"], ["position"]),
        helper.make_node("Expand", ["column", "point_shape"], ["goal"]),
    ]
    inputs = [
        helper.make_tensor_value_info("image", kinds.UINT8, [batch, HEIGHT, width, 3]),
        helper.make_tensor_value_info("words", kinds.INT64, [batch, MAX_WORDS]),
    ]
    outputs = [
        helper.make_tensor_value_info(output, kinds.FLOAT, [batch, 2, 4]),
        helper.make_tensor_value_info("position", kinds.FLOAT, [batch, 3]),
        helper.make_tensor_value_info("presence", kinds.FLOAT, [batch]),
        helper.make_tensor_value_info("goal", kinds.FLOAT, [batch, 3]),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write a bundle folder; camera names and properties of the graph can be changed."""

    def make(cameras: tuple[str, ...] = ("fixed",), **graph: object) -> Path:
        folder = tmp_path / "system2"
        folder.mkdir()
        tiny_graph(folder / "system2.onnx", **graph)  # type: ignore[arg-type]
        files = hash_files(folder, ["system2.onnx"])
        image = TensorSpec((HEIGHT, WIDTH, 3), "uint8")
        manifest = Manifest(
            format=1,
            role="system2",
            name="tiny",
            specs=SystemSpecs(
                ObservationSpec(dict.fromkeys(cameras, image), TensorSpec((9,))),
                LatentSpec("latent_sequence", {"tokens": TensorSpec((2, 4))}),
            ),
            weights=weights_digest(files),
            files=files,
            vocabulary=("", "push", "the", "red", "block"),
            max_words=MAX_WORDS,
        )
        write_manifest(folder, manifest)
        return folder

    return make
