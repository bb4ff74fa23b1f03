"""System 2 from a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from dualsys.bundles import MANIFEST, Manifest, hash_files, load_manifest, write_manifest
from dualsys.errors import BundleError, InstructionError, PolicyError
from dualsys.messages import Observation
from dualsys.slow.backend import System2Input
from dualsys.slow.backends.onnx import OnnxLanguage, OnnxSystem2
from dualsys.slow.core import SlowCore

MakeBundle = Callable[..., Path]
STATE = np.zeros(9, np.float32)


def grey(level: int) -> dict[str, np.ndarray]:
    return {"fixed": np.full((6, 8, 3), level, np.uint8)}


def test_image_and_words_reach_the_graph(make_bundle: MakeBundle) -> None:
    system2 = OnnxSystem2(make_bundle())
    tokens = system2.encode(grey(255), STATE, "block").tensors["tokens"]
    np.testing.assert_allclose(tokens, np.full((2, 4), 4 + 1.0), rtol=1e-6)
    assert tokens.dtype == np.float32
    tokens = system2.encode(grey(51), STATE, "Push the block").tensors["tokens"]
    np.testing.assert_allclose(tokens, np.full((2, 4), 1 + 0.2), rtol=1e-6)


def test_what_the_model_believes_is_told_in_words(make_bundle: MakeBundle) -> None:
    system2 = OnnxSystem2(make_bundle())
    seen = system2.encode(grey(255), STATE, "push").text
    assert seen == "object at (1.000, 1.000, 1.000) m, goal (1.000, 1.000, 1.000) m"
    assert system2.encode(grey(51), STATE, "push").text == "nothing in view fits 'push' (probability 0.20)"


def test_there_is_something_to_do_only_if_what_is_named_is_in_view(make_bundle: MakeBundle) -> None:
    system2 = OnnxSystem2(make_bundle())
    assert system2.encode(grey(255), STATE, "push").act
    assert not system2.encode(grey(51), STATE, "push").act


def test_it_introduces_itself_as_its_manifest_says(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    system2, manifest = OnnxSystem2(folder), load_manifest(folder, "system2")
    assert (system2.name, system2.weights, system2.specs) == ("tiny", manifest.weights, manifest.specs)
    assert system2.words == ("block", "push", "red", "the")


def test_several_robots_share_one_pass_and_each_gets_its_own_latent(make_bundle: MakeBundle) -> None:
    system2 = OnnxSystem2(make_bundle(batch="batch"))
    assert system2.batch_sizes(3) == (1, 2, 3)
    said = ["block", "push the block", "red"]
    inputs = [System2Input(grey(level), STATE, text) for level, text in zip([255, 51, 0], said, strict=True)]
    outputs = system2.encode_batch(inputs)
    for output, expected in zip(outputs, [5.0, 1.2, 3.0], strict=True):
        np.testing.assert_allclose(output.tensors["tokens"], np.full((2, 4), expected), rtol=1e-6)
    assert [output.text.split(" (")[0] for output in outputs] == [
        "object at",
        "nothing in view fits 'push the block'",
        "nothing in view fits 'red'",
    ]
    assert system2.encode(grey(51), STATE, "push the block").text == outputs[1].text
    with pytest.raises(InstructionError, match="unknown words: lift"):
        system2.encode_batch([*inputs, System2Input(grey(0), STATE, "lift")])


def test_the_graph_of_an_older_bundle_takes_one_robot_at_a_time(make_bundle: MakeBundle) -> None:
    system2 = OnnxSystem2(make_bundle())
    assert system2.batch_sizes(8) == (1,)
    with pytest.raises(PolicyError, match="'tiny' failed"):
        system2.encode_batch([System2Input(grey(0), STATE, "push")] * 2)


def test_a_graph_whose_batch_is_open_on_one_side_only_is_refused(make_bundle: MakeBundle) -> None:
    folder = make_bundle(batch="batch")
    path = folder / "system2.onnx"
    model = onnx.load(path)
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 1
    path.write_bytes(model.SerializeToString())
    files = hash_files(folder, ["system2.onnx"])
    write_manifest(folder, msgspec.structs.replace(load_manifest_unchecked(folder), files=files))
    with pytest.raises(BundleError, match=r"words: expected .*'batch', 5.* the graph has .*\(1, 5\)"):
        OnnxSystem2(folder)


def load_manifest_unchecked(folder: Path) -> Manifest:
    """The manifest of a bundle whose files are other ones by now."""
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)


def test_unknown_words_are_refused(make_bundle: MakeBundle) -> None:
    system2 = OnnxSystem2(make_bundle())
    system2.check_instruction("push the red block")
    for ask in (system2.check_instruction, lambda text: system2.encode(grey(0), STATE, text)):
        with pytest.raises(InstructionError, match="unknown words: lift"):
            ask("lift the block")


def test_the_core_runs_it(make_bundle: MakeBundle, observe: Callable[..., Observation]) -> None:
    packet = SlowCore(OnnxSystem2(make_bundle())).process(observe(grey=255))
    np.testing.assert_allclose(packet.tensors["tokens"].array(), np.full((2, 4), 2.0), rtol=1e-6)


def test_the_language_half_makes_of_features_what_the_whole_makes_of_the_image(
    split_bundle: MakeBundle, rng: np.random.Generator
) -> None:
    folder = split_bundle()
    whole, language = OnnxSystem2(folder), OnnxLanguage(folder)
    image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    features = (image.astype(np.float32) / 255).reshape(12, 12)
    assert {name: spec.shape for name, spec in language.features.items()} == {"fixed": (12, 12)}
    assert (language.weights, language.specs) == (whole.weights, whole.specs)
    ours = language.encode({"fixed": features}, STATE, "the block")
    theirs = whole.encode({"fixed": image}, STATE, "the block")
    np.testing.assert_allclose(ours.tensors["tokens"], theirs.tensors["tokens"], rtol=1e-6)
    np.testing.assert_allclose(ours.tensors["tokens"], 2 + image.mean() / 255, rtol=1e-6)
    assert ours.text == theirs.text


def test_a_bundle_without_halves_runs_whole_and_is_refused_for_features_with_what_to_do(
    split_bundle: MakeBundle,
) -> None:
    folder = split_bundle(without=("vision.onnx", "language.onnx"))
    OnnxSystem2(folder).encode(grey(51), STATE, "push")
    with pytest.raises(
        BundleError, match=r"'language\.onnx' is not listed.*dualsys export.*uplink to images"
    ):
        OnnxLanguage(folder)


def test_a_language_half_without_features_is_refused(split_bundle: MakeBundle) -> None:
    folder = split_bundle()
    manifest = load_manifest(folder, "system2")
    (folder / "language.onnx").write_bytes((folder / "system2.onnx").read_bytes())
    write_manifest(folder, msgspec.structs.replace(manifest, files=hash_files(folder, manifest.files)))
    with pytest.raises(BundleError, match=r"features: expected \(batch, tokens, width\),.* nothing of"):
        OnnxLanguage(folder)


def test_a_graph_for_another_image_size_is_refused(make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match=r"system2\.onnx: image: expected .*\(1, 6, 8, 3\).*\(1, 6, 9, 3\)"):
        OnnxSystem2(make_bundle(width=9))


def test_a_graph_without_the_promised_latent_is_refused(make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match=r"tokens: expected .* the graph has nothing of that name"):
        OnnxSystem2(make_bundle(output="features"))


def test_more_than_one_camera_is_refused(make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match="expected one camera, got fixed, wrist"):
        OnnxSystem2(make_bundle(cameras=("fixed", "wrist")))


def test_a_file_that_is_no_graph_is_refused(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    manifest = load_manifest(folder, "system2")
    (folder / "system2.onnx").write_bytes(b"no graph")
    write_manifest(folder, msgspec.structs.replace(manifest, files=hash_files(folder, ["system2.onnx"])))
    with pytest.raises(BundleError, match="not a graph that can be run"):
        OnnxSystem2(folder)


def damage(folder: Path, name: str, word: int) -> None:
    """Give each word of a graph a weight that `goal` depends on; that of one word is not a number."""
    path, manifest = folder / name, load_manifest_unchecked(folder)
    model = onnx.load(path)
    rows, helper = np.zeros(len(manifest.vocabulary), np.float32), onnx.helper
    rows[word] = np.nan
    for constant, array in (("rows", rows), ("along_words", np.array([1]))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, constant))
    next(node for node in model.graph.node if node.output[0] == "goal").output[0] = "whole"
    model.graph.node.extend(
        [
            helper.make_node("Gather", ["rows", "words"], ["picked"]),
            helper.make_node("ReduceSum", ["picked", "along_words"], ["summed"], keepdims=1),
            helper.make_node("Add", ["whole", "summed"], ["goal"]),
        ]
    )
    path.write_bytes(model.SerializeToString())
    write_manifest(folder, msgspec.structs.replace(manifest, files=hash_files(folder, manifest.files)))


@pytest.mark.parametrize("word", range(5))
@pytest.mark.parametrize(("half", "name"), [(OnnxSystem2, "system2.onnx"), (OnnxLanguage, "language.onnx")])
def test_a_weight_that_is_not_a_number_is_refused_at_load_whichever_word_it_belongs_to(
    split_bundle: MakeBundle, half: type[OnnxSystem2 | OnnxLanguage], name: str, word: int
) -> None:
    folder = split_bundle()
    half(folder)
    damage(folder, name, word)
    said = repr(load_manifest(folder, "system2").vocabulary[word])
    expected = rf"{name}: output 'goal': expected finite .* nan in 3 of 3 .* words .*{said}.* export it again"
    with pytest.raises(BundleError, match=expected):
        half(folder)


@pytest.mark.parametrize(
    ("word", "said"), [(4, "'', .*'word4'"), (5, "'word5', .*'word9'"), (12, "'word10', 'word11', 'word12'")]
)
def test_more_words_than_one_instruction_holds_are_tried_in_several(
    make_bundle: MakeBundle, word: int, said: str
) -> None:
    folder = make_bundle()
    vocabulary = ("", *(f"word{number}" for number in range(1, 13)))
    write_manifest(folder, msgspec.structs.replace(load_manifest_unchecked(folder), vocabulary=vocabulary))
    OnnxSystem2(folder)
    damage(folder, "system2.onnx", word)
    with pytest.raises(BundleError, match=f"from nothing seen and the words {said}; its weights"):
        OnnxSystem2(folder)


def test_a_failure_of_the_runtime_is_a_policy_error(make_bundle: MakeBundle) -> None:
    system2 = OnnxSystem2(make_bundle())
    with pytest.raises(PolicyError, match="System 2 'tiny' failed"):
        system2.encode({"fixed": np.zeros((5, 5, 3), np.uint8)}, STATE, "push")
