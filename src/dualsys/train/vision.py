"""Stage 1: System 2 learns to read a scene and an instruction.

Each image is encoded once and asked about with several instructions, so that what differs in the latent is
what the words single out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss

from dualsys.models.system2 import Reading, System2Net
from dualsys.train.loop import Stage, device

BATCH = 64
PEAK_RATE = 1.2e-3
POSITION_SCALE_M = 0.02
"""Position errors are measured in units of this; beyond it the loss grows linearly."""


@dataclass(frozen=True)
class VisionData:
    """Images, each with J instructions and what they mean there. Arrays may be memory-mapped.

    Attributes:
        images: uint8 `[N, h, w, 3]`.
        words: int16 `[N, J, max_words]`, 0 is padding.
        places: float32 `[N, J, 6]`: named object, then its goal, m, base frame; NaN where there is none.
        classes: int8 `[N, J, 5]`: present (0 or 1), task, direction, colour, shape.
    """

    images: NDArray[np.uint8]
    words: NDArray[np.int16]
    places: NDArray[np.float32]
    classes: NDArray[np.int8]

    @classmethod
    def load(cls, folder: Path) -> VisionData:
        """Memory-map `images.npy`, `words.npy`, `places.npy` and `classes.npy`."""
        names = ("images", "words", "places", "classes")
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names))


def reading_losses(reading: Reading, places: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Losses of the auxiliary heads, B instructions; places `[B, 6]`, NaN for none, classes `[B, 5]`."""

    def place(predicted: Tensor, truth: Tensor) -> Tensor:
        known = torch.isfinite(truth).all(dim=-1, keepdim=True)
        error = (predicted.float() - torch.where(known, truth, predicted.float())) / POSITION_SCALE_M
        return smooth_l1_loss(error, torch.zeros_like(error), reduction="sum") / known.sum().clamp(min=1)

    present, task, direction, colour, shape = classes.long().unbind(dim=-1)
    return {
        "position": place(reading.position, places[:, :3]),
        "goal": 0.5 * place(reading.goal, places[:, 3:]),
        "presence": binary_cross_entropy_with_logits(reading.presence.float(), present.float()),
        "task": 0.3 * cross_entropy(reading.task.float(), task),
        "direction": 0.3 * cross_entropy(reading.direction.float(), direction),
        "colour": 0.3 * cross_entropy(reading.colour.float(), colour),
        "shape": 0.3 * cross_entropy(reading.shape.float(), shape),
    }


def jitter_light(images: Tensor, strength: float = 0.15) -> Tensor:
    """Random brightness and tint of each image; uint8 in, uint8 out, `[B, h, w, 3]`."""
    gain = 1.0 + strength * (2.0 * torch.rand(images.shape[0], 1, 1, 3, device=images.device) - 1.0)
    return (images.float() * gain).clamp(0, 255).to(torch.uint8)


def train_system2(net: System2Net, data: VisionData, folder: Path, *, steps: int, seed: int) -> System2Net:
    """Train in place; returns the averaged network. Resumes from `folder/system2.pt`."""
    where = device()
    net.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    stage = Stage("system2", net, steps=steps, peak_rate=PEAK_RATE, folder=folder)
    count, variants = data.words.shape[:2]

    def loss_of(_: int) -> dict[str, Tensor]:
        rows = torch.randint(count, (BATCH,)).sort().values.numpy()
        images = jitter_light(torch.from_numpy(data.images[rows]).to(where))
        words = torch.from_numpy(data.words[rows].astype(np.int64)).to(where).flatten(0, 1)
        seen = [
            (key.repeat_interleave(variants, 0), value.repeat_interleave(variants, 0))
            for key, value in net.see(images)
        ]
        reading = net.reading(net.think(seen, words))
        places = torch.from_numpy(data.places[rows]).to(where).flatten(0, 1)
        classes = torch.from_numpy(data.classes[rows]).to(where).flatten(0, 1)
        return reading_losses(reading, places, classes)

    averaged = stage.run(loss_of, seed)
    assert isinstance(averaged, System2Net)
    return averaged


@torch.no_grad()
def reading_accuracy(net: System2Net, data: VisionData, rows: NDArray[np.int64]) -> dict[str, float]:
    """How well the heads read held-out images: position error quantiles in mm, error rates of the classes."""
    where = device()
    net.eval()
    distance, wrong = [], []
    for start in range(0, len(rows), 128):
        part = rows[start : start + 128]
        seen = net.see(torch.from_numpy(data.images[part]).to(where))
        variants = data.words.shape[1]
        seen = [
            (key.repeat_interleave(variants, 0), value.repeat_interleave(variants, 0)) for key, value in seen
        ]
        words = torch.from_numpy(data.words[part].astype(np.int64)).to(where).flatten(0, 1)
        reading = net.reading(net.think(seen, words))
        truth = torch.from_numpy(data.places[part]).to(where).flatten(0, 1)
        classes = torch.from_numpy(data.classes[part]).to(where).flatten(0, 1).long()
        error = (reading.position - truth[:, :3]).norm(dim=-1)
        distance.append(error[torch.isfinite(error)])
        heads = (reading.task, reading.direction, reading.colour, reading.shape)
        rates = [(reading.presence > 0).long() != classes[:, 0]]
        rates += [head.argmax(-1) != classes[:, 1 + index] for index, head in enumerate(heads)]
        wrong.append(torch.stack(rates, dim=-1).float())
    errors_mm = 1000 * torch.cat(distance)
    names = ("presence", "task", "direction", "colour", "shape")
    quantiles = {f"position_mm_p{q}": float(torch.quantile(errors_mm, q / 100)) for q in (50, 90, 99)}
    mean_rates = torch.cat(wrong).mean(dim=0)
    return quantiles | {f"{name}_error": float(rate) for name, rate in zip(names, mean_rates, strict=True)}
