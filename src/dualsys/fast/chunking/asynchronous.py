"""What strategies have in common that plan while the arm moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from dualsys.errors import ConfigError
from dualsys.fast.chunking.delay import played_from_ns, require_feasible, require_usable, steps_begun
from dualsys.fast.chunking.requests import Plain, Request
from dualsys.fast.chunking.strategy import Overlap
from dualsys.fast.planner.track import Box, Chunk, Track
from dualsys.fast.policies.policy import Capability
from dualsys.specs import ActionSpec


def resume(track: Track, chunk: Chunk, now_ns: int) -> Chunk | None:
    """The chunk on the grid that it is played on, see `delay.played_from_ns`; None if its time is over.

    Args:
        track: The motion that was played meanwhile.
        chunk: On the grid that it was predicted for.
        now_ns: When it is there.
    """
    if now_ns >= chunk.end_ns:
        return None
    return replace(chunk, t0_ns=played_from_ns(chunk.t0_ns, track.end_ns, now_ns))


class Asynchronous:
    """Asks for plain samples and switches to each chunk when it is there, at the action whose time it is.

    Args:
        execution_horizon: s_min, actions that are at least begun between the starts of two plan jobs; with 1,
            the next job starts as soon as the last one is done.

    Raises:
        ConfigError: A value that is not allowed; names all of them.
    """

    name: ClassVar[str]

    def __init__(self, execution_horizon: int = 1, faults: tuple[str, ...] = ()) -> None:
        if execution_horizon < 1:
            faults = (*faults, f"execution_horizon: expected at least 1, got {execution_horizon}")
        if faults:
            raise ConfigError(self.name, faults)
        self._execution_horizon = execution_horizon
        self._last: Chunk | None = None

    @property
    def needs(self) -> frozenset[Capability]:
        """Plain samples."""
        return frozenset({"sampler"})

    def check(self, action: ActionSpec, delay_steps: int) -> None:
        """Raise ConfigError unless something of a chunk is left when it is there."""
        require_usable(self.name, action.horizon, self._execution_horizon, delay_steps)

    def wants_plan(self, now_ns: int, track: Track) -> bool:
        """Once `execution_horizon` actions of the last chunk have begun, or the motion has ended."""
        if self._last is None or self._execution_horizon == 1 or now_ns >= track.end_ns:
            return True
        return steps_begun(now_ns - self._last.t0_ns, self._last.step_ns) >= self._execution_horizon

    def request(self, overlap: Overlap) -> Request:
        """A plain sample."""
        del overlap
        return Plain()

    def merge(self, track: Track, chunk: Chunk, now_ns: int, workspace: Box) -> Track:
        """Switch to the new chunk now, at the first action that was not consumed, however late it came."""
        resumed = resume(track, chunk, now_ns)
        if resumed is None:
            return track
        self._last = resumed
        return track.spliced(now_ns, resumed, workspace)

    def reset(self) -> None:
        """Forget when the last job started."""
        self._last = None

    def statistics(self) -> Mapping[str, int]:
        """Nothing can go wrong."""
        return {}


class Continuing(Asynchronous):
    """Asks for samples that continue the planned motion.

    Feasible while d <= H - s: the planned motion must last until the new chunk is ready. Where it does not,
    there would be nothing to continue in the end; the chunk is then sampled plainly and
    `infeasible_requests` counts it.
    """

    def __init__(self, execution_horizon: int = 1, faults: tuple[str, ...] = ()) -> None:
        super().__init__(execution_horizon, faults)
        self._infeasible = 0

    def check(self, action: ActionSpec, delay_steps: int) -> None:
        """Raise ConfigError unless a chunk lasts until the next one is there."""
        require_feasible(self.name, action.horizon, self._execution_horizon, delay_steps)

    def request(self, overlap: Overlap) -> Request:
        """What `continuing` makes of the shared actions; a plain sample if there are none or too few."""
        shared = min(overlap.valid, len(overlap.previous) - self._execution_horizon)
        if shared <= 0:
            return Plain()
        if overlap.delay_steps > shared:
            self._infeasible += 1
            return Plain()
        return self.continuing(overlap, shared)

    def continuing(self, overlap: Overlap, shared: int) -> Request:
        """The request, where the first `shared` >= max(1, d) actions of the overlap may be followed."""
        raise NotImplementedError

    def statistics(self) -> Mapping[str, int]:
        """`infeasible_requests`: chunks sampled plainly because the planned motion would end too early."""
        return {"infeasible_requests": self._infeasible}
