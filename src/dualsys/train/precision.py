"""Graphs of lower precision: tried against the float32 graphs, and kept only if they win.

`int8`: the weights of matrix products in 8 bits, one scale for each column, their inputs quantised while they
run. `fp16`: all of a graph in float16; where the runtime has no such operator it casts to float32 and back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec
import onnx
from torch import nn

from dualsys.bench.timing import Runs, interleave, ratio_of, timing_of, together
from dualsys.clock import CpuClock, WallClock
from dualsys.runtime import open_graph
from dualsys.train import agreement
from dualsys.train.graphs import Graph
from dualsys.train.tracing import quiet
from dualsys.train.weights import FILE, WeightFile

Variant = Literal["fp16", "int8"]

ERROR_ALLOWED = 1e-2
"""Largest error of a variant, relative to the largest element. An action of 1 is 12 mm a step."""
SPEED_WANTED = 1.05
"""How many times as fast all graphs together must be."""
ROUNDS = 60


class Tried(msgspec.Struct, frozen=True):
    """One graph of a variant.

    Attributes:
        error: Largest error against torch in float64, relative to the largest element.
        ms: Median duration on one thread, ms.
        float32_ms: That of the float32 graph.
    """

    error: float
    ms: float
    float32_ms: float


class Trial(msgspec.Struct, frozen=True):
    """How a variant does against float32.

    Attributes:
        variant: Which.
        graphs: By file name.
        speed: How many times as fast all graphs together are.
    """

    variant: Variant
    graphs: dict[str, Tried]
    speed: float

    @property
    def wins(self) -> bool:
        """It is fast enough, and every graph is exact enough."""
        exact = all(tried.error <= ERROR_ALLOWED for tried in self.graphs.values())
        return exact and self.speed >= SPEED_WANTED

    def lines(self) -> list[str]:
        """What to tell people."""
        lines = [
            f"{self.variant} {name}: error {one.error:.1e}, {one.ms:.2f} ms, float32 {one.float32_ms:.2f} ms"
            for name, one in self.graphs.items()
        ]
        wanted = f"wanted: error at most {ERROR_ALLOWED:g}, speed at least {SPEED_WANTED:g} times"
        verdict = "kept" if self.wins else "not kept, the bundle is float32"
        return [*lines, f"{self.variant}: {self.speed:.2f} times the speed of float32 ({wanted}): {verdict}"]


def convert(model: onnx.ModelProto, variant: Variant, path: Path) -> onnx.ModelProto:
    """A graph in lower precision; its inputs and outputs stay as they are.

    Args:
        model: A float32 graph with its weights inside; not changed.
        variant: Into what.
        path: A file that may be overwritten on the way.
    """
    # Imported here: whoever exports float32 needs none of it.
    if variant == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        with quiet():
            made: onnx.ModelProto = convert_float_to_float16(copy.deepcopy(model), keep_io_types=True)
        return made
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole, kinds = copy.deepcopy(model), ["MatMul"]
    with quiet():
        quantize_dynamic(
            whole, path, op_types_to_quantize=kinds, per_channel=True, weight_type=QuantType.QInt8
        )
    return onnx.load(path)


def attempt(
    models: Mapping[str, onnx.ModelProto],
    graphs: Mapping[str, Graph],
    net: nn.Module,
    variant: Variant,
    against: Path,
    folder: Path,
) -> Trial:
    """Write a variant of all graphs of a bundle, and measure it.

    Args:
        models: The float32 graphs with their weights inside.
        graphs: What they should compute.
        net: The network.
        variant: Into what.
        against: Folder of the float32 files.
        folder: Where to; must exist.
    """
    shared, errors = WeightFile(folder / FILE), {}
    for name, model in models.items():
        made = convert(model, variant, folder / name)
        shared.take(made)
        (folder / name).write_bytes(made.SerializeToString())
        errors[name] = max(agreement.measure(graphs[name], net, folder / name).graph)
    runs = {name: _race(graph, folder / name, against / name) for name, graph in graphs.items()}
    tried = {
        name: Tried(errors[name], timing_of(ours).median_ms, timing_of(theirs).median_ms)
        for name, (ours, theirs) in runs.items()
    }
    all_ours, all_theirs = (together(*side) for side in zip(*runs.values(), strict=True))
    return Trial(variant, tried, ratio_of(all_theirs, all_ours).median)


def _race(graph: Graph, variant: Path, float32: Path) -> tuple[Runs, Runs]:
    """Time two files of one graph against each other."""
    inputs = graph.draw(0)

    def runner(path: Path) -> Callable[[], object]:
        session = open_graph(path)
        return lambda: agreement.run(session, graph.outputs, inputs)

    ways = {"variant": runner(variant), "float32": runner(float32)}
    timed = interleave(ways, ROUNDS, CpuClock(), WallClock())
    return timed["variant"], timed["float32"]
