"""Writes down what happens in a run, as it happens.

Files in the run folder, each line handed to the operating system at once:

* `ticks.jsonl`: what the arm did, sampled;
* `latents.jsonl`, `plans.jsonl`: what the two systems published;
* `events.jsonl`: episodes, instructions, verdicts, changes of mode, processes that ended;
* `frames.jsonl` with `frames.bin`: camera images as JPEG, for the film.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from dualsys.errors import RecordingError
from dualsys.messages import ControlState, LatentPacket, Plan
from dualsys.recorder.records import Event
from dualsys.recorder.tap import Tap
from dualsys.telemetry.run_folder import Json, JsonLines, RunFolder

_JPEG_QUALITY = 92


class Recorder:
    """The logs of one run.

    A log that cannot be written, as on a full disk, raises nothing: an arm may be moving, and has to be
    brought to rest first. Nothing more is written then, so that a log ends where it broke off.

    Args:
        folder: Where they go.

    Attributes:
        tap: Events go there as well; None: nowhere.
        fault: Why nothing can be written any more; None while it can.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.tap: Tap | None = None
        self.fault: RecordingError | None = None
        self._events = JsonLines(folder.path / "events.jsonl")
        self._ticks = JsonLines(folder.path / "ticks.jsonl")
        self._latents = JsonLines(folder.path / "latents.jsonl")
        self._plans = JsonLines(folder.path / "plans.jsonl")
        self._frames = JsonLines(folder.path / "frames.jsonl")
        self._images = os.open(folder.path / "frames.bin", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._image_bytes = os.fstat(self._images).st_size
        self._mode = ""

    def event(self, now_ns: int, kind: str, **details: Json) -> None:
        """Note something that people want to know."""
        self._append(self._events, {"t_ns": now_ns, "kind": kind, **details})
        if self.tap is not None:
            self.tap.put(Event(t_ns=now_ns, kind=kind, details=details))

    def tick(self, state: ControlState) -> None:
        """Note what the arm does; a change of mode becomes an event as well."""
        self._append(
            self._ticks,
            {
                "t_ns": state.t_ns,
                "seq": state.seq,
                "position": state.position,
                "command": state.command,
                "mode": state.mode,
                "plan_seq": state.plan_seq,
                "latent_age_ns": state.latent_age_ns,
                "plan_age_ns": state.plan_age_ns,
            },
        )
        if state.mode != self._mode:
            self._mode = state.mode
            self.event(state.t_ns, "mode", mode=state.mode, reason=state.reason)

    def latent(self, now_ns: int, packet: LatentPacket) -> None:
        """Note a latent that arrived at `now_ns`."""
        self._append(
            self._latents,
            {
                "t_ns": now_ns,
                "seq": packet.seq,
                "observation_seq": packet.observation_seq,
                "episode": packet.episode,
                "age_ns": now_ns - packet.t_capture_ns,
                "compute_ns": packet.compute_ns,
                "instruction": packet.instruction,
                "text": packet.text,
                "act": packet.act,
            },
        )

    def plan(self, now_ns: int, plan: Plan, join_rad_s: float | None) -> None:
        """Note a plan that arrived at `now_ns`, and how far the joint speed jumps where it joins."""
        self._append(
            self._plans,
            {
                "t_ns": now_ns,
                "seq": plan.seq,
                "episode": plan.episode,
                "epoch": plan.epoch,
                "latent_seq": plan.latent_seq,
                "splice_ns": plan.splice_ns,
                "delay_ns": plan.delay_ns,
                "delay_steps": plan.delay_steps,
                "join_rad_s": join_rad_s,
            },
        )

    def frame(self, t_ns: int, camera: str, image: NDArray[np.uint8]) -> None:
        """Note a camera image, uint8 `[height, width, 3]` RGB. Its index line is written after its bytes."""
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=_JPEG_QUALITY, colorspace="RGB")
        with self._noting():
            view = memoryview(data)
            while view and self.fault is None:
                view = view[os.write(self._images, view) :]
        self._append(
            self._frames,
            {"t_ns": t_ns, "camera": camera, "offset": self._image_bytes, "bytes": len(data)},
        )
        self._image_bytes += len(data)

    def summary(self, tree: Mapping[str, Json]) -> None:
        """Replace `summary.json`. It is tried even where a log could not be written: it is small."""
        with self._noting():
            self.folder.write_json("summary.json", tree)

    def close(self) -> None:
        """Close all logs; further calls do nothing."""
        for log in (self._events, self._ticks, self._latents, self._plans, self._frames):
            log.close()
        if self._images >= 0:
            os.close(self._images)
            self._images = -1

    def _append(self, log: JsonLines, record: Mapping[str, Json]) -> None:
        if self.fault is None:
            with self._noting():
                log.append(record)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.fault = self.fault or RecordingError(
                f"run folder {self.folder.path}: cannot be written: {error.strerror or error}; make room, or "
                "give another folder with run.folder"
            )
