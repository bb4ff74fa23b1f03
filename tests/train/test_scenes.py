"""Still scenes: pictures and instructions that belong together, the same for the same seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualsys.train import scenes
from dualsys.train.scenes import IMAGES_PER_SCENE, VARIANTS, make_scenes, vocabulary_list
from dualsys.train.variants import MAX_WORDS
from dualsys.train.vision import VisionData
from dualsys_sim import arena

FULL = ("images", "words", "places", "classes")


class InProcess:
    """A pool that does the work here and now."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.map = map

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to stop."""


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three scenes for each chunk of work, and no processes."""
    monkeypatch.setattr(scenes, "SCENES_PER_CHUNK", 3)
    monkeypatch.setattr(scenes, "ProcessPoolExecutor", InProcess)


def test_scenes_are_written_as_vision_data(tmp_path: Path) -> None:
    make_scenes(tmp_path / "made", 6, seed=70, workers=1)
    data = VisionData.load(tmp_path / "made")
    count = 6 * IMAGES_PER_SCENE
    assert data.images.shape == (count, 96, 128, 3)
    assert data.images.dtype == np.uint8
    assert data.words.shape == (count, VARIANTS, MAX_WORDS)
    assert data.places.shape == (count, VARIANTS, 6)
    assert data.classes.shape == (count, VARIANTS, 5)
    assert all(picture.std() > 5 for picture in data.images)
    assert 0 < data.words.max() < len(vocabulary_list())
    present = data.classes[..., 0] == 1
    assert np.isnan(data.places[~present]).all()
    named = data.places[present][:, :3]
    assert (np.abs(named[:, 1]) < arena.COMMAND_HIGH_M[1]).all()


def test_a_chunk_of_scenes_is_a_function_of_its_seed() -> None:
    one, again, other = (scenes._draw_chunk(0, seed) for seed in (70, 70, 71))
    for name in FULL:
        np.testing.assert_array_equal(one[name], again[name])
    assert (one["images"] != other["images"]).any()


def test_the_pictures_of_a_scene_differ() -> None:
    pictures = scenes._draw_chunk(0, 70)["images"].reshape(3, IMAGES_PER_SCENE, -1)
    for scene in pictures:
        assert len({picture.tobytes() for picture in scene}) == IMAGES_PER_SCENE


def test_scenes_that_are_there_are_kept(tmp_path: Path) -> None:
    (tmp_path / "classes.npy").write_bytes(b"kept")
    make_scenes(tmp_path, 6, seed=70, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["classes.npy"]


def test_padding_comes_first_in_the_vocabulary() -> None:
    words = vocabulary_list()
    assert words[0] == ""
    assert len(set(words)) == len(words)
