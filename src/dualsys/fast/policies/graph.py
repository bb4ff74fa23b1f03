"""One ONNX graph with its interface checked, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import BundleError, PolicyError
from dualsys.runtime import ELEMENT_TYPES, open_graph
from dualsys.specs import TensorSpec


class Graph:
    """A graph with fixed shapes.

    Args:
        path: The ONNX file.
        threads: Threads within an operator, see `runtime.open_graph`.

    Raises:
        BundleError: Not a graph that can be run, or its shapes are not fixed.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path = path
        self._session = open_graph(path, threads)
        self.inputs = self._specs(self._session.get_inputs())
        self.outputs = self._specs(self._session.get_outputs())

    def require(self, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]) -> None:
        """Raise BundleError unless the graph has exactly these inputs and outputs."""
        for side, expected, found in (("input", inputs, self.inputs), ("output", outputs, self.outputs)):
            for name in sorted(expected.keys() | found.keys()):
                wanted = expected[name].describe() if name in expected else "none of that name"
                got = found[name].describe() if name in found else "none of that name"
                if wanted != got:
                    raise BundleError(
                        f"{self.path}: {side} {name!r}: expected {wanted}, the graph has {got}; "
                        "export it again"
                    )

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph.

        Args:
            feed: An array for every input.

        Returns:
            An array for every output.

        Raises:
            PolicyError: An array does not fit, or the runtime failed.
        """
        for name, spec in self.inputs.items():
            array = feed[name]
            if array.shape != spec.shape or array.dtype != spec.dtype:
                got = f"{array.dtype}{list(array.shape)}"
                raise PolicyError(f"{self.path.name}: {name}: expected {spec.describe()}, got {got}")
        names = list(self.outputs)
        try:
            values = self._session.run(names, {name: feed[name] for name in self.inputs})
        except Exception as error:
            raise PolicyError(f"{self.path.name}: the runtime failed: {error}") from error
        return dict(zip(names, values, strict=True))

    def _specs(self, nodes: list[Any]) -> dict[str, TensorSpec]:
        specs = {}
        for node in nodes:
            if node.type not in ELEMENT_TYPES or not all(isinstance(size, int) for size in node.shape):
                raise BundleError(
                    f"{self.path}: {node.name!r}: expected a tensor of fixed shape, the graph has "
                    f"{node.type}{node.shape}; export it again"
                )
            specs[node.name] = TensorSpec(tuple(node.shape), ELEMENT_TYPES[node.type])
        return specs
