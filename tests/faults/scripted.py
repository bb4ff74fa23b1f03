"""One process of a system whose arm never rests by itself: `python scripted.py NAME CONFIG PARENT`.

Both systems are scripted: whatever it is told, the arm goes round in a circle, so that any rest has another
cause. Simulator and control are the real ones.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dualsys.config import SystemConfig, load_config
from dualsys.fast.planner.process import serve_policy
from dualsys.fast.policies.policy import Capability
from dualsys.slow.backend import System2Output
from dualsys.slow.server import run_server
from dualsys.specs import TensorSpec
from dualsys.supervisor.lifeline import die_with
from dualsys.twin.scripted import SCRIPTED_ACTION, SCRIPTED_SPECS

Float32Array = NDArray[np.float32]

CENTRE_M = np.array([0.47, 0.0, 0.25])
RADIUS_M = 0.08
STEP_M = 0.006
"""Way per action of 40 ms: 0.15 m/s."""


class AnySystem2:
    """Understands everything, and says nothing."""

    specs = SCRIPTED_SPECS
    name = "scripted"
    weights = "scripted"

    def check_instruction(self, text: str) -> None:
        del text

    def encode(
        self, images: Mapping[str, NDArray[np.uint8]], proprioception: Float32Array, instruction: str
    ) -> System2Output:
        del images, proprioception, instruction
        return System2Output({"tokens": np.zeros((8, 128), np.float32)})


class CirclingSystem1:
    """Leads the commanded tool round a horizontal circle, from wherever it is."""

    action = SCRIPTED_ACTION
    specs = SCRIPTED_SPECS
    wrist = TensorSpec((64, 64, 3), "uint8")
    latents = 2
    weights = "scripted"
    capabilities: frozenset[Capability] = frozenset({"sampler"})
    steps = 1

    def encode_wrist(self, image: NDArray[np.uint8]) -> Float32Array:
        del image
        return np.zeros((16, 128), np.float32)

    def condition(
        self,
        tokens: Float32Array,
        latent_age_s: Float32Array,
        wrist: Float32Array,
        proprioception: Float32Array,
    ) -> NDArray[np.float64]:
        del tokens, latent_age_s, wrist
        return (proprioception[:3] + proprioception[3:6]).astype(np.float64)

    def sample(self, noise: Float32Array, condition: NDArray[np.float64]) -> Float32Array:
        tool_m = condition.copy()
        chunk = np.zeros_like(noise)
        chunk[:, 3] = 1.0
        for action in chunk:
            away_m = tool_m - CENTRE_M
            distance_m = max(float(np.hypot(*away_m[:2])), 1e-3)
            outward = np.array([away_m[0], away_m[1], 0.0]) / distance_m
            around = np.array([-outward[1], outward[0], 0.0])
            wanted = around + outward * np.clip((RADIUS_M - distance_m) / 0.02, -1.0, 1.0)
            wanted[2] = np.clip(-away_m[2] / 0.02, -1.0, 1.0)
            step_m = wanted / np.linalg.norm(wanted) * STEP_M
            action[:3] = step_m / np.array(SCRIPTED_ACTION.scale[:3])
            tool_m += step_m
        return chunk


def serve(name: str, config: SystemConfig) -> None:
    """Run one process until it is told to end."""
    if name == "slow":
        run_server(AnySystem2(), config)
    else:
        serve_policy(CirclingSystem1(), config)


if __name__ == "__main__":
    die_with(int(sys.argv[3]))
    serve(sys.argv[1], load_config(sys.argv[2]))
