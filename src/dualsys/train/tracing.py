"""From a function of torch to an ONNX graph of plain tensor operations."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from dualsys.train.graphs import Graph

OPSET = 18
BATCH = "batch"
"""Name of the axis whose size a batched graph leaves open."""


def trace(graph: Graph) -> onnx.ModelProto:
    """Trace a graph at the shapes of its inputs; the size of the batch stays open where it has one.

    What comes of it needs neither torch nor automatic differentiation to run.
    """
    inputs = graph.draw(0)

    def function(*given: Tensor) -> Any:
        # The tracer counts the arguments of what it traces, and takes the self of a method for one.
        return graph.function(*given)

    with torch.no_grad(), quiet():
        if graph.batched:
            # A batch of one would be taken for a constant.
            given = tuple(torch.cat([value, value]) for value in inputs.values())
            axis = torch.export.Dim(BATCH, min=1)
            shapes: Any = (tuple({0: axis} for _ in given),)
            module: nn.Module = _Module(function)
        else:
            # Differentiates: what is traced has the operations of the Jacobian in it, and no batch.
            given, shapes = tuple(inputs.values()), None
            module = make_fx(function, tracing_mode="real")(*given)
            _drop_detached(module)
        program = torch.onnx.export(
            module,
            given,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=list(inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    return model


class _Module(nn.Module):
    """A function as the module that the exporter wants."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *given: Tensor) -> Any:
        return self._function(*given)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence exporters: they warn of what torch will drop some day, and of operators of other graphs."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes for itself: names of its classes, and where on this machine they lie."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _drop_detached(traced: nn.Module) -> None:
    """Without gradients `detach` does nothing, and the exporter does not know it."""
    assert isinstance(traced, torch.fx.GraphModule)
    for node in list(traced.graph.nodes):
        if node.op == "call_function" and node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    traced.recompile()
