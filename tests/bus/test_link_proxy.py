"""A bad line between real sockets. Only least times are asserted: a busy machine is slower, never faster."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from dualsys.bus.link_model import Conditions, Schedule
from dualsys.bus.link_proxy import MOST_BUFFERED_BYTES, Address, LinkProxy
from dualsys.clock import NS_PER_MS, WallClock
from dualsys.errors import AddressInUseError

Talk = Callable[[Address, LinkProxy], Awaitable[None]]
PATIENCE_S = 20


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def through(schedule: list[Conditions], talk: Talk) -> None:
    """Run a conversation with an echo at the other end of a line."""

    async def run() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        far: Address = server.sockets[0].getsockname()[:2]
        proxy = LinkProxy({("127.0.0.1", 0): far}, Schedule(schedule), WallClock())
        (near,) = await proxy.open()
        try:
            await asyncio.wait_for(talk(near, proxy), PATIENCE_S)
        finally:
            await proxy.close()
            server.close()

    asyncio.run(run())


def test_of_connections_that_have_ended_only_the_totals_are_kept() -> None:
    async def talk(near: Address, proxy: LinkProxy) -> None:
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*near)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            while proxy._lines:
                await asyncio.sleep(0.005)
        statistics = proxy.statistics()
        # The end of a stream travels like a byte.
        assert (statistics.connections, statistics.up_bytes, statistics.down_bytes) == (3, 3 * 6, 3 * 6)

    through([], talk)


def test_everything_arrives_in_order_after_the_delay_of_both_ways() -> None:
    sent = bytes(range(256)) * 2000

    async def talk(near: Address, proxy: LinkProxy) -> None:
        clock = WallClock()
        reader, writer = await asyncio.open_connection(*near)
        started_ns = clock.now_ns()
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        assert clock.now_ns() - started_ns >= 60 * NS_PER_MS
        writer.close()
        statistics = proxy.statistics()
        assert (statistics.connections, statistics.up_bytes, statistics.down_bytes) == (
            1,
            len(sent),
            len(sent),
        )

    through([Conditions(delay_ms=30, jitter_ms=5)], talk)


def test_sockets_of_this_machine_are_relayed_too_and_a_taken_one_is_left_alone(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"

    async def run() -> None:
        server = await asyncio.start_unix_server(echo, far)
        # What is left of a process that was killed is replaced.
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(near))
        stale.close()
        proxy = LinkProxy(
            {near: far}, Schedule([Conditions(delay_ms=10)]), WallClock(), setting="endpoints.line"
        )
        assert await proxy.open() == [near]
        assert near.stat().st_mode & 0o077 == 0
        clock = WallClock()
        started_ns = clock.now_ns()
        reader, writer = await asyncio.open_unix_connection(near)
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), PATIENCE_S) == b"hello"
        assert clock.now_ns() - started_ns >= 20 * NS_PER_MS
        writer.close()
        other = LinkProxy({near: far}, Schedule([]), WallClock(), setting="endpoints.line")
        with pytest.raises(AddressInUseError, match=r"ipc://.*/near is in use .* 'endpoints\.line'"):
            await other.open()
        assert near.exists()
        while proxy.statistics().connections < 2:
            await asyncio.sleep(0.01)
        await proxy.close()
        assert not near.exists()
        server.close()

    asyncio.run(run())


@pytest.mark.fault_row(28)
def test_nothing_passes_a_cut_line_and_everything_after_it_is_mended() -> None:
    # Before the line is there, for its time runs from then on, however long it takes to connect.
    clock = WallClock()
    started_ns = clock.now_ns()

    async def talk(near: Address, proxy: LinkProxy) -> None:
        del proxy
        reader, writer = await asyncio.open_connection(*near)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert clock.now_ns() - started_ns >= 300 * NS_PER_MS
        writer.close()

    through([Conditions(blackhole=True), Conditions(at_s=0.3)], talk)


@pytest.mark.fault_row(27, 28)
def test_a_line_that_passes_nothing_does_not_hoard() -> None:
    async def talk(near: Address, proxy: LinkProxy) -> None:
        _, writer = await asyncio.open_connection(*near)
        with suppress(TimeoutError):
            for _ in range(64):
                writer.write(bytes(1024 * 1024))
                await asyncio.wait_for(writer.drain(), 0.3)
        assert proxy.statistics().up_bytes <= MOST_BUFFERED_BYTES + 64 * 1024
        writer.transport.abort()

    through([Conditions(blackhole=True)], talk)


def test_closing_reaches_the_other_side() -> None:
    async def talk(near: Address, proxy: LinkProxy) -> None:
        del proxy
        reader, writer = await asyncio.open_connection(*near)
        writer.write(b"bye")
        writer.write_eof()
        assert await reader.read(3) == b"bye"
        assert await reader.read() == b""
        writer.close()

    through([Conditions(delay_ms=5)], talk)


def test_where_nobody_listens_the_caller_is_hung_up_on() -> None:
    async def run() -> None:
        proxy = LinkProxy({("127.0.0.1", 0): ("127.0.0.1", 9)}, Schedule([]), WallClock())
        (near,) = await proxy.open()
        reader, writer = await asyncio.open_connection(*near)
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()
        with pytest.raises(AddressInUseError, match=str(near[1])):
            await LinkProxy({near: ("127.0.0.1", 9)}, Schedule([]), WallClock()).open()
        await proxy.close()

    asyncio.run(run())


@pytest.mark.fault_row(27)
def test_zeromq_passes_a_bad_line() -> None:
    async def run() -> None:
        context = zmq.Context()
        server, client = context.socket(zmq.REP), context.socket(zmq.REQ)
        port = server.bind_to_random_port("tcp://127.0.0.1")
        schedule = Schedule([Conditions(delay_ms=5, jitter_ms=5, loss=0.05, bandwidth_mbit_s=50)])
        proxy = LinkProxy({("127.0.0.1", 0): ("127.0.0.1", port)}, schedule, WallClock())
        (near,) = await proxy.open()
        client.connect(f"tcp://{near[0]}:{near[1]}")
        for number in range(5):
            question = bytes([number]) * 10_000
            client.send(question)
            while not server.poll(0):
                await asyncio.sleep(0.005)
            server.send(server.recv())
            while not client.poll(0):
                await asyncio.sleep(0.005)
            assert client.recv() == question
        await proxy.close()
        context.destroy(linger=0)

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_closing_cuts_connections_without_a_noise() -> None:
    noises: list[object] = []

    async def talk(near: Address, proxy: LinkProxy) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noises.append(context))
        reader, writer = await asyncio.open_connection(*near)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        await proxy.close()
        assert await reader.read() == b""
        writer.close()

    through([Conditions()], talk)
    assert noises == []
