"""Parts that judges share: how long a condition has held, what is lifted, what the gripper holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dualsys_sim import arena
from dualsys_sim.bodies import rest_height_m
from dualsys_sim.state import ObjectTable, Snapshot

LIFTED_M = 0.04


@dataclass
class Lasting:
    """Whether a condition has held without a break for `duration_s`."""

    duration_s: float
    _since_s: float | None = None

    def update(self, holds: bool, time_s: float) -> bool:
        """Take in the condition at one instant."""
        if not holds:
            self._since_s = None
            return False
        if self._since_s is None:
            self._since_s = time_s
        return time_s - self._since_s >= self.duration_s


def object_name(objects: ObjectTable, index: int) -> str:
    """For example "red cube"."""
    return f"{arena.COLOURS[objects.colour[index]]} {arena.KINDS[objects.kind[index]]}"


def height_m(objects: ObjectTable, index: int) -> float:
    """How far an object is above where it would rest on the table."""
    return float(objects.position_m[index, 2]) - rest_height_m(int(objects.kind[index]))


def held(snapshot: Snapshot, index: int) -> bool:
    """Whether the object is between fingers that are neither open nor shut."""
    apart = np.abs(snapshot.objects.position_m[index] - snapshot.tool_m)
    return bool(0.02 < snapshot.width_m < 0.065 and apart[:2].max() < 0.035 and apart[2] < 0.04)


def lifted_by_arm(snapshot: Snapshot) -> list[int]:
    """Blocks that the gripper has lifted well off the table."""
    objects = snapshot.objects
    return [
        index
        for index in range(len(objects.kind))
        if objects.kind[index] != arena.BOWL and height_m(objects, index) > LIFTED_M and held(snapshot, index)
    ]
