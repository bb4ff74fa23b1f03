"""Two machines, made of two network namespaces: docs/security.md, line by line."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dualsys.clock import NS_PER_S, WallClock

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text("utf-8").split("## Two machines, word by word")[1]
STEPS = PAGE.split("### To try it on one machine")[0]
CONFIG = "configs/cloud_edge.yaml"
CLOUD, EDGE = "10.213.77.1", "10.213.77.2"
CLOCK = WallClock()

pytestmark = pytest.mark.timeout(400)


def ip(*words: str) -> None:
    """Run a command of iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def network() -> Iterator[dict[str, str]]:
    """Two hosts on one cable: name to network namespace."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    spaces = {name: f"dualsys-{name}-{os.getpid()}" for name in ("cloud", "edge")}
    with ExitStack() as cleanup:
        try:
            for space in spaces.values():
                ip("netns", "add", space)
                cleanup.callback(ip, "netns", "del", space)
            ends = [f"ds{side}{os.getpid()}" for side in "ce"]
            ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for end, space, address in zip(ends, spaces.values(), (CLOUD, EDGE), strict=True):
                ip("link", "set", end, "netns", space)
                for words in (["addr", "add", f"{address}/30", "dev", end], ["link", "set", end, "up"]):
                    ip("-n", space, *words)
                ip("-n", space, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield spaces


class Host:
    """One of the machines: a namespace, a home, and a copy of the files that both have."""

    def __init__(self, name: str, space: str, folder: Path) -> None:
        self.home, self._space = folder / name, space
        (self.home / "configs").mkdir(parents=True)
        (self.home / "bundles").symlink_to(ROOT / "bundles")
        text = (ROOT / CONFIG).read_text("utf-8")
        head, tail = text.split("\n  planner:\n")
        (self.home / CONFIG).write_text("\n  planner:\n".join((head.replace("127.0.0.1", CLOUD), tail)))
        # No words of the developer's own shell, such as an activated environment, but its path.
        self._environment = {"HOME": str(self.home), "PATH": os.environ["PATH"]}

    def command(self, line: str) -> list[str]:
        """What runs a line that begins with `dualsys` on this host."""
        first, *words = shlex.split(line)
        assert first == "dualsys"
        return ["ip", "netns", "exec", self._space, sys.executable, "-m", "dualsys", *words]

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line to its end."""
        return subprocess.run(
            self.command(line),
            cwd=self.home,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, line: str) -> subprocess.Popen[bytes]:
        """Start a line that runs until it is ended."""
        log = (self.home / f"{line.split()[1]}.log").open("wb")
        with log:
            return subprocess.Popen(
                self.command(line), cwd=self.home, env=self._environment, stdout=log, stderr=log
            )


def until(ask: Callable[[], str], wanted: str) -> None:
    """Ask until the answer has the wanted word in it, for at most two minutes."""
    deadline_ns = CLOCK.now_ns() + 120 * NS_PER_S
    while wanted not in (answer := ask()):
        assert CLOCK.now_ns() < deadline_ns, f"never {wanted!r}; last: {answer}"
        CLOCK.sleep_until_ns(CLOCK.now_ns() + NS_PER_S // 2)


def test_the_steps_for_two_machines_work_as_they_are_written(network: dict[str, str], tmp_path: Path) -> None:
    def written(line: str) -> str:
        assert f"\n{line}" in STEPS, f"docs/security.md does not say {line!r}"
        return line

    hosts = {name: Host(name, space, tmp_path) for name, space in network.items()}
    cloud, edge = hosts["cloud"], hosts["edge"]
    allow = {}
    for name, host in hosts.items():
        made = host.run(written(f"dualsys keys new {name}"))
        assert made.returncode == 0, made.stderr
        allow[name] = next(line.strip() for line in made.stdout.splitlines() if "dualsys keys allow" in line)
        assert allow[name].startswith(f"dualsys keys allow {name} ")
        written(f"dualsys keys allow {name} ")
    assert cloud.run(allow["edge"]).returncode == 0
    assert edge.run(allow["cloud"]).returncode == 0

    with ExitStack() as running:

        def start(host: Host, line: str) -> subprocess.Popen[bytes]:
            process = host.start(written(line))
            running.callback(process.wait, 30)
            running.callback(process.terminate)
            return process

        start(cloud, "dualsys slow configs/cloud_edge.yaml")
        start(edge, "dualsys sim configs/cloud_edge.yaml")
        start(edge, "dualsys fast configs/cloud_edge.yaml")
        say = written('dualsys say "pick up the red cube" configs/cloud_edge.yaml')
        until(lambda: str(edge.run(say).returncode), "0")
        status = written("dualsys robot status configs/cloud_edge.yaml")
        until(lambda: edge.run(status).stdout, "RUNNING")
        assert cloud.run(written("dualsys keys revoke edge")).returncode == 0
        until(lambda: edge.run(status).stdout, "HOLDING")
