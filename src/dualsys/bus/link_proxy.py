"""A bad network line between two machines, or two processes: a relay that holds back what passes.

It works below ZeroMQ and below the keys: what it relays it cannot read, and whoever is connected through it
shakes hands with the other end.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dualsys.bus.link_model import PIECE_BYTES, Line, Schedule
from dualsys.clock import Clock, seconds
from dualsys.errors import AddressInUseError, BusError

MOST_BUFFERED_BYTES = 1024 * 1024
"""What a line holds in each direction; beyond that the sender has to wait, as with any router."""

Address = tuple[str, int] | Path
"""Host and port of TCP, or the path of a socket of this machine (`ipc:`)."""


def endpoint_of(address: Address) -> str:
    """The address as ZeroMQ writes it."""
    return f"ipc://{address}" if isinstance(address, Path) else f"tcp://{address[0]}:{address[1]}"


@dataclass(frozen=True)
class LinkStatistics:
    """Totals of all connections.

    Attributes:
        connections: Accepted so far.
        up_bytes, down_bytes: From whoever connects, and back to it.
        losses: Packets that had to be sent again, both ways.
    """

    connections: int
    up_bytes: int
    down_bytes: int
    losses: int


class LinkProxy:
    """Relays connections.

    Args:
        routes: Where to listen, to where that leads. Port 0 takes any free one.
        schedule: What the line is like.
        clock: Where time comes from; it must run as the event loop's does.
        seed: Of jitter and losses.
        setting: Which setting says where it listens, for errors.
    """

    def __init__(
        self,
        routes: Mapping[Address, Address],
        schedule: Schedule,
        clock: Clock,
        seed: int = 0,
        setting: str = "--first-port",
    ) -> None:
        self._setting = setting
        self._routes = dict(routes)
        self._schedule = schedule
        self._clock = clock
        self._rng = random.Random(seed)
        self._start_ns = clock.now_ns()
        self._lines: list[tuple[Line, Line]] = []
        # Of connections that have ended only their totals are kept: they come and go for as long as it runs.
        self._ended = LinkStatistics(0, 0, 0, 0)
        self._servers: list[asyncio.Server] = []
        self._relays: set[asyncio.Task[None]] = set()

    async def open(self) -> list[Address]:
        """Begin to listen, and start the schedule.

        Returns:
            The addresses in use, in the order of the routes.

        Raises:
            AddressInUseError: Another process owns one.
            BusError: One cannot be used.
        """
        self._start_ns = self._clock.now_ns()
        bound: list[Address] = []
        for near, target in self._routes.items():

            async def accepted(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Address = target
            ) -> None:
                # Cancelled by `close` only; the server would report that as an error of the connection.
                with suppress(asyncio.CancelledError):
                    await self._relay(reader, writer, target)

            try:
                if isinstance(near, Path):
                    await _require_free(near)
                    server = await asyncio.start_unix_server(accepted, near)
                    near.chmod(0o600)
                else:
                    server = await asyncio.start_server(accepted, *near)
            except OSError as error:
                await self.close()
                endpoint = endpoint_of(near)
                if error.errno == errno.EADDRINUSE:
                    raise AddressInUseError(endpoint, self._setting) from error
                raise BusError(f"cannot listen at {endpoint}: {error.strerror}") from error
            self._servers.append(server)
            bound.append(near if isinstance(near, Path) else server.sockets[0].getsockname()[:2])
        return bound

    async def close(self) -> None:
        """Cut all connections, and listen no longer."""
        for server in self._servers:
            server.close()
        for relay in self._relays:
            relay.cancel()
        if self._relays:
            await asyncio.wait(self._relays)
        # What was opened is the beginning of the routes. A path outlives its socket.
        for near, _ in zip(self._routes, self._servers, strict=False):
            if isinstance(near, Path):
                near.unlink(missing_ok=True)
        self._servers.clear()

    def statistics(self) -> LinkStatistics:
        """Totals since it was made."""
        ended = self._ended
        return LinkStatistics(
            connections=ended.connections + len(self._lines),
            up_bytes=ended.up_bytes + sum(up.carried_bytes for up, _ in self._lines),
            down_bytes=ended.down_bytes + sum(down.carried_bytes for _, down in self._lines),
            losses=ended.losses + sum(line.losses for pair in self._lines for line in pair),
        )

    def _end(self, lines: tuple[Line, Line]) -> None:
        ended, (up, down) = self._ended, lines
        self._lines.remove(lines)
        self._ended = LinkStatistics(
            ended.connections + 1,
            ended.up_bytes + up.carried_bytes,
            ended.down_bytes + down.carried_bytes,
            ended.losses + up.losses + down.losses,
        )

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Address
    ) -> None:
        """One connection, until both ends have closed it, or it breaks."""
        task = asyncio.current_task()
        if task is not None:
            self._relays.add(task)
            task.add_done_callback(self._relays.discard)
        lines = Line(self._schedule, self._rng), Line(self._schedule, self._rng)
        self._lines.append(lines)
        far_writer: asyncio.StreamWriter | None = None
        try:
            # Nobody at the other end: whoever connects here is told by being hung up on, and tries again.
            with suppress(OSError):
                far_reader, far_writer = await _connect(target)
                up = asyncio.create_task(self._carry(reader, far_writer, lines[0]))
                down = asyncio.create_task(self._carry(far_reader, writer, lines[1]))
                try:
                    await asyncio.wait([up, down], return_when=asyncio.FIRST_EXCEPTION)
                finally:
                    up.cancel()
                    down.cancel()
                    await asyncio.gather(up, down, return_exceptions=True)
        finally:
            self._end(lines)
            for end in (writer, far_writer):
                if end is not None:
                    end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
        """One direction, until its sender closes it and all that it sent has arrived."""
        on_the_way: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        room = asyncio.Condition()
        buffered = 0

        async def enter() -> None:
            nonlocal buffered
            # A connection that breaks ends like one that is closed.
            with suppress(OSError):
                while data := await reader.read(PIECE_BYTES):
                    on_the_way.put_nowait((line.arrival_ns(self._elapsed_ns(), len(data)), data))
                    buffered += len(data)
                    async with room:
                        while buffered >= MOST_BUFFERED_BYTES:
                            await room.wait()
            on_the_way.put_nowait((line.arrival_ns(self._elapsed_ns(), 1), b""))

        entering = asyncio.create_task(enter())
        try:
            while True:
                arrival_ns, data = await on_the_way.get()
                while (remaining_ns := arrival_ns - self._elapsed_ns()) > 0:
                    await asyncio.sleep(seconds(remaining_ns))
                if not data:
                    # The other direction may still have something to carry.
                    if not writer.is_closing():
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
                buffered -= len(data)
                async with room:
                    room.notify_all()
        finally:
            entering.cancel()
            await asyncio.gather(entering, return_exceptions=True)

    def _elapsed_ns(self) -> int:
        return self._clock.now_ns() - self._start_ns


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, Path):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*address)


async def _require_free(path: Path) -> None:
    """Return unless somebody listens there: what is left of a process that has ended may be replaced."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return
    writer.close()
    await writer.wait_closed()
    raise OSError(errno.EADDRINUSE, "somebody listens there")
