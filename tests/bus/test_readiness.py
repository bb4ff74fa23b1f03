"""Waiting for sockets inside an event loop."""

from __future__ import annotations

import asyncio

import pytest
import zmq

from dualsys.bus.readiness import readable
from dualsys.bus.sockets import ZmqContext

uvloop = pytest.importorskip("uvloop")


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_every_message_wakes_the_waiter(context: ZmqContext, new_loop: object) -> None:
    sender, receiver = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    sender.bind("inproc://readiness")
    receiver.connect("inproc://readiness")
    seen: list[bytes] = []

    async def read() -> None:
        while len(seen) < 100:
            await readable(receiver)
            # One at a time: what is left must wake the waiter again, without a new edge.
            seen.append(receiver.recv(zmq.NOBLOCK))

    async def write() -> None:
        for number in range(100):
            sender.send(b"%d" % number)
            if number % 7 == 0:
                await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.wait_for(asyncio.gather(read(), write()), 10)

    with asyncio.Runner(loop_factory=new_loop) as runner:  # type: ignore[arg-type]
        runner.run(both())
    assert seen == [b"%d" % number for number in range(100)]


def test_waiting_can_be_cancelled(context: ZmqContext) -> None:
    idle = context.socket(zmq.PULL)
    idle.bind("inproc://idle")

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(readable(idle), 0.01)

    asyncio.run(give_up())
