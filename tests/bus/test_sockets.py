"""Addresses, contexts and the settings of sockets."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import zmq

from dualsys.bus.sockets import (
    ZmqContext,
    attach,
    close_context,
    open_context,
    open_socket,
    require_private,
    require_safe_libzmq,
)
from dualsys.errors import AddressInUseError, BusError


@pytest.mark.parametrize("version", [(4, 3, 2), (4, 2, 9), (3, 9, 9)])
def test_a_libzmq_with_known_holes_is_refused(version: tuple[int, int, int]) -> None:
    with pytest.raises(BusError, match=r"4\.3\.3 or newer"):
        require_safe_libzmq(version)


def test_the_libzmq_in_use_is_safe() -> None:
    require_safe_libzmq()
    require_safe_libzmq((4, 3, 3))


@pytest.mark.fault_row(34)
@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://*:7400",
        "tcp://0.0.0.0:7400",
        "tcp://192.168.1.4:7400",
        "tcp://eth0:7400",
        "tcp://127.0.0.1.example.org:7400",
        "tcp://127.0.0.1:7400;10.0.0.1:7400",
        "tcp://127.0.0.1:99999",
        "tcp://[::]:7400",
        "udp://127.0.0.1:7400",
        "ipc://@abstract",
        "localhost:7400",
        "",
    ],
)
def test_an_address_that_others_can_reach_is_refused(endpoint: str) -> None:
    with pytest.raises(BusError, match=r"endpoints\.slow\.latent.*only loopback and ipc addresses"):
        require_private(endpoint, "endpoints.slow.latent")


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:7400", "tcp://[::1]:7400", "ipc:///tmp/x", "inproc://x"]
)
def test_an_address_of_this_machine_is_allowed(endpoint: str) -> None:
    assert require_private(endpoint, "setting") == endpoint


def test_localhost_is_taken_as_the_loopback_number() -> None:
    assert require_private("tcp://localhost:7400", "setting") == "tcp://127.0.0.1:7400"


def test_connecting_elsewhere_is_refused_too(context: ZmqContext) -> None:
    outgoing = open_socket(context, zmq.SUB, 1000)
    with pytest.raises(BusError, match="refused"):
        attach(outgoing, "tcp://10.0.0.1:7400", bind=False, setting="setting")
    assert outgoing.closed


def test_no_socket_keeps_the_unbounded_defaults(context: ZmqContext) -> None:
    opened = open_socket(context, zmq.PUB, 1000)
    assert 0 < opened.getsockopt(zmq.LINGER) <= 1000
    assert opened.getsockopt(zmq.MAXMSGSIZE) == 1000
    assert opened.getsockopt(zmq.HEARTBEAT_IVL) > 0


def test_a_taken_tcp_address_is_named_with_its_setting(context: ZmqContext) -> None:
    taken = attach(open_socket(context, zmq.PUB, 1000), "tcp://127.0.0.1:*", bind=True, setting="first")
    second = open_socket(context, zmq.PUB, 1000)
    with pytest.raises(AddressInUseError, match=rf"{taken} is in use.*'second'"):
        attach(second, taken, bind=True, setting="second")
    assert second.closed


def test_a_taken_ipc_address_is_not_stolen(context: ZmqContext, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/bus"
    attach(open_socket(context, zmq.PUB, 1000), endpoint, bind=True, setting="first")
    with pytest.raises(AddressInUseError):
        attach(open_socket(context, zmq.PUB, 1000), endpoint, bind=True, setting="second")


def test_an_ipc_socket_left_by_a_dead_process_is_reused(context: ZmqContext, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "bus"))
    assert attach(open_socket(context, zmq.PUB, 1000), f"ipc://{tmp_path}/bus", bind=True, setting="s")


def test_an_ipc_address_never_replaces_a_file(context: ZmqContext, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("keep")
    with pytest.raises(BusError, match="not a socket"):
        attach(open_socket(context, zmq.PUB, 1000), f"ipc://{notes}", bind=True, setting="s")
    assert notes.read_text() == "keep"


def test_an_ipc_address_belongs_to_its_owner_alone(context: ZmqContext, tmp_path: Path) -> None:
    attach(open_socket(context, zmq.PUB, 1000), f"ipc://{tmp_path}/bus", bind=True, setting="s")
    assert (tmp_path / "bus").stat().st_mode & 0o077 == 0


def test_a_folder_that_is_missing_is_named(context: ZmqContext, tmp_path: Path) -> None:
    with pytest.raises(BusError, match=r"s: cannot bind ipc:///.*none/bus"):
        attach(open_socket(context, zmq.PUB, 1000), f"ipc://{tmp_path}/none/bus", bind=True, setting="s")


def test_closing_a_context_closes_its_sockets() -> None:
    context = open_context()
    left_open = open_socket(context, zmq.PUB, 1000)
    close_context(context)
    assert left_open.closed
    assert context.closed
