"""The ONNX graphs of the bundles, traced from the torch networks.

Whatever does not depend on the chunk is outside the sampling loop: the context (keys, values, state) is a
graph of its own, and the modulations of all Euler steps are computed before the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch._decomp import get_decompositions
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import make_fx

from dualsys.models.flow import Field, sample, sample_guided
from dualsys.models.system1 import System1Net
from dualsys.models.system2 import System2Net

OPSET = 18
SMALL_TENSOR = 64
"""Tensors of fewer elements stay as they are."""


@dataclass(frozen=True)
class Graph:
    """One graph to be: a function, example inputs by name (they fix the shapes), the names of its outputs."""

    function: Callable[..., Any]
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


CONTEXT = ("keys", "values", "state")
"""Names of the tensors that the condition graph hands to the samplers."""


def chunk_field(net: System1Net, keys: Tensor, values: Tensor, state: Tensor, steps: int) -> Field:
    """The velocity field of one context; the modulations of all `steps` flow times are computed once."""
    batch = state.shape[0]
    taus = [
        torch.full((batch, 1), step / steps, dtype=state.dtype, device=state.device) for step in range(steps)
    ]
    modulations = [net.modulations(tau, state) for tau in taus]
    return lambda x, step: net.field(x, modulations[step], keys, values)


def system1_graphs(net: System1Net, steps: int) -> dict[str, Graph]:
    """The graphs of a System 1 bundle, by file name."""
    config = net.config
    image = torch.zeros(1, config.wrist_px, config.wrist_px, 3, dtype=torch.uint8)
    tokens = torch.randn(1, config.latents, config.latent_tokens, config.latent_width)
    ages = torch.rand(1, config.latents)
    frames = torch.randn(1, config.frames, config.wrist_tokens, config.width)
    state_vector = torch.randn(1, config.proprioception)
    with torch.no_grad():
        context = dict(zip(CONTEXT, net.context(tokens, ages, frames, state_vector), strict=True))
    noise = torch.randn(1, config.horizon, config.actions)
    weights, beta = torch.rand(1, config.horizon), torch.full((1,), 5.0)

    def plain(noise: Tensor, keys: Tensor, values: Tensor, state: Tensor) -> Tensor:
        return sample(chunk_field(net, keys, values, state, steps), noise, steps)

    def guided(
        noise: Tensor,
        previous: Tensor,
        weights: Tensor,
        beta: Tensor,
        keys: Tensor,
        values: Tensor,
        state: Tensor,
    ) -> Tensor:
        return sample_guided(
            chunk_field(net, keys, values, state, steps), noise, previous, weights, beta, steps
        )

    def encode_wrist(image: Tensor) -> Tensor:
        encoded: Tensor = net.wrist(image)
        return encoded

    def condition(
        tokens: Tensor, latent_age_s: Tensor, wrist: Tensor, proprioception: Tensor
    ) -> tuple[Tensor, ...]:
        return net.context(tokens, latent_age_s, wrist, proprioception)

    conditions = {"tokens": tokens, "latent_age_s": ages, "wrist": frames, "proprioception": state_vector}
    guidance = {"noise": noise, "previous": torch.randn_like(noise), "weights": weights, "beta": beta}
    return {
        "wrist.onnx": Graph(encode_wrist, {"image": image}, ("features",)),
        "condition.onnx": Graph(condition, conditions, CONTEXT),
        "sampler.onnx": Graph(plain, {"noise": noise} | context, ("chunk",)),
        "guided.onnx": Graph(guided, guidance | context, ("chunk",)),
    }


def system2_graphs(net: System2Net) -> dict[str, Graph]:
    """As `system1_graphs`, for a System 2 bundle."""
    config = net.config
    image = torch.zeros(1, config.height_px, config.width_px, 3, dtype=torch.uint8)
    words = torch.ones(1, config.max_words, dtype=torch.int64)

    def encode(image: Tensor, words: Tensor) -> tuple[Tensor, ...]:
        return net(image, words)

    outputs = ("tokens", "position", "presence", "goal")
    return {"system2.onnx": Graph(encode, {"image": image, "words": words}, outputs)}


def export_graph(graph: Graph, path: Path) -> None:
    """Trace a graph (vector-Jacobian products and all) at the shapes of its inputs and write it as ONNX.

    The trace holds plain tensor operations only, so the file needs neither torch nor autograd to run.
    """
    with torch.no_grad():
        tracer = make_fx(graph.function, decomposition_table=_decompositions(), tracing_mode="real")
        traced = tracer(*graph.inputs.values())
    _drop_unused(traced)
    program = torch.onnx.export(
        traced,
        tuple(graph.inputs.values()),
        dynamo=True,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        opset_version=OPSET,
        optimize=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _halve_weights(model)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def round_to_half(net: nn.Module) -> None:
    """Round every weight to the nearest float16 value, in place, so that a file can hold it in two bytes."""
    for weight in net.parameters():
        weight.data = weight.data.half().float()


def _halve_weights(model: onnx.ModelProto) -> None:
    """Store the weights that float16 holds exactly as float16, cast back where they are used.

    The runtime folds the casts when it opens the file, so only the size on disk changes, by half.
    """
    casts = []
    for tensor in list(model.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.size < SMALL_TENSOR or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _decompositions() -> dict[OpOverload, Callable[..., object]]:
    # The exporter knows the forward operators but not their gradients: take those apart into what it knows.
    aten = torch.ops.aten
    gradients = [
        aten.silu_backward,
        aten.native_layer_norm_backward,
        aten._softmax_backward_data,
        aten.slice_backward,
        aten.select_backward,
    ]
    table = get_decompositions(gradients)
    return {operator: function for operator, function in table.items() if isinstance(operator, OpOverload)}


def _drop_unused(traced: nn.Module) -> None:
    assert isinstance(traced, torch.fx.GraphModule)
    for node in reversed(traced.graph.nodes):
        if node.op == "call_function" and not node.users and node.target is torch.ops.aten.detach.default:
            traced.graph.erase_node(node)
    for node in list(traced.graph.nodes):
        if node.op == "call_function" and node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    traced.recompile()
