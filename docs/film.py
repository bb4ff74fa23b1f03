"""Writes docs/images/demo.gif: episodes of the shipped systems in the twin, drawn for people.

Large, the table from the side, which no model sees. Small, the cameras that the models have: the fixed one of
System 2, and the one at the wrist, of System 1. Time passes as `configs/tabletop.yaml` has it: System 2 is
200 ms late at 5 Hz, and a plan takes 60 ms. `python docs/film.py`, with the extra `sim`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dualsys.config import load_config
from dualsys.twin.episode import run_episode
from dualsys.twin.evaluate import settings_of, source_of
from dualsys_sim.cameras import CameraPose
from dualsys_sim.episode import make_episode
from dualsys_sim.world import World

ROOT: Final = Path(__file__).resolve().parents[1]
TARGET: Final = ROOT / "docs/images/demo.gif"
SIDE: Final = CameraPose((1.22, -0.70, 0.70), (0.34, 0.0, 0.23), 44.0)
SIDE_SHAPE: Final = (320, 420, 3)
SMALL_PX: Final = 142
"""Height of the two small pictures."""
LABEL_PX: Final = 18
LABELS: Final = ("System 2 sees", "System 1 sees")
CAPTION_PX: Final = 26
EVERY: Final = 2
"""Of the images of the wrist camera, 25 in a second, every so many are shown."""
FRAME_MS: Final = 80
LINGER_MS: Final = 900
"""How long the last picture of an episode stays."""
COLOURS: Final = 255

Picture = NDArray[np.uint8]


class Watcher:
    """The camera of the models, which keeps a picture for people besides.

    Attributes:
        pictures: uint8 `[h, w, 3]`, in order.
    """

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self._fixed: Picture | None = None
        self._count = 0

    def __call__(self, world: World, name: str) -> Picture:
        """The image of a camera of the world."""
        image = world.render(name)
        if name != "wrist":
            self._fixed = image
        else:
            self._count += 1
            if self._count % EVERY == 1:
                self._keep(world, image)
        return image

    def _keep(self, world: World, wrist: Picture) -> None:
        fixed = world.render("fixed") if self._fixed is None else self._fixed
        # Drawn at twice the size and made smaller: the renderer does not smooth edges.
        height, width, _ = SIDE_SHAPE
        side = Image.fromarray(world.photograph(SIDE, (2 * height, 2 * width, 3)))
        column_px = SMALL_PX * fixed.shape[1] // fixed.shape[0]
        whole = Image.new("RGB", (width + column_px, height), "black")
        whole.paste(side.resize((width, height), Image.Resampling.LANCZOS), (0, 0))
        for row, (small, label) in enumerate(zip((fixed, wrist), LABELS, strict=True)):
            small_px = SMALL_PX * small.shape[1] // small.shape[0]
            enlarged = Image.fromarray(small).resize((small_px, SMALL_PX), Image.Resampling.NEAREST)
            left, top = width + (column_px - small_px) // 2, row * (SMALL_PX + LABEL_PX)
            whole.paste(enlarged, (left, top + LABEL_PX))
            ImageDraw.Draw(whole).text((width + 6, top), label, "white", ImageFont.load_default(13))
        self.pictures.append(np.asarray(whole))


def captioned(pictures: list[Picture], text: str) -> Iterator[Image.Image]:
    """The pictures with a line below."""
    font = ImageFont.load_default(15)
    for picture in pictures:
        height, width, _ = picture.shape
        whole = Image.new("RGB", (width, height + CAPTION_PX), "black")
        whole.paste(Image.fromarray(picture), (0, 0))
        ImageDraw.Draw(whole).text((8, height + 4), text, "white", font)
        yield whole


def film(task: str, seed: int) -> list[Image.Image]:
    """One episode.

    Raises:
        SystemExit: It failed; a film of a failure is not what this is for.
    """
    config = load_config(ROOT / "configs/tabletop.yaml")
    watcher, episode = Watcher(), make_episode(task, seed)
    parts = replace(source_of(config, scripted=False).load(), camera=watcher)
    with World() as world:
        result = run_episode(parts, world, episode, settings_of(config))
    if not result.success:
        raise SystemExit(f"{task}, seed {seed}: not a success: {result.reason}; take another seed")
    return list(captioned(watcher.pictures, f'"{episode.instruction}"'))


def task_and_seed(text: str) -> tuple[str, int]:
    """Take `place:10000` apart. Raises ValueError, which the parser tells, for anything else."""
    task, seed = text.split(":")
    return task, int(seed)


def main() -> None:
    """Write the film."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--episodes",
        nargs="+",
        type=task_and_seed,
        default=[("place", 10000), ("around", 10001), ("conveyor", 10002)],
        metavar="TASK:SEED",
    )
    parser.add_argument("--output", type=Path, default=TARGET)
    options = parser.parse_args()
    frames: list[Image.Image] = []
    durations_ms: list[int] = []
    for task, seed in options.episodes:
        found = film(task, seed)
        frames += found
        durations_ms += [FRAME_MS] * (len(found) - 1) + [LINGER_MS]
    palette = [frame.quantize(COLOURS, dither=Image.Dither.NONE) for frame in frames]
    palette[0].save(
        options.output, save_all=True, append_images=palette[1:], duration=durations_ms, loop=0, optimize=True
    )
    print(f"{options.output}: {len(frames)} pictures, {options.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
