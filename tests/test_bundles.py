"""Manifests and the files that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dualsys.bundles import (
    FORMAT,
    Guidance,
    Manifest,
    Sampler,
    bundle_file,
    hash_files,
    load_manifest,
    weights_digest,
    write_manifest,
)
from dualsys.errors import BundleError
from dualsys.specs import ActionSpec, LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((96, 128, 3), "uint8")}, TensorSpec((9,), minimum=-1)),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((8, 128))}),
)
ACTION = ActionSpec("tool_velocity", ("x", "y", "z", "gripper"), 16, 40_000_000, (0.012, 0.012, 0.012, 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete System 2 bundle."""
    (tmp_path / "system2.onnx").write_bytes(b"graph")
    files = hash_files(tmp_path, ["system2.onnx"])
    manifest = Manifest(
        format=FORMAT,
        role="system2",
        name="small",
        specs=SPECS,
        weights=weights_digest(files),
        files=files,
        vocabulary=("", "push", "red"),
        max_words=12,
        training={"seed": 3, "scores": {"success": [0.5, 0.75]}},
    )
    write_manifest(tmp_path, manifest)
    return tmp_path


def change(folder: Path, **fields: Any) -> None:
    """Change fields of the manifest on disk; None deletes."""
    path = folder / "bundle.json"
    tree = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in tree.items() if value is not None}))


def refused(folder: Path, words: str, role: Any = "system2") -> None:
    with pytest.raises(BundleError, match=words) as caught:
        load_manifest(folder, role)
    assert str(folder / "bundle.json") in str(caught.value)


def test_a_manifest_is_read_as_it_was_written(folder: Path) -> None:
    manifest = load_manifest(str(folder), "system2")
    assert manifest.specs == SPECS
    assert manifest.specs.digest() == SPECS.digest()
    assert manifest.vocabulary == ("", "push", "red")
    assert manifest.training["scores"] == {"success": [0.5, 0.75]}
    assert bundle_file(folder, manifest, "system2.onnx") == folder / "system2.onnx"


def test_a_system1_manifest_says_what_its_chunks_are(folder: Path) -> None:
    manifest = msgspec.structs.replace(
        load_manifest(folder, "system2"),
        role="system1",
        action=ACTION,
        context=("keys", "values"),
        sampler=Sampler(5),
        guidance=Guidance(5.0),
        vocabulary=(),
        max_words=0,
    )
    write_manifest(folder, manifest)
    assert load_manifest(folder, "system1") == manifest
    change(folder, action=None)
    refused(folder, "action: missing", "system1")


def test_a_bundle_of_the_other_role_is_refused(folder: Path) -> None:
    refused(folder, "role: expected 'system1', got 'system2'; give the folder of a system1 bundle", "system1")


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_another_format_is_refused_before_anything_else(folder: Path, version: object) -> None:
    change(folder, format=version, unheard_of=1)
    refused(folder, f"format: expected 1 or 2, got {version!r}")


def test_a_missing_folder_is_named_with_a_remedy(tmp_path: Path) -> None:
    refused(tmp_path / "none", "cannot be read: No such file.*or export one")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
def test_a_malformed_manifest_is_refused(folder: Path, text: bytes) -> None:
    (folder / "bundle.json").write_bytes(text)
    refused(folder, r"bundle\.json: .*export the bundle again")


def test_an_unknown_field_is_refused(folder: Path) -> None:
    change(folder, surprise=1)
    refused(folder, "unknown field `surprise`")


def test_a_wrong_spec_is_refused_with_its_path(folder: Path) -> None:
    tree = json.loads((folder / "bundle.json").read_text())
    tree["specs"]["latent"]["tensors"]["tokens"]["dtype"] = "object"
    change(folder, **tree)
    refused(folder, r"dtype 'object' is not one of.*at `\$\.specs\.latent")


def test_a_swapped_file_is_refused(folder: Path) -> None:
    (folder / "system2.onnx").write_bytes(b"other graph")
    refused(folder, r"files\.system2\.onnx: expected SHA-256 .*damaged or was swapped")


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "system2.onnx").unlink()
    refused(folder, r"files\.system2\.onnx: cannot be read")


@pytest.mark.parametrize("name", ["../system2.onnx", "/etc/passwd", "a/b.onnx", "", ".hidden"])
def test_a_file_outside_the_folder_is_refused(folder: Path, name: str) -> None:
    change(folder, files={name: "0" * 64})
    refused(folder, "is not a plain file name")


def test_a_hash_that_is_none_is_refused(folder: Path) -> None:
    change(folder, files={"system2.onnx": "abc"})
    refused(folder, "'abc' is not a SHA-256")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"vocabulary": [""]}, "at least one word"),
        ({"vocabulary": ["", "Push"]}, "'Push' can never be said"),
        ({"vocabulary": ["", "two words"]}, "'two words' can never be said"),
        ({"vocabulary": ["", "red", "red"]}, "words twice: 'red'"),
        ({"max_words": 0}, "max_words: expected at least 1"),
    ],
)
def test_words_that_cannot_work_are_refused(folder: Path, fields: dict[str, Any], words: str) -> None:
    change(folder, **fields)
    refused(folder, words)


def test_a_file_that_is_not_listed_is_not_opened(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"'other\.onnx' is not listed \(listed: system2\.onnx\)"):
        bundle_file(folder, load_manifest(folder, "system2"), "other.onnx")


def test_the_weights_digest_depends_on_every_name_and_every_content() -> None:
    digests = [
        weights_digest(files)
        for files in ({"a": "1", "b": "2"}, {"a": "2", "b": "1"}, {"a": "1"}, {"b": "1"})
    ]
    assert len(set(digests)) == 4
    assert weights_digest({"b": "2", "a": "1"}) == digests[0]
