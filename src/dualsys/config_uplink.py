"""The part of the configuration about what the edge sends to System 2, and when."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dualsys.config_links import Section


class RateControlConfig(Section):
    """How observations use the line to System 2.

    Adaptive lowers first the quality of JPEG images, then the rate, as far as the line demands it. The upper
    bounds are `slow.jpeg_quality` and `slow.observation_rate_hz`.
    """

    mode: Literal["fixed", "adaptive"] = Field(
        default="fixed", description="always the upper bounds, or as much as the line carries"
    )
    least_rate_hz: float = Field(
        default=1.0, gt=0, le=1000, description="observations per second that are always sent"
    )
    least_jpeg_quality: int = Field(default=40, ge=1, le=100, description="lowest quality of jpeg images")
    queue_ms: float = Field(
        default=100.0, ge=1, le=10_000, description="delay above the least one that means less has to be sent"
    )


class OnDemandConfig(Section):
    """Asks System 2 only when there is something that its newest latent cannot know.

    That is: other words, another scene (whatever changes in the picture apart from the arm), the gripper told
    something else, the tool near the table, or a latent that is getting old.
    """

    enabled: bool = Field(default=False, description="hold back observations that System 2 need not see")
    pause_ms: float = Field(
        default=400.0, gt=0, le=60_000, description="most time between two observations that are sent"
    )
    scene_cells: int = Field(
        default=3, ge=1, le=1024, description="changed cells of 32 x 24 that make another scene"
    )
    contact_m: float = Field(
        default=0.05,
        ge=0,
        le=10,
        description="height above the workspace up to which all observations are sent",
    )
