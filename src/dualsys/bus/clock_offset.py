"""How far apart two clocks are, from questions and answers; for telemetry only.

Freshness never depends on this: ages are measured on the edge's clock alone. It splits a round trip into the
way up, the time there, and the way down.

One exchange gives `offset = ((t2 - t1) + (t3 - t4)) / 2` with an error of at most half the time on the way
(D. L. Mills and others, RFC 5905, section 8), however unequal the two ways are. Each exchange thus says in
which interval the offset was; clocks drift apart by no more than so many parts per million, so the interval
widens with its age; and the offset is where all intervals overlap (K. Marzullo, "Maintaining the time in a
distributed system", 1984). The exchange that was least on the way counts by itself the most. Where the
intervals no longer overlap, a clock was set.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from dualsys.clock import NS_PER_S
from dualsys.errors import MessageError

WINDOW_NS: Final = 60 * NS_PER_S
MOST_DRIFT_PPM: Final = 200
"""Two quartz clocks differ by a few tens; a virtual machine's by more."""

_MOST_EXCHANGES = 512
_PPM = 1_000_000


@dataclass(frozen=True)
class Exchange:
    """One question and its answer.

    Attributes:
        sent_ns: When the question left, on our clock (t1).
        received_ns: When it arrived, on theirs (t2).
        answered_ns: When the answer left, on theirs (t3).
        returned_ns: When it arrived, on ours (t4).

    Raises:
        MessageError: The answer left before the question arrived, or the times there and here contradict each
            other. Such stamps are wrong, whatever the offset.
    """

    sent_ns: int
    received_ns: int
    answered_ns: int
    returned_ns: int

    def __post_init__(self) -> None:
        there_ns, here_ns = self.answered_ns - self.received_ns, self.returned_ns - self.sent_ns
        if not 0 <= there_ns <= here_ns:
            raise MessageError(f"clock stamps: {there_ns} ns pass there during {here_ns} ns here")

    @property
    def way_ns(self) -> int:
        """Time on the way, up and down together."""
        return (self.returned_ns - self.sent_ns) - (self.answered_ns - self.received_ns)

    @property
    def least_offset_ns(self) -> int:
        """The offset if the way down took no time. The greatest is `way_ns` more."""
        return self.answered_ns - self.returned_ns


@dataclass(frozen=True)
class OffsetEstimate:
    """Their clock minus ours.

    Attributes:
        offset_ns: Middle of what it can be.
        uncertainty_ns: It differs from that by at most this.
        drift_ppm: How fast it grows; None while too little is known.
        drift_uncertainty_ppm: That differs by at most this, if the drift is steady.
    """

    offset_ns: int
    uncertainty_ns: int
    drift_ppm: float | None
    drift_uncertainty_ppm: float


@dataclass(frozen=True)
class RoundTrip:
    """Where the time of one exchange went, ns. `up_ns` and `down_ns` err by at most `uncertainty_ns`."""

    up_ns: int
    there_ns: int
    down_ns: int
    uncertainty_ns: int


class OffsetEstimator:
    """Follows the offset of one peer's clock. Pure: time comes from the exchanges.

    Args:
        window_ns: How long an exchange counts.
        most_drift_ppm: How fast the clocks can drift apart at most.

    Attributes:
        steps: Times that a clock was set: what was known before was forgotten.
    """

    def __init__(self, window_ns: int = WINDOW_NS, most_drift_ppm: int = MOST_DRIFT_PPM) -> None:
        self._window_ns = window_ns
        self._most_drift_ppm = most_drift_ppm
        self._exchanges: deque[Exchange] = deque(maxlen=_MOST_EXCHANGES)
        self.steps = 0

    def add(self, exchange: Exchange) -> None:
        """Take in an exchange, later than those before."""
        now_ns = exchange.returned_ns
        while self._exchanges and now_ns - self._exchanges[0].returned_ns > self._window_ns:
            self._exchanges.popleft()
        self._exchanges.append(exchange)
        low, high = self._overlap(now_ns)
        if low > high:
            self.steps += 1
            self._exchanges.clear()
            self._exchanges.append(exchange)

    def estimate(self, now_ns: int) -> OffsetEstimate | None:
        """The offset at a time on our clock; None before the first exchange."""
        if not self._exchanges:
            return None
        low, high = self._overlap(now_ns)
        offset_ns = (low + high) // 2
        return OffsetEstimate(offset_ns, max(high - offset_ns, offset_ns - low), *self._drift())

    def split(self, exchange: Exchange) -> RoundTrip | None:
        """Split a round trip that was added; None before the first."""
        estimate = self.estimate(exchange.returned_ns)
        if estimate is None:
            return None
        # Neither way can take less than nothing, or more than both together.
        up_ns = exchange.received_ns - estimate.offset_ns - exchange.sent_ns
        up_ns = min(max(up_ns, 0), exchange.way_ns)
        there_ns = exchange.answered_ns - exchange.received_ns
        return RoundTrip(up_ns, there_ns, exchange.way_ns - up_ns, estimate.uncertainty_ns)

    def _overlap(self, now_ns: int) -> tuple[int, int]:
        """Least and greatest offset that all exchanges allow; the least is greater if none is left."""
        lows, highs = [], []
        for exchange in self._exchanges:
            # From when the question left: the interval holds for the whole exchange only with its drift.
            age_ns = abs(now_ns - exchange.sent_ns)
            widening_ns = -(-age_ns * self._most_drift_ppm // _PPM)
            lows.append(exchange.least_offset_ns - widening_ns)
            highs.append(exchange.least_offset_ns + exchange.way_ns + widening_ns)
        return max(lows), min(highs)

    def _drift(self) -> tuple[float | None, float]:
        """Drift between the best exchange of the older half of the window and that of the newer."""
        span_ns = self._exchanges[-1].returned_ns - self._exchanges[0].returned_ns
        middle_ns = self._exchanges[0].returned_ns + span_ns // 2
        older = [exchange for exchange in self._exchanges if exchange.returned_ns <= middle_ns]
        newer = [exchange for exchange in self._exchanges if exchange.returned_ns > middle_ns]
        if not older or not newer:
            return None, float(self._most_drift_ppm)
        before, after = (min(part, key=lambda exchange: exchange.way_ns) for part in (older, newer))
        apart_ns = after.returned_ns - before.returned_ns
        grown_ns = (after.least_offset_ns + after.way_ns / 2) - (before.least_offset_ns + before.way_ns / 2)
        ways_ns = (after.returned_ns - after.sent_ns) + (before.returned_ns - before.sent_ns)
        error_ns = (after.way_ns + before.way_ns) / 2 + ways_ns * self._most_drift_ppm / _PPM
        return grown_ns / apart_ns * _PPM, error_ns / apart_ns * _PPM
