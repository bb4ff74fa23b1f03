"""What is planned while System 2 says that there is nothing to do: come to rest, and stay there."""

from __future__ import annotations

from typing import Final

import numpy as np

from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.planner.track import ActionArray

FADE_STEPS: Final = 4
"""The motion under way dies down within so many actions."""


def rest_chunk(overlap: Overlap, grip: float) -> ActionArray:
    """A chunk that lets the motion under way die down, float32 `[H, 4]`; exactly zero if nothing moves.

    A generative policy that means to stay still never samples exactly nothing, and what it samples adds up.

    Args:
        overlap: The motion that is already planned.
        grip: What the gripper is told now, which it goes on being told: +1 or -1.
    """
    chunk = np.zeros_like(overlap.previous)
    chunk[:, 3] = grip
    if overlap.valid > 0:
        under_way = overlap.held(min(overlap.valid, overlap.delay_steps + 1))
        since = np.arange(len(chunk)) - overlap.delay_steps
        fade = np.clip(1.0 - since / FADE_STEPS, 0.0, 1.0).astype(np.float32)
        chunk[:, :3] = fade[:, None] * under_way[:, :3]
    return chunk
