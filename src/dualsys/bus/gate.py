"""Who is let in: the allow-list of a process, and the answers to ZeroMQ's question about each newcomer.

CURVE by itself encrypts and proves who the *server* is, and lets every client in; ZeroMQ asks an
authenticator about clients only where one is installed (ZAP, RFC 27). It is asked over a socket within the
process, which is polled here: no thread is needed, so that the control process keeps its single one. While
nobody polls, nobody gets in.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zmq

from dualsys.bus.keys import KeyStore
from dualsys.bus.polling import has_come
from dualsys.clock import NS_PER_MS, Clock, WallClock
from dualsys.errors import BusError, KeyStoreError

DOMAIN: Final = b"dualsys"

REFRESH_NS: Final = 500 * NS_PER_MS
"""Time between two looks at the key store."""

_ADDRESS = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_REQUEST_FRAMES = 7
_PER_CALL = 32


@dataclass(frozen=True)
class Protection:
    """Which addresses are protected, and by which keys.

    Attributes:
        keys: Folder of the key store.
        servers: Address to the name of the key of the machine that binds it.
    """

    keys: Path
    servers: Mapping[str, str]


@dataclass(frozen=True)
class GateStatistics:
    """Totals of one gate.

    Attributes:
        admitted: Connections let in.
        refused: Connections not let in.
        last_refused: Address and reason of the last of them; empty while there is none.
        fault: Why the key store cannot be used now, so that nobody is let in; empty if it can.
    """

    admitted: int
    refused: int
    last_refused: str
    fault: str


def judge(request: Sequence[bytes], allowed: Mapping[bytes, str]) -> tuple[list[bytes], str]:
    """Answer one question of the ZeroMQ authentication protocol.

    Who is refused is told nothing and may try again (status 300): a key that is allowed a minute later needs
    no restart on the other side.

    Args:
        request: Version, request number, domain, address, identity, mechanism, credentials.
        allowed: Public key to name.

    Returns:
        The answer, and why it is a refusal; empty if it is not.
    """
    number = request[1] if len(request) > 1 else b""
    name, reason = b"", ""
    if len(request) != _REQUEST_FRAMES or request[0] != _VERSION:
        reason = f"{len(request)} frames of version {request[:1]!r}"
    elif request[2] != DOMAIN or request[5] != b"CURVE":
        reason = f"mechanism {request[5]!r} in domain {request[2]!r}"
    elif request[6] not in allowed:
        reason = f"the key {request[6].hex()} is not allowed"
    else:
        name = allowed[request[6]].encode()
    status = (b"300", b"not now") if reason else (b"200", b"")
    return [_VERSION, number, *status, name, b""], reason


class Gate:
    """Judges newcomers by the key store, and follows its changes.

    `serve` belongs to the thread of the bound sockets; everything else may be used by any thread.

    Attributes:
        own: The key of this machine.
        removals: Times that a key which had been allowed no longer was.

    Args:
        context: The context whose sockets it guards.
        protection: What to guard.
        clock: Says when to look at the key store again.

    Raises:
        KeyStoreError: The key store is missing or unsafe.
        BusError: This libzmq cannot encrypt.
    """

    def __init__(self, context: zmq.Context[Any], protection: Protection, clock: Clock | None = None) -> None:
        if not zmq.has("curve"):
            raise BusError("this libzmq was built without CURVE: install pyzmq from its wheels")
        self._clock = clock or WallClock()
        self._servers = dict(protection.servers)
        self._store = KeyStore(protection.keys)
        self.own = self._store.own()
        self._stamp = self._store.stamp()
        self._allowed = self._store.allowed()
        self._looked_ns = self._clock.now_ns()
        self._lock = threading.Lock()
        self.removals = 0
        self._admitted = 0
        self._refused = 0
        self._last_refused = ""
        self._fault = ""
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(_ADDRESS)

    @property
    def folder(self) -> Path:
        """Where the keys are."""
        return self._store.folder

    def server_of(self, endpoint: str) -> str | None:
        """Name of the key of whoever binds an address; None if the address is not protected."""
        return self._servers.get(endpoint)

    def key_of(self, name: str) -> bytes | None:
        """Public key of a machine, None if it is not allowed."""
        return self.own.public if name == self.own.name else self._allowed.get(name)

    def serve(self) -> int:
        """Judge the newcomers that wait. Never blocks. Returns how many there were."""
        self.refresh()
        for count in range(_PER_CALL):
            if not has_come(self._socket):
                return count
            request = self._socket.recv_multipart(zmq.NOBLOCK)
            names = {key: name for name, key in self._allowed.items()} | {self.own.public: self.own.name}
            answer, reason = judge(request, names)
            self._socket.send_multipart(answer, zmq.NOBLOCK)
            if reason:
                self._refused += 1
                origin = request[3].decode("ascii", "replace") if len(request) > 3 else "unknown"
                self._last_refused = f"{origin or 'this machine'}: {reason}"
            else:
                self._admitted += 1
        return _PER_CALL

    def refresh(self) -> None:
        """Look at the key store if it is time. What cannot be read allows nobody."""
        now_ns = self._clock.now_ns()
        if now_ns - self._looked_ns < REFRESH_NS or not self._lock.acquire(blocking=False):
            return
        try:
            self._looked_ns = now_ns
            self._look()
        finally:
            self._lock.release()

    def statistics(self) -> GateStatistics:
        """Return totals since it was made."""
        return GateStatistics(self._admitted, self._refused, self._last_refused, self._fault)

    def _look(self) -> None:
        try:
            stamp = self._store.stamp()
            if stamp == self._stamp and not self._fault:
                return
            allowed, fault = self._store.allowed(), ""
            self._stamp = stamp
        except KeyStoreError as error:
            allowed, fault = {}, str(error)
        self._fault = fault
        self.removals += any(allowed.get(name) != key for name, key in self._allowed.items())
        self._allowed = allowed
