"""Agreement: when a graph counts as computing what the network computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dualsys.models import System1Net
from dualsys.train import agreement
from dualsys.train.agreement import ROUNDING_ALLOWANCE, TOLERANCE, Agreement
from dualsys.train.export import EULER_STEPS
from dualsys.train.graphs import Inputs, system1_graphs
from dualsys.train.recordings import Bundles


@pytest.mark.parametrize(
    ("graph", "float32", "holds"),
    [
        ((1e-6, 9e-5), (1e-6, 1e-6), True),
        ((1e-6, 2e-4), (1e-6, 1e-6), False),
        ((1e-6, 2e-4), (1e-4, 1e-6), False),
        ((1e-6, 2e-4), (1e-6, 1e-4), True),
        ((1e-6, 5e-4), (1e-6, 1e-4), False),
    ],
)
def test_every_input_is_within_the_tolerance_or_near_what_float32_errs_there(
    graph: tuple[float, ...], float32: tuple[float, ...], holds: bool
) -> None:
    assert (TOLERANCE, ROUNDING_ALLOWANCE) == (1e-4, 4.0)
    assert Agreement(graph, float32).holds is holds


def test_a_graph_of_other_weights_does_not_agree(bundles: Bundles, small_system1: System1Net) -> None:
    graph = system1_graphs(small_system1, EULER_STEPS)["velocity.onnx"]
    path: Path = bundles.system1 / "velocity.onnx"
    assert agreement.measure(graph, small_system1, path, checks=2).holds
    other = System1Net(small_system1.config)
    other.load_state_dict(small_system1.state_dict())
    other.action_out.weight.data[0, 0] += 0.1
    found = agreement.measure(graph, other.requires_grad_(False), path, checks=2)
    assert not found.holds
    assert max(found.float32) < 1e-5


def test_the_reference_is_in_float64_and_leaves_the_default_type(
    bundles: Bundles, small_system1: System1Net
) -> None:
    seen: list[torch.dtype] = []
    graph = system1_graphs(small_system1, EULER_STEPS)["velocity.onnx"]

    def watched(net: System1Net, *inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs[0].dtype)
        return graph.reference(net, *inputs)

    def draw(seed: int) -> Inputs:
        return graph.draw(seed)

    watching = type(graph)(graph.function, watched, draw, graph.outputs)
    agreement.measure(watching, small_system1, bundles.system1 / "velocity.onnx", checks=1)
    assert seen == [torch.float64, torch.float32]
    assert torch.get_default_dtype() == torch.float32
