"""From a function of torch to an ONNX graph of plain tensor operations."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from dualsys.train.graphs import Graph

OPSET = 18


def trace(graph: Graph) -> onnx.ModelProto:
    """Trace a graph at the shapes of its inputs.

    What comes of it needs neither torch nor automatic differentiation to run.
    """
    inputs = graph.draw(0)

    def function(*given: Tensor) -> Any:
        # The tracer counts the arguments of what it traces, and takes the self of a method for one.
        return graph.function(*given)

    with torch.no_grad(), quiet():
        traced = make_fx(function, tracing_mode="real")(*inputs.values())
        _drop_detached(traced)
        program = torch.onnx.export(
            traced,
            tuple(inputs.values()),
            dynamo=True,
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
