"""Export: what is written loads in the runtime and computes what torch computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dualsys.bundles import load_manifest
from dualsys.errors import BundleError
from dualsys.fast.policies.onnx import OnnxSystem1
from dualsys.models import System1Net, System2Net
from dualsys.slow.backends.onnx import OnnxSystem2
from dualsys.train import export
from dualsys.train.recordings import Bundles
from dualsys.train.scenes import vocabulary_list
from dualsys.train.variants import word_indices

WORDS = "pick up the red block"


def test_a_manifest_says_what_the_weights_are_and_where_they_came_from(bundles: Bundles) -> None:
    one, two = load_manifest(bundles.system1, "system1"), load_manifest(bundles.system2, "system2")
    assert one.specs == two.specs
    assert one.action is not None
    assert one.action.chunk.shape == (4, 4)
    assert one.action.step_ns == 40_000_000
    assert one.action.scale == (0.012, 0.012, 0.012, 1.0)
    assert one.sampler is not None
    assert one.sampler.steps == export.EULER_STEPS
    assert two.vocabulary == tuple(vocabulary_list())
    assert (one.training["seed"], two.training["seed"]) == (3, 4)
    assert set(one.training["error_against_torch"]) == set(one.files)
    assert all(float(error) <= export.TOLERANCE for error in one.training["error_against_torch"].values())


def test_an_exported_system2_reads_what_torch_reads(
    bundles: Bundles, small_system2: System2Net, rng: np.random.Generator
) -> None:
    image = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    words = word_indices(WORDS, vocabulary_list()).astype(np.int64)
    output = OnnxSystem2(bundles.system2).encode({"fixed": image}, np.zeros(9, np.float32), WORDS)
    tokens, *_ = small_system2(torch.from_numpy(image[None]), torch.from_numpy(words[None]))
    np.testing.assert_allclose(output.tensors["tokens"], tokens[0].numpy(), atol=1e-4)


def test_an_exported_system1_acts_as_torch_does(
    bundles: Bundles, small_system1: System1Net, rng: np.random.Generator
) -> None:
    policy, net = OnnxSystem1(bundles.system1), small_system1
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    features = policy.encode_wrist(image)
    np.testing.assert_allclose(features, net.wrist(torch.from_numpy(image[None]))[0].numpy(), atol=1e-4)
    shapes = ((2, 8, 128), (2,), (2, *features.shape), (9,))
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    noise = rng.standard_normal((4, 4)).astype(np.float32)
    context = net.context(*(torch.from_numpy(array[None]) for array in inputs))
    x = torch.from_numpy(noise[None])
    for step in range(export.EULER_STEPS):
        tau = torch.tensor([[step / export.EULER_STEPS]])
        x = x + net.velocity(x, tau, context) / export.EULER_STEPS
    np.testing.assert_allclose(policy.sample(noise, policy.condition(*inputs)), x[0].numpy(), atol=1e-4)


def test_a_graph_that_differs_from_torch_is_not_released(
    small_system1: System1Net, small_system2: System2Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "export_graph", lambda _, path: path.write_bytes(b""))
    monkeypatch.setattr(export, "graph_error", lambda *_: 2e-4)
    specs = export.system_specs(small_system2, small_system1.config.proprioception)
    with pytest.raises(BundleError, match=r"wrist\.onnx: differs from torch by 0\.0002"):
        export.export_system1(small_system1, specs, tmp_path, {})
    assert not (tmp_path / "bundle.json").exists()
