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
from dualsys_sim.cameras import FIXED_CAMERA, FIXED_SHAPE, fixed_view, projection

BATCH = 64
QUESTIONS = 4
"""Instructions asked of each image of a batch."""
PEAK_RATE = 1.2e-3
POSITION_SCALE_M = 0.02
"""Position errors are measured in units of this; beyond it the loss grows linearly."""
FALLEN_M = -0.05
"""Height below which an object is no longer on the table."""
PRESENCE_WEIGHT = 2.0
"""Weight of the loss on whether the named object is there: the arm must not stir if it is not."""
KIND_SHARE = 0.5
"""Weight of the loss on what is seen where the named object is."""
SHIFT_PX = 1
"""Images are shifted by up to so much each way, as a camera that is turned by half a degree would see it."""


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


LOOK_SPREAD_PX = 6.0
"""Attention is taught as a Gaussian of this width around where an object appears."""


def look_targets(places: NDArray[np.float32], height_px: int, width_px: int) -> NDArray[np.float32]:
    """Where the fixed camera sees each place, as attention over its 8-pixel patches.

    Args:
        places: float32 `[B, 6]`, two positions, m, base frame; NaN for none.
        height_px, width_px: Image size.

    Returns:
        float32 `[B, 2, patches]`, each row sums to 1; NaN rows where there is no place in view.
    """
    view = np.array(fixed_view(FIXED_CAMERA)).reshape(4, 4).T
    lens = np.array(projection(FIXED_SHAPE, FIXED_CAMERA.fov_deg, 0.2, 2.5)).reshape(4, 4).T
    points = np.concatenate([places.reshape(-1, 2, 3), np.ones((len(places), 2, 1), np.float32)], axis=-1)
    clip = points @ (lens @ view).T
    x_px = (clip[..., 0] / clip[..., 3] + 1.0) * width_px / 2
    y_px = (1.0 - clip[..., 1] / clip[..., 3]) * height_px / 2
    rows, columns = np.mgrid[4:height_px:8, 4:width_px:8]
    square = (rows.ravel() - y_px[..., None]) ** 2 + (columns.ravel() - x_px[..., None]) ** 2
    weight = np.exp(-square / (2 * LOOK_SPREAD_PX**2))
    total = weight.sum(axis=-1, keepdims=True)
    targets: NDArray[np.float32] = np.where(total > 0.05, weight / np.maximum(total, 0.05), np.nan).astype(
        np.float32
    )
    return targets


def with_nowhere(targets: Tensor, classes: Tensor) -> Tensor:
    """Attention `[B, 2, M]` over image tokens as `[B, 2, M + 1]`: for what is absent, the last token."""
    wider = torch.nn.functional.pad(targets, (0, 1))
    absent = classes[:, 0] == 0
    wider[absent, 0] = 0.0
    wider[absent, 0, -1] = 1.0
    return wider


def look_loss(looks: list[Tensor], targets: Tensor) -> Tensor:
    """Cross-entropy of where the pointing heads look, scores `[B, 2, M]` per block, and where they should."""
    known = torch.isfinite(targets).all(dim=-1)
    truth = torch.where(known.unsqueeze(-1), targets, torch.zeros_like(targets))
    terms = [-(truth * torch.log_softmax(scores.float(), dim=-1)).sum() for scores in looks]
    return torch.stack(terms).sum() / (known.sum().clamp(min=1) * len(looks))


def place_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Smooth L1 of positions `[B, 3]`, in units of `POSITION_SCALE_M`, over those that exist (not NaN).

    An object that has fallen off the table is left out.
    """
    known = torch.isfinite(truth).all(dim=-1, keepdim=True) & (truth[:, 2:] > FALLEN_M)
    error = (predicted.float() - torch.where(known, truth, predicted.float())) / POSITION_SCALE_M
    return smooth_l1_loss(error, torch.zeros_like(error), reduction="sum") / known.sum().clamp(min=1)


def point_loss(pointed: Tensor, places: Tensor) -> Tensor:
    """Errors of the places `[B, 2, 3]` that the pointing heads tell, of `[B, 6]`; see `place_loss`."""
    named, goal = place_loss(pointed[:, 0], places[:, :3]), place_loss(pointed[:, 1], places[:, 3:])
    return 0.5 * named + 0.25 * goal


def kind_loss(net: System2Net, tokens: Tensor, targets: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of the colour and the shape that are seen where the named objects are.

    Args:
        net: System 2.
        tokens: Image tokens `[N, M, width]`.
        targets: Where the named object of each of B instructions appears, `[B, M]`; NaN if nowhere.
        classes: `[B, 5]`, see `VisionData`.
    """
    known = torch.isfinite(targets).all(dim=-1) & (classes[:, 0] == 1)
    rows = known.nonzero().squeeze(-1)
    if len(rows) == 0:
        return tokens.new_zeros(())
    images = rows // (len(targets) // len(tokens))
    seen = torch.einsum("bm,bmd->bd", targets[rows].to(tokens.dtype), tokens[images])
    colour, shape = net.kinds(seen)
    truth = classes[rows].long()
    return cross_entropy(colour.float(), truth[:, 3]) + cross_entropy(shape.float(), truth[:, 4])


def reading_losses(reading: Reading, places: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Losses of the auxiliary heads, B instructions; places `[B, 6]`, NaN for none, classes `[B, 5]`."""
    present, task, direction, colour, shape = classes.long().unbind(dim=-1)
    return {
        "position": place_loss(reading.position, places[:, :3]),
        "goal": 0.5 * place_loss(reading.goal, places[:, 3:]),
        "presence": PRESENCE_WEIGHT
        * binary_cross_entropy_with_logits(reading.presence.float(), present.float()),
        "task": 0.3 * cross_entropy(reading.task.float(), task),
        "direction": 0.3 * cross_entropy(reading.direction.float(), direction),
        "colour": 0.3 * cross_entropy(reading.colour.float(), colour),
        "shape": 0.3 * cross_entropy(reading.shape.float(), shape),
    }


def jitter_light(images: Tensor, strength: float = 0.15) -> Tensor:
    """Random brightness and tint of each image; uint8 in, uint8 out, `[B, h, w, 3]`."""
    gain = 1.0 + strength * (2.0 * torch.rand(images.shape[0], 1, 1, 3, device=images.device) - 1.0)
    return (images.float() * gain).clamp(0, 255).to(torch.uint8)


def jitter_view(images: Tensor) -> Tensor:
    """Each image `[B, h, w, 3]` shifted by a few pixels; its border is repeated."""
    height, width = images.shape[1:3]
    down, right = torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2, len(images), 1))
    rows = (torch.arange(height) + down).clamp(0, height - 1).to(images.device)
    columns = (torch.arange(width) + right).clamp(0, width - 1).to(images.device)
    chosen = torch.arange(len(images), device=images.device)
    return images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]


def draw_batch(parts: list[VisionData], size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images `[size, h, w, 3]`, and words, places and classes of `QUESTIONS` instructions of each.

    Every part is as likely as another, whatever its size; randomness comes from torch's generator.
    """
    counts = torch.bincount(torch.randint(len(parts), (size,)), minlength=len(parts)).tolist()
    drawn = []
    for part, count in zip(parts, counts, strict=True):
        if count:
            rows = torch.randint(len(part.images), (count,)).sort().values.numpy()
            columns = torch.rand(count, part.words.shape[1]).argsort(dim=1)[:, :QUESTIONS].numpy()
            at = (rows[:, None], columns)
            words = part.words[at].astype(np.int64)
            drawn.append((part.images[rows], words, part.places[at], part.classes[at]))
    images, words, places, classes = (
        torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*drawn, strict=True)
    )
    return images, words.flatten(0, 1), places.flatten(0, 1), classes.flatten(0, 1)


def train_system2(
    net: System2Net,
    parts: list[VisionData],
    folder: Path,
    *,
    steps: int,
    seed: int,
    name: str = "system2",
    peak_rate: float = PEAK_RATE,
) -> System2Net:
    """Train in place; returns the averaged network. Resumes from `folder/<name>.pt`."""
    where = device()
    net.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    stage = Stage(name, net, steps=steps, peak_rate=peak_rate, folder=folder)

    def loss_of(_: int) -> dict[str, Tensor]:
        images, words, places, classes = (tensor.to(where) for tensor in draw_batch(parts, BATCH))
        tokens = net.vision(jitter_view(jitter_light(images)))
        seen = net.index(tokens)
        looks: list[Tensor] = []
        latent = net.think(seen, words, looks)
        reading, pointed = net.reading(latent), net.pointed(latent)
        size = net.config
        targets = torch.from_numpy(look_targets(places.cpu().numpy(), size.height_px, size.width_px)).to(
            where
        )
        return reading_losses(reading, places, classes) | {
            "look": look_loss(looks, with_nowhere(targets, classes)),
            "kind": KIND_SHARE * kind_loss(net, tokens, targets[:, 0], classes),
            "point": point_loss(pointed, places),
        }

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
