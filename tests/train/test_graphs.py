"""Graphs: the samplers as files, vector-Jacobian products and all."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dualsys.models import System1Net
from dualsys.runtime import open_graph
from dualsys.train import agreement
from dualsys.train.action import LARGEST_AGE_S, LARGEST_GAP_S
from dualsys.train.export import EULER_STEPS
from dualsys.train.graphs import BETA, CONTEXT, Graph, system1_graphs
from dualsys.train.recordings import Bundles

SAMPLERS = ("sampler.onnx", "guided.onnx", "prefix.onnx", "velocity.onnx")


@pytest.fixture(scope="module")
def graphs(small_system1: System1Net) -> dict[str, Graph]:
    """All graphs of a small System 1."""
    torch.manual_seed(5)
    return system1_graphs(small_system1, EULER_STEPS)


@pytest.fixture(scope="module")
def files(bundles: Bundles) -> dict[str, Path]:
    """The samplers as `export_graph` wrote them."""
    return {name: bundles.system1 / name for name in SAMPLERS}


def run(path: Path, inputs: dict[str, torch.Tensor], output: str = "chunk") -> np.ndarray:
    """The chunk that a sampler makes of these inputs."""
    return agreement.run(open_graph(path), (output,), inputs)[0]


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_exported_sampler_gives_what_torch_gives_in_float64(
    graphs: dict[str, Graph], files: dict[str, Path], small_system1: System1Net, name: str
) -> None:
    measured = agreement.measure(graphs[name], small_system1, files[name], checks=6)
    assert measured.holds
    assert 0 < max(measured.graph) < 1e-4


def test_an_exported_guided_chunk_follows_the_numerical_jacobian(
    graphs: dict[str, Graph], files: dict[str, Path], small_system1: System1Net
) -> None:
    inputs = graphs["guided.onnx"].draw(2)
    net = copy.deepcopy(small_system1).double()
    exact = {name: value.double() for name, value in inputs.items()}
    context = tuple(exact[name] for name in CONTEXT)
    weights, x = exact["weights"].unsqueeze(-1), exact["noise"]
    assert weights.any()
    for step, pull in enumerate(exact["guidance"]):
        tau = torch.tensor([[step / EULER_STEPS]]).double()
        units = torch.eye(x.numel()).double().reshape(-1, *x.shape)

        def velocity(point: torch.Tensor, tau: torch.Tensor = tau) -> torch.Tensor:
            return net.velocity(point, tau, context)

        error = weights * (exact["previous"] - (x + (1 - tau) * velocity(x)))
        slopes = [(velocity(x + 1e-6 * unit) - velocity(x - 1e-6 * unit)) / 2e-6 for unit in units]
        through = torch.stack([(slope * error).sum() for slope in slopes]).reshape(x.shape)
        x = x + (velocity(x) + pull * (error + (1 - tau) * through)) / EULER_STEPS
    found = run(files["guided.onnx"], inputs)
    assert np.abs(found - x.numpy()).max() / np.abs(x.numpy()).max() < 1e-3


def test_without_weights_the_guided_sampler_is_the_plain_one(
    graphs: dict[str, Graph], files: dict[str, Path]
) -> None:
    guided = graphs["guided.onnx"].draw(0)
    guided["weights"] = torch.zeros_like(guided["weights"])
    plain = {name: guided[name] for name in ("noise", *CONTEXT)}
    expected = run(files["sampler.onnx"], plain)
    np.testing.assert_allclose(run(files["guided.onnx"], guided), expected, atol=1e-5)


def test_without_a_given_action_the_prefix_sampler_is_the_plain_one(
    graphs: dict[str, Graph], files: dict[str, Path]
) -> None:
    prefix = graphs["prefix.onnx"].draw(0)
    prefix["given"] = torch.zeros_like(prefix["given"])
    plain = {name: prefix[name] for name in ("noise", *CONTEXT)}
    expected = run(files["sampler.onnx"], plain)
    np.testing.assert_allclose(run(files["prefix.onnx"], prefix), expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_given_actions_come_back_from_the_graph_to_the_bit(
    graphs: dict[str, Graph], files: dict[str, Path], count: int
) -> None:
    inputs = graphs["prefix.onnx"].draw(0)
    inputs["given"] = (torch.arange(inputs["given"].shape[1]) < count).float()[None]
    chunk = run(files["prefix.onnx"], inputs).astype(np.float32)
    assert chunk[:, :count].tobytes() == inputs["prefix"].numpy()[:, :count].tobytes()
    other = run(files["prefix.onnx"], inputs | {"prefix": -inputs["prefix"]})
    assert count == 4 or not np.allclose(other[:, count:], chunk[:, count:], atol=1e-3)


def test_steps_over_the_velocity_graph_make_the_plain_chunk(
    graphs: dict[str, Graph], files: dict[str, Path]
) -> None:
    plain = graphs["sampler.onnx"].draw(1)
    context, x = {name: plain[name] for name in CONTEXT}, plain["noise"]
    for step in range(EULER_STEPS):
        tau = torch.full(x.shape[:2], step / EULER_STEPS)
        velocity = run(files["velocity.onnx"], {"x": x, "tau": tau} | context, "velocity")
        x = x + torch.from_numpy(velocity).float() / EULER_STEPS
    np.testing.assert_allclose(x.numpy(), run(files["sampler.onnx"], plain), atol=1e-5)


def test_guidance_within_the_graph_draws_towards_the_previous_chunk(
    graphs: dict[str, Graph], files: dict[str, Path]
) -> None:
    guided = graphs["guided.onnx"].draw(0)
    previous = guided["previous"].numpy()
    guided["weights"] = torch.ones_like(guided["weights"])
    plain = run(files["sampler.onnx"], {name: guided[name] for name in ("noise", *CONTEXT)})
    drawn = run(files["guided.onnx"], guided)
    assert np.abs(drawn - previous).mean() < np.abs(plain - previous).mean()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_file_holds_plain_operators_and_the_names_that_the_runtime_asks_for(
    graphs: dict[str, Graph], files: dict[str, Path], name: str
) -> None:
    model = onnx.load(files[name])
    assert b"site-packages" not in model.SerializeToString()
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [value.name for value in model.graph.input] == list(graphs[name].draw(0))
    assert [value.name for value in model.graph.output] == list(graphs[name].outputs)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_runs_without_moving_its_numbers_about(
    files: dict[str, Path], name: str, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / name), 3
    onnxruntime.InferenceSession(str(files[name]), options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / name, load_external_data=False).graph.node}
    assert kinds & {"Gemm", "FusedMatMul"}
    assert not kinds & {"Transpose", "Gather", "Cast", "Expand"}


def test_the_graphs_hand_each_other_what_they_take(graphs: dict[str, Graph]) -> None:
    made = graphs["condition.onnx"].function(*graphs["condition.onnx"].draw(0).values())
    for tensor, name in zip(made, CONTEXT, strict=True):
        for sampler in SAMPLERS:
            assert graphs[sampler].draw(0)[name].shape == tensor.shape
    features = graphs["wrist.onnx"].function(*graphs["wrist.onnx"].draw(0).values())
    assert features.shape[1:] == graphs["condition.onnx"].draw(0)["wrist"].shape[2:]


def test_inputs_are_drawn_from_the_domain(graphs: dict[str, Graph], small_system1: System1Net) -> None:
    for seed in range(8):
        seen, guided = graphs["condition.onnx"].draw(seed), graphs["guided.onnx"].draw(seed)
        age_s, gaps_s = seen["latent_age_s"][0], seen["latent_age_s"][0].diff()
        assert len(age_s) == small_system1.config.latents
        assert 0 <= age_s[0] <= LARGEST_AGE_S
        assert ((gaps_s >= 0) & (gaps_s <= LARGEST_GAP_S)).all()
        spread = seen["tokens"].var(-1, correction=0)
        torch.testing.assert_close(spread, torch.ones(1, len(age_s), 8), rtol=1e-3, atol=0)
        offset = (seen["proprioception"] - small_system1.state_mean) / small_system1.state_scale
        assert offset.abs().max() <= 3.0
        assert guided["previous"].abs().max() <= 1.0
        assert ((guided["weights"] >= 0) & (guided["weights"] <= 1)).all()
        assert float(guided["guidance"][0]) == BETA
        again = graphs["guided.onnx"].draw(seed)
        assert all(torch.equal(value, again[name]) for name, value in guided.items())
