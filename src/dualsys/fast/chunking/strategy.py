"""What a chunk strategy is, and how one is chosen by name.

A strategy decides three things and nothing else: when a new plan is wanted, what System 1 is told about the
motion that is already planned, and how its chunk joins that motion. The track does the arithmetic of the
join.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import ConfigError
from dualsys.fast.planner.track import ActionArray, Box, Chunk, Track
from dualsys.specs import ActionSpec

STRATEGIES = ("synchronous", "naive_async", "temporal_ensemble", "rtc")
"""Names that `make_strategy` knows."""


@dataclass(frozen=True)
class Overlap:
    """The motion that is already planned, on the grid of the chunk to come.

    Attributes:
        previous: float32 `[H, 4]` normalised actions; meaningful for the first `valid` steps only.
        valid: Leading steps that the track still covers as a whole.
        delay_steps: Steps that will have begun on the old motion before the new chunk is ready, d.
    """

    previous: ActionArray
    valid: int
    delay_steps: int


@dataclass(frozen=True)
class Guidance:
    """What the guided sampler is given.

    Attributes:
        previous: float32 `[H, 4]`, Y: the actions to follow; real ones wherever the weight is not zero.
        weights: float32 `[H]`, W, in [0, 1].
        beta: Largest guidance weight.
    """

    previous: ActionArray
    weights: NDArray[np.float32]
    beta: float


class ChunkStrategy(Protocol):
    """Decides when to plan and how chunks join. Holds no clock; one instance serves one planner."""

    @property
    def name(self) -> str:
        """The name in `STRATEGIES`."""
        ...

    def check(self, action: ActionSpec) -> None:
        """Raise ConfigError if the options do not suit chunks of this horizon and step."""
        ...

    def wants_plan(self, now_ns: int, track: Track) -> bool:
        """Whether a plan job should start now."""
        ...

    def request(self, overlap: Overlap) -> Guidance | None:
        """Guidance for the chunk to come; None asks for a plain sample."""
        ...

    def merge(self, track: Track, chunk: Chunk, now_ns: int, workspace: Box) -> Track:
        """Join a finished chunk. Returns the very same track if nothing of the chunk can be used any more."""
        ...

    def reset(self) -> None:
        """Forget all motion, for a new episode. Counters stay."""
        ...

    def statistics(self) -> Mapping[str, int]:
        """Named totals of what this strategy could not do as asked."""
        ...


def make_strategy(name: str, **options: object) -> ChunkStrategy:
    """Build a strategy.

    Args:
        name: One of `STRATEGIES`.
        options: Keyword arguments of that strategy's class.

    Raises:
        ConfigError: An unknown name or option (lists the known ones), or a value that is not allowed.
    """
    factories = _factories()
    if name not in factories:
        raise ConfigError("chunk strategy", [f"name: {name!r} is not one of {', '.join(factories)}"])
    factory = factories[name]
    known = tuple(inspect.signature(factory).parameters)
    if faults := [
        f"{option}: {name} has no such option, it has {', '.join(known) or 'none'}"
        for option in options
        if option not in known
    ]:
        raise ConfigError("chunk strategy", faults)
    return factory(**options)


def _factories() -> dict[str, Callable[..., ChunkStrategy]]:
    # Imported here because the strategies import the types above.
    from dualsys.fast.chunking.naive_async import NaiveAsync
    from dualsys.fast.chunking.rtc import RealTimeChunking
    from dualsys.fast.chunking.synchronous import Synchronous
    from dualsys.fast.chunking.temporal_ensemble import TemporalEnsemble

    classes = (Synchronous, NaiveAsync, TemporalEnsemble, RealTimeChunking)
    return dict(zip(STRATEGIES, classes, strict=True))
