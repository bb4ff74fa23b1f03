"""The vision tower of System 2 at the edge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.bundles import hash_files, load_manifest, write_manifest
from dualsys.errors import BundleError, PolicyError
from dualsys.fast.policies.vision import OnnxVision

MakeBundle = Callable[..., Path]


def test_it_makes_features_of_the_image(split_bundle: MakeBundle, rng: np.random.Generator) -> None:
    folder = split_bundle()
    vision, manifest = OnnxVision(folder), load_manifest(folder, "system2")
    assert (vision.specs, vision.weights) == (manifest.specs, manifest.weights)
    image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    made = vision.encode({"fixed": image})
    assert made.keys() == vision.features.keys() == {"fixed"}
    vision.features["fixed"].validate(made["fixed"], "features")
    np.testing.assert_allclose(made["fixed"], image.reshape(12, 12) / 255, rtol=1e-6)


def test_an_image_of_another_size_is_refused(split_bundle: MakeBundle) -> None:
    vision = OnnxVision(split_bundle())
    with pytest.raises(PolicyError, match=r"image: expected uint8\[1, 6, 8, 3\], got uint8\[1, 6, 9, 3\]"):
        vision.encode({"fixed": np.zeros((6, 9, 3), np.uint8)})


def test_a_bundle_without_halves_is_refused_with_what_to_do(split_bundle: MakeBundle) -> None:
    folder = split_bundle(without=("vision.onnx", "language.onnx"))
    with pytest.raises(BundleError, match=r"'vision\.onnx' is not listed.*dualsys export.*uplink to images"):
        OnnxVision(folder)


def test_a_tower_that_is_none_is_refused(split_bundle: MakeBundle) -> None:
    folder = split_bundle()
    manifest = load_manifest(folder, "system2")
    (folder / "vision.onnx").write_bytes((folder / "language.onnx").read_bytes())
    write_manifest(folder, msgspec.structs.replace(manifest, files=hash_files(folder, manifest.files)))
    with pytest.raises(BundleError, match=r"vision\.onnx: input 'features': expected none of that name"):
        OnnxVision(folder)
