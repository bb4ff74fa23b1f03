"""What a network line does to a stream of bytes: pure, so that a schedule can be read, tested and repeated.

The line carries TCP, so nothing is ever missing or out of order: a packet that is lost arrives when it was
sent again, and everything behind it waits. That is how loss reaches whoever uses ZeroMQ over TCP, and why it
shows as age.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Final

import msgspec

from dualsys.clock import NS_PER_MS, NS_PER_S, nanoseconds
from dualsys.errors import ConfigError

RETRANSMIT_NS: Final = 200 * NS_PER_MS
"""Least time after which TCP sends again what was not acknowledged (RFC 6298: 1 s; Linux: 200 ms). It is a
round trip where that is longer: no sender learns sooner that something is missing."""

KERNEL_BYTES: Final = 256 * 1024
"""What the kernel may hold for a channel on each side. Left to itself it holds megabytes, which on a narrow
line are seconds: nothing is newer than what is in front of it. At 50 ms there and back it still carries 40
Mbit/s."""

PACKET_BYTES: Final = 1448
"""Payload of a TCP segment on Ethernet."""

PIECE_BYTES: Final = 16 * 1024
"""What enters a line at once, at most: jitter is drawn for each piece."""

MOST_MS: Final = 60_000.0
"""No delay and no jitter is longer."""

_Z99 = NormalDist().inv_cdf(0.99)


class Conditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the line is like from a moment on.

    Attributes:
        at_s: The moment, since the start.
        delay_ms: Time on the way, each way.
        jitter_ms: Up to so much more, drawn for each piece of at most `PIECE_BYTES`, uniformly.
        jitter_p99_ms: With it the jitter has a long tail, as on radio links: it is log-normal, half of all
            pieces wait at most `jitter_ms`, and 99 of 100 at most this. None: uniform.
        loss: Probability that a burst of losses begins with a packet.
        burst: Mean number of packets that are lost in a burst.
        bandwidth_mbit_s: Rate of the line in each direction; None for no limit.
        blackhole: Nothing passes, and nobody is told, as when a cable is pulled.
    """

    at_s: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    jitter_p99_ms: float | None = None
    loss: float = 0.0
    burst: float = 1.0
    bandwidth_mbit_s: float | None = None
    blackhole: bool = False

    def faults(self) -> list[str]:
        """What is wrong with it, by field."""
        faults = []
        for name, low, high in (
            ("at_s", 0, 1e6),
            ("delay_ms", 0, MOST_MS),
            ("jitter_ms", 0, MOST_MS),
            ("loss", 0, 1),
            ("burst", 1, 1000),
        ):
            value = getattr(self, name)
            # Written so that NaN is refused as well.
            if not low <= value <= high:
                faults.append(f"{name}: got {value:g}, expected {low:g} to {high:g}")
        tail, rate = self.jitter_p99_ms, self.bandwidth_mbit_s
        if tail is not None and not 0 < self.jitter_ms < tail <= MOST_MS:
            expected = f"more than jitter_ms ({self.jitter_ms:g}), which must be more than 0, to {MOST_MS:g}"
            faults.append(f"jitter_p99_ms: got {tail:g}, expected {expected}; null for uniform jitter")
        if rate is not None and not 0.001 <= rate <= 1e6:
            faults.append(f"bandwidth_mbit_s: got {rate:g}, expected 0.001 to 1e6, or null for no limit")
        return faults

    def words(self) -> str:
        """What it is like, for people."""
        return "nothing passes" if self.blackhole else ", ".join(self._phrases()) or "perfect"

    def _phrases(self) -> Iterator[str]:
        if self.delay_ms:
            yield f"{self.delay_ms:g} ms each way"
        if self.jitter_p99_ms is not None:
            yield f"jitter of {self.jitter_ms:g} ms in the median and {self.jitter_p99_ms:g} ms at 99 %"
        elif self.jitter_ms:
            yield f"up to {self.jitter_ms:g} ms of jitter"
        if self.loss:
            share = f"{100 * self.loss:g} % of packets"
            yield f"{share} lost" if self.burst == 1 else f"{share} begin a loss of {self.burst:g}"
        if self.bandwidth_mbit_s is not None:
            yield f"{self.bandwidth_mbit_s:g} Mbit/s each way"


class Schedule:
    """Conditions over time.

    Args:
        steps: In the order of their moments; before the first one the line is perfect.
        repeat_s: After this time it begins anew; None: the last step holds for ever.

    Attributes:
        steps, repeat_s: As given.

    Raises:
        ConfigError: A value is out of range, the moments do not rise, or in what is repeated nothing passes.
    """

    def __init__(self, steps: Sequence[Conditions], repeat_s: float | None = None) -> None:
        faults = [f"{number}.{fault}" for number, step in enumerate(steps) for fault in step.faults()]
        for number in range(1, len(steps)):
            if not steps[number - 1].at_s < steps[number].at_s:
                faults.append(f"{number}.at_s: got {steps[number].at_s:g}, expected more than the one before")
        if repeat_s is not None:
            last_s = steps[-1].at_s if steps else 0.0
            if not last_s < repeat_s <= 1e6:
                faults.append(f"repeat_s: got {repeat_s:g}, expected more than {last_s:g}, to 1e6")
            if steps and steps[0].at_s == 0 and all(step.blackhole for step in steps):
                faults.append(f"repeat_s: got {repeat_s:g}, expected a step in which something passes")
        if faults:
            raise ConfigError("schedule of the link", faults)
        self.steps = tuple(steps)
        self.repeat_s = repeat_s

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return (self.steps, self.repeat_s) == (other.steps, other.repeat_s)

    def __hash__(self) -> int:
        return hash((self.steps, self.repeat_s))

    def at(self, elapsed_ns: int) -> Conditions:
        """The conditions at a time since the start."""
        _, within_ns = self._turn(elapsed_ns)
        current = Conditions()
        for step in self.steps:
            if nanoseconds(step.at_s) > within_ns:
                break
            current = step
        return current

    def next_change_ns(self, elapsed_ns: int) -> int | None:
        """When the conditions change next, since the start; None if they do not."""
        turn_ns, within_ns = self._turn(elapsed_ns)
        later = (nanoseconds(step.at_s) for step in self.steps if nanoseconds(step.at_s) > within_ns)
        end_ns = None if self.repeat_s is None else nanoseconds(self.repeat_s)
        change_ns = next(later, end_ns)
        return None if change_ns is None else turn_ns + change_ns

    def words(self) -> str:
        """What the line is like over time, for people."""
        if len(self.steps) == 1 and self.steps[0].at_s == 0:
            return self.steps[0].words()
        told = "; ".join(f"from {step.at_s:g} s on {step.words()}" for step in self.steps) or "perfect"
        return told if self.repeat_s is None else f"{told}; from {self.repeat_s:g} s on again"

    def describe(self) -> dict[str, object]:
        """As plain values, for reports; of each step only what is not as on a perfect line."""
        perfect = msgspec.structs.asdict(Conditions())
        steps = [
            {"at_s": step.at_s}
            | {name: value for name, value in msgspec.structs.asdict(step).items() if value != perfect[name]}
            for step in self.steps
        ]
        return {"steps": steps} | ({} if self.repeat_s is None else {"repeat_s": self.repeat_s})

    def _turn(self, elapsed_ns: int) -> tuple[int, int]:
        """When the present turn began, since the start, and how long ago that is."""
        if self.repeat_s is None:
            return 0, elapsed_ns
        within_ns = elapsed_ns % nanoseconds(self.repeat_s)
        return elapsed_ns - within_ns, within_ns


class Line:
    """One direction of one connection.

    Args:
        schedule: What the line is like.
        rng: Where jitter and losses come from.

    Attributes:
        carried_bytes: Passed on so far.
        losses: Packets that had to be sent again.
    """

    def __init__(self, schedule: Schedule, rng: random.Random) -> None:
        self._schedule = schedule
        self._rng = rng
        self._free_ns = 0
        self._arrived_ns = 0
        self._losing = False
        self.carried_bytes = 0
        self.losses = 0

    def arrival_ns(self, elapsed_ns: int, size: int) -> int:
        """When bytes that enter now leave at the other end, both since the start; never before earlier ones.

        Args:
            elapsed_ns: Now.
            size: How many bytes; at least one.
        """
        entered_ns = self._past_blackholes(elapsed_ns)
        conditions = self._schedule.at(entered_ns)
        start_ns = max(entered_ns, self._free_ns)
        rate = conditions.bandwidth_mbit_s
        self._free_ns = start_ns + (0 if rate is None else round(size * 8 * NS_PER_S / (rate * 1e6)))
        delay_ns = round(conditions.delay_ms * NS_PER_MS)
        extra_ns = round(self._jitter_ms(conditions) * NS_PER_MS)
        if self._loses(conditions, -(-size // PACKET_BYTES)):
            extra_ns += max(RETRANSMIT_NS, 2 * delay_ns)
        arrived_ns = self._free_ns + delay_ns + extra_ns
        # What arrives while nothing passes has not arrived.
        self._arrived_ns = max(self._arrived_ns, self._past_blackholes(arrived_ns))
        self.carried_bytes += size
        return self._arrived_ns

    def _jitter_ms(self, conditions: Conditions) -> float:
        """How much longer a piece takes than the delay."""
        if conditions.jitter_p99_ms is None:
            return self._rng.uniform(0, conditions.jitter_ms)
        median, tail = conditions.jitter_ms, conditions.jitter_p99_ms
        return min(self._rng.lognormvariate(math.log(median), math.log(tail / median) / _Z99), MOST_MS)

    def _past_blackholes(self, elapsed_ns: int) -> int:
        """The first time from then on at which something passes; a very late one if that is never."""
        while self._schedule.at(elapsed_ns).blackhole:
            change_ns = self._schedule.next_change_ns(elapsed_ns)
            if change_ns is None:
                return elapsed_ns + 10**9 * NS_PER_S
            elapsed_ns = change_ns
        return elapsed_ns

    def _loses(self, conditions: Conditions, packets: int) -> bool:
        """Whether any of some packets is lost; losses come in bursts (E. N. Gilbert, 1960)."""
        if not conditions.loss and not self._losing:
            return False
        stays = 1 - 1 / conditions.burst
        before = self.losses
        for _ in range(packets):
            self._losing = self._rng.random() < (stays if self._losing else conditions.loss)
            self.losses += self._losing
        return self.losses > before
