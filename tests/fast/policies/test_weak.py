"""A weak policy stands beside System 1 only if it is of the same kind, and each of the two stays itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from dualsys.bundles import load_manifest, write_manifest
from dualsys.errors import BundleError
from dualsys.fast.chunking.bid import best_candidate
from dualsys.fast.chunking.masks import soft_mask
from dualsys.fast.chunking.requests import Candidates, noises_for
from dualsys.fast.policies.onnx import OnnxSystem1, open_system1
from dualsys.fast.policies.policy import System1, WeakSampler, require_policy
from dualsys.fast.policies.sampling import draw
from dualsys.fast.policies.weak import WithWeak, weak_manifest
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

from .conftest import ACTION, SPECS, write_graphs
from .double import HORIZON, FieldPolicy

SEEN = (np.zeros((2, 8, 128), np.float32), np.zeros(2, np.float32))
STATE = np.zeros(9, np.float32)


@dataclass
class Watching(FieldPolicy):
    """Remembers the features that it is shown; its chunks are its noise plus an offset of its own."""

    shape: tuple[int, int] = (16, 128)
    offset: float = 0.0
    shown: list[NDArray[np.float32]] = field(default_factory=list)

    def encode_wrist(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = self.shape[0] * self.shape[1]
        return (np.arange(size, dtype=np.float32) + image[0, 0, 0] + self.offset).reshape(self.shape)

    def condition(self, tokens: Any, latent_age_s: Any, wrist: Any, proprioception: Any) -> int:
        self.shown.append(wrist)
        return super().condition(tokens, latent_age_s, wrist, proprioception)

    def sample(self, noise: NDArray[np.float32], condition: Any) -> NDArray[np.float32]:
        assert condition == len(self.conditions)
        return noise + np.float32(self.offset)


def images() -> list[NDArray[np.uint8]]:
    return [np.full((4, 4, 3), value, np.uint8) for value in (3, 7)]


def test_each_is_shown_what_its_own_encoder_makes_of_the_images_and_samples_from_that() -> None:
    strong, weak = Watching(offset=1.0), Watching(shape=(3, 5), offset=2.0, weights="early")
    pair = WithWeak(strong, weak, "there")
    features = np.stack([pair.encode_wrist(image) for image in images()])
    assert (features.dtype, features.shape) == (np.float32, (2, 16 * 128 + 3 * 5))
    condition = pair.condition(*SEEN, features, STATE)
    for one in (strong, weak):
        np.testing.assert_array_equal(one.shown, [[one.encode_wrist(image) for image in images()]])
    noise = np.zeros((HORIZON, 4), np.float32)
    assert (pair.sample(noise, condition) == 1.0).all()
    assert (pair.sample_weak(noise, condition) == 2.0).all()


def test_it_is_the_strong_one_in_everything_and_names_both() -> None:
    strong = FieldPolicy(steps=5, weights="late")
    pair = WithWeak(strong, FieldPolicy(steps=3, weights="early"), "there")
    require_policy(pair)
    require_policy(pair, WeakSampler)
    assert (pair.weights, pair.weak_weights, pair.steps) == ("late", "early", 5)
    assert (pair.action, pair.specs, pair.latents) == (strong.action, strong.specs, strong.latents)


def test_it_offers_what_is_asked_for_beside_a_weak_policy_and_no_more() -> None:
    assert WithWeak(FieldPolicy(), FieldPolicy(), "there").capabilities == {"sampler", "weak", "residual"}
    plain = FieldPolicy(offered=frozenset({"sampler", "guided"}))
    assert WithWeak(plain, FieldPolicy(), "there").capabilities == {"sampler", "weak"}


def test_the_residual_head_is_that_of_the_strong_one_and_sees_its_features() -> None:
    strong, weak = Watching(nudge=(0.1, 0.0, 0.0, 0.0)), Watching(shape=(3, 5), nudge=(0.9, 0.0, 0.0, 0.0))
    pair = WithWeak(strong, weak, "there")
    features = np.stack([pair.encode_wrist(image) for image in images()])
    action, phase = np.zeros(4, np.float32), np.zeros(2, np.float32)
    residual = pair.residual(action, phase, *SEEN, features, STATE)
    assert residual[0] == np.float32(0.1)
    np.testing.assert_array_equal(strong.heard[0]["wrist"], [strong.encode_wrist(one) for one in images()])
    assert not weak.heard


def test_the_choice_is_that_of_both_losses_among_samples_of_both(rng: np.random.Generator) -> None:
    strong, weak = Watching(), Watching(offset=-0.4)
    pair: System1 = WithWeak(strong, weak, "there")
    previous = rng.uniform(-1, 1, (HORIZON, 4)).astype(np.float32)
    request = Candidates(6, previous, soft_mask(2, 10, HORIZON), nearest=2)
    noise = rng.standard_normal((noises_for(request), HORIZON, 4), dtype=np.float32)
    features = np.stack([pair.encode_wrist(image) for image in images()])
    chunk = draw(pair, request, noise, pair.condition(*SEEN, features, STATE))
    best = best_candidate(noise[:6], previous, request.weights, noise[6:] - np.float32(0.4), 2)
    assert chunk.tobytes() == noise[best].tobytes()


WIDER = SystemSpecs(SPECS.observation, LatentSpec("latent_sequence", {"tokens": TensorSpec((2, 4))}))
OTHER_CAMERA = SystemSpecs(
    ObservationSpec({"side": TensorSpec((6, 8, 3), "uint8")}, SPECS.observation.proprioception), SPECS.latent
)


def other_action(**changes: Any) -> ActionSpec:
    """The action of the tiny bundle, changed."""
    known = {name: getattr(ACTION, name) for name in ActionSpec.__struct_fields__}
    return ActionSpec(**(known | changes))


DIFFERENT: list[tuple[str, dict[str, Any], str]] = [
    (
        "specs.latent.tensors.tokens.shape",
        {"specs": WIDER},
        "expected (2, 3), as fast.bundle has, got (2, 4)",
    ),
    ("specs.observation.cameras.fixed.dtype", {"specs": OTHER_CAMERA}, "got 'absent'"),
    ("action.space", {"action": other_action(space="joint")}, "expected 'tool_velocity'"),
    ("action.names", {"action": other_action(names=("y", "x", "z", "gripper"))}, "got ('y', 'x', 'z', 'gri"),
    ("action.horizon", {"action": other_action(horizon=5)}, "expected 4, as fast.bundle has, got 5"),
    ("action.step_ns", {"action": other_action(step_ns=20_000_000)}, "expected 40000000, as"),
    ("action.scale", {"action": other_action(scale=(0.02, 0.02, 0.02, 1.0))}, "got (0.02, 0.02, 0.02, 1.0)"),
]


@pytest.mark.parametrize(("name", "changes", "told"), DIFFERENT, ids=[name for name, *_ in DIFFERENT])
def test_a_policy_of_another_kind_is_refused_with_the_field_both_values_and_a_remedy(
    name: str, changes: dict[str, Any], told: str
) -> None:
    strong = FieldPolicy(action=ACTION, specs=SPECS)
    with pytest.raises(BundleError) as caught:
        WithWeak(strong, replace(strong, **changes), "bundles/early")
    text = str(caught.value)
    assert text.startswith(f"fast.weak_bundle: bundles/early: {name}: expected ")
    assert told in text
    assert text.endswith("give the folder of a System 1 of the same kind, such as an early checkpoint of it")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"latents": 4}, "latents that are read: expected 2, as fast.bundle has, got 4"),
        (
            {"wrist": TensorSpec((6, 4, 3), "uint8")},
            "wrist image: expected 'uint8[4, 4, 3]', as fast.bundle has, got 'uint8[6, 4, 3]'",
        ),
    ],
)
def test_a_policy_that_reads_other_things_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BundleError, match=re.escape(told)):
        WithWeak(FieldPolicy(), FieldPolicy(**changes), "bundles/early")


@pytest.fixture
def pair_of_bundles(graphs: Path, finish_bundle: Callable[..., Path]) -> tuple[Path, Path]:
    """Two bundles of the tiny kind, each in a folder of its own; the chunks of the second are negative."""
    early = graphs / "early"
    early.mkdir()
    write_graphs(early)
    model = onnx.load(early / "sampler.onnx")
    last = model.graph.node[-1]
    made, last.output[0] = last.output[0], "positive"
    model.graph.node.append(onnx.helper.make_node("Neg", ["positive"], [made]))
    (early / "sampler.onnx").write_bytes(model.SerializeToString())
    return finish_bundle(graphs), finish_bundle(early)


def test_two_bundles_are_loaded_as_a_pair_and_one_by_itself(pair_of_bundles: tuple[Path, Path]) -> None:
    strong, weak = pair_of_bundles
    pair = open_system1(strong, weak)
    assert isinstance(pair, WithWeak)
    alone = open_system1(strong)
    assert isinstance(alone, OnnxSystem1)
    assert (pair.weights, pair.weak_weights) == (alone.weights, OnnxSystem1(weak).weights)
    assert pair.weights != pair.weak_weights
    seen = (np.full((2, 2, 3), 0.1, np.float32), np.array([0.2, 0.3], np.float32))
    features = np.stack([pair.encode_wrist(np.full((5, 7, 3), 9, np.uint8))] * 2)
    condition = pair.condition(*seen, features, STATE)
    noise = np.full((4, 4), 0.5, np.float32)
    sampled = pair.sample(noise, condition)
    np.testing.assert_allclose(pair.sample_weak(noise, condition), -sampled)
    single = alone.condition(*seen, features[:, :3].reshape(2, 1, 3), STATE)
    assert sampled.tobytes() == alone.sample(noise, single).tobytes()


def test_a_bundle_whose_graphs_read_another_number_of_latents_is_refused_when_it_is_loaded(
    pair_of_bundles: tuple[Path, Path], finish_bundle: Callable[..., Path]
) -> None:
    strong, weak = pair_of_bundles
    model = onnx.load(weak / "condition.onnx")
    for given in model.graph.input:
        if given.name in ("tokens", "latent_age_s"):
            given.type.tensor_type.shape.dim[1].dim_value = 3
    (weak / "condition.onnx").write_bytes(model.SerializeToString())
    finish_bundle(weak)
    weak_manifest(weak, load_manifest(strong, "system1"))
    with pytest.raises(BundleError, match=r"latents that are read: expected 2, as fast\.bundle has, got 3"):
        open_system1(strong, weak)


def test_a_weak_bundle_that_is_missing_damaged_or_of_another_role_is_named_as_the_weak_one(
    pair_of_bundles: tuple[Path, Path], split_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    strong, weak = pair_of_bundles
    manifest = load_manifest(strong, "system1")
    system2, nowhere = split_bundle(), tmp_path / "nowhere"
    (weak / "sampler.onnx").write_bytes(b"swapped")
    for folder, told in (
        (nowhere, "cannot be read"),
        (weak, "files.sampler.onnx: expected SHA-256"),
        (system2, "role: expected 'system1', got 'system2'; give the folder of a system1 bundle"),
    ):
        expected = re.escape(f"fast.weak_bundle: {folder / 'bundle.json'}: {told}")
        with pytest.raises(BundleError, match=expected):
            weak_manifest(folder, manifest)
        with pytest.raises(BundleError, match=expected):
            open_system1(strong, folder)


def test_manifests_are_compared_without_opening_a_graph(pair_of_bundles: tuple[Path, Path]) -> None:
    strong, weak = pair_of_bundles
    manifest = load_manifest(strong, "system1")
    assert weak_manifest(weak, manifest).weights == load_manifest(weak, "system1").weights
    other = load_manifest(weak, "system1")
    write_manifest(weak, msgspec.structs.replace(other, action=other_action(horizon=8)))
    place = re.escape(str(weak / "bundle.json"))
    with pytest.raises(BundleError, match=rf"{place}: action\.horizon: expected 4, .* got 8"):
        weak_manifest(weak, manifest)
