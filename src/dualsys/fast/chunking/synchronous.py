"""Synchronous execution: play a chunk to its end, stand still while the next one is computed, play that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dualsys.errors import ConfigError
from dualsys.fast.chunking.requests import Plain, Request
from dualsys.fast.chunking.strategy import About, Overlap
from dualsys.fast.planner.track import Box, Chunk, Track
from dualsys.fast.policies.policy import Capability
from dualsys.specs import ActionSpec


class Synchronous:
    """The classical open loop over chunks, the baseline of every asynchronous strategy.

    The arm does not move while System 1 computes, so the whole chunk still applies when it is there: its grid
    is moved to that moment.

    Args:
        execution_horizon: Actions of each chunk that are played, s; None plays all.

    Raises:
        ConfigError: Fewer than one action.
    """

    name = "synchronous"
    about = About(
        summary="waits for each chunk to be over before it asks for the next",
        paper="the baseline of arXiv:2506.07339",
        needs="",
        cost="n",
    )

    def __init__(self, execution_horizon: int | None = None) -> None:
        if execution_horizon is not None and execution_horizon < 1:
            raise ConfigError(self.name, [f"execution_horizon: expected at least 1, got {execution_horizon}"])
        self._execution_horizon = execution_horizon

    @property
    def needs(self) -> frozenset[Capability]:
        """Plain samples."""
        return frozenset({"sampler"})

    def check(self, action: ActionSpec, delay_steps: int) -> None:
        """Raise ConfigError if more actions are to be played than a chunk has. Any delay is waited for."""
        del delay_steps
        if self._execution_horizon is not None and self._execution_horizon > action.horizon:
            fault = f"execution_horizon: expected at most {action.horizon}, got {self._execution_horizon}"
            raise ConfigError(self.name, [fault])

    def wants_plan(self, now_ns: int, track: Track) -> bool:
        """Only when the motion has ended."""
        return now_ns >= track.end_ns

    def request(self, overlap: Overlap) -> Request:
        """A plain sample: there is nothing to overlap with."""
        del overlap
        return Plain()

    def merge(self, track: Track, chunk: Chunk, now_ns: int, workspace: Box) -> Track:
        """Play the chunk from its first action, starting now."""
        played = replace(chunk, t0_ns=now_ns, actions=chunk.actions[: self._execution_horizon])
        return track.spliced(now_ns, played, workspace)

    def reset(self) -> None:
        """Nothing is remembered."""

    def statistics(self) -> Mapping[str, int]:
        """Nothing can go wrong."""
        return {}


STRATEGY = Synchronous
