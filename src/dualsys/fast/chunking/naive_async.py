"""Naive asynchronous execution: a chunk replaces what is left of the one before as soon as it is there."""

from __future__ import annotations

from dualsys.fast.chunking.asynchronous import Asynchronous
from dualsys.fast.chunking.strategy import About


class NaiveAsync(Asynchronous):
    """Plans ignorant of the motion under way; the velocity may jump at every join.

    Args:
        execution_horizon: Actions that are at least begun between the starts of two plan jobs.
    """

    name = "naive_async"
    about = About(
        summary="switches to each new chunk as soon as it is there",
        paper="the baseline of arXiv:2506.07339",
        needs="",
        cost="n",
    )

    def __init__(self, execution_horizon: int = 1) -> None:
        super().__init__(execution_horizon)


STRATEGY = NaiveAsync
