"""The line to System 2 as the twin has it: what is sent takes its time, the more the larger it is. Pure.

Each way is a line of `dualsys link` (`bus.link_model`). What System 2 itself takes is part of its delay. A
message waits for those that were sent before it. Where as much waits as the kernel holds, nothing more is
taken in: the latest value wins, so the next one tries its luck.
"""

from __future__ import annotations

import random
from collections import deque

from dualsys.bus.codec import encode
from dualsys.bus.link_model import KERNEL_BYTES, PIECE_BYTES, Line, Schedule
from dualsys.clock import NS_PER_S, nanoseconds
from dualsys.messages import LatentPacket, Observation

_BITS_PER_BYTE = 8


class Way:
    """One direction of the line.

    Args:
        schedule: What it is like.
        rng: Where jitter and losses come from.
        start_ns: How long the schedule has been going on at time 0.

    Attributes:
        refused: Messages that were not sent, because too much waited already.
    """

    def __init__(self, schedule: Schedule, rng: random.Random, start_ns: int = 0) -> None:
        self._schedule = schedule
        self._line = Line(schedule, rng)
        self._start_ns = start_ns
        self._on_the_way: deque[tuple[int, int]] = deque()
        self.refused = 0

    @property
    def carried_bytes(self) -> int:
        """What was sent so far."""
        return self._line.carried_bytes

    @property
    def losses(self) -> int:
        """Packets that had to be sent again."""
        return self._line.losses

    def waiting_bytes(self, now_ns: int) -> float:
        """What was sent and has not arrived; of the first message what the line's rate leaves to come."""
        while self._on_the_way and self._on_the_way[0][0] <= now_ns:
            self._on_the_way.popleft()
        if not self._on_the_way:
            return 0.0
        arrival_ns, size = self._on_the_way[0]
        rate = self._schedule.at(now_ns + self._start_ns).bandwidth_mbit_s
        first = float(size)
        if rate is not None:
            first = min(first, (arrival_ns - now_ns) * rate * 1e6 / (_BITS_PER_BYTE * NS_PER_S))
        return first + sum(size for _, size in list(self._on_the_way)[1:])

    def arrival_ns(self, now_ns: int, size: int) -> int | None:
        """Send a message. Returns when the whole of it is there, or None if it was not sent.

        Args:
            now_ns: The present; never before that of an earlier message.
            size: Bytes of the message, at least 1.
        """
        waiting = self.waiting_bytes(now_ns)
        if waiting and waiting + size > KERNEL_BYTES:
            self.refused += 1
            return None
        arrival_ns = now_ns
        for begin in range(0, size, PIECE_BYTES):
            piece = min(PIECE_BYTES, size - begin)
            arrival_ns = self._line.arrival_ns(now_ns + self._start_ns, piece) - self._start_ns
        self._on_the_way.append((arrival_ns, size))
        return arrival_ns


class SlowLine:
    """The line between one planner and System 2, both ways.

    Args:
        schedule: What each way is like; None: nothing takes any time.
        steady_ns: Time between two observations where the planner sends them whether System 2 is free or not;
            None where it sends only what is read.
        seed: Of jitter and losses, and of where a schedule that repeats begins.
    """

    def __init__(self, schedule: Schedule | None, steady_ns: int | None, seed: str) -> None:
        self._steady_ns = steady_ns
        self._last: tuple[int, int] | None = None
        self._ways: tuple[Way, Way] | None = None
        if schedule is not None:
            turn_s = schedule.repeat_s or 0.0
            start_ns = nanoseconds(random.Random(f"line {seed}").uniform(0, turn_s))
            up, down = (
                Way(schedule, random.Random(f"line {seed} {way}"), start_ns) for way in ("up", "down")
            )
            self._ways = up, down

    def up(self, now_ns: int, observation: Observation) -> int | None:
        """Send an observation. Returns when it is there, or None if it was not sent."""
        if self._ways is None:
            return now_ns
        up, size = self._ways[0], len(encode(observation))
        if self._last is not None and self._steady_ns is not None:
            # Those in between, which System 2 never reads, take their time as well: as much as the last one.
            last_ns, last_size = self._last
            for sent_ns in range(last_ns + self._steady_ns, now_ns - self._steady_ns // 2, self._steady_ns):
                up.arrival_ns(sent_ns, last_size)
        self._last = (now_ns, size)
        return up.arrival_ns(now_ns, size)

    def down(self, now_ns: int, packet: LatentPacket) -> int | None:
        """Send a latent. Returns when it is there, or None if it was not sent."""
        return now_ns if self._ways is None else self._ways[1].arrival_ns(now_ns, len(encode(packet)))

    def counters(self) -> dict[str, int]:
        """What it was given, and how many messages it was not; nothing where there is no line."""
        if self._ways is None:
            return {}
        up, down = self._ways
        return {
            "up_bytes": up.carried_bytes,
            "down_bytes": down.carried_bytes,
            "losses": up.losses + down.losses,
            "unsent": up.refused + down.refused,
        }
