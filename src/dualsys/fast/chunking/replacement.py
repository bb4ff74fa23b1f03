"""Replacement: the frozen actions are put onto the path to the planned ones before every Euler step.

Source: inpainting as in M. Janner et al., "Planning with Diffusion for Flexible Behavior Synthesis",
arXiv:2205.09991; a baseline of action chunking under delay. The rest of the chunk hears of the frozen part
through the network alone.
"""

from __future__ import annotations

from dualsys.fast.chunking import requests
from dualsys.fast.chunking.asynchronous import Continuing
from dualsys.fast.chunking.strategy import About, Overlap
from dualsys.fast.policies.policy import Capability


class Replacement(Continuing):
    """Inpaints the first d actions.

    Args:
        execution_horizon: Actions that are at least begun between the starts of two plan jobs.
    """

    name = "replacement"
    about = About(
        summary="replaces the frozen actions by the planned ones at every Euler step",
        paper="Diffuser, arXiv:2205.09991",
        needs="velocity",
        cost="n",
    )

    def __init__(self, execution_horizon: int = 1) -> None:
        super().__init__(execution_horizon)

    @property
    def needs(self) -> frozenset[Capability]:
        """The velocity; plain samples where nothing is planned yet."""
        return frozenset({"sampler", "velocity"})

    def continuing(self, overlap: Overlap, shared: int) -> requests.Request:
        """Replace the actions that will be over when the chunk is there."""
        return requests.Replacement(overlap.held(shared), overlap.delay_steps)


STRATEGY = Replacement
