"""The far end of one line of the bus benchmark, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from dualsys.bench.bus_payloads import Addresses, Line, Stamps
from dualsys.supervisor.lifeline import die_with


def serve(line: Line, addresses: Addresses, ready: Callable[[], None]) -> None:
    """Answer for as long as the process lives; `ready` is called when it listens."""
    with Stamps(addresses.stamp) as stamp:
        # Each end is loaded alone: no contender pays for the modules of another.
        if line.contender == "ours":
            from dualsys.bench.bus_ours import serve_ours

            serve_ours(line, addresses, stamp, ready)
        elif line.contender == "raw":
            from dualsys.bench.bus_raw import serve_raw

            serve_raw(line, addresses, stamp, ready)
        elif line.contender == "typed":
            from dualsys.bench.bus_typed import serve_typed

            serve_typed(line, addresses, stamp, ready)
        elif line.contender == "websocket":
            from dualsys.bench.bus_websocket import serve_websocket

            serve_websocket(addresses, stamp, ready)
        else:
            from dualsys.bench.bus_pickle_grpc import serve_grpc

            serve_grpc(addresses, stamp, ready)


def main(arguments: list[str]) -> None:
    """Serve until the parent ends; the arguments are made by `bus.start_far`."""
    contender, link, up, down, homes, stamp, parent_pid = arguments
    die_with(int(parent_pid))
    serve(
        Line(contender, link),
        Addresses(up, down, Path(homes), Path(stamp)),
        lambda: print("ready", flush=True),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
