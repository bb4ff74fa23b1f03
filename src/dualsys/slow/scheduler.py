"""Which robots' newest observations go into the next forward pass. Pure: stamps in, a batch out.

Each robot has one slot, and the latest value wins: an observation that a newer one replaces is never
computed. Of those whose slots are full, the ones that were served longest ago go first, which is round robin
among those that have something to say. Hence nobody starves, and sending often gains nothing: whoever waits
is overtaken by each of the others at most once (see `rounds`), and robots that all send faster than they can
be served are served equally often.

A pass is worth more the fuller it is, so whoever waits first waits for others, but no longer than a given
time, and not at all once every robot that could join waits too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Turn(Generic[Item]):
    """A robot's turn.

    Attributes:
        robot: Whose.
        item: The newest of what it sent.
        waited_ns: For how long the robot had waited; the item itself may be younger.
    """

    robot: str
    item: Item
    waited_ns: int


@dataclass
class _Slot(Generic[Item]):
    item: Item
    since_ns: int


class Scheduler(Generic[Item]):
    """Slots and the queue of the robots whose slots are full.

    Args:
        sizes: Sizes that a batch can have, ascending from 1.
        wait_ns: How long a robot waits for others to join at most.

    Raises:
        ValueError: The sizes do not ascend from 1, or the wait is negative.
    """

    def __init__(self, sizes: Sequence[int], wait_ns: int) -> None:
        if list(sizes[:1]) != [1] or list(sizes) != sorted(set(sizes)):
            raise ValueError(f"sizes: expected 1 and larger numbers in ascending order, got {list(sizes)}")
        if wait_ns < 0:
            raise ValueError(f"wait_ns: expected a number >= 0, got {wait_ns}")
        self._sizes = tuple(sizes)
        self._wait_ns = wait_ns
        # Of each robot, the number of its last turn, or of the newest turn of all when it came.
        self._robots: dict[str, int] = {}
        self._turns = 0
        # In the order in which they were filled: an entry that is replaced stays where it is.
        self._slots: dict[str, _Slot[Item]] = {}

    @property
    def robots(self) -> int:
        """How many robots there are."""
        return len(self._robots)

    @property
    def waiting(self) -> int:
        """How many of them wait."""
        return len(self._slots)

    def add(self, robot: str) -> None:
        """Let a robot take part. Nothing changes for one that does already."""
        self._robots.setdefault(robot, self._turns)

    def remove(self, robot: str) -> None:
        """Forget a robot, and what it sent."""
        self._robots.pop(robot, None)
        self._slots.pop(robot, None)

    def put(self, robot: str, item: Item, now_ns: int) -> bool:
        """Fill the slot of a robot.

        Returns:
            Whether something older was replaced.

        Raises:
            KeyError: It does not take part.
        """
        if robot not in self._robots:
            raise KeyError(robot)
        slot = self._slots.get(robot)
        if slot is None:
            self._slots[robot] = _Slot(item, now_ns)
            return False
        slot.item = item
        return True

    def due_ns(self) -> int | None:
        """When the next batch is to be taken, as things stand; None if nobody waits."""
        if not self._slots:
            return None
        first = next(iter(self._slots.values()))
        return first.since_ns if self._full() else first.since_ns + self._wait_ns

    def take(self, now_ns: int) -> list[Turn[Item]]:
        """The next batch, who was served longest ago first; empty if it is not due."""
        due_ns = self.due_ns()
        if due_ns is None or now_ns < due_ns:
            return []
        count = max(size for size in self._sizes if size <= len(self._slots))
        # The sort is stable: among equals, such as those that have just come, who waits longer goes first.
        turns: list[Turn[Item]] = []
        for robot in sorted(self._slots, key=self._robots.__getitem__)[:count]:
            slot = self._slots.pop(robot)
            self._turns += 1
            self._robots[robot] = self._turns
            turns.append(Turn(robot, slot.item, now_ns - slot.since_ns))
        return turns

    def _full(self) -> bool:
        return len(self._slots) >= min(self._sizes[-1], len(self._robots))


def rounds(robots: int, sizes: Sequence[int]) -> int:
    """Most passes from when a robot's slot is filled to the end of the pass that it is in.

    The pass that runs when the slot is filled, and the wait for others to join, are not counted. A pass
    without the robot serves others that come before it, each of them once; and where all sizes from 1 to b
    exist, more than b wait then, so that it serves b of them at least.

    Args:
        robots: How many there are.
        sizes: Sizes that a batch can have, ascending from 1.

    Returns:
        ceil(robots / b), with b the largest size below which none is missing.
    """
    complete = sum(size == place for place, size in enumerate(sizes, 1))
    return -(-robots // complete)
