"""The weights of a bundle: one file that all its graphs share.

Six graphs of System 1 use the same weights, some of them in two layouts. Each weight is stored once; a graph
refers to it ("external data" of ONNX) and casts or transposes it where it needs it otherwise. The runtime
does that while it opens the graph: nothing of it is left when the graph runs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

FILE = "weights.bin"
"""Its name, in the folder of the bundle."""
SMALL_TENSOR = 64
"""Tensors of fewer elements stay in the graph."""
ALIGNMENT = 64
"""Every weight starts at a multiple of this many bytes."""

Weight = NDArray[np.float32] | NDArray[np.float16]


class WeightFile:
    """The file of one bundle, written as graphs hand over their weights.

    Args:
        path: Where to; the folder is made, an older file is emptied.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[tuple[str, tuple[int, ...], bytes], int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    def take(self, model: onnx.ModelProto) -> None:
        """Move the float32 weights of a graph to the file and let the graph refer to them.

        A weight that float16 holds exactly is stored as such. The graph computes what it did before.
        """
        made: list[onnx.NodeProto] = []
        for tensor in list(model.graph.initializer):
            if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= SMALL_TENSOR:
                made += self._refer(tensor)
        nodes = [*made, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    def _refer(self, tensor: TensorProto) -> list[onnx.NodeProto]:
        """Let one initializer refer to the file; returns the nodes that make of it what it was."""
        name, stored, nodes = tensor.name, _narrowed(numpy_helper.to_array(tensor)), list[onnx.NodeProto]()
        turned = stored.ndim == 2 and _key(stored) not in self._places and _key(stored.T) in self._places
        if turned:
            stored = stored.T.copy()
            nodes.append(helper.make_node("Transpose", [f"{name}_turned"], [name], perm=[1, 0]))
        if stored.dtype == np.float16:
            used = f"{name}_turned" if turned else name
            nodes.insert(0, helper.make_node("Cast", [f"{name}_half"], [used], to=TensorProto.FLOAT))
        source = nodes[0].input[0] if nodes else name
        kind = helper.np_dtype_to_tensor_dtype(stored.dtype)
        reference = TensorProto(
            name=source, data_type=kind, dims=stored.shape, data_location=TensorProto.EXTERNAL
        )
        for key, value in (("location", FILE), ("offset", self._put(stored)), ("length", stored.nbytes)):
            reference.external_data.add(key=key, value=str(value))
        tensor.CopyFrom(reference)
        return nodes

    def _put(self, values: Weight) -> int:
        """Where the values are in the file; appended if they are not there yet."""
        key = _key(values)
        if key not in self._places:
            with self._path.open("ab") as file:
                file.write(b"\0" * (-file.tell() % ALIGNMENT))
                self._places[key] = file.tell()
                file.write(values.tobytes())
        return self._places[key]


def round_to_half(net: nn.Module) -> None:
    """Round every weight to the nearest float16 value, in place, so that a file can hold it in two bytes."""
    for weight in net.parameters():
        weight.data = weight.data.half().float()


def _narrowed(values: NDArray[np.float32]) -> Weight:
    """As float16 where that loses nothing."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), values) else values


def _key(values: Weight) -> tuple[str, tuple[int, ...], bytes]:
    return values.dtype.name, values.shape, hashlib.sha256(values.tobytes()).digest()
