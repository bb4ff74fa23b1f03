"""How much of an uplink observations use: quality and rate, from delays alone. Pure: stamps in, choices out.

Channels carry the latest value, and still a line that is too narrow grows old: what has left for the kernel
or a router stands in a queue there, seconds of it on a slow line, and nothing newer can pass. Nobody tells
the sender. What it can see is *when* its observations arrived: System 2 echoes their numbers, with stamps of
its own clock. The one-way delay by those stamps is off by a constant, the offset of the clocks, so what it is
above its own minimum is the queue (LEDBAT, RFC 6817, section 2); and while there is a queue, the bytes
between two arrivals over the time between them are what the line delivers, whatever is sent. As in BBR and
GCC (Cardwell and others, 2016; Carlucci and others, 2016) a queue leads to a rate below what was delivered,
which drains it, and no queue to probing: quick while the capacity is unknown, then slow, and more and more
seldom where it fails at the same place. The least of the last delays counts, so one packet that TCP sends
again is no queue.

Answers are sparse: System 2 reads what it can, and each answer speaks for everything before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final, Literal

from dualsys.clock import NS_PER_MS, NS_PER_S

Reason = Literal["start", "steady", "probing", "queue", "draining", "silence", "recovery"]
"""Why the choice is what it is."""

REASONS: Final[tuple[Reason, ...]] = (
    "start",
    "steady",
    "probing",
    "queue",
    "draining",
    "silence",
    "recovery",
)

_AWAY: Final = ("silence", "recovery")
"""While answers stay away, and until they are as quick as before, as little as possible is sent."""

QUALITY_STEP: Final = 5
_FILTER: Final = 3
"""Delays whose least counts."""
_BASE_PERIOD_NS: Final = 10 * NS_PER_S
"""The least delay is that of this period and the one before it; routes change, and clocks drift."""
_DELIVERY_NS: Final = NS_PER_S
"""What the line delivers is measured over at least this long, where it was busy for as long."""
_GROWTH: Final = 1.5
"""Growth with each round trip while the capacity is unknown."""
_DRAIN_NS: Final = NS_PER_S
"""A queue is given about this long to drain."""
_LEAST_DRAIN: Final = 0.1
_BELOW: Final = 0.9
"""Part of the capacity that is used once it is known."""
_PROBE_PER_S, _WIDER_PER_S = 1.05, 1.3
_FIRST_REST_NS, _LONGEST_REST_NS = 2 * NS_PER_S, 30 * NS_PER_S
"""Time without probing after a queue: doubled each time that the capacity turns out to be the same."""
_SAME: Final = 1.2
"""Capacities that differ by less are the same."""
_USED, _USED_AT_FIRST = 0.75, 0.5
"""Part of the budget that must have been used before it grows: at first answers are far behind it."""
_USE_SHARE: Final = 0.3
"""Weight of the newest sample of what is used."""
_LEAST_SHARE, _SHARE_WEIGHT = 0.25, 0.1
"""Least part of the observations that are due and counts as sent, and the weight of the newest one."""
_REMEMBERED: Final = 1024
_FASTEST_ROUND_NS: Final = 200 * NS_PER_MS
_FLOOR_NS: Final = 5 * NS_PER_S
_MARGIN: Final = 1.1
"""A better quality is taken only with this much to spare."""

_CURVE: Final = (
    (1, 0.25),
    (10, 0.33),
    (20, 0.39),
    (30, 0.45),
    (40, 0.49),
    (50, 0.53),
    (60, 0.58),
    (70, 0.64),
    (80, 0.75),
    (90, 1.0),
    (95, 1.3),
    (100, 2.3),
)
"""Size of a JPEG by quality, that of 90 being 1: of the table's fixed camera. A guess for qualities that have
not been used yet."""


@dataclass(frozen=True)
class RateBounds:
    """What the controller may choose from.

    Attributes:
        least_rate_hz, most_rate_hz: Observations per second.
        least_quality, most_quality: JPEG quality. The same, where images are not sent as JPEG: then only the
            rate is adapted.
        queue_ns: Delay above the least one that counts as a queue.
        answer_ns: Longest time to an answer while the line takes none.

    Raises:
        ValueError: A range is empty, or a number is not positive.
    """

    least_rate_hz: float
    most_rate_hz: float
    least_quality: int
    most_quality: int
    queue_ns: int
    answer_ns: int

    def __post_init__(self) -> None:
        if not 0 < self.least_rate_hz <= self.most_rate_hz <= NS_PER_S:
            raise ValueError(
                f"rates: expected 0 < least <= most, got {self.least_rate_hz} {self.most_rate_hz}"
            )
        if not 1 <= self.least_quality <= self.most_quality <= 100:
            raise ValueError(
                f"qualities: expected 1 <= least <= most <= 100, got {self.least_quality} {self.most_quality}"
            )
        if self.queue_ns < 1 or self.answer_ns < 1:
            raise ValueError(
                f"expected positive times, got queue {self.queue_ns}, answer {self.answer_ns} ns"
            )


@dataclass(frozen=True)
class RateChoice:
    """How observations are sent now.

    Attributes:
        quality: Of the JPEG.
        period_ns: Time from one observation to the next.
        reason: Why.
    """

    quality: int
    period_ns: int
    reason: Reason


@dataclass(frozen=True)
class _Sent:
    at_ns: int
    size: int
    bytes_so_far: int


class RateController:
    """Chooses quality and rate of observations.

    Args:
        bounds: Never left.

    Attributes:
        budget: Bytes per second that may be sent; 0 before the first observation.
        capacity: Bytes per second that the line carried when a queue was there; 0 while unknown.
        queue_ns: The present queue.
        cuts: Times that a queue led to a lower budget.
        silences: Times that answers stayed away.
    """

    def __init__(self, bounds: RateBounds) -> None:
        self._bounds = bounds
        self._quality = bounds.least_quality
        self._reason: Reason = "start"
        self._sent: OrderedDict[int, _Sent] = OrderedDict()
        self._bytes = 0
        self._share = 1.0
        self._taken_ns: int | None = None
        self._sizes: dict[int, float] = {}
        self._delays: deque[int] = deque(maxlen=_FILTER)
        self._busy: deque[tuple[int, int]] = deque()
        self._last: _Sent | None = None
        self._used = 0.0
        self._base: tuple[int | None, int | None] = (None, None)
        self._base_since_ns = 0
        self._round_ns = bounds.answer_ns
        self._answered_ns: int | None = None
        self._heed_from_ns = 0
        self._rest_until_ns, self._rest_ns = 0, _FIRST_REST_NS
        self._floor_since_ns: int | None = None
        self.budget = 0.0
        self.capacity = 0.0
        self.queue_ns = 0
        self.cuts = 0
        self.silences = 0

    def sent(self, seq: int, size: int, now_ns: int) -> None:
        """An observation of so many bytes leaves, with the quality chosen last."""
        size = max(1, size)
        self._share += (1.0 - self._share) * _SHARE_WEIGHT
        self._bytes += size
        self._sent[seq] = _Sent(now_ns, size, self._bytes)
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        before = self._sizes.get(self._quality, size)
        self._sizes[self._quality] = before + (size - before) / 4
        if self.budget == 0.0:
            floor, ceiling = self._span()
            self.budget = (floor * ceiling) ** 0.5
        self._keep_in_span()

    def spared(self) -> None:
        """An observation was due and is not sent, since nobody needs it: the others may be better."""
        self._share += (_LEAST_SHARE - self._share) * _SHARE_WEIGHT

    def answered(self, seq: int, received_ns: int, now_ns: int) -> None:
        """An observation is known to have arrived.

        Args:
            seq: Its number; what was sent before it has arrived too, or was replaced on the way.
            received_ns: When, on any one steady clock.
            now_ns: When that became known, on ours.
        """
        entry = self._sent.pop(seq, None)
        if entry is None:
            return
        while self._sent and next(iter(self._sent)) < seq:
            self._sent.popitem(last=False)
        elapsed_ns = now_ns - (now_ns if self._answered_ns is None else self._answered_ns)
        self._answered_ns = now_ns
        self._round_ns = max(_FASTEST_ROUND_NS, now_ns - entry.at_ns)
        if entry.at_ns < self._heed_from_ns:
            # It left before the last change, and tells of the line before that.
            return
        self._measure(entry, received_ns, now_ns)
        if self._reason in _AWAY:
            self._recover(received_ns - entry.at_ns)
        elif len(self._delays) == _FILTER:
            self._decide(entry, elapsed_ns, now_ns)
        self._doubt_the_base(now_ns)

    def forget_clock(self) -> None:
        """The clock of `received_ns` was set, or is another one: delays have to be learnt anew."""
        self._base = (None, None)
        self._forget_delays()

    def due(self, now_ns: int) -> bool:
        """Whether an observation is due. If so, it counts as taken: the next one is due a period later.

        A part of a period that is lost to an image that comes late is made up for, one period at most: so
        the rate is kept, and nothing is sent in a burst.
        """
        period_ns = self.choose(now_ns).period_ns
        due_ns = now_ns if self._taken_ns is None else self._taken_ns + period_ns
        if now_ns < due_ns:
            return False
        self._taken_ns = max(due_ns, now_ns - period_ns)
        return True

    def choose(self, now_ns: int) -> RateChoice:
        """What to do now. Within the bounds, whatever was measured."""
        self._listen(now_ns)
        bounds = self._bounds
        if self._reason in _AWAY or self.budget == 0.0:
            self._quality = bounds.least_quality
            return RateChoice(self._quality, round(NS_PER_S / bounds.least_rate_hz), self._reason)
        best = self._affordable(self.budget)
        if best > self._quality:
            best = max(self._quality, self._affordable(self.budget / _MARGIN))
        self._quality = best
        rate_hz = self.budget / (self._size(best) * self._share)
        rate_hz = min(max(rate_hz, bounds.least_rate_hz), bounds.most_rate_hz)
        return RateChoice(self._quality, round(NS_PER_S / rate_hz), self._reason)

    def _measure(self, entry: _Sent, received_ns: int, now_ns: int) -> None:
        """Take in one delay and one arrival."""
        delay_ns = received_ns - entry.at_ns
        self._delays.append(delay_ns)
        now, before = self._base
        if now_ns - self._base_since_ns > _BASE_PERIOD_NS:
            now, before = None, now
            self._base_since_ns = now_ns
        self._base = (delay_ns if now is None else min(now, delay_ns), before)
        self.queue_ns = max(0, min(self._delays) - self._least_ns())
        if delay_ns - self._least_ns() < self._bounds.queue_ns // 4:
            # It met no queue: what the line could have carried before is unknown.
            self._busy.clear()
        else:
            self._busy.append((received_ns, entry.bytes_so_far))
        while len(self._busy) > 2 and received_ns - self._busy[1][0] >= _DELIVERY_NS:
            self._busy.popleft()
        if self._last is not None and entry.at_ns > self._last.at_ns:
            sent = entry.bytes_so_far - self._last.bytes_so_far
            used = sent * NS_PER_S / (entry.at_ns - self._last.at_ns)
            self._used += (used - self._used) * _USE_SHARE
        self._last = entry

    def _decide(self, entry: _Sent, elapsed_ns: int, now_ns: int) -> None:
        # An observation that has the line to itself still takes its time; the least delay may be from before
        # the line became so narrow.
        alone_ns = entry.size * NS_PER_S / self.capacity if self.capacity else 0.0
        if self.queue_ns > self._bounds.queue_ns:
            self._cut(entry, now_ns)
        elif self.queue_ns > alone_ns + self._bounds.queue_ns / 2:
            self._reason = "draining" if self._reason in ("queue", "draining") else "steady"
        elif self._reason in ("queue", "draining"):
            # The queue is gone: up again to just below what the line carries.
            self.budget = max(self.budget, _BELOW * self.capacity)
            self._reason = "steady"
        elif now_ns < self._rest_until_ns:
            self._reason = "steady"
        else:
            self._grow(min(elapsed_ns, self._round_ns))
        self._keep_in_span()

    def _cut(self, entry: _Sent, now_ns: int) -> None:
        """Below what the line delivers, the more the longer the queue is; then wait until that shows."""
        delivered = self._delivered()
        if self._reason in ("queue", "draining"):
            delivered = delivered or self.capacity
        else:
            delivered = min(delivered or _BELOW * self.budget, self.budget)
            same = delivered < _SAME * self.capacity < _SAME**2 * delivered
            self._rest_ns = min(2 * self._rest_ns, _LONGEST_REST_NS) if same else _FIRST_REST_NS
            self.cuts += 1
        self.capacity = delivered
        # What is still on its way tells of the queue before any answer does.
        waiting_ns = (self._bytes - entry.bytes_so_far) * NS_PER_S / delivered - self._bounds.answer_ns
        waiting_ns = max(self._delays[-1] - self._least_ns(), waiting_ns)
        self.budget = delivered * max(_LEAST_DRAIN, _BELOW - waiting_ns / _DRAIN_NS)
        self._reason = "queue"
        self._heed_from_ns = now_ns
        self._rest_until_ns = now_ns + self._rest_ns
        self._forget_delays()

    def _grow(self, elapsed_ns: int) -> None:
        _, ceiling = self._span()
        if self.budget >= ceiling:
            self._reason = "steady"
            return
        self._reason = "probing"
        if self._used < (_USED if self.capacity else _USED_AT_FIRST) * self.budget:
            # What is not used is not known to be carried.
            return
        if self.capacity == 0.0:
            self.budget *= _GROWTH ** (elapsed_ns / self._round_ns)
        else:
            # Above what the line once carried it has become wider; how much wider is unknown.
            wider = _USED * self.budget > self.capacity
            self.budget *= (_WIDER_PER_S if wider else _PROBE_PER_S) ** (elapsed_ns / NS_PER_S)

    def _listen(self, now_ns: int) -> None:
        """Notice that answers stay away: then only the least is sent, so that nothing piles up."""
        if self._reason == "silence" or not self._sent:
            return
        oldest = next(iter(self._sent.values())).at_ns
        since_ns = oldest if self._answered_ns is None else max(oldest, self._answered_ns)
        if now_ns - since_ns <= 2 * max(self._bounds.answer_ns, self._round_ns):
            return
        self._reason = "silence"
        self.silences += 1

    def _recover(self, delay_ns: int) -> None:
        """Answers are back; once one was quick, so is the line."""
        self._reason = "recovery"
        if delay_ns - self._least_ns() > self._bounds.queue_ns:
            return
        self._reason = "steady"
        self.budget /= 2
        self.capacity, self._rest_ns = 0.0, _FIRST_REST_NS
        self._rest_until_ns = 0
        self._forget_delays()
        self._keep_in_span()

    def _forget_delays(self) -> None:
        self._delays.clear()
        self._busy.clear()
        self._last = None
        self.queue_ns = 0

    def _doubt_the_base(self, now_ns: int) -> None:
        """A delay that stays the same however little is sent is not ours: the way has become longer."""
        floor, _ = self._span()
        steady = max(self._delays, default=0) - min(self._delays, default=0) < self._bounds.queue_ns
        idle = self._reason in _AWAY or self.budget <= floor
        if not idle or self.queue_ns <= self._bounds.queue_ns // 2 or not steady:
            self._floor_since_ns = None
        elif self._floor_since_ns is None:
            self._floor_since_ns = now_ns
        elif now_ns - self._floor_since_ns > _FLOOR_NS:
            self._floor_since_ns = None
            self._base = (min(self._delays), None)
            self._base_since_ns = now_ns

    def _delivered(self) -> float:
        """Bytes per second that the line carried, in the busiest stretch up to now; 0 while unknown."""
        last_ns, last = self._busy[-1] if self._busy else (0, 0)
        # Over two answers at least: what waited behind one lost packet arrives all at once.
        stretches = list(self._busy)[:-2]
        rates = [
            (last - first) * NS_PER_S / (last_ns - at_ns) for at_ns, first in stretches if last_ns > at_ns
        ]
        return max(rates, default=0.0)

    def _least_ns(self) -> int:
        return min(one for one in self._base if one is not None)

    def _span(self) -> tuple[float, float]:
        """Least and most bytes per second within the bounds."""
        bounds = self._bounds
        floor = self._size(bounds.least_quality) * bounds.least_rate_hz
        return floor, max(floor, self._size(bounds.most_quality) * bounds.most_rate_hz * _MARGIN)

    def _keep_in_span(self) -> None:
        floor, ceiling = self._span()
        self.budget = min(max(self.budget, floor), ceiling)

    def _affordable(self, budget: float) -> int:
        """The best quality at the full rate, as far as that is made use of; the least one if none is."""
        bounds = self._bounds
        steps = [*range(bounds.least_quality, bounds.most_quality, QUALITY_STEP), bounds.most_quality]
        most_hz = bounds.most_rate_hz * self._share
        fitting = [step for step in steps if self._size(step) * most_hz <= budget]
        return max(fitting, default=bounds.least_quality)

    def _size(self, quality: int) -> float:
        """Bytes of an observation at a quality: as it was seen, or else as the curve has it."""
        known = self._sizes.get(quality)
        if known is not None:
            return known
        if not self._sizes:
            return 1.0
        nearest = min(self._sizes, key=lambda one: abs(one - quality))
        return self._sizes[nearest] * _relative_size(quality) / _relative_size(nearest)


def _relative_size(quality: int) -> float:
    right = bisect_left(_CURVE, (quality, 0.0))
    if right == 0:
        return _CURVE[0][1]
    (x0, y0), (x1, y1) = _CURVE[right - 1], _CURVE[min(right, len(_CURVE) - 1)]
    return y0 if x1 == x0 else y0 + (y1 - y0) * (quality - x0) / (x1 - x0)
