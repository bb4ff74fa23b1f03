"""Whether a process still answers: asked now and then, without waiting for it."""

from __future__ import annotations

from typing import Final

from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext
from dualsys.errors import PeerTimeoutError
from dualsys.messages import Request

_TURNS_PER_QUESTION: Final = 50


class Pulse:
    """Asks one process for its status, and notices when it no longer answers.

    Counted in turns of whoever watches, for a pause of the one who listens is no silence of the other.

    Args:
        context: From `bus.sockets.open_context`.
        endpoint: Its service.
        name: What to call it in errors.
        turns: Turns without a word after which it hangs.
    """

    def __init__(self, context: ZmqContext, endpoint: str, name: str, turns: int) -> None:
        self._client = ServiceClient(context, endpoint, name)
        self._turns = turns
        self._waited = 0
        self._until_question = 0

    def look(self) -> bool:
        """One turn: take what has come, and ask again when it is time. Never blocks.

        Returns:
            Whether it still answers.
        """
        self._waited = 0 if self._client.heard() else self._waited + 1
        self._until_question -= 1
        if self._until_question <= 0 and self._client.pose(Request(verb="status")):
            self._until_question = _TURNS_PER_QUESTION
        return self._waited <= self._turns

    def error(self, silence_s: float) -> PeerTimeoutError:
        """What to tell when it does not answer any more.

        Args:
            silence_s: How long the turns took.
        """
        return PeerTimeoutError(self._client.peer_name, self._client.endpoint, silence_s)

    def close(self) -> None:
        """Disconnect."""
        self._client.close()
