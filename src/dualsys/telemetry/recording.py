"""Reads the logs of a run back, for figures and films."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from dualsys.telemetry.run_folder import read_json_lines

Record = dict[str, Any]


@dataclass(frozen=True)
class FrameEntry:
    """Where one image lies in `frames.bin`."""

    t_ns: int
    camera: str
    offset: int
    size: int


@dataclass(frozen=True)
class Recording:
    """The logs of one run; records are those that `Recorder` wrote."""

    path: Path
    events: list[Record]
    ticks: list[Record]
    latents: list[Record]
    plans: list[Record]
    frames: list[FrameEntry]

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read all logs of a run folder; a log that was never begun is empty."""
        frames = [
            FrameEntry(record["t_ns"], record["camera"], record["offset"], record["bytes"])
            for record in read_json_lines(path / "frames.jsonl")
        ]
        return cls(
            path,
            events=read_json_lines(path / "events.jsonl"),
            ticks=read_json_lines(path / "ticks.jsonl"),
            latents=read_json_lines(path / "latents.jsonl"),
            plans=read_json_lines(path / "plans.jsonl"),
            frames=frames,
        )

    def image(self, entry: FrameEntry) -> NDArray[np.uint8]:
        """One image, uint8 `[height, width, 3]` RGB."""
        with (self.path / "frames.bin").open("rb") as file:
            file.seek(entry.offset)
            image: NDArray[np.uint8] = simplejpeg.decode_jpeg(file.read(entry.size), colorspace="RGB")
        return image

    def episode_spans(self) -> list[tuple[int, int, Record]]:
        """Start, end and start event of each episode, ns; one that never ended lasts to the last record."""
        last_ns = max((record["t_ns"] for log in (self.events, self.ticks) for record in log), default=0)
        spans: list[tuple[int, int, Record]] = []
        for event in self.events:
            if event["kind"] == "episode":
                spans.append((event["t_ns"], last_ns, event))
            elif event["kind"] == "verdict" and spans:
                spans[-1] = (spans[-1][0], event["t_ns"], spans[-1][2])
        return spans
