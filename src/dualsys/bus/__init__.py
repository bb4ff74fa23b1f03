"""The transport: typed messages over ZeroMQ.

Two patterns, and no third. A *channel* carries the latest value: the newest message wins, nothing queues,
nothing blocks, and whoever listens may be late or absent. A *service* answers questions: handshake, status,
commands. Every message is one MessagePack frame, checked against its schema before anything of it is used.

Without keys only this machine can be reached: see `sockets.require_private`. With them an address is
encrypted, and open to the machines on an allow-list: see `gate`.
"""

from __future__ import annotations
