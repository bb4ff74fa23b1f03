"""A tiny System 1 bundle whose graphs compute something that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dualsys.bundles import FORMAT, Guidance, Manifest, Sampler, hash_files, weights_digest, write_manifest
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

HORIZON = 4
SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((6, 8, 3), "uint8")}, TensorSpec((9,))),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((2, 3))}),
)
ACTION = ActionSpec(
    "tool_velocity", ("x", "y", "z", "gripper"), HORIZON, 40_000_000, (0.012, 0.012, 0.012, 1.0)
)

Shapes = dict[str, tuple[int | str, ...]]
CONDITION: Shapes = {
    "tokens": (1, 2, 2, 3),
    "latent_age_s": (1, 2),
    "wrist": (1, 2, 1, 3),
    "proprioception": (1, 9),
}
CHUNK: Shapes = {"noise": (1, HORIZON, 4)}
STEPS = 5
FOLLOWED: Shapes = {"previous": (1, HORIZON, 4), "weights": (1, HORIZON)}
GUIDANCE: Shapes = FOLLOWED | {"guidance": (STEPS,)}
CAP: Shapes = FOLLOWED | {"beta": (1,)}
PREFIX: Shapes = {"prefix": (1, HORIZON, 4), "given": (1, HORIZON)}
FIELD: Shapes = {"x": (1, HORIZON, 4), "tau": (1, HORIZON)}
CONTEXT: Shapes = {"state": (1, 1)}
ACTION_NOW: Shapes = {"action": (1, 4), "phase": (1, 2)}


def write_graph(path: Path, nodes: list[onnx.NodeProto], inputs: Shapes, outputs: Shapes) -> None:
    """Write a graph of float32 tensors; an input named `image` is uint8. Adds the constants in use."""
    constants = {
        "axes12": np.array([1, 2]),
        "axes123": np.array([1, 2, 3]),
        "axis0": np.array([0]),
        "axis1": np.array([1]),
        "axis2": np.array([2]),
        "column": np.array([1, 1, 1]),
        "features_shape": np.array([1, 1, 3]),
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        path.stem,
        [
            helper.make_tensor_value_info(
                name, TensorProto.UINT8 if name == "image" else TensorProto.FLOAT, list(shape)
            )
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
            for name, shape in outputs.items()
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def write_graphs(folder: Path) -> None:
    """Features: mean colour. Context: sum of everything. Velocity: x + context, times the flow time.

    Chunk: noise + context, pulled to `previous` by the sum of the guidance, or with the prefix added where it
    is given.
    """
    node = helper.make_node
    write_graph(
        folder / "wrist.onnx",
        [
            node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            node("ReduceMean", ["pixels", "axes12"], ["mean"], keepdims=0),
            node("Reshape", ["mean", "features_shape"], ["features"]),
        ],
        {"image": (1, 5, 7, 3)},
        {"features": (1, 1, 3)},
    )
    write_graph(
        folder / "condition.onnx",
        [
            node("ReduceSum", ["tokens", "axes123"], ["a"], keepdims=0),
            node("ReduceSum", ["latent_age_s", "axis1"], ["b"], keepdims=0),
            node("ReduceSum", ["wrist", "axes123"], ["c"], keepdims=0),
            node("ReduceSum", ["proprioception", "axis1"], ["d"], keepdims=0),
            node("Sum", ["a", "b", "c", "d"], ["sum"]),
            node("Unsqueeze", ["sum", "axis1"], ["state"]),
        ],
        CONDITION,
        CONTEXT,
    )
    spread = node("Reshape", ["state", "column"], ["offset"])
    write_graph(
        folder / "sampler.onnx",
        [spread, node("Add", ["noise", "offset"], ["chunk"])],
        CHUNK | CONTEXT,
        {"chunk": (1, HORIZON, 4)},
    )
    write_guided(folder)
    write_graph(
        folder / "prefix.onnx",
        [
            spread,
            node("Add", ["noise", "offset"], ["plain"]),
            node("Unsqueeze", ["given", "axis2"], ["mask"]),
            node("Mul", ["mask", "prefix"], ["beginning"]),
            node("Add", ["plain", "beginning"], ["chunk"]),
        ],
        CHUNK | PREFIX | CONTEXT,
        {"chunk": (1, HORIZON, 4)},
    )
    write_graph(
        folder / "velocity.onnx",
        [
            spread,
            node("Add", ["x", "offset"], ["sum"]),
            node("Unsqueeze", ["tau", "axis2"], ["time"]),
            node("Mul", ["sum", "time"], ["velocity"]),
        ],
        FIELD | CONTEXT,
        {"velocity": (1, HORIZON, 4)},
    )


def write_residual(folder: Path) -> None:
    """Residual: the action, times the mean of the wrist features, plus the first phase."""
    node = helper.make_node
    write_graph(
        folder / "residual.onnx",
        [
            node("ReduceMean", ["wrist", "axes123"], ["seen"], keepdims=0),
            node("Mul", ["action", "seen"], ["scaled"]),
            node("ReduceSum", ["phase", "axis1"], ["place"], keepdims=1),
            node("Add", ["scaled", "place"], ["residual"]),
        ],
        ACTION_NOW | CONDITION,
        {"residual": (1, 4)},
    )


def write_guided(folder: Path, *, cap_only: bool = False) -> None:
    """The guided graph, of format 1 where it takes the cap only."""
    node = helper.make_node
    pull = (
        node("Identity", ["beta"], ["strength"])
        if cap_only
        else node("ReduceSum", ["guidance", "axis0"], ["strength"])
    )
    write_graph(
        folder / "guided.onnx",
        [
            node("Reshape", ["state", "column"], ["offset"]),
            node("Add", ["noise", "offset"], ["plain"]),
            node("Sub", ["previous", "plain"], ["error"]),
            node("Unsqueeze", ["weights", "axis2"], ["mask"]),
            node("Mul", ["mask", "error"], ["masked"]),
            pull,
            node("Mul", ["masked", "strength"], ["correction"]),
            node("Add", ["plain", "correction"], ["chunk"]),
        ],
        CHUNK | (CAP if cap_only else GUIDANCE) | CONTEXT,
        {"chunk": (1, HORIZON, 4)},
    )


@pytest.fixture
def finish_bundle() -> Callable[..., Path]:
    """Writes the manifest over the graphs that are in a folder."""

    def finish(folder: Path, context: tuple[str, ...] = ("state",), version: int = FORMAT) -> Path:
        files = hash_files(folder, [path.name for path in folder.glob("*.onnx")])
        write_manifest(
            folder,
            Manifest(
                format=version,
                role="system1",
                name="tiny",
                specs=SPECS,
                weights=weights_digest(files),
                files=files,
                action=ACTION,
                context=context,
                sampler=Sampler(STEPS),
                guidance=Guidance(5.0),
            ),
        )
        return folder

    return finish


@pytest.fixture
def graphs(tmp_path: Path) -> Path:
    """A folder with all graphs and no manifest."""
    write_graphs(tmp_path)
    return tmp_path


@pytest.fixture
def bundle(graphs: Path, finish_bundle: Callable[..., Path]) -> Path:
    """A complete bundle."""
    return finish_bundle(graphs)


@pytest.fixture
def with_head(graphs: Path, finish_bundle: Callable[..., Path]) -> Path:
    """A complete bundle with a residual head."""
    write_residual(graphs)
    return finish_bundle(graphs)


@pytest.fixture
def first_format(graphs: Path, finish_bundle: Callable[..., Path]) -> Path:
    """A bundle of format 1: no velocity, no prefix, and guidance by its cap."""
    for name in ("velocity.onnx", "prefix.onnx"):
        (graphs / name).unlink()
    write_guided(graphs, cap_only=True)
    return finish_bundle(graphs, version=1)
