"""Which processes of a run hang: they are there, and say nothing any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dualsys.bus.sockets import ZmqContext
from dualsys.clock import NS_PER_S
from dualsys.errors import PeerTimeoutError
from dualsys.supervisor.peers import Peer
from dualsys.supervisor.pulse import Pulse

PERIOD_NS: Final = NS_PER_S // 50
"""A turn of the supervisor."""

_SILENT_TURNS: Final = 100
"""Control publishes whatever the arm does: when nothing comes for so long, it hangs."""

_UNANSWERED_TURNS: Final = 150
"""Planner and System 2 answer whatever they do: one that does not for so long hangs."""


class Silence:
    """Notices who hangs. Counted in turns: a pause of the supervisor is no silence of the others.

    Args:
        context: From `bus.sockets.open_context`.
        peers: The processes, by the names that the supervisor gives them.
        state: Where control publishes, for the error.
    """

    def __init__(self, context: ZmqContext, peers: Mapping[str, Peer], state: str) -> None:
        self._pulses = {
            name: Pulse(context, peers[name].endpoint, peers[name].name, _UNANSWERED_TURNS)
            for name in ("planner", "slow")
        }
        self._state = state
        self._heard_ns = -1
        self._silent_turns = 0

    def look(self, state_ns: int) -> dict[str, PeerTimeoutError]:
        """One turn. Never blocks.

        Args:
            state_ns: When the newest state of control came; -1 for none so far.

        Returns:
            Who hangs now, by the name of the process, and what to tell.
        """
        self._silent_turns = 0 if state_ns != self._heard_ns else self._silent_turns + 1
        self._heard_ns = state_ns
        hung = {}
        if state_ns >= 0 and self._silent_turns > _SILENT_TURNS:
            hung["control"] = PeerTimeoutError("control", self._state, _seconds(_SILENT_TURNS))
        for name, pulse in self._pulses.items():
            if not pulse.look():
                hung[name] = pulse.error(_seconds(_UNANSWERED_TURNS))
        return hung

    def close(self) -> None:
        """Disconnect."""
        for pulse in self._pulses.values():
            pulse.close()


def _seconds(turns: int) -> float:
    return turns * PERIOD_NS / NS_PER_S
