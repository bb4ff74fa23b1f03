"""`python -m dualsys.bench split`: what it costs to send features in place of images, and what becomes of the
latent.

An observation of each scene takes the whole way in one process: vision tower, codec, message, System 2. Times
are those that the thread has spent computing, so that other programs disturb them little.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.bench.bus_codecs import JPEG_QUALITIES, demo_scenes
from dualsys.bench.page import table
from dualsys.bus.codec import decode, encode
from dualsys.bus.latent_codec import CODECS
from dualsys.clock import NS_PER_MS, CpuClock
from dualsys.command_line import read
from dualsys.errors import DualsysError
from dualsys.fast.planner.observer import Observer
from dualsys.fast.planner.records import PlannerSettings
from dualsys.fast.policies.vision import OnnxVision
from dualsys.messages import Observation
from dualsys.slow.backends.onnx import OnnxLanguage, OnnxSystem2
from dualsys.slow.core import SlowCore

HEAD = ("what goes up", "bytes", "rms error of the latent", "worst", "least cosine", "edge", "System 2")

Scene = tuple[Mapping[str, NDArray[np.uint8]], str]


class SplitRow(msgspec.Struct, frozen=True):
    """One way to tell System 2 what the camera sees.

    Attributes:
        name: Such as `features, int8`.
        bytes: Of an observation, all of it, in the median.
        rms_error: Of the latent, against that of raw images: root of the mean of the squared differences,
            over that of the elements; in the median of the scenes.
        worst_error: The same of the worst scene.
        cosine: Least cosine between a token of either.
        edge_ms, system2_ms: Computing time for one observation, in the median: up to the frame that is sent,
            and from it on.
    """

    name: str
    bytes: int
    rms_error: float
    worst_error: float
    cosine: float
    edge_ms: float
    system2_ms: float


@dataclass(frozen=True)
class Options:
    """Measure bytes, errors and computing time of images and of features, over some scenes of the demo."""

    bundle: Path = Path("bundles/tabletop/system2")
    """Folder of a System 2 bundle with its two halves."""
    scenes: int = 24
    """How many scenes, none of which training has seen."""


def split_rows(bundle: Path, scenes: Sequence[Scene]) -> list[SplitRow]:
    """Every way to send what the camera sees; the first, raw images, is what the others are compared with.

    Raises:
        BundleError: The bundle is damaged or has no halves.
    """
    vision, whole, language = OnnxVision(bundle), OnnxSystem2(bundle), OnnxLanguage(bundle)
    ways = {"images, raw": PlannerSettings()}
    for quality in JPEG_QUALITIES:
        ways[f"images, JPEG {quality}"] = PlannerSettings(image_encoding="jpeg", jpeg_quality=quality)
    for codec in CODECS:
        ways[f"features, {codec}"] = PlannerSettings(features=vision.features, feature_codec=codec)
    rows: list[SplitRow] = []
    exact: NDArray[np.float64] | None = None
    for name, settings in ways.items():
        model = language if settings.features else whole
        core = SlowCore(model, feature_codec=settings.feature_codec)
        latents, sizes, times_ns = _sent(scenes, settings, core, vision)
        exact = latents if exact is None else exact
        rows.append(_row(name, latents, exact, sizes, times_ns))
    return rows


def _sent(
    scenes: Sequence[Scene], settings: PlannerSettings, core: SlowCore, vision: OnnxVision
) -> tuple[NDArray[np.float64], list[int], NDArray[np.int64]]:
    """Latents `[scenes, tokens, width]`, bytes, and times `[scenes, 2]` at the edge and at System 2, ns."""
    spec, clock = vision.specs.observation, CpuClock()
    state = np.zeros(spec.proprioception.shape, np.float32)
    observer = Observer(1, spec, settings)
    latents, sizes, times_ns = [], [], []
    for number, (images, words) in enumerate(scenes):
        begun_ns = clock.now_ns()
        shown = vision.encode(images) if settings.features else images
        frame = encode(observer.observe(number, shown, state, 0, words))
        sent_ns = clock.now_ns()
        packet = core.process(decode(frame, Observation))
        times_ns.append((sent_ns - begun_ns, clock.now_ns() - sent_ns))
        sizes.append(len(frame))
        latents.append(packet.tensors["tokens"].array().astype(np.float64))
    return np.stack(latents), sizes, np.array(times_ns, np.int64)


def _row(
    name: str,
    latents: NDArray[np.float64],
    exact: NDArray[np.float64],
    sizes: list[int],
    times_ns: NDArray[np.int64],
) -> SplitRow:
    errors = np.sqrt(((latents - exact) ** 2).mean(axis=(1, 2)) / (exact**2).mean(axis=(1, 2)))
    lengths = np.linalg.norm(latents, axis=-1) * np.linalg.norm(exact, axis=-1)
    edge_ns, system2_ns = np.median(times_ns, axis=0)
    return SplitRow(
        name,
        int(np.median(sizes)),
        float(np.median(errors)),
        float(errors.max()),
        float(((latents * exact).sum(axis=-1) / lengths).min()),
        float(edge_ns) / NS_PER_MS,
        float(system2_ns) / NS_PER_MS,
    )


def split_table(rows: Sequence[SplitRow]) -> str:
    """The rows in Markdown."""
    lines = [
        [
            row.name,
            f"{row.bytes:,}",
            f"{row.rms_error:.2g}",
            f"{row.worst_error:.2g}",
            f"{row.cosine:.6f}",
            f"{row.edge_ms:.1f} ms",
            f"{row.system2_ms:.1f} ms",
        ]
        for row in rows
    ]
    return table(HEAD, lines)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the table.

    Returns:
        Exit code: 0, or 2 after a fault that was printed.
    """
    options = read(Options, arguments, prog="python -m dualsys.bench split")
    try:
        print(split_table(split_rows(options.bundle, demo_scenes(max(1, options.scenes)))))
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
