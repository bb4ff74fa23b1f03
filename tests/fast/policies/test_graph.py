from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dualsys.errors import BundleError
from dualsys.fast.policies.graph import Graph
from dualsys.specs import TensorSpec


def write_identity(path: Path, kind: int, shape: list[int | str]) -> Path:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value("x", kind, shape)],
        [value("y", kind, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def test_a_graph_knows_its_interface_and_runs(tmp_path: Path) -> None:
    graph = Graph(write_identity(tmp_path / "g.onnx", TensorProto.FLOAT, [2, 3]))
    graph.require({"x": TensorSpec((2, 3))}, {"y": TensorSpec((2, 3))})
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(graph.run({"x": x})["y"], x)


def test_a_shape_that_is_not_fixed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a tensor of fixed shape"):
        Graph(write_identity(tmp_path / "g.onnx", TensorProto.FLOAT, ["batch", 3]))


def test_an_element_type_that_no_policy_uses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tensor\(double\)"):
        Graph(write_identity(tmp_path / "g.onnx", TensorProto.DOUBLE, [2]))


def test_an_interface_that_differs_is_named(tmp_path: Path) -> None:
    graph = Graph(write_identity(tmp_path / "g.onnx", TensorProto.FLOAT, [2, 3]))
    with pytest.raises(
        BundleError, match=r"input 'x': expected float32\[2, 4\], the graph has float32\[2, 3\]"
    ):
        graph.require({"x": TensorSpec((2, 4))}, {"y": TensorSpec((2, 3))})
    with pytest.raises(BundleError, match="output 'y': expected none of that name"):
        graph.require({"x": TensorSpec((2, 3))}, {})
