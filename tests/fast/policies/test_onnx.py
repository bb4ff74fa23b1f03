from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dualsys.errors import BundleError, PolicyError
from dualsys.fast.chunking.masks import guidance_schedule
from dualsys.fast.policies.onnx import OnnxSystem1
from dualsys.fast.policies.policy import System1


def conditioned(policy: OnnxSystem1) -> dict[str, np.ndarray]:
    return policy.condition(
        np.full((2, 2, 3), 0.1, np.float32),
        np.array([0.2, 0.3], np.float32),
        np.full((2, 1, 3), 0.5, np.float32),
        np.zeros(9, np.float32),
    )


def test_a_bundle_says_what_it_is(bundle: Path) -> None:
    policy: System1 = OnnxSystem1(bundle)
    assert policy.action.horizon == 4
    assert policy.specs.latent.kind == "latent_sequence"
    assert policy.wrist.describe() == "uint8[5, 7, 3]"
    assert len(policy.weights) == 16


def test_wrist_features_come_from_the_wrist_graph(bundle: Path) -> None:
    image = np.zeros((5, 7, 3), np.uint8)
    image[:, :, 1] = 200
    np.testing.assert_allclose(OnnxSystem1(bundle).encode_wrist(image), [[0, 200, 0]])


def test_a_plain_chunk_depends_on_noise_and_context(bundle: Path, rng: np.random.Generator) -> None:
    policy = OnnxSystem1(bundle)
    noise = rng.standard_normal((4, 4), np.float32)
    expected = noise + 12 * 0.1 + 0.5 + 6 * 0.5
    np.testing.assert_allclose(policy.sample(noise, conditioned(policy)), expected, rtol=1e-5)


def test_a_guided_chunk_is_pulled_where_the_weights_say(bundle: Path) -> None:
    policy = OnnxSystem1(bundle)
    noise, previous = np.zeros((4, 4), np.float32), np.full((4, 4), 0.25, np.float32)
    weights = np.array([1, 0.5, 0, 0], np.float32)
    guidance = np.array([0.3, 0.1, 0.05, 0.03, 0.02], np.float32)
    context = conditioned(policy)
    plain = policy.sample(noise, context)
    chunk = policy.guided(noise, context, previous, weights, guidance)
    np.testing.assert_allclose(chunk, plain + 0.5 * weights[:, None] * (previous - plain), rtol=1e-5)


def test_the_velocity_is_taken_at_the_flow_time_of_each_action(bundle: Path) -> None:
    policy = OnnxSystem1(bundle)
    x, tau = np.full((4, 4), 0.5, np.float32), np.array([1, 0.5, 0.25, 0], np.float32)
    context = conditioned(policy)
    offset = policy.sample(np.zeros((4, 4), np.float32), context)
    np.testing.assert_allclose(policy.velocity(x, tau, context), (x + offset) * tau[:, None], rtol=1e-5)


def test_a_prefix_counts_where_it_is_given(bundle: Path) -> None:
    policy = OnnxSystem1(bundle)
    noise, prefix = np.zeros((4, 4), np.float32), np.full((4, 4), 0.25, np.float32)
    given = np.array([1, 1, 0, 0], np.float32)
    context = conditioned(policy)
    chunk = policy.sample_prefix(noise, prefix, given, context)
    expected = policy.sample(noise, context) + given[:, None] * prefix
    np.testing.assert_allclose(chunk, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changed", "shape"),
    [
        ("previous", (5, 4)), ("previous", (3, 4)), ("previous", (4, 3)), ("previous", (1, 4, 4)),
        ("weights", (5,)), ("weights", (4, 1)), ("weights", ()), ("guidance", (4,)), ("guidance", ()),
        ("noise", (5, 4)),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_guided_graph_is_refused_by_name(
    bundle: Path, changed: str, shape: tuple[int, ...]
) -> None:
    policy = OnnxSystem1(bundle)
    given = {"noise": (4, 4), "previous": (4, 4), "weights": (4,), "guidance": (5,), changed: shape}
    arrays = {name: np.zeros(size, np.float32) for name, size in given.items()}
    with pytest.raises(PolicyError, match=rf"guided\.onnx: {changed}: expected float32\["):
        policy.guided(condition=conditioned(policy), **arrays)


@pytest.mark.parametrize(("changed", "shape"), [("tau", ()), ("tau", (1, 4)), ("tau", (5,)), ("x", (5, 4))])
def test_what_does_not_fit_the_velocity_graph_is_refused_by_name(
    bundle: Path, changed: str, shape: tuple[int, ...]
) -> None:
    policy = OnnxSystem1(bundle)
    given = {"x": (4, 4), "tau": (4,), changed: shape}
    arrays = {name: np.zeros(size, np.float32) for name, size in given.items()}
    with pytest.raises(PolicyError, match=rf"velocity\.onnx: {changed}: expected float32\["):
        policy.velocity(condition=conditioned(policy), **arrays)


def test_a_bundle_says_what_it_offers(bundle: Path) -> None:
    offered = {"sampler", "guided", "guidance_schedule", "velocity", "prefix"}
    assert OnnxSystem1(bundle).capabilities == offered


def test_it_reads_two_latents_if_its_graphs_take_two(bundle: Path) -> None:
    assert OnnxSystem1(bundle).latents == 2


def test_it_reads_as_many_latents_as_its_graphs_take(
    graphs: Path, finish_bundle: Callable[..., Path]
) -> None:
    resize_latents(graphs / "condition.onnx", 3)
    policy = OnnxSystem1(finish_bundle(graphs))
    assert policy.latents == 3
    seen = [np.zeros((3, 2, 3)), np.array([1.0, 2.0, 4.0]), np.zeros((2, 1, 3)), np.zeros(9)]
    context = policy.condition(*(part.astype(np.float32) for part in seen))
    chunk = policy.sample(np.zeros((4, 4), np.float32), context)
    np.testing.assert_allclose(chunk, 7.0, rtol=1e-6)


def test_a_graph_that_wants_a_strange_number_of_latents_is_refused(
    graphs: Path, finish_bundle: Callable[..., Path]
) -> None:
    resize_latents(graphs / "condition.onnx", 17)
    expected = (
        r"condition\.onnx: input 'latent_age_s': expected float32\[1, K\], K from 1 to 16, "
        r"the graph has float32\[1, 17\]"
    )
    with pytest.raises(BundleError, match=expected):
        OnnxSystem1(finish_bundle(graphs))


def resize_latents(path: Path, count: int) -> None:
    """Let a graph take another number of latents."""
    model = onnx.load(path)
    for given in model.graph.input:
        dims = given.type.tensor_type.shape.dim
        if given.name in ("tokens", "latent_age_s"):
            dims[1].dim_value = count
    path.write_bytes(model.SerializeToString())


def test_a_bundle_with_a_residual_head_says_so_and_corrects_single_actions(
    with_head: Path, rng: np.random.Generator
) -> None:
    policy = OnnxSystem1(with_head)
    assert "residual" in policy.capabilities
    action, phase = rng.standard_normal(4, np.float32), np.array([0.25, 0.5], np.float32)
    wrist = np.stack([np.full((1, 3), 0.5, np.float32), np.full((1, 3), 1.0, np.float32)])
    seen = (np.zeros((2, 2, 3), np.float32), np.zeros(2, np.float32), wrist, np.zeros(9, np.float32))
    np.testing.assert_allclose(policy.residual(action, phase, *seen), action * 0.75 + 0.75, rtol=1e-5)


def test_a_residual_head_of_another_shape_is_refused(
    graphs: Path, with_head: Path, finish_bundle: Callable[..., Path]
) -> None:
    model = onnx.load(with_head / "residual.onnx")
    model.graph.input[0].name = "planned"
    model.graph.node[1].input[0] = "planned"
    (with_head / "residual.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"residual\.onnx: input 'action': expected float32\[1, 4\]"):
        OnnxSystem1(finish_bundle(graphs))


def test_a_residual_is_refused_without_the_head(bundle: Path) -> None:
    policy, seen = OnnxSystem1(bundle), [np.zeros(1, np.float32)] * 6
    with pytest.raises(PolicyError, match=r"tiny: its bundle, of format 2, has no residual\.onnx; export it"):
        policy.residual(*seen)


def test_a_bundle_of_the_first_format_guides_by_the_cap_and_offers_no_more(first_format: Path) -> None:
    policy = OnnxSystem1(first_format)
    assert policy.capabilities == {"sampler", "guided"}
    noise, previous = np.zeros((4, 4), np.float32), np.full((4, 4), 0.25, np.float32)
    weights, context = np.ones(4, np.float32), conditioned(policy)
    plain = policy.sample(noise, context)
    chunk = policy.guided(noise, context, previous, weights, guidance_schedule(0.5, policy.steps))
    np.testing.assert_allclose(chunk, plain + 0.5 * (previous - plain), rtol=1e-5)
    with pytest.raises(PolicyError, match=r"format 1, has no velocity\.onnx; export it again"):
        policy.velocity(noise, weights, context)
    with pytest.raises(PolicyError, match=r"format 1, has no prefix\.onnx"):
        policy.sample_prefix(noise, previous, weights, context)


def test_the_same_input_gives_the_same_output_to_the_bit(bundle: Path, rng: np.random.Generator) -> None:
    noise = rng.standard_normal((4, 4), np.float32)
    chunks = [
        policy.sample(noise, conditioned(policy)) for policy in (OnnxSystem1(bundle), OnnxSystem1(bundle))
    ]
    assert chunks[0].tobytes() == chunks[1].tobytes()


@pytest.mark.parametrize("image", [np.zeros((7, 5, 3), np.uint8), np.zeros((5, 7, 3), np.float32)])
def test_an_image_that_does_not_fit_is_refused(bundle: Path, image: np.ndarray) -> None:
    with pytest.raises(PolicyError, match=r"image: expected uint8\[1, 5, 7, 3\], got"):
        OnnxSystem1(bundle).encode_wrist(image)


def test_a_wrong_latent_is_refused(bundle: Path) -> None:
    with pytest.raises(PolicyError, match=r"tokens: expected float32\[1, 2, 2, 3\]"):
        OnnxSystem1(bundle).condition(
            np.zeros((2, 2, 4), np.float32),
            np.zeros(2, np.float32),
            np.zeros((2, 1, 3), np.float32),
            np.zeros(9, np.float32),
        )


def test_a_graph_that_is_missing_is_named(graphs: Path, finish_bundle: Callable[..., Path]) -> None:
    (graphs / "guided.onnx").unlink()
    with pytest.raises(BundleError, match=r"'guided.onnx' is not listed"):
        OnnxSystem1(finish_bundle(graphs))


def test_a_graph_that_was_swapped_is_refused(bundle: Path) -> None:
    (bundle / "sampler.onnx").write_bytes((bundle / "guided.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"files\.sampler\.onnx: expected SHA-256"):
        OnnxSystem1(bundle)


def test_a_file_that_is_no_graph_is_refused(graphs: Path, finish_bundle: Callable[..., Path]) -> None:
    (graphs / "sampler.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"sampler\.onnx: not a graph that can be run"):
        OnnxSystem1(finish_bundle(graphs))


@pytest.mark.parametrize("name", ["sampler.onnx", "velocity.onnx", "prefix.onnx", "guided.onnx"])
def test_weights_that_are_not_finite_are_refused(
    graphs: Path, finish_bundle: Callable[..., Path], name: str
) -> None:
    model = onnx.load(graphs / name)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(np.nan, np.float32), "damaged"))
    last = model.graph.node[-1]
    made, last.output[0] = last.output[0], "whole"
    model.graph.node.append(onnx.helper.make_node("Add", ["whole", "damaged"], [made]))
    (graphs / name).write_bytes(model.SerializeToString())
    with pytest.raises(
        BundleError, match=rf"{name}: output '.*': expected finite numbers, got nan in 16 of 16 .* export it"
    ):
        OnnxSystem1(finish_bundle(graphs))


def test_graphs_in_each_others_place_are_refused(graphs: Path, finish_bundle: Callable[..., Path]) -> None:
    (graphs / "sampler.onnx").write_bytes((graphs / "guided.onnx").read_bytes())
    with pytest.raises(
        BundleError, match=r"sampler\.onnx: input 'guidance': expected none of that name, the graph"
    ):
        OnnxSystem1(finish_bundle(graphs))


def test_a_context_that_the_graph_does_not_make_is_named(
    graphs: Path, finish_bundle: Callable[..., Path]
) -> None:
    with pytest.raises(BundleError, match=r"condition\.onnx: output 'keys': expected .*, the graph has none"):
        OnnxSystem1(finish_bundle(graphs, context=("state", "keys")))


def test_a_bundle_without_context_is_refused(graphs: Path, finish_bundle: Callable[..., Path]) -> None:
    with pytest.raises(
        BundleError, match="expected an action, a sampler, a context and a latent tensor 'tokens'"
    ):
        OnnxSystem1(finish_bundle(graphs, context=()))


def test_a_wrist_graph_without_an_image_is_refused(graphs: Path, finish_bundle: Callable[..., Path]) -> None:
    (graphs / "wrist.onnx").write_bytes((graphs / "sampler.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"input 'image': expected uint8.*none of that name"):
        OnnxSystem1(finish_bundle(graphs))
