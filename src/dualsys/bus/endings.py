"""Connections that end, as the transport tells it.

libzmq reads how long a frame is before the frame itself, and cuts off whoever announces one above the limit,
or sends what is none of its protocol, before a byte of it is stored. It tells nobody so. What it does tell,
on a monitor, is that a connection has ended, and that it tries again. Two things follow:

* At an address that was bound, a peer that was cut off looks like one that has left: both are counted alike.
* An address that was connected to is given up for good once its owner was cut off: libzmq tries again after
  any other end, and never after this one. That tells it apart, and whoever connects has to do so again.

No thread is added: what the monitor says waits in a queue within the process until somebody looks.
"""

from __future__ import annotations

import sys
from itertools import count
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

import zmq

from dualsys.bus.polling import has_come
from dualsys.clock import NS_PER_MS, Clock, WallClock

LOOK_NS: Final = 200 * NS_PER_MS
"""Time between two looks. A connection that is still not tried again at the next look never will be: libzmq
begins to within the same moment."""

_PER_LOOK: Final = 64
_EVENTS: Final = int(zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED)
_numbers = count()
_monitored: WeakKeyDictionary[zmq.Context[Any], WeakSet[zmq.Socket[bytes]]] = WeakKeyDictionary()


class Endings:
    """Counts the connections of one socket that end, and notices one that is given up.

    Call everything from the thread that uses the socket.

    Args:
        clock: Says when to look again.

    Attributes:
        total: Connections that have ended, whoever ended them.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.total = 0
        self._clock = clock or WallClock()
        self._socket: zmq.Socket[bytes] | None = None
        self._listener: zmq.Socket[bytes] | None = None
        self._due_ns = 0
        self._untried = False
        self._bound = False

    def listen(self, socket: zmq.Socket[bytes], *, bound: bool) -> None:
        """Listen to a socket, before it is bound or connected, in place of the one before.

        Args:
            socket: Of a channel or a service.
            bound: It will be bound: then nobody is tried again, and nothing follows from that.
        """
        self.close()
        self._bound = bound
        address = f"inproc://endings-{next(_numbers)}"
        self._listener = listener = socket.context.socket(zmq.PAIR)
        listener.setsockopt(zmq.LINGER, 0)
        # libzmq waits for room in this queue, and all connections of the process with it.
        listener.setsockopt(zmq.RCVHWM, 0)
        socket.monitor(address, _EVENTS)
        listener.connect(address)
        self._socket = socket
        _monitored.setdefault(socket.context, WeakSet()).add(socket)

    def given_up(self) -> bool:
        """Whether the address that was connected to has been given up: it never is where one was bound.

        Never blocks, and mostly only asks what time it is. Whoever is told connects again.
        """
        if self._listener is None or (now_ns := self._clock.now_ns()) < self._due_ns:
            return False
        if self._listener.closed:
            return False
        untried, heard = self._untried, self._hear(self._listener)
        if heard < _PER_LOOK:
            self._due_ns = now_ns + LOOK_NS
        if heard or not untried:
            return False
        self._untried = False
        return True

    def close(self) -> None:
        """Listen no longer. Closing twice is allowed; close it before the socket."""
        if self._socket is not None and not self._socket.closed:
            # First of all: libzmq waits for a listener that is not there, like for one without room.
            self._socket.monitor(None, 0)
        if self._listener is not None:
            self._listener.close()
        self._socket = self._listener = None
        self._untried = False

    def _hear(self, listener: zmq.Socket[bytes]) -> int:
        """Take in what was told. Returns how much that was, at most `_PER_LOOK`."""
        heard = 0
        while heard < _PER_LOOK and has_come(listener):
            event = int.from_bytes(listener.recv_multipart()[0][:2], sys.byteorder)
            ended = event == zmq.EVENT_DISCONNECTED
            self._untried = ended and not self._bound
            self.total += ended
            heard += 1
        return heard


def silence(context: zmq.Context[Any]) -> None:
    """Have nobody told anything any more: whoever closes the sockets of a context begins with this."""
    for socket in _monitored.pop(context, ()):
        if not socket.closed:
            socket.monitor(None, 0)
