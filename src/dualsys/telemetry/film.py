"""The film of a run: fixed and wrist camera side by side, the instruction below."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualsys.clock import NS_PER_S
from dualsys.telemetry.extras import figure, optional
from dualsys.telemetry.recording import FrameEntry, Record, Recording

_HEIGHT = 384
_CAPTION_HEIGHT = 40
_GAP = 8

Image = NDArray[np.uint8]


def write_film(recording: Recording, frames_hz: float) -> Path | None:
    """Write `episode.mp4` (H.264, yuv420p), at the speed of the run. None if the fixed camera saw nothing.

    Raises:
        MissingExtraError: PyAV or matplotlib is not installed.
    """
    av = optional("av", "episode.mp4")
    pictures = compose(recording, frames_hz)
    first = next(pictures, None)
    if first is None:
        return None
    target = recording.path / "episode.mp4"
    rate = Fraction(frames_hz).limit_denominator(1000)
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20"})
        stream.height, stream.width, stream.pix_fmt = first.shape[0], first.shape[1], "yuv420p"
        for picture in chain([first], pictures):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return target


def compose(recording: Recording, frames_hz: float) -> Iterator[Image]:
    """Pictures of constant size at constant rate: at each instant the newest image of each camera.

    Args:
        recording: Where the images are.
        frames_hz: Pictures per second.

    Yields:
        uint8 `[height, width, 3]` with even height and width.
    """
    fixed, wrist = (_Reel(recording, camera) for camera in ("fixed", "wrist"))
    captions = [event for event in recording.events if event["kind"] in ("episode", "instruction", "verdict")]
    if not fixed.entries:
        return
    begun_ns = next((event["t_ns"] for event in captions), 0)
    start_ns, end_ns = max(fixed.entries[0].t_ns, begun_ns), fixed.entries[-1].t_ns
    gap = np.zeros((_HEIGHT, _GAP, 3), np.uint8)
    for now_ns in range(start_ns, end_ns + 1, round(NS_PER_S / frames_hz)):
        row = np.concatenate([fixed.at(now_ns), gap, wrist.at(now_ns)], axis=1)
        caption = _caption(
            _caption_text([event for event in captions if event["t_ns"] <= now_ns]), row.shape[1]
        )
        picture = np.concatenate([row, caption])
        # yuv420p halves the colour planes: both sides must be even.
        yield picture[:, : picture.shape[1] // 2 * 2]


class _Reel:
    """The images of one camera, enlarged to the height of the film; black before the first."""

    def __init__(self, recording: Recording, camera: str) -> None:
        self.entries = [entry for entry in recording.frames if entry.camera == camera]
        self._stamps_ns = [entry.t_ns for entry in self.entries]
        self._recording = recording
        self._shown: FrameEntry | None = None
        self._image = np.zeros((_HEIGHT, _HEIGHT, 3), np.uint8)

    def at(self, now_ns: int) -> Image:
        index = bisect_right(self._stamps_ns, now_ns) - 1
        if index >= 0 and self.entries[index] is not self._shown:
            self._shown = self.entries[index]
            self._image = _enlarged(self._recording.image(self._shown))
        elif index < 0 and self.entries and self._shown is None:
            # The width of the film must not change when the first image comes.
            self._image = np.zeros_like(_enlarged(self._recording.image(self.entries[0])))
        return self._image


def _enlarged(image: Image) -> Image:
    """Nearest neighbours, to `_HEIGHT` rows."""
    height, width = image.shape[:2]
    rows = np.arange(_HEIGHT) * height // _HEIGHT
    columns = np.arange(width * _HEIGHT // height) * height // _HEIGHT
    enlarged: Image = image[rows[:, None], columns[None, :]]
    return enlarged


def _caption_text(events: list[Record]) -> str:
    instruction, episode, result = "", 0, ""
    for event in events:
        if event["kind"] == "episode":
            instruction, episode, result = event["instruction"], event["episode"], ""
        elif event["kind"] == "instruction":
            instruction = event["instruction"]
        else:
            result = event["result"]
    return f"episode {episode}: {instruction}{'  [' + result + ']' if result else ''}"


@lru_cache(maxsize=32)
def _caption(text: str, width: int) -> Image:
    drawn = figure(width / 100, _CAPTION_HEIGHT / 100, "episode.mp4")
    drawn.patch.set_facecolor("black")
    drawn.text(0.015, 0.5, text, color="white", fontsize=11, va="center", parse_math=False)
    drawn.canvas.draw()
    pixels: Image = np.asarray(drawn.canvas.buffer_rgba(), np.uint8)[..., :3]
    caption = np.zeros((_CAPTION_HEIGHT, width, 3), np.uint8)
    rows, columns = min(_CAPTION_HEIGHT, pixels.shape[0]), min(width, pixels.shape[1])
    caption[:rows, :columns] = pixels[:rows, :columns]
    return caption
