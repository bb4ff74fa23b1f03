"""Stage 1: System 2 learns to read two views of panda-gym and an instruction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualsys.models.system2 import System2Net
from dualsys.robots.gymnasium import View
from dualsys.train.loop import Stage, device
from dualsys.train.panda_gym.pictures import camera_matrices
from dualsys.train.vision import (
    LOOK_SPREAD_PX,
    VisionData,
    draw_batch,
    jitter_light,
    look_loss,
    point_loss,
    reading_losses,
    with_nowhere,
)

BATCH = 16
PATCH_PX = 8


class Lookout:
    """Where two or more cameras, drawn side by side, see a place: what attention is taught.

    Args:
        client: PyBullet, for its camera matrices.
        views: Of each camera, from left to right.
        height_px, width_px: Size of one view.
    """

    def __init__(self, client: Any, views: tuple[View, ...], height_px: int, width_px: int) -> None:
        self._size = (height_px, width_px)
        self._matrices = []
        for view in views:
            look, lens = (
                np.array(matrix).reshape(4, 4).T
                for matrix in camera_matrices(client, view, width_px / height_px)
            )
            self._matrices.append(lens @ look)

    def pixels(self, places: NDArray[np.float32]) -> NDArray[np.float64]:
        """Row and column `[views, N, 2]` in each view, counted from its own corner, of places `[N, 3]`, m."""
        height, width = self._size
        points = np.concatenate([places, np.ones((len(places), 1), np.float32)], axis=1)
        clips = np.stack([points @ matrix.T for matrix in self._matrices])
        x, y = clips[..., 0] / clips[..., 3], clips[..., 1] / clips[..., 3]
        return np.stack([(1.0 - y) * height / 2, (x + 1.0) * width / 2], axis=-1)

    def targets(self, places: NDArray[np.float32]) -> NDArray[np.float32]:
        """Attention over the patches of the whole picture for places `[B, 6]`, m, NaN for none.

        Returns:
            float32 `[B, 2, patches]`, each row sums to 1; NaN rows where there is no place.
        """
        height, width = self._size
        pixels = self.pixels(places.reshape(-1, 3))
        half = PATCH_PX / 2
        rows, columns = np.mgrid[half:height:PATCH_PX, half:width:PATCH_PX]
        square = (rows - pixels[..., 0, None, None]) ** 2 + (columns - pixels[..., 1, None, None]) ** 2
        # [views, N, rows, columns] to rows of the whole picture, in which the views lie side by side.
        weight = np.exp(-square / (2 * LOOK_SPREAD_PX**2)).transpose(1, 2, 0, 3).reshape(len(places), 2, -1)
        targets: NDArray[np.float32] = (weight / weight.sum(axis=-1, keepdims=True)).astype(np.float32)
        return targets


def train_system2(
    net: System2Net,
    parts: list[VisionData],
    lookout: Lookout,
    folder: Path,
    *,
    steps: int,
    seed: int,
    rate: float,
) -> System2Net:
    """Train in place; returns the averaged network. Resumes from `folder/system2.pt`."""
    where = device()
    net.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    stage = Stage("system2", net, steps=steps, peak_rate=rate, folder=folder, averaging=0.995)

    def loss_of(_: int) -> dict[str, Tensor]:
        images, words, places, classes = (tensor.to(where) for tensor in draw_batch(parts, BATCH))
        looks: list[Tensor] = []
        latent = net.think(net.see(jitter_light(images)), words, looks)
        reading, pointed = net.reading(latent), net.pointed(latent)
        targets = torch.from_numpy(lookout.targets(places.cpu().numpy())).to(where)
        return reading_losses(reading, places, classes) | {
            "look": look_loss(looks, with_nowhere(targets, classes)),
            "point": point_loss(pointed, places),
        }

    averaged = stage.run(loss_of, seed)
    assert isinstance(averaged, System2Net)
    return averaged


@torch.no_grad()
def pointing_accuracy(net: System2Net, data: VisionData) -> dict[str, float]:
    """How far the pointers are from what the first instruction names, and from its goal: quantiles, mm."""
    where = device()
    net.eval()
    distances: tuple[list[Tensor], ...] = ([], [])
    for start in range(0, len(data.images), 128):
        rows = slice(start, start + 128)
        images, words = (torch.from_numpy(array[rows]).to(where) for array in (data.images, data.words[:, 0]))
        pointed = net.pointed(net.think(net.see(images), words.long())).cpu()
        places = torch.from_numpy(data.places[rows, 0]).reshape(-1, 2, 3)
        for index, found in enumerate(distances):
            known = torch.isfinite(places[:, index]).all(dim=-1)
            found.append((pointed[:, index] - places[:, index])[known].norm(dim=-1))
    return {
        f"{name}_mm_p{quantile}": 1000 * float(torch.quantile(torch.cat(found), quantile / 100))
        for name, found in zip(("position", "goal"), distances, strict=True)
        if sum(len(part) for part in found)
        for quantile in (50, 90, 99)
    }
