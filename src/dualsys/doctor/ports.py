"""Who holds the addresses of a configuration. Pure: texts of /proc/net in, findings out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from dualsys.doctor.findings import Finding

_LISTENING: Final = "0A"


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
        pid: Its id.
        command: Its command line.
    """

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command[:80]})"


def tcp_port(address: str) -> int | None:
    """The port of `tcp://HOST:PORT`; None for other addresses."""
    match = re.fullmatch(r"tcp://.+:(\d+)", address)
    return int(match[1]) if match else None


def ipc_path(address: str) -> str | None:
    """The path of `ipc://PATH`; None for other addresses."""
    return address.removeprefix("ipc://") if address.startswith("ipc://") else None


def listening_tcp(table: str) -> dict[int, set[int]]:
    """Port to inodes of the sockets that listen there.

    Args:
        table: /proc/net/tcp or /proc/net/tcp6, or both, one after the other.
    """
    found: dict[int, set[int]] = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTENING or ":" not in fields[1]:
            continue
        found.setdefault(int(fields[1].rsplit(":", 1)[1], 16), set()).add(int(fields[9]))
    return found


def listening_unix(table: str) -> dict[str, set[int]]:
    """Path to inodes of the sockets that listen there; `table` is /proc/net/unix."""
    accepts = 0x10000
    found: dict[str, set[int]] = {}
    for line in table.splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and int(fields[3], 16) & accepts:
            found.setdefault(fields[7], set()).add(int(fields[6]))
    return found


def taken(addresses: Mapping[str, str], tcp: str, unix: str) -> dict[str, set[int]]:
    """Setting to inodes of the sockets that hold its address, for the addresses that are held.

    Args:
        addresses: Setting to address.
        tcp: As for `listening_tcp`.
        unix: As for `listening_unix`.
    """
    by_port, by_path = listening_tcp(tcp), listening_unix(unix)
    held: dict[str, set[int]] = {}
    for setting, address in addresses.items():
        port, path = tcp_port(address), ipc_path(address)
        inodes = by_port.get(port, set()) if port is not None else by_path.get(path or "", set())
        if inodes:
            held[setting] = inodes
    return held


def addresses_found(
    addresses: Mapping[str, str], held: Mapping[str, set[int]], owners: Mapping[int, Owner]
) -> list[Finding]:
    """One finding for all that is free, and one for each process that holds something.

    Args:
        addresses: Setting to address.
        held: From `taken`.
        owners: Inode to process, as far as that could be found.
    """
    findings: list[Finding] = []
    by_owner: dict[Owner | None, list[str]] = {}
    for setting, inodes in held.items():
        known = next((owners[inode] for inode in sorted(inodes) if inode in owners), None)
        by_owner.setdefault(known, []).append(f"{setting} ({addresses[setting]})")
    for owner, settings in by_owner.items():
        findings.append(
            Finding(
                "addresses",
                "problem",
                f"{_listed(settings)} held by {owner or 'a process of another user'}",
                f"end {f'process {owner.pid}' if owner else 'it'}, unless it is a run to be joined; "
                "or give other addresses with --endpoints...",
            )
        )
    free = len(addresses) - len(held)
    if free:
        findings.append(Finding("addresses", "ok", f"{free} of {len(addresses)} addresses are free"))
    return findings


def _listed(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more} {'are' if len(names) > 1 else 'is'}"
