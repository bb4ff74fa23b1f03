"""`python -m dualsys.train.first_plan WEIGHTS`: start torch, load a System 1, make one guided plan.

The counterpart of `dualsys.bench.first_plan`, for what torch costs a process: its start and its memory.
"""

from __future__ import annotations

import sys

from dualsys.train.entry import start

if __name__ == "__main__":
    sys.exit(start("dualsys.train.first_plan", "a plan in torch", {"torch": "train"}))

import torch

from dualsys.bench.first_plan import tell
from dualsys.models.flow import differentiated, sample_guided
from dualsys.models.system1 import System1Config, System1Net

STEPS = 5


def main() -> None:
    """Make the plan and print what the process has come to."""
    torch.set_num_threads(1)
    config = System1Config()
    net = System1Net(config)
    net.load_state_dict(torch.load(sys.argv[1], map_location="cpu", weights_only=True))
    net.eval().requires_grad_(False)
    image = torch.zeros(1, config.wrist_px, config.wrist_px, 3, dtype=torch.uint8)
    with torch.no_grad():
        frames = net.wrist(image).unsqueeze(1).repeat(1, config.frames, 1, 1)
        latents = torch.zeros(1, config.latents, config.latent_tokens, config.latent_width)
        ages, state = torch.zeros(1, config.latents), torch.zeros(1, config.proprioception)
        context = net.context(latents, ages, frames, state)
        chunk = torch.zeros(1, config.horizon, config.actions)
        weights, guidance = torch.ones(config.horizon), torch.ones(STEPS)

        def velocity(x: torch.Tensor, step: int) -> torch.Tensor:
            return net.velocity(x, torch.full((1, 1), step / STEPS), context)

        sample_guided(differentiated(velocity), chunk, chunk, weights, guidance)
    tell()
