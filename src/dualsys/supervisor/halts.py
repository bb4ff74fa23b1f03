"""Every time that the arm was brought to rest by control, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from dualsys.clock import seconds
from dualsys.messages import ControlState
from dualsys.telemetry.run_folder import Json

MOST: Final = 100
"""So many are kept; control's own counters `held` and `stopped` tell how many there were."""

_AT_REST: Final = ("HOLDING", "STOPPED")


@dataclass(frozen=True)
class Halt:
    """One of them.

    Attributes:
        episode: Number of the episode that went on; None between two.
        t_ns: Edge time.
        mode: HOLDING or STOPPED.
        reason: Why, as control said when it began.
    """

    episode: int | None
    t_ns: int
    mode: str
    reason: str

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.mode}: {self.reason}"

    def tree(self, started_ns: int) -> dict[str, Json]:
        """For JSON, with the time since `started_ns`."""
        after_s = round(seconds(self.t_ns - started_ns), 3)
        return {"episode": self.episode, "after_s": after_s, "mode": self.mode, "reason": self.reason}


@dataclass
class Halts:
    """Notes them as states come in.

    Attributes:
        kept: The first `MOST` of them.
        now: The one that lasts; None while the arm is led or waits.
    """

    kept: list[Halt] = field(default_factory=list)
    now: Halt | None = None

    def look(self, state: ControlState, episode: int | None) -> None:
        """Take in a state. A hold that becomes a stop is two; a reason that only counts on is none.

        Args:
            state: What control has published.
            episode: Number of the episode that goes on.
        """
        if state.mode not in _AT_REST:
            self.now = None
        elif self.now is None or self.now.mode != state.mode:
            self.now = Halt(episode, state.t_ns, state.mode, state.reason)
            if len(self.kept) < MOST:
                self.kept.append(self.now)

    def of(self, episode: int) -> list[Halt]:
        """Those of one episode."""
        return [halt for halt in self.kept if halt.episode == episode]
