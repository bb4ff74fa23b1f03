"""Contexts and sockets with safe settings, and the rule about which addresses may be used.

ZeroMQ's defaults wait forever at exit, accept messages of any size, and never notice a dead peer. All sockets
are opened here, so that none of them keeps those defaults.

An address is either protected, by keys on both sides, or private to this machine. There is nothing between.
"""

from __future__ import annotations

import errno
import re
import socket as os_socket
from contextlib import suppress
from pathlib import Path

import zmq

from dualsys.bus.endings import Endings, silence
from dualsys.bus.gate import DOMAIN, Gate, Protection
from dualsys.errors import AddressInUseError, BusError, KeyStoreError

OLDEST_SAFE_LIBZMQ = (4, 3, 3)
"""Older ones let a stranger crash or take over a process before any authentication (CVE-2020-15166)."""

LINGER_MS = 100
"""How long closing waits for what was sent to leave; unbounded, a dead peer keeps a process from ending."""

_MAY_FILL = (zmq.ROUTER, zmq.PULL, zmq.PUSH)
"""Kinds without heartbeats of their own, see `open_socket`."""

_HEARTBEAT_MS = 500
_DEAD_AFTER_MS = 1500
_RECONNECT_MS = 50
_SLOWEST_RECONNECT_MS = 1000
_HANDSHAKE_MS = 2000
_TCP = re.compile(r"tcp://([A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\]|\*):(\d{1,5}|\*)")
_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|\[::1\]")

ZmqSocket = zmq.Socket[bytes]
ZmqContext = zmq.Context[ZmqSocket]


class GuardedContext(ZmqContext):
    """A context with a gate, which guards its protected addresses."""

    gate: Gate


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


def open_context(protection: Protection | None = None) -> ZmqContext:
    """Make the ZeroMQ context of this process. Never share one across a fork.

    Args:
        protection: Which addresses are protected, and by which keys; None for no keys at all.

    Raises:
        BusError: libzmq is too old to be safe.
        KeyStoreError: The key store is missing or unsafe.
    """
    require_safe_libzmq()
    if protection is None or not protection.servers:
        return zmq.Context()
    context = GuardedContext()
    try:
        context.gate = Gate(context, protection)
    except BusError:
        context.destroy(linger=0)
        raise
    return context


def gate_of(context: ZmqContext) -> Gate | None:
    """The gate of a context; None where nothing is protected."""
    return context.gate if isinstance(context, GuardedContext) else None


def close_context(context: ZmqContext) -> None:
    """Close all sockets of a context, then the context. Waits at most about `LINGER_MS`."""
    silence(context)
    context.destroy(linger=LINGER_MS)


def is_private(endpoint: str) -> bool:
    """Whether only this machine can reach an address."""
    if endpoint.startswith(("ipc:///", "inproc://")):
        return True
    match = _TCP.fullmatch(endpoint)
    return match is not None and _port_is_valid(match[2]) and _LOOPBACK.fullmatch(match[1]) is not None


def require_private(endpoint: str, setting: str) -> str:
    """Return the address as ZeroMQ wants it, if only this machine can reach it.

    Without keys nothing is encrypted or authenticated, so nothing may leave the machine, and no one from
    outside may get in. That holds for connecting as well as for binding.

    Raises:
        BusError: The address can be reached from elsewhere, or is not an address.
    """
    if not is_private(endpoint):
        raise BusError(
            f"{setting}: {endpoint!r} is refused: without keys only loopback and ipc addresses are allowed, "
            "such as tcp://127.0.0.1:7400, tcp://[::1]:7400 or ipc:///run/dualsys/latent, because whoever "
            "reaches the bus can move the arm; docs/security.md tells how to make keys"
        )
    # The name could resolve to anything; the number cannot.
    return endpoint.replace("//localhost:", "//127.0.0.1:")


def require_address(endpoint: str, setting: str) -> str:
    """Return an address that ZeroMQ can use, wherever it leads. For protected ones only.

    Raises:
        BusError: It is not an address.
    """
    match = _TCP.fullmatch(endpoint)
    if not is_private(endpoint) and (match is None or not _port_is_valid(match[2])):
        raise BusError(f"{setting}: {endpoint!r} is refused: expected tcp://HOST:PORT or ipc:///PATH")
    return endpoint.replace("//localhost:", "//127.0.0.1:")


def _require_one_host(address: str, setting: str) -> None:
    if re.match(r"tcp://(\*|0\.0\.0\.0|\[::\]):", address):
        raise BusError(
            f"{setting}: {address} means every interface of the machine that serves it: to connect, give "
            "that machine's name or number here"
        )


def _port_is_valid(port: str) -> bool:
    return port == "*" or 0 < int(port) <= 65535


def open_socket(context: ZmqContext, kind: int, max_frame_bytes: int) -> ZmqSocket:
    """Open a socket with a bounded exit, bounded frames, heartbeats and patient reconnection.

    libzmq ends the process when a connection breaks while its queue here is full, and a heartbeat is due
    before there is room again (its issues 4364 and 4841). So a socket whose queue may fill sends none: it
    learns of peers that are gone by the heartbeats of theirs, which say how long to wait for the next one,
    and by the kernel. The queue of any other is never full: it keeps one message, or has no limit.

    Args:
        context: From `open_context`.
        kind: `zmq.PUB`, `zmq.SUB`, `zmq.ROUTER`, `zmq.DEALER`, `zmq.PUSH` or `zmq.PULL`.
        max_frame_bytes: A peer that sends more is disconnected before memory is reserved; see `endings`.
    """
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
    if kind in _MAY_FILL:
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 2)
    else:
        socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _DEAD_AFTER_MS)
        socket.setsockopt(zmq.HEARTBEAT_TTL, _DEAD_AFTER_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _SLOWEST_RECONNECT_MS)
    return socket


class Attachment:
    """A socket at its address, bound or connected; closed if that fails.

    Where the address is protected, a bound socket lets in whom the gate lets in, and a connected one talks to
    nobody but the holder of the key that the settings name. `tend` follows the key store afterwards.

    Args:
        socket: From `open_socket`.
        endpoint: `tcp://HOST:PORT` or `ipc:///PATH`. Binding to port `*` takes any free port.
        bind: Own the address, or connect to its owner.
        setting: Name of the setting that the address came from, for the error.
        endings: Where connections that end are counted. One that connects without any stays cut off from an
            owner that the transport has cut off.

    Attributes:
        endpoint: The address in use, with the real port.
        is_protected: Whether keys say who is talked to there.

    Raises:
        AddressInUseError: Another process owns it.
        KeyStoreError: The key that it needs is not there.
        BusError: The address is refused or cannot be used.
    """

    def __init__(
        self,
        socket: ZmqSocket,
        endpoint: str,
        *,
        bind: bool,
        setting: str,
        endings: Endings | None = None,
    ) -> None:
        self._socket = socket
        self._bind = bind
        self._setting = setting
        self._endings = endings
        gate = gate_of(socket.context)
        self._server = None if gate is None else gate.server_of(endpoint)
        self._gate = gate if self._server is not None else None
        self.is_protected = self._gate is not None
        self._removals = 0
        self._key: bytes | None = None
        self._is_open = False
        if endings is not None:
            endings.listen(socket, bound=bind)
        try:
            self.endpoint = self._open(endpoint)
            self._is_open = True
        except BusError:
            self.close(linger=0)
            raise

    @property
    def advice(self) -> str:
        """What else may be wrong when nobody answers at a protected address; nothing at another."""
        if self._gate is None:
            return ""
        return (
            f"does it allow the key {self._gate.own.name!r} of this machine, and is its own {self._server!r}?"
        )

    def tend(self) -> bool:
        """Follow the key store: cut what it allows no longer, connect to what it allows again.

        A bound socket cannot drop one peer alone: it drops all of them, and the gate lets the others back in,
        who try again by themselves. Call it often, from the thread that uses the socket; mostly it costs
        nothing.

        Returns:
            Whether the transport has cut off the owner of an address that was connected to, for a frame above
            the limit or none of the protocol: it is connected to anew.
        """
        cut_off = self._endings is not None and self._endings.given_up()
        if cut_off:
            self._let_go()
        # First what is nearly always so, and is known without asking the socket.
        elif (self._gate is None and self._is_open) or self._socket.closed:
            return False
        if self._gate is not None:
            self._gate.refresh()
        if self._bind:
            self._tend_bound(self._gate)
        else:
            self._tend_connected(self._gate)
        return cut_off

    def replace(self, socket: ZmqSocket) -> None:
        """Close the socket, and go on with another one at the same address, at once or as `tend` is called.

        Args:
            socket: From `open_socket`, of the same kind.
        """
        self.close(linger=0)
        self._socket = socket
        self._is_open, self._key = False, None
        self._allow_ipv6(self.endpoint)
        if self._endings is not None:
            self._endings.listen(socket, bound=self._bind)
        self.tend()

    def close(self, linger: int | None = None) -> None:
        """Close the socket. Closing twice is allowed.

        Args:
            linger: How long what was sent may take to leave, ms; None: as `open_socket` says.
        """
        if self._endings is not None:
            self._endings.close()
        self._socket.close(linger=linger)

    def _open(self, endpoint: str) -> str:
        if self._gate is None:
            address = require_private(endpoint, self._setting)
        else:
            address = require_address(endpoint, self._setting)
        self._allow_ipv6(address)
        path = Path(address.removeprefix("ipc://")) if address.startswith("ipc://") else None
        try:
            if not self._bind:
                _require_one_host(address, self._setting)
                if self._gate is not None:
                    self._pin(self._gate, self._require_key(self._gate))
                self._socket.connect(address)
                return address
            if self._gate is not None:
                self._require_own(self._gate)
            if path is not None:
                _require_free(path, endpoint, self._setting)
            return self._bind_to(address)
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError(endpoint, self._setting) from error
            action = "bind" if self._bind else "connect"
            raise BusError(f"{self._setting}: cannot {action} {endpoint}: {error.strerror}") from error

    def _allow_ipv6(self, address: str) -> None:
        if address.startswith("tcp://["):
            self._socket.setsockopt(zmq.IPV6, 1)

    def _bind_to(self, address: str) -> str:
        if self._gate is not None:
            self._socket.setsockopt(zmq.CURVE_SERVER, 1)
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, self._gate.own.secret)
            self._socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
            # Without this, nobody being there to judge would mean that everybody may come in.
            self._socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        removals = 0 if self._gate is None else self._gate.removals
        self._socket.bind(address)
        self._removals = removals
        if address.startswith("ipc://"):
            Path(address.removeprefix("ipc://")).chmod(0o600)
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def _pin(self, gate: Gate, key: bytes) -> None:
        self._socket.setsockopt(zmq.CURVE_SERVERKEY, key)
        self._socket.setsockopt(zmq.CURVE_PUBLICKEY, gate.own.public)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, gate.own.secret)
        self._key = key

    def _require_key(self, gate: Gate) -> bytes:
        name = self._server or ""
        key = gate.key_of(name)
        if key is None:
            raise KeyStoreError(
                f"{self._setting}: no key named {name!r} is allowed in {gate.folder}: on {name!r} run "
                f"`dualsys keys show`, then here `dualsys keys allow {name} KEY`"
            )
        return key

    def _require_own(self, gate: Gate) -> None:
        if self._server != gate.own.name:
            raise KeyStoreError(
                f"{self._setting}: is served with the key {self._server!r}, but the key of this machine is "
                f"{gate.own.name!r}: start this process on the other machine, or name that key under security"
            )

    def _tend_bound(self, gate: Gate | None) -> None:
        if self._is_open:
            if gate is None or self._removals == gate.removals:
                return
            with suppress(zmq.ZMQError):
                self._socket.unbind(self.endpoint)
            self._is_open = False
        try:
            if self.endpoint.startswith("ipc://"):
                _require_free(Path(self.endpoint.removeprefix("ipc://")), self.endpoint, self._setting)
            self._bind_to(self.endpoint)
        except AddressInUseError:
            # ZeroMQ releases the address from a thread of its own, a moment later: the next call tries again.
            return
        except zmq.ZMQError as error:
            if error.errno != errno.EADDRINUSE:
                raise BusError(
                    f"{self._setting}: cannot bind {self.endpoint} again: {error.strerror}"
                ) from error
            return
        self._is_open = True

    def _let_go(self) -> None:
        """Forget a connection that is no more."""
        with suppress(zmq.ZMQError):
            self._socket.disconnect(self.endpoint)
        self._is_open, self._key = False, None

    def _tend_connected(self, gate: Gate | None) -> None:
        if gate is None:
            self._socket.connect(self.endpoint)
            self._is_open = True
            return
        key = gate.key_of(self._server or "")
        if key == self._key:
            return
        if self._key is not None:
            self._socket.disconnect(self.endpoint)
        self._key = None
        if key is not None:
            self._pin(gate, key)
            self._socket.connect(self.endpoint)
            self._is_open = True


def attach(socket: ZmqSocket, endpoint: str, *, bind: bool, setting: str) -> str:
    """Bind or connect a socket for good, as `Attachment` does. Returns the address in use."""
    return Attachment(socket, endpoint, bind=bind, setting=setting).endpoint


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
