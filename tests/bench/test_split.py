"""The benchmark of features in place of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dualsys.bench import split
from dualsys.bench.split import split_rows, split_table
from dualsys.bus.latent_codec import CODECS


def test_every_way_to_send_a_scene_is_compared_with_raw_images(
    split_bundle: Callable[..., Path], rng: np.random.Generator
) -> None:
    images = [rng.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(3)]
    rows = split_rows(split_bundle(), [({"fixed": image}, "push the block") for image in images])
    found = {row.name: row for row in rows}
    ways = ["images, raw", "images, JPEG 90", "images, JPEG 80"]
    assert list(found) == [*ways, *(f"features, {codec}" for codec in CODECS)]
    assert found["images, raw"].worst_error == 0
    # 144 features of this double for 144 bytes of pixels.
    growth = found["features, float32"].bytes - found["features, float16"].bytes
    assert growth == 2 * 144
    assert found["features, float32"].worst_error < 1e-6
    assert 0 < found["features, float16"].worst_error <= 2.0**-11
    assert found["images, JPEG 80"].worst_error > found["features, int8"].worst_error
    assert all(row.edge_ms > 0 and row.system2_ms > 0 for row in rows)
    assert "| features, int8 | " in split_table(rows)


def test_a_bundle_without_halves_is_told(
    split_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(split, "demo_scenes", lambda _: [])
    old = split_bundle(without=("vision.onnx", "language.onnx"))
    assert split.main(["--bundle", str(old)]) == 2
    assert "'vision.onnx' is not listed" in capsys.readouterr().err
