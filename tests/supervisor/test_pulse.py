"""Whether a process answers, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dualsys.bus.service import ServiceServer, refusal
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.messages import Hello, Reply, Request, Welcome
from dualsys.supervisor.pulse import Pulse

TURNS = 60


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    """A ZeroMQ context that is closed afterwards."""
    made = open_context()
    yield made
    close_context(made)


def hello(message: Hello) -> Welcome | Reply:
    del message
    return refusal("nobody is greeted here")


def test_who_answers_is_alive_who_does_not_is_not_and_who_answers_again_is(
    context: ZmqContext, tmp_path: Path
) -> None:
    asked: list[str] = []

    def request(message: Request) -> Reply:
        asked.append(message.verb)
        return Reply(ok=True)

    clock = WallClock()
    deadline_ns = clock.now_ns() + 20 * NS_PER_S
    endpoint = f"ipc://{tmp_path}/s"
    server = ServiceServer(context, endpoint, setting="test")
    pulse = Pulse(context, endpoint, "the planner", TURNS)
    while len(asked) < 3:
        server.serve(hello, request)
        pulse.look()
        clock.sleep_until_ns(clock.now_ns() + NS_PER_MS)
        assert clock.now_ns() < deadline_ns
    assert set(asked) == {"status"}
    while pulse.look():
        # What was answered before can still be on its way.
        clock.sleep_until_ns(clock.now_ns() + NS_PER_MS)
        assert clock.now_ns() < deadline_ns
    assert str(pulse.error(1.5)).startswith(f"no answer from the planner at {endpoint} within 1.5 s")
    while not pulse.look():
        server.serve(hello, request)
        assert clock.now_ns() < deadline_ns
    pulse.close()
    server.close()


def test_who_is_not_there_does_not_answer(context: ZmqContext, tmp_path: Path) -> None:
    pulse = Pulse(context, f"ipc://{tmp_path}/nobody", "System 2", TURNS)
    assert [pulse.look() for _ in range(TURNS + 2)] == [True] * TURNS + [False] * 2
    pulse.close()
