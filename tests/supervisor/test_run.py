"""Rules of a whole run, with scripted processes."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from dualsys.bus.service import ServiceServer
from dualsys.bus.sockets import close_context, open_context
from dualsys.cli.process import process_command
from dualsys.clock import NS_PER_MS, WallClock, nanoseconds
from dualsys.config import SystemConfig, load_config
from dualsys.errors import AddressInUseError, ConfigError
from dualsys.supervisor.peers import RESET_S
from dualsys.supervisor.processes import PROCESSES
from dualsys.supervisor.run import Run
from dualsys.supervisor.summary import RunSummary
from dualsys.telemetry.run_folder import read_json_lines

DOUBLE = Path(__file__).with_name("double.py")


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., SystemConfig]:
    """Makes configurations whose addresses are sockets in the folder of the test."""

    def make(**overrides: object) -> SystemConfig:
        path = tmp_path / "system.yaml"
        path.write_text("name: demo\nrun: {folder: runs, episodes: 2}\n", encoding="utf-8")
        channels = {
            "slow": ("observation", "latent", "service"),
            "planner": ("plan", "service"),
            "control": ("state", "service"),
            "robot": ("state", "command", "service", "cameras"),
            "line": ("observation", "latent", "service"),
            "recorder": ("input",),
        }
        endpoints = {
            f"endpoints.{owner}.{name}": f"ipc://{tmp_path}/{owner[0]}{name}"
            for owner, names in channels.items()
            for name in names
        }
        dotted = {name.replace("__", "."): value for name, value in overrides.items()}
        return load_config(path, endpoints | dotted)

    return make


def double(name: str, config: Path) -> list[str]:
    """The command line of a scripted process."""
    return [sys.executable, str(DOUBLE), name, str(config), str(os.getpid())]


def run(
    config: SystemConfig, command: Callable[[str, Path], list[str]] = double
) -> tuple[Run, RunSummary, str]:
    """Run a system; returns what was printed as well."""
    output = io.StringIO()
    one = Run(config, Console(file=output, width=200), command)
    return one, one.execute(), output.getvalue()


def events(one: Run, kind: str) -> list[dict[str, object]]:
    """The recorded events of a kind."""
    return [event for event in read_json_lines(one.folder.path / "events.jsonl") if event["kind"] == kind]


def test_a_run_goes_through_all_episodes_and_leaves_a_complete_folder(
    config: Callable[..., SystemConfig],
) -> None:
    one, summary, output = run(config(run__seed=7, run__report=False))
    assert (summary.state, summary.problem) == ("finished", "")
    assert [(result.seed, result.success) for result in summary.results] == [(7, True), (8, True)]
    tree = json.loads((one.folder.path / "summary.json").read_text("utf-8"))
    assert (tree["state"], tree["successes"], tree["episodes_finished"]) == ("finished", 2, 2)
    assert tree["success_interval_95"] == [0.3424, 1.0]
    assert set(tree["processes"]["answered"]) == set(PROCESSES)
    assert tree["processes"]["ended"] == dict.fromkeys(PROCESSES, "ended with code 0")
    assert [event["instruction"] for event in events(one, "episode")] == ["pick up the red cube"] * 2
    assert all(event["expected"] for event in events(one, "ended"))
    names = {path.name for path in one.folder.path.iterdir()}
    logs = {"events.jsonl", "ticks.jsonl", "latents.jsonl", "plans.jsonl", "frames.jsonl", "frames.bin"}
    assert names >= logs | {"config.yaml", "summary.json"} | {f"{name}.log" for name in PROCESSES}
    assert read_json_lines(one.folder.path / "ticks.jsonl")
    assert "as if a 7B model ran elsewhere: 200 ms at 5 Hz" in output
    assert "success: 2 of 2" in output
    assert str(one.folder.path) in output

    # The planner is idle while the world is built, and learns the epoch that control has begun.
    said = one.folder.log("planner").read_text("utf-8").splitlines()
    assert said[0] == "end_episode {}"
    assert said[1] == "start_episode {'episode': '0', 'instruction': 'pick up the red cube', 'epoch': '1'}"


def with_relay(name: str, path: Path) -> list[str]:
    """Scripted processes, and the line as it is."""
    return process_command(name, path) if name == "line" else double(name, path)


def test_a_run_over_an_emulated_line_starts_it_leads_the_planner_through_it_and_says_so(
    config: Callable[..., SystemConfig],
) -> None:
    system = config(line__delay_ms=15, line__loss=0.02, run__report=False)
    one, summary, output = run(system, with_relay)
    assert (summary.state, summary.problem) == ("finished", "")
    told = "the line to System 2 is emulated: 15 ms each way, 2 % of packets lost"
    assert output.count(f"{told}\n") == 2, "at the start and at the end"
    tree = json.loads((one.folder.path / "summary.json").read_text("utf-8"))
    assert tree["line"] == {"emulation": told, "seed": 0}
    assert tree["processes"]["ended"] == dict.fromkeys([*PROCESSES, "line"], "ended with code 0")
    assert "System 2 answers at endpoints.line: True" in one.folder.log("planner").read_text("utf-8")
    carried = re.search(r"line: (\d+) connections, (\d+) bytes up", one.folder.log("line").read_text("utf-8"))
    assert carried is not None
    assert min(int(carried[1]), int(carried[2])) > 0
    started = [event["name"] for event in events(one, "process")]
    assert started == ["sim", "slow", "line", "control", "planner"]
    assert [event["name"] for event in events(one, "ended")] == started[::-1]


def test_a_line_that_is_killed_ends_the_run_once_the_arm_had_time_to_hold(
    config: Callable[..., SystemConfig],
) -> None:
    ages = {"control__ages__latent_soft_ms": 510, "control__ages__latent_hard_ms": 520}
    system = config(line__profile="5g", run__task="never_ends", run__report=False, **ages)
    one, summary = run_and_send(system, "line", signal.SIGKILL, with_relay)
    assert summary.state == "failed"
    assert "process 'line' was ended by SIGKILL" in summary.problem
    (verdict,) = events(one, "verdict")
    assert str(verdict["result"]).startswith("broken off")


def test_a_process_that_cannot_start_fails_the_run_with_its_last_words(
    config: Callable[..., SystemConfig],
) -> None:
    def command(name: str, path: Path) -> list[str]:
        broken = [sys.executable, "-c", "print('error: bundle is damaged'); raise SystemExit(2)"]
        return broken if name == "slow" else double(name, path)

    one, summary, output = run(config(run__report=False), command)
    assert summary.state == "failed"
    assert "process 'slow' ended with code 2" in summary.problem
    assert "error: bundle is damaged" in summary.problem
    assert "problem: process 'slow'" in output
    assert json.loads((one.folder.path / "summary.json").read_text("utf-8"))["state"] == "failed"


def test_a_run_on_the_addresses_of_another_is_refused_before_it_leaves_anything(
    config: Callable[..., SystemConfig],
) -> None:
    system = config()
    context = open_context()
    other = ServiceServer(context, system.endpoints.control.service, setting="x")
    with pytest.raises(AddressInUseError, match=r"'endpoints\.control\.service'"):
        run(system)
    assert not system.run.folder.exists()
    other.close()
    close_context(context)


@pytest.mark.fault_row(37)
def test_of_two_runs_that_start_at_once_one_ends_and_asks_nothing_of_the_others_processes(
    config: Callable[..., SystemConfig], tmp_path: Path
) -> None:
    others: dict[str, subprocess.Popen[bytes]] = {}

    def slower(name: str, path: Path) -> list[str]:
        # The addresses were free when this run looked; now the processes of another one are there first.
        with (tmp_path / f"{name}.other").open("wb") as log:
            others[name] = subprocess.Popen(double(name, path), stdout=log)
        return [sys.executable, "-S", "-c", "import signal; signal.pause()"]

    try:
        _, summary, _ = run(config(run__report=False), slower)
    finally:
        for process in others.values():
            process.kill()
            process.wait()
    assert summary.state == "failed"
    assert re.search(r"expected .* of this run \(process \d+\), process \d+ answers", summary.problem)
    assert "choose other addresses" in summary.problem
    assert all((tmp_path / f"{name}.other").read_text("utf-8") == "" for name in PROCESSES)


@pytest.mark.fault_row(43)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux only")
def test_a_full_disk_ends_the_run_once_the_arm_was_told_to_stop(
    config: Callable[..., SystemConfig],
) -> None:
    output = io.StringIO()
    one = Run(config(run__task="never_ends", run__report=False), Console(file=output, width=200), double)

    def fill_once_it_runs() -> None:
        while not events(one, "episode"):
            clock.sleep_until_ns(clock.now_ns() + 20 * NS_PER_MS)
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, one._recorder._ticks._descriptor)
        os.close(full)

    clock = WallClock()
    filler = threading.Thread(target=fill_once_it_runs, daemon=True)
    filler.start()
    summary = one.execute()
    filler.join()
    assert summary.state == "failed"
    assert f"run folder {one.folder.path}: cannot be written: No space left on device" in summary.problem
    assert "stop {'reason'" in one.folder.log("control").read_text("utf-8")
    assert summary.endings == dict.fromkeys(PROCESSES, "ended with code 0")
    assert "problem: run folder" in output.getvalue()
    assert json.loads((one.folder.path / "summary.json").read_text("utf-8"))["state"] == "failed"


class Pipe(io.StringIO):
    """A terminal that is closed as soon as an episode goes on."""

    folder: Path

    def write(self, text: str) -> int:
        if any("episode" in log.read_text("utf-8") for log in self.folder.glob("*/events.jsonl")):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(text)


@pytest.mark.fault_row(45)
def test_a_terminal_that_is_closed_ends_the_run_in_order(config: Callable[..., SystemConfig]) -> None:
    system = config(run__task="never_ends", run__report=False)
    pipe = Pipe()
    pipe.folder = system.run.folder
    one = Run(system, Console(file=pipe, width=200), double)
    summary = one.execute()
    assert (summary.state, "Input/output error" in summary.problem) == ("interrupted", True)
    assert [event["name"] for event in events(one, "ended")] == list(reversed(PROCESSES))
    assert "stop {'reason'" in one.folder.log("control").read_text("utf-8")


@pytest.mark.fault_row(4)
def test_a_process_that_never_answers_is_named(config: Callable[..., SystemConfig]) -> None:
    def mute(name: str, path: Path) -> list[str]:
        del name, path
        return [sys.executable, "-S", "-c", "import signal; signal.pause()"]

    _, summary, _ = run(config(run__startup_timeout_s=0.5), mute)
    assert summary.state == "failed"
    assert "no answer from the simulated robot at ipc://" in summary.problem


def test_an_instruction_with_an_unknown_word_ends_the_run_and_says_what_is_known(
    config: Callable[..., SystemConfig],
) -> None:
    _, summary, _ = run(config(run__instruction="pick up the zebra", run__report=False))
    assert summary.state == "failed"
    assert "unknown word 'zebra'; known: red, blue" in summary.problem


def test_an_arm_that_is_not_simulated_is_told_what_to_do_and_judged_by_nobody(
    config: Callable[..., SystemConfig], driver_package: str
) -> None:
    system = config(
        robot__driver=driver_package, run__instruction="touch it", run__episode_timeout_s=0.3,
        run__task="never_ends", run__report=False,
    )  # fmt: skip
    one, summary, output = run(system)
    assert (summary.state, summary.problem) == ("finished", "")
    assert set(summary.endings) == {"slow", "control", "planner"}
    assert not one.folder.log("sim").exists()
    assert [result.judged for result in summary.results] == [False, False]
    assert {result.task for result in summary.results} == {"unjudged"}
    assert all("no verdict within run.episode_timeout_s (0.3 s)" in one.reason for one in summary.results)
    assert "nobody judges 'touch it'" in output


@pytest.mark.fault_row(3, 28)
@pytest.mark.parametrize("real", [True, False])
def test_after_a_hold_the_next_episode_of_a_real_arm_waits_for_a_person(
    config: Callable[..., SystemConfig], driver_package: str, real: bool
) -> None:
    driver = {"robot__driver": driver_package, "run__instruction": "touch it"} if real else {}
    system = config(
        run__task="holds", run__episode_timeout_s=0.3, run__stopped_timeout_s=0.5, run__report=False, **driver
    )
    one, summary, output = run(system)
    assert len(events(one, "episode")) == (1 if real else 2), "a simulated world is built anew"
    why = "the arm is HOLDING (latent is too old)"
    assert summary.problem == (f"{why} and was not resumed within 0.5 s" if real else "")
    assert (f"{why}: `dualsys robot resume` goes on" in output) is real


def test_an_arm_that_is_not_simulated_needs_an_instruction(
    config: Callable[..., SystemConfig], driver_package: str
) -> None:
    system = config(robot__driver=driver_package)
    with pytest.raises(ConfigError, match=r"run\.instruction: got null"):
        run(system)
    assert not system.run.folder.exists()


def test_an_episode_without_a_verdict_is_broken_off_and_the_next_one_begins(
    config: Callable[..., SystemConfig],
) -> None:
    _, summary, _ = run(config(run__task="never_ends", run__episode_timeout_s=0.3, run__report=False))
    assert summary.state == "finished"
    assert [result.reason for result in summary.results] == [
        "no verdict within run.episode_timeout_s (0.3 s)"
    ] * 2
    assert summary.finished == 0


def test_a_dead_system2_ends_the_run_once_the_arm_had_time_to_hold(
    config: Callable[..., SystemConfig],
) -> None:
    ages = {"control__ages__latent_soft_ms": 510, "control__ages__latent_hard_ms": 520}
    one, summary, output = run(config(run__task="slow_dies", run__report=False, **ages))
    assert summary.state == "failed"
    assert "something terrible happened" in summary.problem
    assert "waiting for the arm to hold" in output
    (verdict,) = events(one, "verdict")
    assert str(verdict["result"]).startswith("broken off")
    assert summary.finished == 0, "an episode that was broken off is no trial"


def run_and_send(
    system: SystemConfig,
    name: str,
    number: signal.Signals,
    command: Callable[[str, Path], list[str]] = double,
) -> tuple[Run, RunSummary]:
    """Run a system, and send a signal to one of its processes as soon as an episode goes on."""
    clock = WallClock()

    def send_once_it_runs() -> None:
        pids: dict[str, int] = {}
        while True:
            for log in system.run.folder.glob("*/events.jsonl"):
                found = read_json_lines(log)
                pids |= {
                    str(event["name"]): int(event["pid"]) for event in found if event["kind"] == "process"
                }
                if any(event["kind"] == "episode" for event in found):
                    os.kill(pids[name], number)
                    return
            clock.sleep_until_ns(clock.now_ns() + 20 * NS_PER_MS)

    sender = threading.Thread(target=send_once_it_runs, daemon=True)
    sender.start()
    one, summary, _ = run(system, command)
    sender.join()
    for event in events(one, "process"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(str(event["pid"])), 0)
    return one, summary


@pytest.mark.fault_row(8, 25)
@pytest.mark.parametrize("name", ["sim", "control", "planner"])
def test_a_process_that_is_killed_ends_the_run_and_the_summary_tells_which(
    config: Callable[..., SystemConfig], name: str
) -> None:
    system = config(run__task="never_ends", run__report=False)
    one, summary = run_and_send(system, name, signal.SIGKILL)
    assert summary.state == "failed"
    assert f"process '{name}' was ended by SIGKILL" in summary.problem
    (verdict,) = events(one, "verdict")
    assert str(verdict["result"]).startswith("broken off")


@pytest.mark.fault_row(5, 9)
@pytest.mark.parametrize(
    ("name", "called", "within_s"),
    [("control", "control", 2), ("planner", "the planner", 3), ("slow", "System 2", 3)],
)
def test_a_process_that_hangs_ends_the_run_and_is_killed(
    config: Callable[..., SystemConfig], name: str, called: str, within_s: int
) -> None:
    # As with a System 2 that ended, the arm is given the time to hold.
    ages = {"control__ages__latent_soft_ms": 510, "control__ages__latent_hard_ms": 520}
    system = config(run__task="never_ends", run__report=False, **ages)
    one, summary = run_and_send(system, name, signal.SIGSTOP)
    assert summary.state == "failed"
    assert f"no answer from {called} at ipc://" in summary.problem
    assert f"within {within_s} s" in summary.problem
    assert summary.endings == {each: "ended with code 0" for each in PROCESSES} | {
        name: "was ended by SIGKILL"
    }
    assert set(summary.status) == set(PROCESSES) - {name}, "the others still tell how they are"
    (result,) = summary.results
    assert (result.judged, f"no answer from {called}" in result.reason) == (False, True)
    assert ("stop {'reason'" in one.folder.log("control").read_text("utf-8")) == (name != "control")


def test_why_the_arm_came_to_rest_is_in_the_episode_and_in_the_summary(
    config: Callable[..., SystemConfig],
) -> None:
    system = config(run__task="halts", run__report=False, run__episodes=1, run__episode_timeout_s=1.0)
    one, summary, output = run(system)
    (result,) = summary.results
    assert result.reason == (
        "no verdict within run.episode_timeout_s (1 s); the arm is STOPPED: joint 3 is too hot"
    )
    assert result.reason in output
    tree = json.loads((one.folder.path / "summary.json").read_text("utf-8"))
    (episode,) = tree["episodes"]
    told = episode["halts"]
    # The newest state wins: of a hold whose reason counts on, the first that is heard need not be the first.
    assert re.fullmatch(r"HOLDING: latent is 8\d\d ms old", told[0])
    assert (told[1:], episode["reason"]) == (["STOPPED: joint 3 is too hot"], result.reason)
    assert [(halt["episode"], halt["mode"]) for halt in tree["halts"]] == [(0, "HOLDING"), (0, "STOPPED")]
    assert [halt["reason"] for halt in tree["halts"]] == [words.split(": ", 1)[1] for words in told]
    assert 0 < tree["halts"][0]["after_s"] < tree["halts"][1]["after_s"] < tree["elapsed_s"]


@pytest.mark.fault_row(45)
@pytest.mark.parametrize(
    ("task", "file", "sign", "sim_ended"),
    [
        ("never_ends", "events.jsonl", "episode", "ended with code 0"),
        ("never_resets", "sim.log", "the world is being built", "was ended by SIGKILL"),
    ],
)
def test_ctrl_c_stops_the_processes_in_order_and_completes_the_folder(
    config: Callable[..., SystemConfig], task: str, file: str, sign: str, sim_ended: str
) -> None:
    system, clock, pressed_ns = config(run__task=task, run__report=False), WallClock(), [0]

    def press_once_it_runs() -> None:
        while not any(sign in log.read_text("utf-8") for log in system.run.folder.glob(f"*/{file}")):
            clock.sleep_until_ns(clock.now_ns() + 20 * NS_PER_MS)
        pressed_ns[0] = clock.now_ns()
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press_once_it_runs, daemon=True)
    presser.start()
    one, summary, _ = run(system)
    presser.join()
    assert clock.now_ns() - pressed_ns[0] < nanoseconds(RESET_S) / 2, "nobody waits for the world"
    assert (summary.state, summary.problem) == ("interrupted", "stopped by the operator")
    assert json.loads((one.folder.path / "summary.json").read_text("utf-8"))["state"] == "interrupted"
    assert [event["name"] for event in events(one, "ended")] == list(reversed(PROCESSES))
    assert summary.endings == dict.fromkeys(PROCESSES, "ended with code 0") | {"sim": sim_ended}
    assert "stop {'reason': 'the run is over'}" in one.folder.log("control").read_text("utf-8")
