"""Whole runs that are interrupted, or lose a process or their parent: what is left, and if the next runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dualsys.clock import NS_PER_MS
from dualsys.supervisor.addresses import require_free
from dualsys.telemetry.run_folder import read_json_lines

from .harness import (
    CHANNELS,
    CLOCK,
    NAMES,
    PATIENCE_S,
    System,
    Watch,
    alive,
    children_of,
    free_ports,
    shared_memory,
    wait_for,
)

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/tabletop.yaml"
ENDED_BY_OPERATOR = 130
RUN_FAILED = 1

LATENT_HARD_MS = 1500
BRAKING_MS = 500
ENDING_MS = 1000
"""From the signal that ends a run until the arm is at rest: a look at the signal, a question, and braking."""

GONE_MS = 5000
"""From the end of a parent until the last of its children has ended."""


def dualsys(*arguments: str) -> list[str]:
    """A command line of the program."""
    return [sys.executable, "-m", "dualsys", *arguments]


@pytest.fixture(scope="module")
def endpoints() -> dict[str, str]:
    """Setting to address: TCP ports, the same for all runs of this module."""
    settings = [f"endpoints.{owner}.{name}" for owner, names in CHANNELS.items() for name in names]
    ports = free_ports(len(settings))
    return {name: f"tcp://127.0.0.1:{port}" for name, port in zip(settings, ports, strict=True)}


class Started:
    """A `dualsys run` whose episode goes on.

    Args:
        folder: Where its run folder goes.
        endpoints: Its addresses.
    """

    def __init__(self, folder: Path, endpoints: dict[str, str]) -> None:
        given = ["--task", "follow", "--episodes", "1", "--run.report", "false", "--run.folder"]
        given += [
            str(folder / "runs"),
            "--run.startup_timeout_s",
            f"{PATIENCE_S:g}",
            "--run.episode_timeout_s",
            "600",
        ]
        given += [text for setting, address in endpoints.items() for text in (f"--{setting}", address)]
        self._said = folder / "said.txt"
        # A session of its own, as a terminal gives it one: what is sent to it does not reach the tests.
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                dualsys("run", str(CONFIG), *given), stdout=said, stderr=said, start_new_session=True
            )
        self._folder = folder / "runs"
        wait_for(self._in_episode, "the episode begins", 2 * PATIENCE_S)
        self.pids = {str(event["name"]): int(event["pid"]) for event in self.events("process")}
        everyone = self.pids | {"run": self.process.pid}
        self.shared = {name: shared for name, pid in everyone.items() if (shared := shared_memory(pid))}

    @property
    def folder(self) -> Path:
        """The run folder."""
        (folder,) = self._folder.iterdir()
        return folder

    def events(self, kind: str) -> list[dict[str, object]]:
        """The recorded events of a kind."""
        log = next(self._folder.glob("*/events.jsonl"), None)
        return [] if log is None else [event for event in read_json_lines(log) if event["kind"] == kind]

    def _in_episode(self) -> bool:
        assert self.process.poll() is None, self._said.read_text("utf-8")
        return bool(self.events("episode"))

    def ended(self) -> tuple[int, dict[str, object]]:
        """Wait for the end; returns exit code and summary."""
        code = self.process.wait(PATIENCE_S)
        assert "Traceback" not in self._said.read_text("utf-8")
        return code, json.loads((self.folder / "summary.json").read_text("utf-8"))

    def leaves_nothing(self, endpoints: dict[str, str]) -> None:
        """Check that no process or address is left, nor any memory, for none was shared."""
        assert [name for name, pid in self.pids.items() if alive(pid)] == []
        require_free(endpoints)
        assert self.shared == {}


@pytest.fixture
def started(tmp_path: Path, endpoints: dict[str, str]) -> Iterator[Started]:
    """A run, on the addresses of the run before, which has only just ended."""
    run = Started(tmp_path, endpoints)
    yield run
    run.process.kill()
    run.process.wait()


@pytest.fixture
def arm(endpoints: dict[str, str]) -> Iterator[Watch]:
    """Looks at the arm of the run."""
    watch = Watch(endpoints["endpoints.robot.state"], endpoints["endpoints.control.state"])
    yield watch
    watch.close()


def told(what: str, arm: Watch, since_ns: int) -> None:
    """Print when the arm came to rest after an end was asked for, and check it."""
    still_ms = arm.still_after_ms(since_ns)
    print(f"{what}: the arm is still after {still_ms:.0f} ms, at most {ENDING_MS} ms")
    assert still_ms <= ENDING_MS


def press_ctrl_c(run: Started) -> int:
    """As a terminal does: the whole group of the run is told. Returns when."""
    pressed_ns = CLOCK.now_ns()
    os.killpg(run.process.pid, signal.SIGINT)
    return pressed_ns


def ask_to_end(run: Started) -> int:
    """As a service manager does: SIGTERM, once, to the run alone. Returns when."""
    asked_ns = CLOCK.now_ns()
    run.process.terminate()
    return asked_ns


@pytest.mark.fault_row(40, 45)
@pytest.mark.parametrize("ask", [press_ctrl_c, ask_to_end])
def test_ctrl_c_ends_a_run_with_all_written_and_nothing_left(
    started: Started, endpoints: dict[str, str], arm: Watch, ask: Callable[[Started], int]
) -> None:
    arm.until_moving()
    told(ask.__name__, arm, ask(started))
    code, summary = started.ended()
    assert (code, summary["state"]) == (ENDED_BY_OPERATOR, "interrupted")
    assert summary["problem"] == "stopped by the operator"
    processes = summary["processes"]
    assert isinstance(processes, dict)
    assert set(processes["ended"]) == set(NAMES)
    assert processes["ended"]["control"] == "ended with code 0", "control has led the arm to rest by itself"
    started.leaves_nothing(endpoints)


@pytest.mark.fault_row(45)
def test_no_process_outlives_a_run_that_is_killed_and_its_addresses_are_free(
    started: Started, endpoints: dict[str, str]
) -> None:
    killed_ns = CLOCK.now_ns()
    started.process.kill()
    started.process.wait()
    wait_for(lambda: not any(alive(pid) for pid in started.pids.values()), "the children end")
    gone_ms = (CLOCK.now_ns() - killed_ns) / NS_PER_MS
    print(f"run killed: the last process has ended after {gone_ms:.0f} ms, at most {GONE_MS} ms")
    assert gone_ms <= GONE_MS
    started.leaves_nothing(endpoints)


@pytest.mark.fault_row(45)
def test_a_second_signal_ends_a_run_at_once(started: Started, endpoints: dict[str, str]) -> None:
    # Frozen, control cannot end by itself: the first signal alone would have to wait for it.
    control = started.pids["control"]
    os.kill(control, signal.SIGSTOP)
    started.process.send_signal(signal.SIGTERM)
    started.process.send_signal(signal.SIGINT)
    # The system delivers them in either order.
    assert started.process.wait(PATIENCE_S) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    started.leaves_nothing(endpoints)


@pytest.mark.fault_row(45)
def test_a_second_ctrl_c_ends_a_run_at_once(started: Started, endpoints: dict[str, str], arm: Watch) -> None:
    arm.until_moving()
    os.kill(started.pids["control"], signal.SIGSTOP)
    pressed_ns = press_ctrl_c(started)
    # Pressed again before the first is noticed, the system would deliver both as one.
    wait_for(lambda: started.events("verdict"), "the first is noticed")
    press_ctrl_c(started)
    told("Ctrl-C twice", arm, pressed_ns)
    assert started.process.wait(PATIENCE_S) == 128 + signal.SIGINT
    started.leaves_nothing(endpoints)


@pytest.mark.fault_row(5)
def test_a_killed_system2_ends_the_run_after_the_arm_holds_and_the_summary_tells_why(
    started: Started, endpoints: dict[str, str]
) -> None:
    wait_for(lambda: (started.folder / "plans.jsonl").stat().st_size > 0, "plans are made")
    os.kill(started.pids["slow"], signal.SIGKILL)
    code, summary = started.ended()
    assert (code, summary["state"]) == (RUN_FAILED, "failed")
    assert "process 'slow' was ended by SIGKILL" in str(summary["problem"])
    (episode,) = summary["episodes"]  # type: ignore[misc]
    assert not episode["judged"]
    processes = summary["processes"]
    assert isinstance(processes, dict)
    counters = summary["control_counters"]
    assert isinstance(counters, dict)
    assert counters["held"] + counters["stopped"] >= 1, "the arm has held before the end"
    started.leaves_nothing(endpoints)


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[tuple[System, dict[str, subprocess.Popen[bytes]]]]:
    """A system with the shipped models, to be started command by command as in terminals."""
    overrides: dict[str, object] = {
        "slow.rate_hz": 5.0,
        "slow.delay_ms": 0.0,
        "fast.plan_hz": 20.0,
        "control.ages.latent_soft_ms": 1000.0,
        "control.ages.latent_hard_ms": float(LATENT_HARD_MS),
        "control.ages.reading_hard_ms": 400.0,
        "control.ages.gap_hard_ms": 400.0,
        "slow.bundle": ROOT / "bundles/tabletop/system2",
        "fast.bundle": ROOT / "bundles/tabletop/system1",
    }
    system = System(tmp_path, overrides)
    opened: dict[str, subprocess.Popen[bytes]] = {}
    yield system, opened
    for process in opened.values():
        process.kill()
        process.wait()
    system.close()


@pytest.mark.fault_row(5, 28, 45)
def test_system2_can_be_started_anew_in_its_terminal_and_the_edge_can_lose_its_parent(
    terminals: tuple[System, dict[str, subprocess.Popen[bytes]]],
) -> None:
    system, opened = terminals
    path = str(system.path)

    def enter(name: str) -> subprocess.Popen[bytes]:
        with (system.folder / f"{name}.log").open("ab") as log:
            opened[name] = subprocess.Popen(
                dualsys(name, path), stdout=log, stderr=log, start_new_session=True
            )
        return opened[name]

    for name in ("sim", "slow", "fast"):
        enter(name)
    for name, peer in system.peers.items():
        wait_for(peer.knock, f"{name} answers")
    subprocess.run(dualsys("say", "pick up the red cube", path), check=True, timeout=PATIENCE_S)
    system.until(system.led, "the arm is led")

    opened["slow"].kill()
    killed_ns = CLOCK.now_ns()
    opened["slow"].wait()
    # On a busy machine a stutter of the simulator can stop the arm even before.
    at_rest = ("HOLDING", "STOPPED")
    system.until(lambda: system.state and system.state.mode in at_rest, "the arm holds")
    still_ms = system.still_after_ms(killed_ns)
    bound_ms = LATENT_HARD_MS + BRAKING_MS
    print(f"dualsys slow killed: the arm is still after {still_ms:.0f} ms, at most {bound_ms} ms")
    assert still_ms <= bound_ms
    enter("slow")
    wait_for(system.peers["slow"].knock, "System 2 answers again")
    restarted_ns = CLOCK.now_ns()
    system.watch(700)
    assert not system.moved_since(restarted_ns), "the arm moved although nobody resumed it"
    assert system.state is not None
    assert system.state.mode in at_rest, "a System 2 that is back is not enough"
    # Refused as long as there is no fresh latent.
    wait_for(lambda: subprocess.run(dualsys("robot", "resume", path), check=False).returncode == 0, "resumed")
    system.until(system.led, "the arm is led again")

    edge = opened["fast"]
    children = children_of(edge.pid)
    assert len(children) == 2
    edge.kill()
    killed_ns = CLOCK.now_ns()
    edge.wait()
    still_ms = system.still_after_ms(killed_ns)
    print(f"dualsys fast killed: the arm is still after {still_ms:.0f} ms, at most {BRAKING_MS} ms")
    assert still_ms <= BRAKING_MS
    wait_for(lambda: not any(alive(pid) for pid in children), "control and planner end with their parent")

    edge = enter("fast")
    wait_for(system.peers["control"].knock, "control answers again, at the same address")
    edge.send_signal(signal.SIGINT)
    assert edge.wait(PATIENCE_S) == ENDED_BY_OPERATOR
    for name in ("slow", "sim"):
        opened[name].send_signal(signal.SIGTERM)
        assert opened[name].wait(PATIENCE_S) == 0, name
    require_free(system.config.endpoints.by_setting())
