"""Hard masking: real-time chunking that follows the frozen actions and no other.

Source: the baseline of the same name in arXiv:2506.07339: its guidance with weight zero after the first d
actions.
"""

from __future__ import annotations

from dualsys.fast.chunking.requests import Jacobian
from dualsys.fast.chunking.rtc import RealTimeChunking
from dualsys.fast.chunking.strategy import About


class HardMask(RealTimeChunking):
    """`rtc` with the mask `zeros`; options as there."""

    name = "hard_mask"
    about = About(
        summary="guides only the actions that will be over when the chunk is there",
        paper="baseline of arXiv:2506.07339",
        needs="guided; velocity with jacobian constant_velocity; guidance_schedule besides with sigma_d",
        cost="n, each with a backward pass; n with jacobian constant_velocity",
    )

    def __init__(
        self,
        beta: float = 5.0,
        execution_horizon: int = 1,
        jacobian: Jacobian = "exact",
        sigma_d: float = 1.0,
    ) -> None:
        super().__init__(beta, "zeros", execution_horizon, jacobian, sigma_d)


STRATEGY = HardMask
