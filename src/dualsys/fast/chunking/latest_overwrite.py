"""LAAS: inference never pauses, and the newest prediction always wins.

Source: DynamicVLA, arXiv:2601.22153: the next inference starts when the last one ends; when a chunk arrives,
its steps that are over are dropped, and the others overwrite whatever was planned for their time, without
blending.
"""

from __future__ import annotations

from dualsys.fast.chunking.asynchronous import Asynchronous
from dualsys.fast.chunking.strategy import About


class LatestOverwrite(Asynchronous):
    """`naive_async` that never waits for actions to be executed: it has no execution horizon."""

    name = "latest_overwrite"
    about = About(
        summary="plans without pause; the newest chunk overwrites the overlap",
        paper="LAAS of DynamicVLA, arXiv:2601.22153",
        needs="",
        cost="n",
    )

    def __init__(self) -> None:
        super().__init__()


STRATEGY = LatestOverwrite
