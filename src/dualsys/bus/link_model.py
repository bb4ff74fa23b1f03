"""What a network line does to a stream of bytes: pure, so that a schedule can be read, tested and repeated.

The line carries TCP, so nothing is ever missing or out of order: a packet that is lost arrives when it was
sent again, and everything behind it waits. That is how loss reaches whoever uses ZeroMQ over TCP, and why it
shows as age.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import msgspec

from dualsys.clock import NS_PER_MS, NS_PER_S, nanoseconds
from dualsys.errors import ConfigError

RETRANSMIT_NS: Final = 200 * NS_PER_MS
"""Least time after which TCP sends again what was not acknowledged (RFC 6298: 1 s; Linux: 200 ms)."""

KERNEL_BYTES: Final = 256 * 1024
"""What the kernel may hold for a channel on each side. Left to itself it holds megabytes, which on a narrow
line are seconds: nothing is newer than what is in front of it. At 50 ms there and back it still carries 40
Mbit/s."""

PACKET_BYTES: Final = 1448
"""Payload of a TCP segment on Ethernet."""


class Conditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the line is like from a moment on.

    Attributes:
        at_s: The moment, since the start.
        delay_ms: Time on the way, each way.
        jitter_ms: Up to so much more, drawn for each packet, uniformly.
        loss: Probability that a burst of losses begins with a packet.
        burst: Mean number of packets that are lost in a burst.
        bandwidth_mbit_s: Rate of the line in each direction; None for no limit.
        blackhole: Nothing passes, and nobody is told, as when a cable is pulled.
    """

    at_s: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    burst: float = 1.0
    bandwidth_mbit_s: float | None = None
    blackhole: bool = False

    def faults(self) -> list[str]:
        """What is wrong with it, by field."""
        faults = []
        for name, low, high in (
            ("at_s", 0, 1e6),
            ("delay_ms", 0, 60_000),
            ("jitter_ms", 0, 60_000),
            ("loss", 0, 1),
            ("burst", 1, 1000),
        ):
            value = getattr(self, name)
            # Written so that NaN is refused as well.
            if not low <= value <= high:
                faults.append(f"{name}: got {value:g}, expected {low:g} to {high:g}")
        rate = self.bandwidth_mbit_s
        if rate is not None and not 0.001 <= rate <= 1e6:
            faults.append(f"bandwidth_mbit_s: got {rate:g}, expected 0.001 to 1e6, or null for no limit")
        return faults


class Schedule:
    """Conditions over time.

    Args:
        steps: In the order of their moments; before the first one the line is perfect.

    Raises:
        ConfigError: A value is out of range, or the moments do not rise.
    """

    def __init__(self, steps: Sequence[Conditions]) -> None:
        faults = [f"{number}.{fault}" for number, step in enumerate(steps) for fault in step.faults()]
        for number in range(1, len(steps)):
            if not steps[number - 1].at_s < steps[number].at_s:
                faults.append(f"{number}.at_s: got {steps[number].at_s:g}, expected more than the one before")
        if faults:
            raise ConfigError("schedule of the link", faults)
        self._steps = tuple(steps)

    def at(self, elapsed_ns: int) -> Conditions:
        """The conditions at a time since the start."""
        current = Conditions()
        for step in self._steps:
            if nanoseconds(step.at_s) > elapsed_ns:
                break
            current = step
        return current

    def next_change_ns(self, elapsed_ns: int) -> int | None:
        """When the conditions change next, since the start; None if they do not."""
        later = (nanoseconds(step.at_s) for step in self._steps if nanoseconds(step.at_s) > elapsed_ns)
        return next(later, None)


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
        extra_ns = round(self._rng.uniform(0, conditions.jitter_ms) * NS_PER_MS)
        if self._loses(conditions, -(-size // PACKET_BYTES)):
            extra_ns += RETRANSMIT_NS
        arrived_ns = self._free_ns + round(conditions.delay_ms * NS_PER_MS) + extra_ns
        # What arrives while nothing passes has not arrived.
        self._arrived_ns = max(self._arrived_ns, self._past_blackholes(arrived_ns))
        self.carried_bytes += size
        return self._arrived_ns

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
        stays = 1 - 1 / conditions.burst
        before = self.losses
        for _ in range(packets):
            self._losing = self._rng.random() < (stays if self._losing else conditions.loss)
            self.losses += self._losing
        return self.losses > before
