"""System 2 on another machine: its own process and key store, reached over TCP, as docs/security.md says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dualsys.bus.handshake import shake_hands
from dualsys.bus.keys import KeyStore
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import close_context, open_context
from dualsys.cli import main
from dualsys.clock import NS_PER_S, WallClock
from dualsys.config import SystemConfig, load_config
from dualsys.errors import BusError, PeerTimeoutError

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/cloud_edge.yaml"
CHANNELS = ("observation", "latent", "service")

pytestmark = pytest.mark.timeout(300)


Command = Callable[..., str]


@pytest.fixture
def dualsys(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command on the machine with that home; return what it printed."""

    def run(home: Path, *words: str) -> str:
        monkeypatch.setenv("HOME", str(home))
        capsys.readouterr()
        assert main(words) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def homes(tmp_path: Path, dualsys: Command) -> dict[str, Path]:
    """Two machines that allow each other, made with the lines of the documentation, and a stranger."""
    homes = {name: tmp_path / name for name in ("cloud", "edge", "stranger")}
    printed = {}
    for name, home in homes.items():
        home.mkdir()
        printed[name] = dualsys(home, "keys", "new", name).split("dualsys keys ")[-1].split()
    dualsys(homes["cloud"], "keys", *printed["edge"])
    dualsys(homes["edge"], "keys", *printed["cloud"])
    dualsys(homes["stranger"], "keys", *printed["cloud"])
    return homes


@pytest.fixture
def ports() -> dict[str, str]:
    """Settings that give System 2 free ports."""
    found = {}
    with (
        closing(socket.socket()) as first,
        closing(socket.socket()) as second,
        closing(socket.socket()) as third,
    ):
        for channel, probe in zip(CHANNELS, (first, second, third), strict=True):
            probe.bind(("127.0.0.1", 0))
            found[f"endpoints.slow.{channel}"] = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    return found


@pytest.fixture
def cloud(homes: dict[str, Path], ports: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """System 2, running."""
    options = [text for setting, address in ports.items() for text in (f"--{setting}", address)]
    command = [sys.executable, "-m", "dualsys", "slow", str(CONFIG), *options]
    environment = os.environ | {"HOME": str(homes["cloud"])}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        yield process
        process.kill()


@contextmanager
def client(config: SystemConfig) -> Iterator[ServiceClient]:
    """A connection to System 2 from the machine that a configuration was read on."""
    context = open_context(config.protection())
    connection = ServiceClient(context, config.endpoints.slow.service, "System 2")
    yield connection
    connection.close()
    close_context(context)


def is_cut(edge: ServiceClient) -> bool:
    """Whether System 2 stops answering within a minute, though it runs."""
    clock = WallClock()
    deadline_ns = clock.now_ns() + 60 * NS_PER_S
    while clock.now_ns() < deadline_ns:
        try:
            edge.request("status", 2)
        except PeerTimeoutError:
            return True
    return False


def test_system_2_serves_the_edge_and_nobody_else_until_it_is_revoked(
    homes: dict[str, Path], ports: dict[str, str], cloud: subprocess.Popen[bytes], dualsys: Command
) -> None:
    def config_on(name: str) -> SystemConfig:
        keys = str(homes[name] / ".config/dualsys/keys")
        return load_config(CONFIG, {**ports, "security.keys": keys})

    with client(config_on("edge")) as edge, client(config_on("edge")) as second:
        welcome = shake_hands(edge, "planner", 7, None, 120)
        assert welcome.role == "system2"
        # Another planner of the same machine has a key, but there can be only one.
        with pytest.raises(BusError, match="another planner"):
            shake_hands(second, "planner", 8, None, 30)
        told = pytest.raises(PeerTimeoutError, match="does it allow the key 'stranger' of this machine")
        with client(config_on("stranger")) as stranger, told:
            stranger.request("status", 3)
        status = edge.request("status", 30).values
        assert int(status["gate.refused"]) >= 1
        assert (
            KeyStore(homes["stranger"] / ".config/dualsys/keys").own().public.hex()
            in status["gate.last_refused"]
        )
        assert "verb 'kill' is not one of check, status" in edge.request("kill", 30).text
        dualsys(homes["cloud"], "keys", "revoke", "edge")
        assert is_cut(edge)
    assert cloud.poll() is None
    cloud.send_signal(signal.SIGTERM)
    assert cloud.wait(30) == 0
