"""Contexts and sockets with safe settings, and the rule about which addresses may be used.

ZeroMQ's defaults wait forever at exit, accept messages of any size, and never notice a dead peer. All sockets
are opened here, so that none of them keeps those defaults.
"""

from __future__ import annotations

import errno
import re
import socket as os_socket
from contextlib import suppress
from pathlib import Path

import zmq

from dualsys.errors import AddressInUseError, BusError

OLDEST_SAFE_LIBZMQ = (4, 3, 3)
"""Older ones let a stranger crash or take over a process before any authentication (CVE-2020-15166)."""

LINGER_MS = 100
"""How long closing waits for what was sent to leave; unbounded, a dead peer keeps a process from ending."""

_HEARTBEAT_MS = 500
_DEAD_AFTER_MS = 1500
_RECONNECT_MS = 50
_SLOWEST_RECONNECT_MS = 1000
_HANDSHAKE_MS = 3000
_TCP = re.compile(r"tcp://(localhost|127(?:\.\d{1,3}){3}|\[::1\]):(\d{1,5}|\*)")

ZmqContext = zmq.Context[zmq.Socket[bytes]]
ZmqSocket = zmq.Socket[bytes]


def require_safe_libzmq(version: tuple[int, int, int] | None = None) -> None:
    """Refuse a libzmq with known holes.

    Args:
        version: Major, minor, patch; None for the one in use.

    Raises:
        BusError: It is older than `OLDEST_SAFE_LIBZMQ`.
    """
    found = zmq.zmq_version_info() if version is None else version
    if found < OLDEST_SAFE_LIBZMQ:
        shown, needed = (".".join(map(str, numbers)) for numbers in (found, OLDEST_SAFE_LIBZMQ))
        raise BusError(f"libzmq {shown} has known security holes: {needed} or newer is needed, upgrade pyzmq")


def open_context() -> ZmqContext:
    """Make the ZeroMQ context of this process. Never share one across a fork.

    Raises:
        BusError: libzmq is too old to be safe.
    """
    require_safe_libzmq()
    return zmq.Context()


def close_context(context: ZmqContext) -> None:
    """Close all sockets of a context, then the context. Waits at most about `LINGER_MS`."""
    context.destroy(linger=LINGER_MS)


def require_private(endpoint: str, setting: str) -> str:
    """Return the address as ZeroMQ wants it, if only this machine can reach it.

    Nothing on the bus is encrypted or authenticated, so nothing may leave the machine, and no one from
    outside may get in. That holds for connecting as well as for binding.

    Raises:
        BusError: The address can be reached from elsewhere, or is not an address.
    """
    if endpoint.startswith(("ipc:///", "inproc://")):
        return endpoint
    match = _TCP.fullmatch(endpoint)
    if match is None or (match[2] != "*" and int(match[2]) > 65535):
        raise BusError(
            f"{setting}: {endpoint!r} is refused: until keys are configured only loopback and ipc addresses "
            "are allowed, such as tcp://127.0.0.1:7400, tcp://[::1]:7400 or ipc:///run/dualsys/latent, "
            "because whoever reaches the bus can move the arm"
        )
    # The name could resolve to anything; the number cannot.
    return endpoint.replace("//localhost:", "//127.0.0.1:")


def open_socket(context: ZmqContext, kind: int, max_frame_bytes: int) -> ZmqSocket:
    """Open a socket with a bounded exit, bounded frames, heartbeats and patient reconnection.

    Args:
        context: From `open_context`.
        kind: `zmq.PUB`, `zmq.SUB`, `zmq.ROUTER` or `zmq.DEALER`.
        max_frame_bytes: A peer that sends more is disconnected before memory is reserved.
    """
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _DEAD_AFTER_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, _DEAD_AFTER_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _SLOWEST_RECONNECT_MS)
    return socket


def attach(socket: ZmqSocket, endpoint: str, *, bind: bool, setting: str) -> str:
    """Bind or connect a socket; close it if that fails.

    Args:
        socket: From `open_socket`.
        endpoint: `tcp://HOST:PORT` or `ipc:///PATH`. Binding to port `*` takes any free port.
        bind: Own the address, or connect to its owner.
        setting: Name of the setting that the address came from, for the error.

    Returns:
        The address in use, with the real port.

    Raises:
        AddressInUseError: Another process owns it.
        BusError: The address is refused or cannot be used.
    """
    try:
        address = require_private(endpoint, setting)
        if address.startswith("tcp://[::1]"):
            socket.setsockopt(zmq.IPV6, 1)
        if not bind:
            socket.connect(address)
            return address
        path = Path(address.removeprefix("ipc://")) if address.startswith("ipc://") else None
        if path is not None:
            _require_free(path, endpoint, setting)
        socket.bind(address)
        if path is not None:
            path.chmod(0o600)
        return socket.getsockopt_string(zmq.LAST_ENDPOINT)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(endpoint, setting) from error
        action = "bind" if bind else "connect"
        raise BusError(f"{setting}: cannot {action} {endpoint}: {error.strerror}") from error
    except BusError:
        socket.close(linger=0)
        raise


def _require_free(path: Path, endpoint: str, setting: str) -> None:
    """Refuse an ipc path with an owner. libzmq deletes whatever is there, a live server's socket included."""
    if not path.exists():
        return
    if not path.is_socket():
        raise BusError(
            f"{setting}: {endpoint} names an existing file that is not a socket: choose another path"
        )
    probe = os_socket.socket(os_socket.AF_UNIX, os_socket.SOCK_STREAM)
    with probe, suppress(ConnectionRefusedError, FileNotFoundError):
        probe.setblocking(False)
        # A full backlog also means that somebody listens there.
        with suppress(BlockingIOError):
            probe.connect(str(path))
        raise AddressInUseError(endpoint, setting)
