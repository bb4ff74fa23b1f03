"""Who holds an address, from the kernel's own tables."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dualsys.config import load_config
from dualsys.doctor import machine, ports

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 23 1 0 100
   1: 0100007F:1CE9 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 24
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000001000000:1CEA 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 77 1
"""
UNIX = """Num       RefCount Protocol Flags    Type St Inode Path
00000000b: 00000002 00000000 00010000 0001 01 55 /run/x/state
00000000c: 00000003 00000000 00000000 0001 03 56 /run/x/other
00000000d: 00000003 00000000 00000000 0001 03 57
"""
ADDRESSES = {
    "endpoints.slow.observation": "tcp://127.0.0.1:7400",
    "endpoints.slow.latent": "tcp://127.0.0.1:7401",
    "endpoints.slow.service": "tcp://[::1]:7402",
    "endpoints.control.state": "ipc:///run/x/state",
    "endpoints.control.service": "ipc:///run/x/other",
}


def test_only_sockets_that_listen_hold_an_address() -> None:
    held = ports.taken(ADDRESSES, TCP + TCP6, UNIX)
    assert held == {
        "endpoints.slow.observation": {23},
        "endpoints.slow.service": {77},
        "endpoints.control.state": {55},
    }


def test_the_process_that_holds_addresses_is_named_once_and_the_free_ones_are_counted() -> None:
    held = ports.taken(ADDRESSES, TCP + TCP6, UNIX)
    owner = ports.Owner(4711, "python -m dualsys slow")
    by_owner, unknown, free = ports.addresses_found(ADDRESSES, held, {23: owner, 77: owner})
    assert "process 4711 (python -m dualsys slow)" in by_owner.says
    assert "endpoints.slow.observation (tcp://127.0.0.1:7400), endpoints.slow.service" in by_owner.says
    assert "process 4711" in by_owner.remedy
    assert "another user" in unknown.says
    assert {by_owner.level, unknown.level} == {"problem"}
    assert (free.level, free.says) == ("ok", "2 of 5 addresses are free")


def test_garbage_in_the_tables_is_passed_over() -> None:
    assert ports.taken(ADDRESSES, "what\n  0: x\n", "Num\nthis is nothing\n") == {}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the tables are those of Linux")
def test_a_port_that_this_process_holds_is_found_with_its_owner(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        path = tmp_path / "a.yaml"
        path.write_text("name: a\n", encoding="utf-8")
        port = held.getsockname()[1]
        config = load_config(path, {"endpoints.slow.latent": f"tcp://127.0.0.1:{port}"})
        findings = machine.examine(config, 0.0)
    (ours,) = [one for one in findings if f":{port})" in one.says]
    assert ours.level == "problem"
    assert "pytest" in ours.says
    bundles = [one for one in findings if one.name == "bundle"]
    assert {one.level for one in bundles} == {"problem"}, "this configuration has no bundles beside it"
    names = {
        "kernel",
        "machine",
        "processors",
        "scheduling",
        "memory",
        "clock",
        "governor",
        "messaging",
        "graphics",
    }
    assert names <= {one.name for one in findings}


def test_a_system2_that_cannot_be_split_is_a_problem_where_features_travel(
    tmp_path: Path, split_bundle: Callable[..., Path]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\n", encoding="utf-8")
    old = split_bundle(without=("vision.onnx", "language.onnx"))
    for uplink, level in (("images", "ok"), ("features", "problem")):
        config = load_config(path, {"slow.bundle": str(old), "slow.uplink": uplink})
        (found,) = [
            one for one in machine.examine(config, 0.0) if "system2" in one.says and one.name == "bundle"
        ]
        assert found.level == level
    assert "export it again" in found.says
