"""The line to System 2 as the twin has it: what is sent takes the longer the larger it is. Pure.

Each way is a line of `dualsys link` (`bus.link_model`) with a bandwidth and nothing else; whatever does not
depend on size is part of System 2's delay. A message waits for those that were sent before it. Where as much
waits as the kernel holds, nothing more is taken in: the latest value wins, so the next one tries its luck.
"""

from __future__ import annotations

import random

from dualsys.bus.codec import encode
from dualsys.bus.link_model import KERNEL_BYTES, Conditions, Line, Schedule
from dualsys.clock import NS_PER_S
from dualsys.messages import LatentPacket, Observation

_BITS_PER_BYTE = 8


class Way:
    """One direction of the line.

    Args:
        bandwidth_mbit_s: Its rate, Mbit/s; None for no limit.

    Attributes:
        refused: Messages that were not sent, because too much waited already.

    Raises:
        ConfigError: The rate is out of range.
    """

    def __init__(self, bandwidth_mbit_s: float | None) -> None:
        self._rate = bandwidth_mbit_s
        # Without jitter and losses nothing is drawn that matters.
        self._line = Line(Schedule((Conditions(bandwidth_mbit_s=bandwidth_mbit_s),)), random.Random(0))
        self._last_ns = 0
        self.refused = 0

    @property
    def carried_bytes(self) -> int:
        """What was sent so far."""
        return self._line.carried_bytes

    def waiting_bytes(self, now_ns: int) -> float:
        """What was sent and has not arrived."""
        if self._rate is None:
            return 0.0
        return max(0, self._last_ns - now_ns) * self._rate * 1e6 / (_BITS_PER_BYTE * NS_PER_S)

    def arrival_ns(self, now_ns: int, size: int) -> int | None:
        """Send a message. Returns when the whole of it is there, or None if it was not sent.

        Args:
            now_ns: The present; never before that of an earlier message.
            size: Bytes of the message, at least 1.
        """
        if self.waiting_bytes(now_ns) + size > KERNEL_BYTES and self._last_ns > now_ns:
            self.refused += 1
            return None
        self._last_ns = self._line.arrival_ns(now_ns, size)
        return self._last_ns


class SlowLine:
    """The line between one planner and System 2, both ways.

    Args:
        bandwidth_mbit_s: Rate of each way, Mbit/s; None: size does not matter.
        steady_ns: Time between two observations where the planner sends them whether System 2 is free or not;
            None where it sends only what is read.

    Raises:
        ConfigError: The rate is out of range.
    """

    def __init__(self, bandwidth_mbit_s: float | None, steady_ns: int | None) -> None:
        self._limited = bandwidth_mbit_s is not None
        self._steady_ns = steady_ns
        self._up, self._down = Way(bandwidth_mbit_s), Way(bandwidth_mbit_s)
        self._last: tuple[int, int] | None = None

    def up(self, now_ns: int, observation: Observation) -> int | None:
        """Send an observation. Returns when it is there, or None if it was not sent."""
        if not self._limited:
            return now_ns
        size = len(encode(observation))
        if self._last is not None and self._steady_ns is not None:
            # Those in between, which System 2 never reads, take their time as well: as much as the last one.
            last_ns, last_size = self._last
            for sent_ns in range(last_ns + self._steady_ns, now_ns - self._steady_ns // 2, self._steady_ns):
                self._up.arrival_ns(sent_ns, last_size)
        self._last = (now_ns, size)
        return self._up.arrival_ns(now_ns, size)

    def down(self, now_ns: int, packet: LatentPacket) -> int | None:
        """Send a latent. Returns when it is there, or None if it was not sent."""
        return self._down.arrival_ns(now_ns, len(encode(packet))) if self._limited else now_ns

    def counters(self) -> dict[str, int]:
        """What it was given, and how many messages it was not; nothing where size does not matter."""
        if not self._limited:
            return {}
        return {
            "up_bytes": self._up.carried_bytes,
            "down_bytes": self._down.carried_bytes,
            "unsent": self._up.refused + self._down.refused,
        }
