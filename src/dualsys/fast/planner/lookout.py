"""Step back and look again: an arm that stands where System 2 sees nothing goes back to where it could see.

Words that change, or an object that is moved by hand, may leave the arm right between the camera and what
it is told to find. System 2 then says that nothing fits, System 1 has nothing to go by, and both would wait
for ever.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dualsys.clock import NS_PER_MS
from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.planner.track import ActionArray, FloatArray

PATIENCE_NS: Final = 1000 * NS_PER_MS
"""The arm steps back once it has stood still and seen nothing for so long."""

STILL_M: Final = 0.015
"""An arm that moves less than this is standing still."""

RISE_M: Final = 0.05
"""The tool goes up first, and sideways with no more than this left to rise: it may stand between objects."""

SPEED: Final = 0.6
"""Largest action on the way back."""

GAIN: Final = 0.25
"""Part of the way left that one action covers at most, so that the arm arrives gently."""

EASE: Final = 0.15
"""Largest change from one action to the next."""


class Lookout:
    """When to step back in one episode, and where to: the place where the arm was when it began.

    Attributes:
        looking: Whether the arm steps back, or has and still sees nothing.
    """

    def __init__(self) -> None:
        self._from_m: FloatArray | None = None
        self._still_at_m: FloatArray | None = None
        self._still_since_ns = 0
        self._blind_since_ns: int | None = None
        self.looking = False

    def place_m(self, now_ns: int, tool_m: FloatArray, said: tuple[bool, ...]) -> FloatArray | None:
        """Where to go to look again, [3], or None while there is no need to.

        Args:
            now_ns: Edge time; never runs backwards.
            tool_m: [3], the commanded tool.
            said: Whether there is anything to do, by the newest latents for the words in force, one or two.
                One alone may be mistaken, so they count when they agree.
        """
        if self._from_m is None:
            self._from_m = tool_m
        if self._still_at_m is None or np.linalg.norm(tool_m - self._still_at_m) > STILL_M:
            self._still_at_m, self._still_since_ns = tool_m, now_ns
        if any(said):
            self._blind_since_ns = None
            self.looking = self.looking and not all(said)
        elif self._blind_since_ns is None:
            self._blind_since_ns = now_ns
        if self._blind_since_ns is not None:
            since_ns = max(self._blind_since_ns, self._still_since_ns)
            away = np.linalg.norm(tool_m - self._from_m) > STILL_M
            self.looking = self.looking or bool(away and now_ns - since_ns >= PATIENCE_NS)
        return self._from_m if self.looking else None


def step_back_chunk(
    overlap: Overlap, way_m: FloatArray, scale_m: tuple[float, float, float], grip: float
) -> ActionArray:
    """A chunk that leads to a place and ends there at rest: first up, then sideways; float32 `[H, 4]`.

    Args:
        overlap: The motion that is already planned; what of it is played before the chunk is ready is kept.
        way_m: [3], from where the tool is when the chunk begins to the place.
        scale_m: Displacement of an action of one.
        grip: What the gripper is told now, which it goes on being told: +1 or -1.
    """
    scale = np.asarray(scale_m)
    chunk = np.zeros(overlap.previous.shape)
    chunk[:, 3] = grip
    kept = min(overlap.valid, overlap.delay_steps + 1)
    chunk[:kept, :3] = overlap.previous[:kept, :3]
    left_m = way_m - (chunk[:kept, :3] * scale).sum(axis=0)
    action = chunk[kept - 1, :3] if kept else np.zeros(3)
    for step in range(kept, len(chunk)):
        wanted = np.clip(GAIN * left_m / scale, -SPEED, SPEED)
        wanted[:2] *= left_m[2] <= RISE_M
        action = action + np.clip(wanted - action, -EASE, EASE)
        chunk[step, :3] = action
        left_m = left_m - action * scale
    return chunk.astype(np.float32)
