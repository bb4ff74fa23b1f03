"""Where the age of a latent comes from: the way up, the wait there, the forward pass, the way down.

For people only. What the arm does depends on the age as a whole, which needs one clock; splitting it needs an
estimate of how far the other clock is off, and says how far the split may be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dualsys.bus.clock_offset import Exchange, OffsetEstimator
from dualsys.clock import NS_PER_MS
from dualsys.errors import MessageError
from dualsys.messages import LatentPacket

_REMEMBERED = 1024
_UNKNOWN = float("nan")


@dataclass(frozen=True)
class TripStatistics:
    """The newest round trip of an observation and its latent.

    Attributes:
        up_ms, down_ms: On the way to System 2 and back; each may be wrong by `uncertainty_ms`.
        waited_ms: There, but not computing: for the model to be free, and what is emulated.
        computed_ms: The forward pass, as System 2 tells it.
        uncertainty_ms: How far the offset of the clocks may be wrong.
        offset_ms: System 2's clock minus ours.
        drift_ppm: How fast that grows; NaN while unknown.
        clock_steps: Times that a clock was set.
        refused: Latents whose stamps contradict each other.
    """

    up_ms: float
    waited_ms: float
    computed_ms: float
    down_ms: float
    uncertainty_ms: float
    offset_ms: float
    drift_ppm: float
    clock_steps: int
    refused: int


class Trips:
    """Follows observations up and latents down."""

    def __init__(self) -> None:
        self._sent: dict[int, int] = {}
        self._offset = OffsetEstimator()
        self._refused = 0
        self._newest = TripStatistics(
            up_ms=_UNKNOWN,
            waited_ms=_UNKNOWN,
            computed_ms=_UNKNOWN,
            down_ms=_UNKNOWN,
            uncertainty_ms=_UNKNOWN,
            offset_ms=_UNKNOWN,
            drift_ppm=_UNKNOWN,
            clock_steps=0,
            refused=0,
        )

    @property
    def clock_steps(self) -> int:
        """Times that a clock was set."""
        return self._offset.steps

    def sent(self, observation_seq: int, now_ns: int) -> None:
        """An observation leaves."""
        self._sent[observation_seq] = now_ns
        if len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]

    def answered(self, packet: LatentPacket, now_ns: int) -> None:
        """A latent of this session is here. Without stamps, or for nothing that was sent, it says nothing."""
        sent_ns = self._sent.get(packet.observation_seq)
        if sent_ns is None or packet.t_received_ns < 0 or packet.t_sent_ns < 0:
            return
        try:
            exchange = Exchange(sent_ns, packet.t_received_ns, packet.t_sent_ns, now_ns)
        except MessageError:
            self._refused += 1
            return
        self._offset.add(exchange)
        trip, estimate = self._offset.split(exchange), self._offset.estimate(now_ns)
        if trip is None or estimate is None:
            return
        computed_ns = min(packet.compute_ns, trip.there_ns)
        self._newest = TripStatistics(
            up_ms=trip.up_ns / NS_PER_MS,
            waited_ms=(trip.there_ns - computed_ns) / NS_PER_MS,
            computed_ms=computed_ns / NS_PER_MS,
            down_ms=trip.down_ns / NS_PER_MS,
            uncertainty_ms=trip.uncertainty_ns / NS_PER_MS,
            offset_ms=estimate.offset_ns / NS_PER_MS,
            drift_ppm=_UNKNOWN if estimate.drift_ppm is None else estimate.drift_ppm,
            clock_steps=self._offset.steps,
            refused=self._refused,
        )

    def statistics(self) -> TripStatistics:
        """The newest round trip; NaN before the first."""
        return replace(self._newest, clock_steps=self._offset.steps, refused=self._refused)
