"""What the tests of training share: one thread, no GPU, a world, small networks, and bundles made of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("pybullet")

import onnx
import torch

from dualsys.models import System1Config, System1Net, System2Config, System2Net
from dualsys.train.export import EULER_STEPS, export_system1, export_system2, system_specs
from dualsys.train.graphs import system1_graphs
from dualsys.train.recordings import Bundles
from dualsys.train.scenes import vocabulary_list
from dualsys.train.tracing import trace
from dualsys.train.variants import MAX_WORDS, class_counts
from dualsys.train.weights import round_to_half
from dualsys_sim.world import World


@pytest.fixture(autouse=True)
def _one_thread_no_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same numbers on every machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """A world without a window."""
    with World() as made:
        yield made


def awakened(net: torch.nn.Module) -> torch.nn.Module:
    """The network with random numbers where it starts from zeros, so that every path through it matters.

    Its weights are rounded already, as an export would do to them.
    """
    for parameter in net.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    round_to_half(net)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def small_system1() -> System1Net:
    """A System 1 of two blocks whose velocity field is not zero."""
    torch.manual_seed(3)
    config = System1Config(width=32, depth=1, context_depth=1, heads=2, horizon=4, wrist_px=32)
    return awakened(System1Net(config))


@pytest.fixture(scope="session")
def small_system2() -> System2Net:
    """A System 2 of one block; its latent fits `small_system1`."""
    torch.manual_seed(4)
    config = System2Config(
        vocabulary=len(vocabulary_list()), max_words=MAX_WORDS, depth=1, heads=2, **class_counts()
    )
    return awakened(System2Net(config))


@pytest.fixture(scope="session")
def velocity_model(small_system1: System1Net) -> onnx.ModelProto:
    """The graph of one velocity of `small_system1`, with its weights inside."""
    return trace(system1_graphs(small_system1, EULER_STEPS)["velocity.onnx"])


@pytest.fixture(scope="session")
def system2_bundle(
    small_system1: System1Net, small_system2: System2Net, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The small System 2 as a bundle."""
    folder = tmp_path_factory.mktemp("bundles") / "system2"
    specs = system_specs(small_system2, small_system1.config.proprioception)
    export_system2(small_system2, specs, vocabulary_list(), folder, {"seed": 4})
    return folder


@pytest.fixture(scope="session")
def bundles(small_system1: System1Net, small_system2: System2Net, system2_bundle: Path) -> Bundles:
    """The two small systems as bundles."""
    folder = system2_bundle.with_name("system1")
    specs = system_specs(small_system2, small_system1.config.proprioception)
    export_system1(small_system1, specs, folder, {"seed": 3})
    return Bundles(folder, system2_bundle)
