"""What the tests of faults share: a system of real processes, and a judge of whether its arm is at rest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from dualsys.bus.channel import LatestSubscriber
from dualsys.bus.gate import Protection
from dualsys.bus.sockets import close_context, open_context
from dualsys.cli.process import process_command
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.config import SystemConfig, load_config
from dualsys.errors import BusError
from dualsys.messages import ArmState, ControlState
from dualsys.supervisor.peers import open_peers

SCRIPTED = Path(__file__).with_name("scripted.py")
FAILING = Path(__file__).with_name("failing.py")
NAMES = ("sim", "slow", "control", "planner")
CLOCK = WallClock()

MOVING_RAD_S = 0.02
"""Joint speed above which the arm counts as moving; on its circle the fastest joint is ten times as fast."""

STILL_MS = 300
"""Time without motion after which the arm is taken to be at rest."""

PATIENCE_S = 120.0

CHANNELS = {
    "slow": ("observation", "latent", "service"),
    "planner": ("plan", "service"),
    "control": ("state", "service"),
    "robot": ("state", "command", "service", "cameras"),
    "recorder": ("input",),
    "line": ("observation", "latent", "service"),
}


def endpoints_in(folder: Path) -> dict[str, object]:
    """Setting to address: sockets in a folder."""
    return {
        f"endpoints.{owner}.{name}": f"ipc://{folder}/{owner}.{name}"
        for owner, names in CHANNELS.items()
        for name in names
    }


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now; all different."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(
    condition: Callable[[], object], what: str | Callable[[], str], timeout_s: float = PATIENCE_S
) -> None:
    """Poll until `condition()` holds."""
    deadline_ns = CLOCK.now_ns() + round(timeout_s * NS_PER_S)
    while not condition():
        assert CLOCK.now_ns() < deadline_ns, f"in vain: {what if isinstance(what, str) else what()}"
        CLOCK.sleep_until_ns(CLOCK.now_ns() + 5 * NS_PER_MS)


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie that nobody has waited for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children_of(pid: int) -> set[int]:
    """Process ids of the children of a process."""
    with suppress(FileNotFoundError, ProcessLookupError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8")
        return {int(child) for child in text.split()}
    return set()


def shared_memory(pid: int) -> set[str]:
    """What a process has mapped to write into that another one may have mapped too.

    That is what lies in /dev/shm, segments of System V, memory files, and files on a disk; not what it shares
    with the kernel or a device.
    """
    found = set()
    for line in Path(f"/proc/{pid}/maps").read_text("utf-8").splitlines():
        _, rights, *_, name = line.split(maxsplit=5)
        devices = name.startswith("/dev/") and not name.startswith(("/dev/shm/", "/dev/zero"))
        if "/dev/shm/" in name or (
            rights[1::2] == "ws" and not devices and not name.startswith("anon_inode:")
        ):
            found.add(name)
    return found


class Watch:
    """Whoever looks at an arm from outside: the simulator says when it moves, control what it does.

    Args:
        arm: Where the simulator publishes.
        control: Where control does.
        protection: Which addresses are protected, and by which keys.
    """

    def __init__(self, arm: str, control: str, protection: Protection | None = None) -> None:
        self._context = open_context(protection)
        self._arm = LatestSubscriber(self._context, arm, bind=False, setting="test", types=(ArmState,))
        self._control = LatestSubscriber(
            self._context, control, bind=False, setting="test", types=(ControlState,)
        )
        self._arm_state: ArmState | None = None
        self.moving_ns = 0
        self.state: ControlState | None = None

    def look(self) -> None:
        """Take in what the simulator and control have published."""
        before, now_ns = self._arm_state, CLOCK.now_ns()
        arm = self._arm.receive()
        if arm is not None:
            if before is not None and 0 < (elapsed_ns := arm.t_robot_ns - before.t_robot_ns) < NS_PER_S:
                way_rad = np.abs(np.subtract(arm.position, before.position))[:7].max()
                if way_rad * NS_PER_S / elapsed_ns > MOVING_RAD_S:
                    self.moving_ns = now_ns
            self._arm_state = arm
        self.state = self._control.receive() or self.state

    def until_moving(self) -> None:
        """Look on until the arm moves."""
        self.until(lambda: CLOCK.now_ns() - self.moving_ns < 50 * NS_PER_MS, "the arm moves")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Look on until something is so."""

        def looked() -> object:
            self.look()
            return condition()

        wait_for(looked, lambda: f"{what}; control says {self.state}")

    def watch(self, duration_ms: int) -> None:
        """Look on for so long."""
        end_ns = CLOCK.now_ns() + duration_ms * NS_PER_MS
        self.until(lambda: CLOCK.now_ns() >= end_ns, "time passes")

    def modes_during(self, duration_ms: int) -> set[str]:
        """Look on for so long; returns every mode that control was in."""
        end_ns = CLOCK.now_ns() + duration_ms * NS_PER_MS
        modes: set[str] = set()

        def over() -> bool:
            modes.update({self.state.mode} if self.state else set())
            return CLOCK.now_ns() >= end_ns

        self.until(over, "time passes")
        return modes

    def still_after_ms(self, since_ns: int) -> float:
        """Wait until the arm has been at rest for a while; returns when, ms after `since_ns`."""
        begun_ns = CLOCK.now_ns()

        def at_rest() -> bool:
            return CLOCK.now_ns() - max(self.moving_ns, begun_ns) > STILL_MS * NS_PER_MS

        self.until(at_rest, "the arm comes to rest")
        return max(0.0, (self.moving_ns - since_ns) / NS_PER_MS)

    def moved_since(self, since_ns: int) -> bool:
        """Whether the arm has moved after a time."""
        self.look()
        return self.moving_ns > since_ns

    def close(self) -> None:
        """Look away."""
        close_context(self._context)


class System(Watch):
    """The four processes of a system, each by itself, and what the simulator says of its arm.

    Args:
        folder: For sockets, configuration and logs.
        overrides: Settings, by dotted name.
        given: The configuration that they change; None for one without any.
        apart: By name of the process, the settings that it alone has, because it runs on another machine.

    Attributes:
        scripts: By name of the process, what is run in the place of the real one.
    """

    def __init__(
        self,
        folder: Path,
        overrides: dict[str, object],
        given: Path | None = None,
        apart: Mapping[str, dict[str, object]] | None = None,
    ) -> None:
        self.folder = folder
        if given is None:
            given = folder / "given.yaml"
            given.write_text("name: faults\n", encoding="utf-8")
        settings = {**endpoints_in(folder), **overrides}
        self.config: SystemConfig = load_config(given, settings)
        self.path = folder / "system.yaml"
        self.path.write_text(self.config.to_yaml(), "utf-8")
        self._paths: dict[str, Path] = {}
        for name, own in (apart or {}).items():
            self._paths[name] = folder / f"{name}.yaml"
            self._paths[name].write_text(load_config(given, {**settings, **own}).to_yaml(), "utf-8")
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        ends = self.config.endpoints
        super().__init__(ends.robot.state, ends.control.state, self.config.protection())
        self.peers = open_peers(self._context, self.config)
        self.scripts = {"slow": SCRIPTED, "planner": SCRIPTED}
        self._episode = 0

    def start(self, *names: str) -> None:
        """Start processes, and wait until each answers; the recorder and the line answer nobody."""
        for name in names:
            path = self._paths.get(name, self.path)
            command = process_command(name, path)
            if name in self.scripts:
                command = [sys.executable, str(self.scripts[name]), name, str(path), str(os.getpid())]
            with (self.folder / f"{name}.log").open("ab") as log:
                self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)
        for name in (name for name in names if name in self.peers):
            wait_for(self.peers[name].knock, lambda name=name: f"{name} answers: {self.log(name)}")

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text("utf-8", errors="replace")

    def send(self, name: str, number: signal.Signals) -> int:
        """Send a signal; returns when. One that kills is waited for."""
        process = self.running[name]
        sent_ns = CLOCK.now_ns()
        process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            process.wait(PATIENCE_S)
            del self.running[name]
        return sent_ns

    def set_moving(self) -> None:
        """Have whatever is missing started, and the arm move, by the means of an operator."""
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
        if missing := [name for name in NAMES if name not in self.running]:
            self.start(*missing)
        self.peers["sim"].ask("recover")
        self.until(self.led, "control follows plans")
        self.until_moving()

    def led(self) -> bool:
        """Whether control follows plans; if not, do what an operator would for that."""
        if self.state is not None and self.state.mode == "RUNNING" and self.state.plan_age_ns >= 0:
            return True
        with suppress(BusError):
            # Refused while the arm brakes, while it is too early, and where there is nothing to resume.
            self.peers["control"].ask("resume")
        with suppress(BusError):
            status = self.peers["planner"].ask("status")
            epoch = self.peers["control"].ask("epoch" if status.get("planner.episode") == "-1" else "status")
            if status.get("planner.episode") == "-1":
                begin = {"episode": str(self._episode), "instruction": "round", "epoch": epoch["epoch"]}
                self.peers["planner"].ask("start_episode", begin)
                self._episode += 1
        return False

    def resume(self) -> None:
        """Have a held arm go on, as `dualsys robot resume` does."""

        def resumed() -> bool:
            with suppress(BusError):
                self.peers["control"].ask("resume")
                return True
            return False

        self.until(resumed, "control can be resumed")

    def close(self) -> None:
        """End everything."""
        for process in self.running.values():
            process.kill()
            process.wait()
        for peer in self.peers.values():
            peer.close()
        super().close()
