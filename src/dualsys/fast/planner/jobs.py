"""What a plan job is made from: fresh inputs, the motion already planned, and noise of its own."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np

from dualsys.fast.chunking.delay import DelayEstimator
from dualsys.fast.chunking.requests import RollForward, noises_for
from dualsys.fast.chunking.strategy import ChunkStrategy, Overlap
from dualsys.fast.planner.arm import ArmView, proprioception, rolled_forward
from dualsys.fast.planner.frames import FrameHistory, WristFrame
from dualsys.fast.planner.latents import Latent, LatentHistory
from dualsys.fast.planner.lookout import Lookout
from dualsys.fast.planner.motion import PlannedMotion
from dualsys.fast.planner.records import PlanJob, PlannerSettings
from dualsys.fast.planner.track import Track, tool_scale_m
from dualsys.specs import ActionSpec

Lack = Literal["state", "frame", "latent"]

LACKS: Final = MappingProxyType(
    {"state": "a fresh arm state", "frame": "a fresh wrist image", "latent": "a latent of this episode"}
)
"""What a job can lack, in words."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a job sees of the world."""

    arm: ArmView
    latent: Latent
    frame: WristFrame


class JobMaker:
    """Freezes everything that one chunk is computed from.

    Args:
        action: What System 1 predicts.
        strategy: How chunks join.
        motion: What is planned.
        latents, frames: What has come in.
        delay: How long plans take.
        seed: Seed of all noise. Noise depends on seed, episode and job number only.
        settings: How old inputs may be.
    """

    def __init__(
        self,
        action: ActionSpec,
        strategy: ChunkStrategy,
        motion: PlannedMotion,
        latents: LatentHistory,
        frames: FrameHistory,
        delay: DelayEstimator,
        seed: int,
        settings: PlannerSettings,
    ) -> None:
        self._action = action
        self._strategy = strategy
        self._motion = motion
        self._latents = latents
        self._frames = frames
        self._delay = delay
        self._seed = seed
        self._settings = settings
        self._scale_m = tool_scale_m(action)
        self._lookout = Lookout()

    @property
    def by_system1(self) -> bool:
        """Whether System 1 leads the arm now: not while it rests, or steps back to look again."""
        return not (self._latents.resting or self._lookout.looking)

    def clear(self) -> None:
        """Forget where the arm looked from, for a new episode."""
        self._lookout = Lookout()

    def inputs(self, now_ns: int, arm: ArmView | None) -> Inputs | Lack:
        """Arm state, latent and wrist image for a job; or the first that is missing or old."""
        latent, frame = self._latents.newest, self._frames.newest
        if arm is None or abs(now_ns - arm.t_ns) > self._settings.max_state_age_ns:
            return "state"
        if frame is None or abs(now_ns - frame.t_ns) > self._settings.max_frame_age_ns:
            return "frame"
        return "latent" if latent is None else Inputs(arm, latent, frame)

    def make(
        self, now_ns: int, inputs: Inputs, track: Track, *, number: int, episode: int, epoch: int
    ) -> PlanJob:
        """A job that begins now.

        Args:
            now_ns: Edge time.
            inputs: What it sees of the world.
            track: The motion that it continues.
            number: Counts jobs within the episode.
            episode, epoch: What its plan will be for.
        """
        action, arm = self._action, inputs.arm
        look_from_m = None
        if self._settings.look_again:
            look_from_m = self._lookout.place_m(now_ns, arm.commanded_tool_m, self._latents.said)
        previous, valid = track.displacements(now_ns, action.step_ns, action.horizon, self._scale_m)
        overlap = Overlap(previous, valid, self._delay.steps)
        request = self._strategy.request(overlap)
        lead_steps = request.lead_steps if isinstance(request, RollForward) else 0
        grid_ns = now_ns + lead_steps * action.step_ns
        tokens, latent_age_s = self._latents.read(grid_ns)
        rng = np.random.default_rng((self._seed, episode, number))
        shape = (noises_for(request), *action.chunk.shape)
        ahead = rolled_forward(arm, track, grid_ns) if lead_steps else arm
        return PlanJob(
            number=number,
            episode=episode,
            epoch=epoch,
            t0_ns=now_ns,
            grid_ns=grid_ns,
            latent=inputs.latent,
            t_observation_ns=min(arm.t_ns, inputs.frame.t_ns),
            tokens=tokens,
            latent_age_s=latent_age_s,
            frames=self._frames.pair(),
            proprioception=proprioception(ahead, self._motion.grip(grid_ns, arm)),
            noise=np.float32(self._settings.noise_scale) * rng.standard_normal(shape, dtype=np.float32),
            overlap=overlap,
            request=request,
            rest=self._latents.resting,
            way_back_m=None if look_from_m is None else look_from_m - track.at(grid_ns)[0],
        )
