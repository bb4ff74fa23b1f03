"""The section `fast` of the configuration: System 1, its chunk strategy, and the weak policy beside it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from dualsys.config_links import Folder, Section
from dualsys.fast.chunking.strategy import StrategyName

StrategyOption = str | int | float | bool | None
"""What an option of a chunk strategy can be; the strategy itself says which."""


class StrategyConfig(Section):
    """How a new chunk joins the track that is being executed. Each strategy has options of its own."""

    name: StrategyName = Field(
        default="rtc", description="the chunk strategy; `dualsys list strategies` tells them apart"
    )
    options: dict[str, StrategyOption] = Field(
        default={}, description="options of that strategy; those not given have its defaults"
    )
    residual: bool = Field(
        default=False,
        description="let the residual head of System 1 correct single actions between two plans (A2C2)",
    )


class FastConfig(Section):
    """System 1 in the planner: latent, wrist camera and arm state to plans, tens of times a second."""

    bundle: Folder = Field(
        default=Path("../bundles/tabletop/system1"), description="folder of the System 1 bundle"
    )
    weak_bundle: Folder | None = Field(
        default=None,
        description="folder of a weaker System 1, which `bid` with nearest above 0 draws from; null: none",
    )
    plan_hz: float = Field(default=50.0, gt=0, le=1000, description="plans started per second, at most")
    delay_ms: float = Field(default=0.0, ge=0, le=2000, description="emulated extra time that a plan takes")
    threads: int = Field(default=1, ge=1, le=64, description="threads of the System 1 runtime")
    noise_scale: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="how much of the noise System 1 samples from that it was trained with; 0: none",
    )
    look_again: bool = Field(
        default=True,
        description="let an arm that stands still where System 2 sees nothing go back to where it began",
    )
    strategy: StrategyConfig = StrategyConfig()
