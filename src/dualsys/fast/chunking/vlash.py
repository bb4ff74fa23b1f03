"""State roll-forward: predict from the state in which the chunk will begin to be executed.

Source: VLASH, arXiv:2512.01031: the policy is fed the state at execution time, which is what the plan being
executed leads to, and its chunk starts there. Images stay as old as they are; the paper fine-tunes for that
offset.
"""

from __future__ import annotations

from dualsys.fast.chunking.asynchronous import Asynchronous
from dualsys.fast.chunking.requests import Request, RollForward
from dualsys.fast.chunking.strategy import About, Overlap


class Vlash(Asynchronous):
    """Rolls the state forward by the expected delay and switches to the chunk at that time.

    A chunk that comes earlier waits for its time; one that comes later has lost its first actions.

    Args:
        execution_horizon: Actions that are at least begun between the starts of two plan jobs.
    """

    name = "vlash"
    about = About(
        summary="predicts from the state that the arm will be in when the chunk begins",
        paper="VLASH, arXiv:2512.01031",
        needs="",
        cost="n",
    )

    def __init__(self, execution_horizon: int = 1) -> None:
        super().__init__(execution_horizon)

    def request(self, overlap: Overlap) -> Request:
        """A plain sample for the state after the delay, or where planned motion ends if that is sooner."""
        return RollForward(min(overlap.delay_steps, overlap.valid))


STRATEGY = Vlash
