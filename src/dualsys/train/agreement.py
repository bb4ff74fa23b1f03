"""Whether a graph computes what the network computes, and how well that can be computed at all.

The reference is the network itself in float64, with automatic differentiation where the graph has a Jacobian;
the inputs are drawn from the domain of the graph. Beside the error of the graph stands that of torch in
float32, which is no fault of the graph: it tells how the function magnifies rounding. Guidance can do so. At
its first step it descends the gradient of the mismatch |A1(x) - Y|^2 with the step w / n, and where that is
too long for the curvature, about w / n > 2 / sigma^2 with sigma the largest singular value of dA1/dx, it
diverges from step to step and takes every rounding error with it. A trained network estimates the clean chunk
from noise with a small sigma; one with large random weights does not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dualsys.bundles import FEATURES, LANGUAGE, VISION, WHOLE
from dualsys.runtime import open_graph
from dualsys.train.graphs import Graph

CHECKS = 24
"""Inputs on which each graph is compared with torch."""
SEQUENCE_CHECKS = 8
"""Inputs on which two graphs are compared in sequence, after each of them was by itself."""
TOLERANCE = 1e-4
"""Largest error of a graph, relative to the largest element."""
ROUNDING_ALLOWANCE = 4.0
"""Where float32 within torch errs by more than the tolerance, a graph may err by this much more."""

Arrays = list[NDArray[np.float64]]


@dataclass(frozen=True)
class Agreement:
    """Errors of one graph against torch in float64, each relative to the largest element of an output.

    Attributes:
        graph: Of the graph, for each input.
        float32: Of the same network in torch in float32, for the same inputs.
    """

    graph: tuple[float, ...]
    float32: tuple[float, ...]

    @property
    def holds(self) -> bool:
        """On every input the error is within `TOLERANCE`, or float32 itself errs nearly as much.

        Nearly: by more than 1 / `ROUNDING_ALLOWANCE` of it.
        """
        pairs = zip(self.graph, self.float32, strict=True)
        return all(error <= max(TOLERANCE, ROUNDING_ALLOWANCE * rounding) for error, rounding in pairs)

    def figures(self) -> dict[str, str]:
        """For the manifest: the largest errors, and the number of inputs."""
        return {
            "largest": f"{max(self.graph):.1e}",
            "largest_of_torch_float32": f"{max(self.float32):.1e}",
            "inputs": str(len(self.graph)),
        }


def measure(graph: Graph, net: nn.Module, path: Path, checks: int = CHECKS) -> Agreement:
    """Compare a graph's file with the network that it was made from.

    Args:
        graph: What it should compute.
        net: The network, float32.
        path: The ONNX file.
        checks: How many inputs.
    """
    session = open_graph(path)
    return _measured(graph, net, lambda inputs: run(session, graph.outputs, inputs), checks)


def measure_halves(
    graphs: Mapping[str, Graph], net: nn.Module, folder: Path, checks: int = SEQUENCE_CHECKS
) -> tuple[Agreement, float]:
    """Compare the halves of a System 2, one after the other, with the network and with the whole graph.

    Args:
        graphs: What the graphs should compute, by file name.
        net: The network, float32.
        folder: Of the ONNX files.
        checks: How many inputs.

    Returns:
        Errors of the halves as if they were the whole graph, and the largest difference between the two,
        relative to the largest element.
    """
    whole, vision, language = (graphs[name] for name in (WHOLE, VISION, LANGUAGE))
    sessions = {name: open_graph(folder / name) for name in (WHOLE, VISION, LANGUAGE)}
    differences = []

    def halves(inputs: Mapping[str, Tensor]) -> Arrays:
        # The tower sees one image at a time.
        images = inputs["image"].numpy()[:, None]
        rows = [sessions[VISION].run(list(vision.outputs), {"image": image})[0] for image in images]
        features = torch.from_numpy(np.concatenate(rows))
        passed = {FEATURES: features, "words": inputs["words"]}
        made = run(sessions[LANGUAGE], language.outputs, passed)
        differences.append(_error(made, run(sessions[WHOLE], whole.outputs, inputs)))
        return made

    agreement = _measured(whole, net, halves, checks)
    return agreement, max(differences)


def run(
    session: onnxruntime.InferenceSession, outputs: tuple[str, ...], inputs: Mapping[str, Tensor]
) -> Arrays:
    """The outputs of a graph."""
    feed = {name: value.numpy() for name, value in inputs.items()}
    return [np.asarray(value, dtype=np.float64) for value in session.run(list(outputs), feed)]


def _measured(
    graph: Graph, net: nn.Module, made: Callable[[Mapping[str, Tensor]], Arrays], checks: int
) -> Agreement:
    """Errors of what is `made` of the inputs of a graph, in place of the graph."""
    exact = copy.deepcopy(net).double()
    errors, roundings = [], []
    for seed in range(checks):
        inputs = graph.draw(seed)
        truth = _reference(graph, exact, _double(inputs), torch.float64)
        errors.append(_error(made(inputs), truth))
        roundings.append(_error(_reference(graph, net, inputs, torch.float32), truth))
    return Agreement(tuple(errors), tuple(roundings))


def _reference(graph: Graph, net: nn.Module, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> Arrays:
    with torch.no_grad(), _default(dtype):
        made = graph.reference(net, *inputs.values())
    return [tensor.double().numpy() for tensor in (made if isinstance(made, tuple) else (made,))]


def _double(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}


def _error(values: Arrays, truth: Arrays) -> float:
    pairs = zip(values, truth, strict=True)
    return max(float(np.abs(ours - theirs).max() / max(1e-6, np.abs(theirs).max())) for ours, theirs in pairs)


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
