"""Weights: shared by graphs, stored once, and the same numbers as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dualsys.train.weights import ALIGNMENT, FILE, WeightFile

Weight = NDArray[np.float32]


def product(weight: Weight) -> onnx.ModelProto:
    """A graph that multiplies a row by the weight."""
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, rows))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, columns))],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def stored(folder: Path, *weights: Weight) -> list[Path]:
    """Graphs of these weights, all of which share one file."""
    shared, paths = WeightFile(folder / FILE), []
    for index, weight in enumerate(weights):
        model = product(weight)
        shared.take(model)
        paths.append(folder / f"{index}.onnx")
        paths[-1].write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(paths[-1]))
    return paths


def product_of(path: Path, x: Weight) -> Weight:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: Weight = session.run(["y"], {"x": x})[0]
    return found


@pytest.fixture
def halves() -> Weight:
    """A weight that float16 holds exactly."""
    return np.random.default_rng(2).standard_normal((12, 20)).astype(np.float16).astype(np.float32)


def size(folder: Path) -> int:
    return (folder / FILE).stat().st_size


def test_a_weight_that_float16_holds_takes_two_bytes_and_any_other_four(
    tmp_path: Path, halves: Weight
) -> None:
    stored(tmp_path, halves)
    assert size(tmp_path) == 2 * halves.size
    stored(tmp_path, halves + np.float32(1e-6))
    assert size(tmp_path) == 4 * halves.size
    stored(tmp_path, halves * np.float32(1e9))
    assert size(tmp_path) == 4 * halves.size


def test_graphs_share_a_weight_in_either_layout(tmp_path: Path, halves: Weight) -> None:
    stored(tmp_path, halves, halves, np.ascontiguousarray(halves.T))
    assert size(tmp_path) == 2 * halves.size
    stored(tmp_path, halves, 2 * halves)
    assert size(tmp_path) == -(-2 * halves.size // ALIGNMENT) * ALIGNMENT + 2 * halves.size


@pytest.mark.parametrize("nudge", [0.0, 1e-6])
def test_the_graphs_compute_what_they_did(tmp_path: Path, halves: Weight, nudge: float) -> None:
    weight = halves + np.float32(nudge)
    paths = stored(tmp_path, weight, np.ascontiguousarray(weight.T), weight)
    for path, used in zip(paths, (weight, weight.T, weight), strict=True):
        x = np.random.default_rng(3).standard_normal((1, used.shape[0])).astype(np.float32)
        np.testing.assert_allclose(product_of(path, x), x @ used, rtol=1e-4, atol=1e-5)


def test_a_small_tensor_stays_in_its_graph(tmp_path: Path) -> None:
    (path,) = stored(tmp_path, np.ones((3, 4), np.float32))
    assert size(tmp_path) == 0
    (tensor,) = onnx.load(path, load_external_data=False).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), np.ones((3, 4)))


def test_what_an_older_export_left_is_gone(tmp_path: Path, halves: Weight) -> None:
    (tmp_path / FILE).write_bytes(b"0" * 10_000)
    stored(tmp_path, halves)
    assert size(tmp_path) == 2 * halves.size
