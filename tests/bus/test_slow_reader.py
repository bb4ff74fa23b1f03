"""Whoever reads more slowly than others publish reads what is new, and nothing piles up anywhere."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pytest

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, Pacer, WallClock, period_ns
from dualsys.messages import ArmCommand, CameraFrame, Image

Until = Callable[[Callable[[], Any]], Any]
CLOCK = WallClock()
PUBLISHED_HZ, READ_HZ = 500, 50

READS = 150
"""Reads in three seconds, in which nine messages of ten are never read."""

ATTEMPTS = 4
"""The machine may be busy for three seconds; whatever queues up is there every time."""

MOST_BEHIND = 2
"""Messages that were published after the one that is read: at 500 Hz two are 4 ms."""

IMAGE = Image("raw", 128, 128, bytes(128 * 128 * 3))
QUEUED_BYTES = READS * (PUBLISHED_HZ // READ_HZ - 1) * len(IMAGE.data)
"""What would be queued after three seconds: 66 megabytes."""


class Publishing(threading.Thread):
    """Publishes frames, each with its number and when it was published, in a thread with its own sockets.

    Attributes:
        endpoint: Where.
        published: Number of the last one.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._context = open_context()
        self._publisher = LatestPublisher(self._context, "tcp://127.0.0.1:*", bind=True, setting="out")
        self.endpoint = self._publisher.endpoint
        self.published = 0
        self._end_asked = threading.Event()

    def run(self) -> None:
        pacer = Pacer(CLOCK, period_ns(PUBLISHED_HZ))
        while not self._end_asked.is_set():
            pacer.wait()
            self._publish(self.published + 1)
        # It closes its sockets last of all, so that the last one can still be read.

    def _publish(self, number: int) -> None:
        self._publisher.send(CameraFrame(camera="c", seq=number, t_robot_ns=CLOCK.now_ns(), image=IMAGE))
        self.published = number

    def end(self) -> None:
        """Publish no more."""
        self._end_asked.set()
        self.join()

    def repeat(self) -> None:
        """Publish the last one again after the end: the transport may keep it back until another comes."""
        self._publish(self.published)

    def close(self) -> None:
        """Let go of the address."""
        self.end()
        close_context(self._context)


@contextmanager
def publishing() -> Iterator[Publishing]:
    """Frames at 500 Hz."""
    publisher = Publishing()
    publisher.start()
    yield publisher
    publisher.close()


class Read(NamedTuple):
    """One that was read: how many were published after it by then, and how long before it was, ns."""

    behind: int
    age_ns: int


def reads_at_50_hz(publisher: Publishing, receiver: LatestSubscriber[CameraFrame]) -> list[Read]:
    """Read for three seconds, at each turn once."""
    pacer, reads = Pacer(CLOCK, period_ns(READ_HZ)), []
    for _ in range(READS):
        pacer.wait()
        published = publisher.published
        if (frame := receiver.receive()) is not None:
            reads.append(Read(max(0, published - frame.seq), CLOCK.now_ns() - frame.t_robot_ns))
    return reads


def keeps_up(reads: list[Read]) -> bool:
    """Whether what was read was the newest or nearly so, as a rule. Prints how old it was."""
    if len(reads) < READS // 3:
        print(f"only {len(reads)} of {READS} turns read")
        return False
    behind = [read.behind for read in reads]
    share = sum(number <= MOST_BEHIND for number in behind) / len(behind)
    ages_ms = np.quantile([read.age_ns / NS_PER_MS for read in reads], [0.5, 0.95, 1])
    print(
        f"{len(reads)} of {READS} turns read; messages behind: {median(behind):g} in the median, at most "
        f"{max(behind)}, {share:.0%} at most {MOST_BEHIND}; age: {ages_ms[0]:.2f} ms in the median, "
        f"{ages_ms[1]:.2f} ms at 95 %, at most {ages_ms[2]:.2f} ms"
    )
    return share >= 0.95 and median(behind) <= 1


@pytest.mark.fault_row(29)
def test_a_reader_at_50_hz_of_a_publisher_at_500_hz_reads_the_newest_and_nothing_piles_up(
    context: ZmqContext, until: Until
) -> None:
    with publishing() as publisher:
        receiver = LatestSubscriber(
            context, publisher.endpoint, bind=False, setting="in", types=(CameraFrame,)
        )
        until(receiver.receive)
        before = resident_bytes()
        assert any(keeps_up(reads_at_50_hz(publisher, receiver)) for _ in range(ATTEMPTS))
        assert resident_bytes() - before < QUEUED_BYTES / 2
        statistics = receiver.statistics()
        assert statistics.superseded > 0, "those that newer ones replaced are counted"
        assert statistics.rejected == statistics.outdated == 0

        publisher.end()
        left: list[int] = []

        def last_one() -> bool:
            if not receiver.wait(NS_PER_S):
                publisher.repeat()
            if (frame := receiver.receive()) is not None:
                left.append(frame.seq)
            return publisher.published in left

        until(last_one)
        # On its way are a few; queued would be hundreds.
        assert len(left) < 20
        assert receiver.receive() is None


@pytest.mark.fault_row(29)
def test_a_reader_that_never_reads_costs_the_publisher_no_memory(context: ZmqContext, until: Until) -> None:
    sender = LatestPublisher(context, "tcp://127.0.0.1:*", bind=True, setting="out")
    receiver = LatestSubscriber(context, sender.endpoint, bind=False, setting="in", types=(ArmCommand,))
    frame = ArmCommand(seq=0, position=(0.0,) * 60)

    def joined() -> object:
        sender.send(frame)
        return receiver.receive()

    until(joined)
    before = resident_bytes()
    for _ in range(40_000):
        sender.send(frame)
    # Queued, they would be 25 megabytes on each side.
    assert resident_bytes() - before < 12 * 1024 * 1024


@pytest.mark.fault_row(29)
def test_a_peer_that_takes_nothing_from_the_line_costs_the_publisher_no_memory(
    context: ZmqContext, stranger: Callable[[str, bytes], Any]
) -> None:
    sender = LatestPublisher(context, "tcp://127.0.0.1:*", bind=True, setting="out")
    frame = CameraFrame(camera="c", seq=0, t_robot_ns=0, image=IMAGE)
    stuck = stranger(sender.endpoint, b"SUB")
    stuck.send(b"\1\0")
    deadline_ns = CLOCK.now_ns() + 5 * NS_PER_S
    while not stuck.has_something():
        assert CLOCK.now_ns() < deadline_ns, "what was asked for never came"
        sender.send(frame)
    before = resident_bytes()
    # Of a subscriber of ours the transport takes everything, whether it is read or not. This one leaves all.
    for _ in range(1000):
        sender.send(frame)
    # Queued, they would be 49 megabytes.
    assert resident_bytes() - before < 12 * 1024 * 1024


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
