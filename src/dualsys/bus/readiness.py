"""Waiting for a ZeroMQ socket inside an asyncio loop.

Apart from the sockets themselves, so that processes without an event loop never import one.
"""

from __future__ import annotations

import asyncio
from typing import cast

import zmq

from dualsys.bus.sockets import ZmqSocket


async def readable(socket: ZmqSocket) -> None:
    """Return once `socket` has something to receive.

    Its file descriptor only says that *something* changed, so the socket itself is asked before and after.
    """
    loop = asyncio.get_running_loop()
    while not cast(int, socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
        changed = loop.create_future()
        descriptor = cast(int, socket.getsockopt(zmq.FD))
        loop.add_reader(descriptor, _settle, changed)
        try:
            await changed
        finally:
            loop.remove_reader(descriptor)


def _settle(changed: asyncio.Future[None]) -> None:
    if not changed.done():
        changed.set_result(None)
