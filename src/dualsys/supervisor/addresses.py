"""No run starts on the addresses of another: its questions would be answered by the other's processes."""

from __future__ import annotations

from collections.abc import Mapping

import zmq

from dualsys.bus.codec import MAX_FRAME_BYTES
from dualsys.bus.gate import Protection
from dualsys.bus.sockets import attach, close_context, open_context, open_socket


def require_free(addresses: Mapping[str, str], protection: Protection | None = None) -> None:
    """Return if every address could be bound; nothing stays bound.

    Args:
        addresses: Name of the setting to address.
        protection: Which of them are protected.

    Raises:
        AddressInUseError: Another process owns one; names it and its setting.
        BusError: One cannot be used at all.
    """
    # Closing a socket only begins to release its address; closing the context waits until that is done.
    context = open_context(protection)
    try:
        for setting, address in addresses.items():
            socket = open_socket(context, zmq.PUB, MAX_FRAME_BYTES)
            attach(socket, address, bind=True, setting=setting)
            socket.close(linger=0)
    finally:
        close_context(context)
