"""What the planner knows of the processes that it depends on: are they there, are they still the same."""

from __future__ import annotations

from dataclasses import dataclass

from dualsys.clock import NS_PER_MS
from dualsys.errors import MessageError, MismatchError
from dualsys.messages import MAX_NUMBER, LatentPacket, Welcome, whole_number

RETRY_NS = 500 * NS_PER_MS
"""Time between two attempts to shake hands."""


@dataclass(frozen=True)
class ConnectionStatistics:
    """The state of one connection.

    Attributes:
        connected: Hands were shaken, and nothing has gone wrong since.
        handshakes: Successful handshakes.
        losses: Times that the other side fell silent or was replaced.
        fault: Why the last handshake failed; empty while connected.
    """

    connected: bool
    handshakes: int
    losses: int
    fault: str


class Connection:
    """A connection that is made anew after it was lost."""

    def __init__(self) -> None:
        self.connected = False
        self._handshakes = 0
        self._losses = 0
        self._fault = ""
        self._tried_ns: int | None = None

    def wants_greeting(self, now_ns: int) -> bool:
        """Whether to shake hands now; at most once in `RETRY_NS`."""
        if self.connected or (self._tried_ns is not None and now_ns - self._tried_ns < RETRY_NS):
            return False
        self._tried_ns = now_ns
        return True

    def welcomed(self) -> None:
        """Hands were shaken."""
        self.connected = True
        self._handshakes += 1
        self._fault = ""

    def failed(self, error: Exception) -> None:
        """Hands could not be shaken.

        Raises:
            MismatchError: The two sides do not fit together, and never did.
        """
        if isinstance(error, MismatchError) and not self._handshakes:
            raise error
        self.connected = False
        self._fault = str(error)

    def lost(self, reason: str) -> None:
        """The other side is not what it was. Nothing to be done if that is known."""
        if self.connected:
            self.connected = False
            self._losses += 1
            self._fault = reason

    def statistics(self) -> ConnectionStatistics:
        """The state of the connection."""
        return ConnectionStatistics(self.connected, self._handshakes, self._losses, self._fault)


class SlowConnection:
    """The connection to System 2.

    It is lost when observations stay unanswered, and when latents come from other weights than those of the
    handshake: then another process answers, whose specifications nobody has compared yet.

    Args:
        silence_ns: Time without a latent after an observation that counts as silence.
    """

    def __init__(self, silence_ns: int) -> None:
        self.connection = Connection()
        self.dropped = 0
        self._silence_ns = silence_ns
        self._weights = ""
        self._unanswered_ns: int | None = None

    def welcomed(self, welcome: Welcome) -> None:
        """Hands were shaken."""
        self._weights = welcome.details.get("weights", "")
        self._unanswered_ns = None
        self.connection.welcomed()

    def sent(self, now_ns: int) -> None:
        """An observation was sent."""
        if self._unanswered_ns is None:
            self._unanswered_ns = now_ns

    def admits(self, packet: LatentPacket) -> bool:
        """Whether a latent comes from the System 2 that hands were shaken with; others are counted."""
        if self.connection.connected and packet.weights != self._weights:
            self.connection.lost(f"latents of weights {packet.weights!r} instead of {self._weights!r}")
        if not self.connection.connected:
            self.dropped += 1
            return False
        self._unanswered_ns = None
        return True

    def watch(self, now_ns: int) -> None:
        """Notice silence."""
        if self._unanswered_ns is not None and now_ns - self._unanswered_ns > self._silence_ns:
            self._unanswered_ns = None
            self.connection.lost(f"no latent for {self._silence_ns // NS_PER_MS} ms")


def epoch_in(welcome: Welcome) -> int:
    """The epoch of control, from its welcome. Raises MessageError if it tells none."""
    text = welcome.details.get("epoch", "")
    epoch = whole_number(text)
    if epoch is None:
        raise MessageError(
            f"control's welcome: details.epoch: expected a number, got {text!r} (at most {MAX_NUMBER})"
        )
    return epoch
