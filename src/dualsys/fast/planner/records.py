"""What goes into the planner core and what comes out of it: settings, jobs, statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS
from dualsys.fast.chunking.requests import Request
from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.planner.frames import WristFrame
from dualsys.fast.planner.latents import Latent
from dualsys.fast.planner.track import Box
from dualsys.messages import LatentCodec, UplinkMode
from dualsys.specs import TensorSpec

TABLETOP = Box((0.30, -0.34, 0.012), (0.70, 0.34, 0.30))
"""The box above the table that the arm reaches everywhere with its tool pointing down."""


@dataclass(frozen=True)
class PlannerSettings:
    """What can be chosen about the planner.

    Attributes:
        workspace: Box that the commanded tool is kept in.
        open_m: Opening of the open gripper.
        max_state_age_ns: No job starts from an older arm state.
        max_frame_age_ns: No job starts from an older wrist image.
        frame_lag_ns: How far the second wrist image should lie behind the newest.
        max_divergence_m: Distance between the planned and the commanded tool beyond which the plan starts
            afresh from the command, because control did not follow.
        expected_delay_ns: How long a plan is expected to take; a strategy that cannot work with it is
            refused.
        image_encoding: How images travel to System 2.
        jpeg_quality: Quality of jpeg images.
        latent_codec: The only codec in which latents are accepted.
        residual: Let the residual head of System 1, which must have one, correct single actions between two
            plans; see `planner.correction`.
        noise_scale: Standard deviation of the noise that chunks are sampled from; 1 is what a flow is trained
            with. Below it, plans that are made one after the other of the same scene agree better, and fewer
            of the ways that there are get taken.
        look_again: Let an arm that stands still where System 2 sees nothing step back; see `planner.lookout`.
        features: What the vision tower of System 2 makes of each camera's image, where features travel in
            place of images; empty where images travel.
        feature_codec: How features travel.
    """

    workspace: Box = TABLETOP
    open_m: float = 0.08
    max_state_age_ns: int = 100 * NS_PER_MS
    max_frame_age_ns: int = 500 * NS_PER_MS
    frame_lag_ns: int = 120 * NS_PER_MS
    max_divergence_m: float = 0.03
    expected_delay_ns: int = 0
    image_encoding: Literal["raw", "jpeg"] = "raw"
    jpeg_quality: int = 90
    latent_codec: LatentCodec = "float32"
    residual: bool = False
    noise_scale: float = 1.0
    look_again: bool = True
    features: Mapping[str, TensorSpec] = field(default_factory=dict)
    feature_codec: LatentCodec = "float16"

    @property
    def uplink(self) -> UplinkMode:
        """What System 2 is sent."""
        return "features" if self.features else "images"


@dataclass(frozen=True, eq=False)
class PlanJob:
    """Everything that one chunk is computed from, frozen when the job begins.

    Attributes:
        number: Counts jobs within the episode.
        episode, epoch: What the plan will be for.
        t0_ns: When it began.
        grid_ns: Start of the chunk's grid; later than `t0_ns` if the chunk is for a state ahead.
        latent: The newest latent.
        t_observation_ns: Stamp of the arm state or of the wrist image, whichever is older.
        tokens: float32 `[K, tokens, width]`, newest latent first.
        latent_age_s: float32 `[K]`, their ages at `grid_ns`.
        frames: The newest wrist image and the one a moment before.
        proprioception: float32 `[9]`.
        noise: float32 `[K, H, 4]`, as many as the request takes.
        overlap: The motion already planned.
        request: What the strategy made of it.
        rest: System 2 says that there is nothing to do: System 1 is not asked, and the arm comes to rest.
        way_back_m: float64 `[3]`, from the tool at `grid_ns` to where it steps back to, to look again: System
            1 is not asked either. None unless that is what the arm does.
    """

    number: int
    episode: int
    epoch: int
    t0_ns: int
    grid_ns: int
    latent: Latent
    t_observation_ns: int
    tokens: NDArray[np.float32]
    latent_age_s: NDArray[np.float32]
    frames: tuple[WristFrame, WristFrame]
    proprioception: NDArray[np.float32]
    noise: NDArray[np.float32]
    overlap: Overlap
    request: Request
    rest: bool = False
    way_back_m: NDArray[np.float64] | None = None

    @property
    def by_system1(self) -> bool:
        """Whether System 1 is asked."""
        return not self.rest and self.way_back_m is None


@dataclass(frozen=True)
class PlannerStatistics:
    """Totals since the start, and what the planner waits for.

    Attributes:
        jobs, guided_jobs: Jobs begun; those whose samples are made to fit the motion under way.
        rest_jobs: Jobs for which System 1 was not asked, because System 2 says that there is nothing to do.
        look_jobs: Jobs that step back to look again, because the arm stood still and System 2 saw nothing.
        plans: Plans made.
        corrected_plans: Plans changed between two jobs by a residual head.
        repeated_plans: Plans sent again, because control takes a planner that says nothing for dead.
        observations: Observations made for System 2.
        latents_accepted: Latents in use.
        latents_other_session, latents_other_episode, latents_other_instruction: Latents dropped for that
            reason.
        latents_not_newer: Latents dropped because one for the same or a later observation was there.
        latents_unknown_observation: Latents dropped because they answer nothing that was sent.
        latents_rejected: Latents of a wrong kind, name, shape or type, or with NaN.
        states_rejected: Arm states of another session, wrong length, out of order or with NaN.
        states_of_old_epochs: Arm states that control sent before it heard of the present epoch.
        frames_rejected: Images of a wrong size, or out of order.
        declined_no_latent, declined_no_state, declined_no_frame: Times that no job could begin for want of
            something fresh.
        chunks_rejected: Chunks with NaN or of a wrong shape; the last good plan stays.
        clipped_actions: Numbers beyond the action range, moved to its edge.
        corrections_rejected: Corrections with NaN or of a wrong shape, or whose head failed.
        late_chunks: Chunks later than the delay that they were planned for; played from where the track was.
        expired_chunks: Chunks so late that nothing of them was left.
        stale_jobs: Jobs that ended in another episode or epoch than they began in.
        abandoned_jobs: Jobs given up because computing failed.
        unreachable_plans: Plans with a position out of reach, where the arm goes to the nearest one.
        fresh_starts: Plans that started from the command because nothing was planned any more.
        divergences: Plans that started from the command because control had not followed.
        strategy: Totals of the chunk strategy.
        delay_steps: The delay, in action steps, that jobs are planned for now.
        waiting_for: What the last declined job lacked; empty while jobs begin.
        last_fault: What was wrong with the last thing rejected; empty while there is none.
    """

    jobs: int = 0
    guided_jobs: int = 0
    rest_jobs: int = 0
    look_jobs: int = 0
    plans: int = 0
    corrected_plans: int = 0
    repeated_plans: int = 0
    observations: int = 0
    latents_accepted: int = 0
    latents_other_session: int = 0
    latents_other_episode: int = 0
    latents_other_instruction: int = 0
    latents_not_newer: int = 0
    latents_unknown_observation: int = 0
    latents_rejected: int = 0
    states_rejected: int = 0
    states_of_old_epochs: int = 0
    frames_rejected: int = 0
    declined_no_latent: int = 0
    declined_no_state: int = 0
    declined_no_frame: int = 0
    chunks_rejected: int = 0
    clipped_actions: int = 0
    corrections_rejected: int = 0
    late_chunks: int = 0
    expired_chunks: int = 0
    stale_jobs: int = 0
    abandoned_jobs: int = 0
    unreachable_plans: int = 0
    fresh_starts: int = 0
    divergences: int = 0
    strategy: Mapping[str, int] = field(default_factory=dict)
    delay_steps: int = 0
    waiting_for: str = ""
    last_fault: str = ""

    def counters(self) -> dict[str, int]:
        """All totals by name, those of the strategy included."""
        own = {one.name: value for one in fields(self) if isinstance(value := getattr(self, one.name), int)}
        del own["delay_steps"]
        return own | dict(self.strategy)
