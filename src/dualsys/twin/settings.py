"""What an episode of the twin is run with: the two systems, and everything about time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.latent_codec import CODECS
from dualsys.bus.link_model import Schedule
from dualsys.clock import NS_PER_MS
from dualsys.errors import ConfigError
from dualsys.fast.control.core import Ages
from dualsys.fast.planner.demand import DemandBounds
from dualsys.fast.planner.sight import Vision
from dualsys.fast.policies.policy import System1
from dualsys.messages import LatentCodec, UplinkMode
from dualsys.slow.backend import LanguageModel, System2
from dualsys.twin.latency import Constant, Latency

if TYPE_CHECKING:
    from dualsys_sim.state import Goal
    from dualsys_sim.world import World

LatentMode = Literal["true", "zeroed", "shuffled", "other"]
"""What System 1 is given: the latent as it is, zeros, one from another episode, or one for other words."""

LATENT_MODES: tuple[LatentMode, ...] = get_args(LatentMode)

UPLINKS: tuple[UplinkMode, ...] = get_args(UplinkMode)

SYSTEM2_DELAY = Constant(200 * NS_PER_MS)
SYSTEM1_DELAY = Constant(60 * NS_PER_MS)

Camera = Callable[["World", str], NDArray[np.uint8]]
"""From a world and the name of a camera to its image."""


def render(world: World, name: str) -> NDArray[np.uint8]:
    """The image of a camera of the world, uint8 [h, w, 3] RGB."""
    return world.render(name)


def already_known(goals: Mapping[str, Goal]) -> None:
    """What words mean is for System 2 itself to know."""
    del goals


@dataclass(frozen=True)
class Parts:
    """The two systems in the twin.

    Attributes:
        system2: Slow system, or its language half.
        system1: Fast system, trained with it.
        vision: The vision tower of the slow system, where features travel up.
        camera: Where images come from.
        explain: Told, before each episode, what its instructions mean. Networks need no such thing; a
            scripted System 2 does.
    """

    system2: System2 | LanguageModel
    system1: System1
    camera: Camera = render
    explain: Callable[[Mapping[str, Goal]], None] = already_known
    vision: Vision | None = None


@dataclass(frozen=True)
class TwinSettings:
    """Everything about time, and what System 1 gets to know.

    Attributes:
        strategy: Name of the chunk strategy.
        strategy_options: Its keyword arguments.
        system2_rate_hz: Passes of System 2 that start per second, at most.
        system2_delay: From the capture of an observation to the arrival of its latent at the planner.
        observation_rate_hz: Observations per second.
        wrist_rate_hz: Frames per second of the wrist camera.
        plan_hz: Plan jobs that start per second, at most; 0: each starts when the last is done.
        system1_delay: Duration of a plan job.
        ages: How old things may get before control slows down and holds.
        slowed_fraction: Pace while slowed down.
        following_rad: How far a joint may stay from where it is led.
        speed_fraction: Part of the arm's joint speed limits that commands may use.
        acceleration_fraction: The same for accelerations.
        latent: What System 1 is given in place of the latent.
        latent_codec: How latents travel, and so how exact they arrive.
        residual: Let the residual head of System 1 correct single actions between two plans, and while one
            is being computed.
        noise_scale: Standard deviation of the noise that System 1 samples from.
        look_again: Let an arm that stands still where System 2 sees nothing step back.
        demand: When System 2 is asked; None: as often as it can.
        uplink: What System 2 is sent. The time that its vision tower takes is part of `system2_delay`.
        feature_codec: How features travel, where they do.
        image_encoding: How images travel, where they do.
        jpeg_quality: Of images as JPEG.
        line: What the line to System 2 is like, each way: what observations and latents take on it, by
            their size too, comes on top of `system2_delay`. One that repeats begins anywhere in its turn,
            drawn for each episode. None: it takes no time.
        line_seed: Of its jitter and losses, together with that of the episode.

    Raises:
        ConfigError: Lists every value that is not allowed.
    """

    strategy: str = "rtc"
    strategy_options: Mapping[str, object] = field(default_factory=dict)
    system2_rate_hz: float = 5.0
    system2_delay: Latency = SYSTEM2_DELAY
    observation_rate_hz: float = 10.0
    wrist_rate_hz: float = 25.0
    plan_hz: float = 0.0
    system1_delay: Latency = SYSTEM1_DELAY
    ages: Ages = field(default_factory=Ages)
    slowed_fraction: float = 0.3
    following_rad: float = 0.3
    speed_fraction: float = 1.0
    acceleration_fraction: float = 1.0
    latent: LatentMode = "true"
    latent_codec: LatentCodec = "float32"
    residual: bool = False
    noise_scale: float = 1.0
    look_again: bool = True
    demand: DemandBounds | None = None
    uplink: UplinkMode = "images"
    feature_codec: LatentCodec = "float16"
    image_encoding: Literal["raw", "jpeg"] = "raw"
    jpeg_quality: int = 90
    line: Schedule | None = None
    line_seed: int = 0

    def __post_init__(self) -> None:
        faults = [
            f"{name}: expected a positive rate of at most 1000 Hz, got {getattr(self, name)!r}"
            for name in ("system2_rate_hz", "observation_rate_hz", "wrist_rate_hz")
            if not 0 < getattr(self, name) <= 1000
        ]
        if not 0 <= self.plan_hz <= 1000:
            faults.append(f"plan_hz: expected 0 to 1000, got {self.plan_hz!r}; 0 plans back to back")
        if self.latent not in LATENT_MODES:
            faults.append(f"latent: expected one of {', '.join(LATENT_MODES)}, got {self.latent!r}")
        for name in ("latent_codec", "feature_codec"):
            if getattr(self, name) not in CODECS:
                faults.append(f"{name}: expected one of {', '.join(CODECS)}, got {getattr(self, name)!r}")
        if self.uplink not in UPLINKS:
            faults.append(f"uplink: expected one of {', '.join(UPLINKS)}, got {self.uplink!r}")
        if faults:
            raise ConfigError("twin", faults)

    def describe(self) -> dict[str, object]:
        """Every setting as plain values, for reports."""
        return {
            "strategy": self.strategy,
            "strategy_options": dict(self.strategy_options),
            "system2_rate_hz": self.system2_rate_hz,
            "system2_delay": self.system2_delay.describe(),
            "observation_rate_hz": self.observation_rate_hz,
            "wrist_rate_hz": self.wrist_rate_hz,
            "plan_hz": self.plan_hz,
            "system1_delay": self.system1_delay.describe(),
            "latent_soft_ms": self.ages.latent_soft_ns / NS_PER_MS,
            "latent_hard_ms": self.ages.latent_hard_ns / NS_PER_MS,
            "plan_hard_ms": self.ages.plan_hard_ns / NS_PER_MS,
            "slowed_fraction": self.slowed_fraction,
            "speed_fraction": self.speed_fraction,
            "acceleration_fraction": self.acceleration_fraction,
            "latent": self.latent,
            # Only where they change anything: results from before there were any keep their digests.
            **({} if self.latent_codec == "float32" else {"latent_codec": self.latent_codec}),
            **({} if self.following_rad == 0.3 else {"following_rad": self.following_rad}),
            **({"residual": True} if self.residual else {}),
            **({} if self.noise_scale == 1.0 else {"noise_scale": self.noise_scale}),
            **({} if self.look_again else {"look_again": False}),
            **({} if self.demand is None else {"demand": asdict(self.demand)}),
            **(
                {}
                if self.uplink == "images"
                else {"uplink": self.uplink, "feature_codec": self.feature_codec}
            ),
            **({} if self.image_encoding == "raw" else {"jpeg_quality": self.jpeg_quality}),
            **({} if self.line is None else {"line": self.line.describe() | {"seed": self.line_seed}}),
        }
