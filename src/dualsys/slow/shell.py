"""What a server process on an event loop needs besides what it serves: its end, and its loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping

from dualsys.clock import Clock, seconds
from dualsys.errors import MissingExtraError


async def run_until(stop: asyncio.Event, work: Mapping[str, Coroutine[None, None, None]]) -> None:
    """Run tasks, none of which ends by itself, until told to stop.

    Args:
        stop: Set to end.
        work: What to run, by name.

    Raises:
        Exception: What ended one of them.
    """
    tasks = [asyncio.create_task(one, name=name) for name, one in work.items()]
    stopped = asyncio.create_task(_until(stop), name="stop")
    try:
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, stopped):
            task.cancel()
        await asyncio.wait([*tasks, stopped])
    for task in done - {stopped}:
        # None of them ends by itself: this raises what ended it.
        task.result()


async def sleep_until(clock: Clock, deadline_ns: int) -> None:
    """Return at or after a moment; the clock must run as the event loop's does."""
    while (remaining_ns := deadline_ns - clock.now_ns()) > 0:
        await asyncio.sleep(seconds(remaining_ns))


async def until_set(event: asyncio.Event, clock: Clock, deadline_ns: int | None) -> None:
    """Return once an event is set, or at the deadline; None for no deadline. The event is cleared."""
    alarm = None
    if deadline_ns is not None:
        # Not `wait_for`: when its time is up, it can swallow a cancellation, and the task would never end.
        left_s = seconds(max(0, deadline_ns - clock.now_ns()))
        alarm = asyncio.get_running_loop().call_later(left_s, event.set)
    try:
        await event.wait()
    finally:
        if alarm is not None:
            alarm.cancel()
    event.clear()


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; the next one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        # Only a process that this server owns sends it signals.
        return
    loop = asyncio.get_running_loop()
    watched = (signal.SIGTERM, signal.SIGINT)

    def on_signal() -> None:
        stop.set()
        for number in watched:
            loop.remove_signal_handler(number)

    for number in watched:
        loop.add_signal_handler(number, on_signal)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop of a process. Raises MissingExtraError without the package."""
    # Loaded here: whoever only wants the types of this module needs no event loop.
    try:
        import uvloop
    except ModuleNotFoundError as error:
        raise MissingExtraError("uvloop", "slow", "System 2") from error

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
