"""How large latents and images are in each codec, and how exact, on what the demo's System 2 makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.bus.codec import from_image, to_image
from dualsys.bus.latent_codec import CODECS, decode_latent, encode_latent
from dualsys.specs import LatentSpec, TensorSpec
from dualsys.twin.pool import require_simulator

FIRST_SEED = 10_000_000
"""Seed of the first scene: none that training has seen."""

JPEG_QUALITIES = (90, 80)


class CodecRow(msgspec.Struct, frozen=True):
    """One codec.

    Attributes:
        name: Of the codec.
        bytes: Of the tensors of a latent, or of an image.
        share: Of what it is without the codec.
        largest_error: Greatest difference of an element; of an image, in steps of 1/255.
        rms_error: Root of the mean of the squared differences, over that of the elements; of an image, in
            steps of 1/255.
        cosine: Least cosine between a token as it was and as it arrives; 1 for images.
    """

    name: str
    bytes: int
    share: float
    largest_error: float
    rms_error: float
    cosine: float


def demo_images(count: int) -> list[NDArray[np.uint8]]:
    """What the demo's fixed camera sees of some scenes, uint8 [height, width, 3].

    Raises:
        MissingExtraError: The simulator is not installed.
    """
    return [images["fixed"] for images, _ in demo_scenes(count)]


def shipped_latents(bundle: Path, count: int) -> list[NDArray[np.float32]]:
    """What the System 2 of a bundle makes of some scenes, float32 [tokens, width].

    Raises:
        MissingExtraError: The simulator is not installed.
        BundleError: The bundle is damaged or does not fit.
    """
    from dualsys.slow.backends.onnx import OnnxSystem2

    system2 = OnnxSystem2(bundle)
    state = np.zeros(system2.specs.observation.proprioception.shape, np.float32)
    return [
        np.asarray(system2.encode(images, state, words).tensors["tokens"], np.float32)
        for images, words in demo_scenes(count)
    ]


def demo_scenes(count: int) -> list[tuple[Mapping[str, NDArray[np.uint8]], str]]:
    """The fixed camera's image and the instruction of some scenes, of several tasks.

    Raises:
        MissingExtraError: The simulator is not installed.
    """
    require_simulator()
    from dualsys_sim.episode import make_episode
    from dualsys_sim.world import World

    tasks = ("touch", "pick", "place", "push")
    found: list[tuple[Mapping[str, NDArray[np.uint8]], str]] = []
    with World() as world:
        for index in range(count):
            episode = make_episode(tasks[index % len(tasks)], FIRST_SEED + index)
            world.reset(episode)
            found.append(({"fixed": world.render("fixed")}, episode.instruction))
    return found


def codec_rows(latents: Sequence[NDArray[np.float32]], image: NDArray[np.uint8]) -> list[CodecRow]:
    """Size and error of every codec of latents, then of images.

    Args:
        latents: float32 [tokens, width], at least one, all of one shape.
        image: uint8 [height, width, 3].
    """
    spec = LatentSpec("latent_sequence", {"tokens": TensorSpec(latents[0].shape)})
    exact = np.stack(latents).astype(np.float64)
    rows = []
    for codec in CODECS:
        parts = [encode_latent({"tokens": latent}, codec) for latent in latents]
        back = np.stack([decode_latent(one, codec, spec)["tokens"] for one in parts]).astype(np.float64)
        size = sum(len(part.data) for part in parts[0].values())
        norms = np.linalg.norm(exact, axis=-1) * np.linalg.norm(back, axis=-1)
        cosine = float((np.sum(exact * back, axis=-1) / norms).min())
        error = back - exact
        rms = float(np.sqrt(np.mean(error**2) / np.mean(exact**2)))
        rows.append(
            CodecRow(codec, size, size / latents[0].nbytes, float(np.abs(error).max()), rms, min(1.0, cosine))
        )
    return rows + [_image_row(image, quality) for quality in (None, *JPEG_QUALITIES)]


def _image_row(image: NDArray[np.uint8], quality: int | None) -> CodecRow:
    coded = to_image(image) if quality is None else to_image(image, "jpeg", quality)
    error = from_image(coded).astype(np.float64) - image
    name = "image, raw" if quality is None else f"image, JPEG {quality}"
    rms = float(np.sqrt(np.mean(error**2)))
    return CodecRow(
        name, len(coded.data), len(coded.data) / image.nbytes, float(np.abs(error).max()), rms, 1.0
    )
