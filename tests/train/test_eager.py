"""Plans in torch itself: the same chunks as the network's own samplers."""

from __future__ import annotations

import pytest
import torch

from dualsys.models import System1Net
from dualsys.models.flow import constant, sample_guided
from dualsys.train import eager
from dualsys.train.eager import TorchPlans, random_network
from dualsys.train.export import EULER_STEPS
from dualsys.train.graphs import CONTEXT, Inputs, field_of, system1_graphs


@pytest.fixture(scope="module")
def inputs(small_system1: System1Net) -> Inputs:
    """Inputs of the guided graph, the first two actions fixed."""
    drawn = system1_graphs(small_system1, EULER_STEPS)["guided.onnx"].draw(1)
    drawn["weights"] = torch.tensor([[1.0, 1.0, 0.5, 0.0]])
    return drawn


def test_chunks_are_those_of_the_graphs(small_system1: System1Net, inputs: Inputs) -> None:
    graphs = system1_graphs(small_system1, EULER_STEPS)
    plans, context = TorchPlans(small_system1, EULER_STEPS, inputs), [inputs[name] for name in CONTEXT]
    with torch.no_grad():
        plain = graphs["sampler.onnx"].reference(small_system1, inputs["noise"], *context)
        guided = graphs["guided.onnx"].reference(small_system1, *inputs.values())
        given = (inputs["weights"] >= 1.0).float()
        beginning = inputs["noise"], inputs["previous"], given
        prefix = graphs["prefix.onnx"].reference(small_system1, *beginning, *context)
    torch.testing.assert_close(plans.plain(), plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plans.guided(), guided, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plans.simple(), guided, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plans.prefix(), prefix, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(guided, plain, atol=1e-3)


def test_without_the_jacobian_the_chunk_is_another_one(small_system1: System1Net, inputs: Inputs) -> None:
    plans = TorchPlans(small_system1, EULER_STEPS, inputs)
    keys, values, state = (inputs[name] for name in CONTEXT)
    field = constant(field_of(small_system1, (keys, values, state), EULER_STEPS))
    followed = inputs["noise"], inputs["previous"], inputs["weights"][0], inputs["guidance"]
    with torch.no_grad():
        expected = sample_guided(field, *followed)
    torch.testing.assert_close(plans.constant(), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plans.guided(), expected, atol=1e-3)


def test_without_a_compiler_the_reason_is_told(
    small_system1: System1Net, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eager.shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match=r"no C\+\+ compiler was found \(g\+\+, clang\+\+, c\+\+\)"):
        TorchPlans(small_system1, EULER_STEPS, inputs).compiled()


def test_no_weight_of_a_random_network_is_left_at_zero() -> None:
    net = random_network()
    assert all(weight.any() for weight in net.parameters())
    assert not any(weight.requires_grad for weight in net.parameters())
