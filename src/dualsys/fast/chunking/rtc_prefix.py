"""Training-time real-time chunking: a model that was trained to continue a clean prefix is given one.

Source: "Training-Time Action Conditioning for Efficient Real-Time Chunking", arXiv:2512.05964. The first d
actions stand at flow time one from the start and come out as they went in; nothing is computed backwards.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dualsys.fast.chunking.asynchronous import Continuing
from dualsys.fast.chunking.requests import Prefix, Request
from dualsys.fast.chunking.strategy import About, Overlap
from dualsys.fast.policies.policy import Capability


class RtcPrefix(Continuing):
    """Gives System 1 the actions that will be over when the chunk is there.

    Args:
        execution_horizon: Actions that are at least begun between the starts of two plan jobs.
        max_prefix: Longest prefix that the model was trained with; a longer delay is given that much and
            counted. None: any length.

    Raises:
        ConfigError: A value that is not allowed; names all of them.
    """

    name = "rtc_prefix"
    about = About(
        summary="lets a model that was trained for it continue the frozen actions",
        paper="training-time real-time chunking, arXiv:2512.05964",
        needs="prefix",
        cost="n",
    )

    def __init__(self, execution_horizon: int = 1, max_prefix: int | None = None) -> None:
        wrong = max_prefix is not None and max_prefix < 1
        super().__init__(
            execution_horizon, (f"max_prefix: expected at least 1, got {max_prefix}",) if wrong else ()
        )
        self._max_prefix = max_prefix
        self._shortened = 0

    @property
    def needs(self) -> frozenset[Capability]:
        """The sampler with a prefix; plain samples where nothing is planned yet."""
        return frozenset({"sampler", "prefix"})

    def continuing(self, overlap: Overlap, shared: int) -> Request:
        """The frozen actions as a prefix."""
        count = overlap.delay_steps
        if self._max_prefix is not None and count > self._max_prefix:
            self._shortened += 1
            count = self._max_prefix
        given = (np.arange(len(overlap.previous)) < count).astype(np.float32)
        return Prefix(overlap.held(shared), given)

    def statistics(self) -> Mapping[str, int]:
        """`infeasible_requests`, and `shortened_prefixes`: delays longer than `max_prefix`."""
        return {**super().statistics(), "shortened_prefixes": self._shortened}


STRATEGY = RtcPrefix
