"""What is said of a System 2 that reads panda-gym."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium", reason="needs the extra gymnasium")

from dualsys.models import System2Config, System2Net
from dualsys.train.panda_gym.vision import pointing_accuracy
from dualsys.train.vision import VisionData


def test_pointers_are_judged_by_their_distance_from_what_there_is_in_mm() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    sizes = System2Config(
        vocabulary=4,
        max_words=2,
        tasks=2,
        directions=1,
        colours=1,
        shapes=1,
        height_px=16,
        width_px=32,
        width=16,
        queries=2,
        depth=1,
    )
    net = System2Net(sizes).eval()
    images = rng.integers(0, 256, (130, 16, 32, 3)).astype(np.uint8)
    words = np.array([[[1, 0], [2, 3]]] * len(images), np.int16)
    with torch.no_grad():
        pointed = net.pointed(net.think(net.see(torch.from_numpy(images)), torch.tensor([[1, 0]] * 130)))
    places = np.full((130, 2, 6), np.nan, np.float32)
    places[:, 0] = pointed.reshape(130, 6).numpy()
    places[:, 0, 1] += 0.004
    places[:10, 0, 4] += 0.1
    places[10:, 0, 5] -= 0.03
    classes = np.zeros((130, 2, 5), np.int8)
    accuracy = pointing_accuracy(net, VisionData(images, words, places, classes))
    assert list(accuracy) == [f"{name}_mm_p{q}" for name in ("position", "goal") for q in (50, 90, 99)]
    wanted = [4, 4, 4, 30, 30, 100]
    np.testing.assert_allclose(list(accuracy.values()), wanted, atol=0.01)
    places[:, 0, 3:] = np.nan
    assert "goal_mm_p50" not in pointing_accuracy(net, VisionData(images, words, places, classes))
