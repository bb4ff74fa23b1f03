"""What goes wrong while an expert shows a task, so that its recoveries are in the data."""

from __future__ import annotations

from typing import Final

import numpy as np

from dualsys_sim import arena
from dualsys_sim.state import FloatArray

MAX_NOISE_M: Final = 0.002
KICK_CHANCE: Final = 0.012
KICK_STEPS: Final = (4, 10)
GRIPPER_CHANCE: Final = 0.006
GRIPPER_STEPS: Final = (3, 9)


class Disturbance:
    """Noise of 0 to 2 mm on every command, kicks of about 0.3 s, and bursts of the wrong gripper action.

    The displacements stay short: a random walk of the command would leave the expert no time to finish.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._noise_m = float(rng.uniform(0.0, MAX_NOISE_M))
        self._kick = np.zeros(3)
        self._kick_left = 0
        self._gripper_left = 0

    def apply(self, action: FloatArray) -> FloatArray:
        """The action [4] after what goes wrong at this step."""
        rng = self._rng
        result = action.copy()
        result[:3] += rng.normal(0.0, self._noise_m / arena.ACTION_STEP_M, 3)
        if self._kick_left == 0 and rng.random() < KICK_CHANCE:
            self._kick_left = int(rng.integers(*KICK_STEPS))
            self._kick = rng.normal(0.0, 1.0, 3)
            self._kick *= rng.uniform(0.2, 0.8) / np.linalg.norm(self._kick)
        if self._kick_left > 0:
            self._kick_left -= 1
            result[:3] += self._kick
        if self._gripper_left == 0 and rng.random() < GRIPPER_CHANCE:
            self._gripper_left = int(rng.integers(*GRIPPER_STEPS))
        if self._gripper_left > 0:
            self._gripper_left -= 1
            result[3] = -result[3]
        return result
