"""Graphs: the samplers as files, vector-Jacobian products and all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dualsys.models import System1Net
from dualsys.train.export import EULER_STEPS, graph_error
from dualsys.train.graphs import CONTEXT, Graph, system1_graphs
from dualsys.train.recordings import Bundles

SAMPLERS = ("sampler.onnx", "guided.onnx")


@pytest.fixture(scope="module")
def graphs(small_system1: System1Net) -> dict[str, Graph]:
    """All graphs of a small System 1."""
    torch.manual_seed(5)
    return system1_graphs(small_system1, EULER_STEPS)


@pytest.fixture(scope="module")
def files(bundles: Bundles) -> dict[str, Path]:
    """The two samplers as `export_graph` wrote them."""
    return {name: bundles.system1 / name for name in SAMPLERS}


def run(path: Path, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    """The chunk that a sampler makes of these inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["chunk"], {name: value.numpy() for name, value in inputs.items()})[0])


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_exported_sampler_gives_the_chunk_that_torch_gives(
    graphs: dict[str, Graph], files: dict[str, Path], name: str
) -> None:
    assert graph_error(graphs[name], files[name]) < 1e-4
    with torch.no_grad():
        fresh = {key: torch.randn_like(value) for key, value in graphs[name].inputs.items()}
        if "weights" in fresh:
            fresh |= {"weights": torch.rand_like(fresh["weights"]), "beta": torch.tensor([3.0])}
        expected = graphs[name].function(*fresh.values()).numpy()
    np.testing.assert_allclose(run(files[name], fresh), expected, atol=1e-4 * np.abs(expected).max())


def test_without_weights_the_guided_sampler_is_the_plain_one(
    graphs: dict[str, Graph], files: dict[str, Path]
) -> None:
    guided = dict(graphs["guided.onnx"].inputs)
    guided["weights"] = torch.zeros_like(guided["weights"])
    plain = {name: guided[name] for name in ("noise", *CONTEXT)}
    expected = run(files["sampler.onnx"], plain)
    np.testing.assert_allclose(run(files["guided.onnx"], guided), expected, atol=1e-5)


def test_guidance_within_the_graph_draws_towards_the_previous_chunk(
    graphs: dict[str, Graph], files: dict[str, Path]
) -> None:
    guided = dict(graphs["guided.onnx"].inputs)
    previous = guided["previous"].numpy()
    guided["weights"] = torch.ones_like(guided["weights"])
    plain = run(files["sampler.onnx"], {name: guided[name] for name in ("noise", *CONTEXT)})
    drawn = run(files["guided.onnx"], guided)
    assert np.abs(drawn - previous).mean() < 0.5 * np.abs(plain - previous).mean()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_file_holds_plain_operators_and_the_names_that_the_runtime_asks_for(
    graphs: dict[str, Graph], files: dict[str, Path], name: str
) -> None:
    model = onnx.load(files[name])
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [value.name for value in model.graph.input] == list(graphs[name].inputs)
    assert [value.name for value in model.graph.output] == list(graphs[name].outputs)


def test_the_graphs_hand_each_other_what_they_take(graphs: dict[str, Graph]) -> None:
    made = graphs["condition.onnx"].function(*graphs["condition.onnx"].inputs.values())
    for tensor, name in zip(made, CONTEXT, strict=True):
        for sampler in SAMPLERS:
            assert graphs[sampler].inputs[name].shape == tensor.shape
    features = graphs["wrist.onnx"].function(*graphs["wrist.onnx"].inputs.values())
    assert features.shape[1:] == graphs["condition.onnx"].inputs["wrist"].shape[2:]
