"""Export: what is written loads in the runtime and computes what torch computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from dualsys.bundles import load_manifest
from dualsys.errors import BundleError
from dualsys.fast.policies.onnx import OnnxSystem1
from dualsys.models import System1Config, System1Net, System2Net
from dualsys.runtime import open_graph
from dualsys.slow.backend import System2Input
from dualsys.slow.backends.onnx import OnnxSystem2
from dualsys.train import agreement, checkpoint, export
from dualsys.train.agreement import Agreement
from dualsys.train.graphs import system1_graphs
from dualsys.train.precision import Trial, Tried
from dualsys.train.recordings import Bundles
from dualsys.train.scenes import vocabulary_list
from dualsys.train.variants import word_indices

WORDS = "pick up the red block"


def test_a_manifest_says_what_the_weights_are_and_where_they_came_from(
    bundles: Bundles, small_system1: System1Net
) -> None:
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
    assert System1Config(**one.training["network"]) == small_system1.config
    errors = one.training["error_against_torch_float64"]
    samplers = {"sampler.onnx", "guided.onnx", "prefix.onnx", "velocity.onnx"}
    assert set(errors) == {"wrist.onnx", "condition.onnx"} | samplers
    assert set(one.files) == {*errors, "weights.bin"}
    assert all(float(figures["largest"]) <= agreement.TOLERANCE for figures in errors.values())
    assert all(0 < float(figures["largest_of_torch_float32"]) < 1e-4 for figures in errors.values())


def test_an_exported_system2_reads_what_torch_reads(
    bundles: Bundles, small_system2: System2Net, rng: np.random.Generator
) -> None:
    image = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    words = word_indices(WORDS, vocabulary_list()).astype(np.int64)
    output = OnnxSystem2(bundles.system2).encode({"fixed": image}, np.zeros(9, np.float32), WORDS)
    tokens, *_ = small_system2(torch.from_numpy(image[None]), torch.from_numpy(words[None]))
    np.testing.assert_allclose(output.tensors["tokens"], tokens[0].numpy(), atol=1e-4)


def test_an_exported_system2_reads_several_images_with_a_sentence_each_in_one_pass(
    bundles: Bundles, rng: np.random.Generator
) -> None:
    system2 = OnnxSystem2(bundles.system2)
    said = [WORDS, "touch the green cube", "push the blue block left"]
    images = rng.integers(0, 256, (len(said), 96, 128, 3), dtype=np.uint8)
    state = np.zeros(9, np.float32)
    inputs = [System2Input({"fixed": image}, state, text) for image, text in zip(images, said, strict=True)]
    assert system2.batch_sizes(len(said)) == (1, 2, 3)
    for together, one in zip(system2.encode_batch(inputs), inputs, strict=True):
        alone = system2.encode(one.images, state, one.instruction)
        np.testing.assert_allclose(together.tensors["tokens"], alone.tensors["tokens"], atol=1e-5)
        assert together.text.split(" (")[0] == alone.text.split(" (")[0]


def test_the_halves_of_an_exported_system2_do_in_sequence_what_the_whole_does(system2_bundle: Path) -> None:
    manifest = load_manifest(system2_bundle, "system2")
    assert set(manifest.files) == {"system2.onnx", "vision.onnx", "language.onnx", "weights.bin"}
    told = manifest.training["halves"]
    assert float(told["largest"]) <= agreement.TOLERANCE
    assert float(told["largest_from_whole_graph"]) <= 1e-5
    random = torch.Generator().manual_seed(11)
    image = torch.randint(0, 256, (1, 96, 128, 3), generator=random, dtype=torch.uint8)
    words = torch.from_numpy(word_indices(WORDS, vocabulary_list()).astype(np.int64)[None])
    sessions = {name: open_graph(system2_bundle / name) for name in sorted(manifest.files)[:3]}
    (features,) = sessions["vision.onnx"].run(["features"], {"image": image.numpy()})
    assert (features.shape, features.dtype) == ((1, 192, 128), np.float32)
    outputs = ("tokens", "position", "presence", "goal")
    seen = {"features": torch.from_numpy(features), "words": words}
    halves = agreement.run(sessions["language.onnx"], outputs, seen)
    whole = agreement.run(sessions["system2.onnx"], outputs, {"image": image, "words": words})
    for ours, theirs in zip(halves, whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_halves_that_differ_from_the_whole_are_not_released(
    small_system2: System2Net, small_system1: System1Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = export.system_specs(small_system2, small_system1.config.proprioception)
    written = export._Written({}, {}, None)
    monkeypatch.setattr(export, "_write_graphs", lambda *_: written)
    monkeypatch.setattr(agreement, "measure_halves", lambda *_: (Agreement((1e-6, 2e-4), (1e-6, 1e-6)), 2e-4))
    with pytest.raises(BundleError, match=r"in sequence differ from torch \(largest 2\.0e-04"):
        export.export_system2(small_system2, specs, vocabulary_list(), tmp_path, {})
    assert not (tmp_path / "bundle.json").exists()


def test_an_exported_system1_acts_as_torch_does(
    bundles: Bundles, small_system1: System1Net, rng: np.random.Generator
) -> None:
    policy, net = OnnxSystem1(bundles.system1), small_system1
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    features = policy.encode_wrist(image)
    np.testing.assert_allclose(features, net.wrist(torch.from_numpy(image[None]))[0].numpy(), atol=1e-4)
    latents = net.config.latents
    assert policy.latents == latents
    shapes = ((latents, 8, 128), (latents,), (2, *features.shape), (9,))
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    noise = rng.standard_normal((4, 4)).astype(np.float32)
    context = net.context(*(torch.from_numpy(array[None]) for array in inputs))
    x = torch.from_numpy(noise[None])
    for step in range(export.EULER_STEPS):
        tau = torch.tensor([[step / export.EULER_STEPS]])
        x = x + net.velocity(x, tau, context) / export.EULER_STEPS
    np.testing.assert_allclose(policy.sample(noise, policy.condition(*inputs)), x[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("role", ["system1", "system2"])
def test_no_graph_keeps_weights_of_its_own(
    bundles: Bundles, small_system1: System1Net, small_system2: System2Net, role: str
) -> None:
    net: torch.nn.Module = {"system1": small_system1, "system2": small_system2}[role]
    folder: Path = getattr(bundles, role)
    count = sum(parameter.numel() for parameter in net.parameters())
    # Two bytes for each, less those that only training needs, more for the few that are sums of two.
    assert 1.9 * count < (folder / "weights.bin").stat().st_size < 2.5 * count
    for path in folder.glob("*.onnx"):
        kept = [tensor for tensor in onnx.load(path, load_external_data=False).graph.initializer]
        inside = [tensor for tensor in kept if tensor.data_location != onnx.TensorProto.EXTERNAL]
        assert all(np.prod(tensor.dims) < 64 for tensor in inside if tensor.data_type != 7)


@pytest.mark.parametrize("wins", [True, False])
def test_a_variant_is_in_the_bundle_only_if_it_wins(
    small_system1: System1Net,
    velocity_model: onnx.ModelProto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wins: bool,
) -> None:
    def attempt(*arguments: object) -> Trial:
        for name in ("velocity.onnx", "weights.bin"):
            (Path(str(arguments[-1])) / name).write_bytes(b"variant")
        return Trial("fp16", {"velocity.onnx": Tried(1e-3, 1.0, 2.0)}, 2.0 if wins else 0.5)

    graphs = {"velocity.onnx": system1_graphs(small_system1, export.EULER_STEPS)["velocity.onnx"]}
    torch.save({"average": small_system1.state_dict()}, tmp_path / "net.pt")
    monkeypatch.setattr(checkpoint, "System1Config", lambda: small_system1.config)
    monkeypatch.setattr(export, "system1_graphs", lambda *_: graphs)
    monkeypatch.setattr(export, "attempt", attempt)
    monkeypatch.setattr(export, "trace", lambda _: velocity_model)
    manifest, trial = export.export_checkpoint(tmp_path / "net.pt", tmp_path / "out", "fp16")
    assert trial is not None
    assert manifest.training["variant"]["kept"] is wins
    assert manifest.training["variant"]["graphs"]["velocity.onnx"]["error"] == 1e-3
    assert ((tmp_path / "out" / "velocity.onnx").read_bytes() == b"variant") is wins
    assert load_manifest(tmp_path / "out", "system1").files == manifest.files
    assert set(manifest.training["checkpoint"]) == {"net.pt"}


def test_a_graph_that_differs_from_torch_is_not_released(
    small_system1: System1Net,
    small_system2: System2Net,
    velocity_model: onnx.ModelProto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "trace", lambda _: velocity_model)
    monkeypatch.setattr(agreement, "measure", lambda *_: Agreement((1e-6, 2e-4), (1e-6, 1e-6)))
    specs = export.system_specs(small_system2, small_system1.config.proprioception)
    with pytest.raises(BundleError, match=r"wrist\.onnx: differs from torch by more than .*largest 2\.0e-04"):
        export.export_system1(small_system1, specs, tmp_path, {})
    assert not (tmp_path / "bundle.json").exists()
