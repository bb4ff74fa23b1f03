"""Processes that die or freeze while the arm moves: the simulator judges when it is still, and stays so."""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualsys.clock import NS_PER_MS
from dualsys.fast.control.readings import Tolerances
from dualsys.recorder.chain import verify
from dualsys.recorder.reading import RecordingReader
from dualsys.recorder.records import ControlTick

from .harness import (
    CLOCK,
    FAILING,
    MOVING_RAD_S,
    NAMES,
    PATIENCE_S,
    System,
    children_of,
    shared_memory,
    wait_for,
)

pytestmark = pytest.mark.timeout(300)

LATENT_HARD_MS, PLAN_HARD_MS, READING_HARD_MS, GAP_HARD_MS, WATCHDOG_MS = 800, 600, 300, 300, 100

BRAKING_MS = 500
"""From the decision to hold until the arm is at rest, transport and the simulated arm's own lag included."""

TOLERANCES = Tolerances()
FROZEN_MS = max(TOLERANCES.frozen_ns / NS_PER_MS, 1000 * TOLERANCES.frozen_rad / (5 * MOVING_RAD_S))
"""Until a frozen reading is noticed: the arm has to be commanded elsewhere, at half its pace at least."""

ATTEMPTS = 3

SETTINGS: dict[str, object] = {
    "slow.rate_hz": None,
    "slow.delay_ms": 0.0,
    "slow.observation_rate_hz": 20.0,
    "fast.plan_hz": 30.0,
    "fast.strategy.name": "naive_async",
    "control.ages.latent_soft_ms": 600.0,
    "control.ages.latent_hard_ms": float(LATENT_HARD_MS),
    "control.ages.plan_hard_ms": float(PLAN_HARD_MS),
    "control.ages.reading_hard_ms": float(READING_HARD_MS),
    "control.ages.gap_hard_ms": float(GAP_HARD_MS),
    "sim.watchdog_ms": float(WATCHDOG_MS),
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of scripted networks with a real simulator and a real control loop."""
    folder = tmp_path_factory.mktemp("f")
    # Whoever is recorded sends its records whether a recorder runs or not.
    recorded = {"record.enabled": True, "record.file": str(folder / "recording.mcap")}
    made = System(folder, SETTINGS | recorded)
    try:
        made.start(*NAMES)
        yield made
    finally:
        made.close()


def told(what: str, still_ms: float, bound_ms: float) -> None:
    """Print what was measured, and check it."""
    print(f"{what}: the arm is still after {still_ms:.0f} ms, at most {bound_ms:g} ms")
    assert still_ms <= bound_ms


def frozen_and_thawed(system: System, name: str, bound_ms: float, reason: str) -> None:
    """Freeze a process until the arm is still, let it go on, and check that the arm waits for a person.

    Args:
        system: Whose process.
        name: Which.
        bound_ms: Longest time until the arm is still.
        reason: Words of the reason that control gives.
    """
    for _ in range(ATTEMPTS):
        system.set_moving()
        stopped_ns = system.send(name, signal.SIGSTOP)
        told(f"{name} frozen", system.still_after_ms(stopped_ns), bound_ms)
        system.send(name, signal.SIGCONT)
        system.watch(50)
        # On a busy machine the simulator can stutter just then, which stops the arm for a reason of its own.
        if system.state is not None and "reading" not in system.state.reason:
            break
    thawed_ns = CLOCK.now_ns()
    system.watch(400)
    assert not system.moved_since(thawed_ns), f"the arm moved although nobody resumed it: {system.state}"
    assert system.state is not None
    assert (system.state.mode, reason in system.state.reason) == ("HOLDING", True), system.state.reason


@pytest.mark.fault_row(3, 5, 6)
def test_a_frozen_system2_holds_the_arm_and_its_return_moves_nothing(system: System) -> None:
    frozen_and_thawed(system, "slow", LATENT_HARD_MS + BRAKING_MS, "latent is")
    system.resume()
    system.until(lambda: system.state and system.state.mode == "RUNNING", "the arm is led again")


@pytest.mark.fault_row(5, 28)
def test_a_killed_system2_holds_the_arm_and_a_restarted_one_is_taken_up_on_command_only(
    system: System,
) -> None:
    system.set_moving()
    killed_ns = system.send("slow", signal.SIGKILL)
    told("slow killed", system.still_after_ms(killed_ns), LATENT_HARD_MS + BRAKING_MS)
    system.start("slow")
    restarted_ns = CLOCK.now_ns()
    system.watch(500)
    assert not system.moved_since(restarted_ns), "the arm moved although nobody resumed it"
    assert system.state is not None
    assert (system.state.mode, "latent is" in system.state.reason) == ("HOLDING", True)
    system.resume()
    system.until(lambda: system.moved_since(restarted_ns), "the arm moves again")


@pytest.mark.fault_row(9)
def test_a_frozen_planner_holds_the_arm_and_its_return_moves_nothing(system: System) -> None:
    frozen_and_thawed(system, "planner", PLAN_HARD_MS + BRAKING_MS, "no plan for")


@pytest.mark.fault_row(8)
def test_a_killed_planner_holds_the_arm_and_a_restarted_one_waits_to_be_told(system: System) -> None:
    system.set_moving()
    killed_ns = system.send("planner", signal.SIGKILL)
    told("planner killed", system.still_after_ms(killed_ns), PLAN_HARD_MS + BRAKING_MS)
    system.start("planner")
    restarted_ns = CLOCK.now_ns()
    system.watch(400)
    assert not system.moved_since(restarted_ns), "the arm moved although nobody told it anything"


@pytest.mark.fault_row(11, 16)
def test_a_frozen_control_leaves_the_arm_to_its_own_watchdog_and_chases_nothing_afterwards(
    system: System,
) -> None:
    frozen_and_thawed(system, "control", WATCHDOG_MS + BRAKING_MS, "suspended")


@pytest.mark.fault_row(8)
def test_a_killed_control_leaves_the_arm_to_its_own_watchdog_and_its_address_is_free_at_once(
    system: System,
) -> None:
    system.set_moving()
    killed_ns = system.send("control", signal.SIGKILL)
    told("control killed", system.still_after_ms(killed_ns), WATCHDOG_MS + BRAKING_MS)
    system.start("control")


@pytest.mark.fault_row(8)
def test_a_restarted_control_moves_nothing_before_it_is_resumed(system: System) -> None:
    system.set_moving()
    assert system.state is not None
    epoch, session = system.state.epoch, system.state.session
    killed_ns = system.send("control", signal.SIGKILL)
    system.still_after_ms(killed_ns)
    system.start("control")
    restarted_ns = CLOCK.now_ns()
    # The planner goes on with its episode, and makes plans for the new control.
    system.until(lambda: refused_at_the_start(system), "plans are refused")
    system.watch(500)
    assert not system.moved_since(restarted_ns), "the arm moved although nobody resumed it"
    assert (system.state.mode, system.state.session) == ("WAITING", session)
    assert "just started" in system.state.reason
    assert system.state.epoch > epoch
    system.resume()
    system.until(lambda: system.moved_since(restarted_ns), "the arm moves again")


def refused_at_the_start(system: System) -> bool:
    """Whether control refuses plans of its own session and epoch."""
    return system.state is not None and system.state.counters["rejected_start"] > 3


@pytest.mark.fault_row(24, 26)
def test_a_frozen_simulator_stops_control_and_its_return_moves_nothing(system: System) -> None:
    system.set_moving()
    frozen_ns = system.send("sim", signal.SIGSTOP)
    system.until(lambda: system.state and system.state.mode == "STOPPED", "control stops")
    stopped_ms = (CLOCK.now_ns() - frozen_ns) / NS_PER_MS
    print(f"simulator frozen: control has stopped after {stopped_ms:.0f} ms")
    assert stopped_ms <= READING_HARD_MS + BRAKING_MS
    system.send("sim", signal.SIGCONT)
    system.watch(200)  # the last command is still carried out, to its end
    thawed_ns = CLOCK.now_ns()
    system.watch(300)
    assert not system.moved_since(thawed_ns)


@pytest.mark.fault_row(25)
def test_a_killed_simulator_stops_control_which_tells_why(system: System) -> None:
    system.set_moving()
    killed_ns = system.send("sim", signal.SIGKILL)
    system.until(lambda: system.state and system.state.mode == "STOPPED", "control stops")
    stopped_ms = (CLOCK.now_ns() - killed_ns) / NS_PER_MS
    print(f"simulator killed: control has stopped after {stopped_ms:.0f} ms")
    assert stopped_ms <= READING_HARD_MS + BRAKING_MS
    assert system.state is not None
    assert system.state.reason
    assert system.running["control"].poll() is None, "control lives on, to be asked"


@pytest.mark.fault_row(26)
def test_why_the_simulated_arm_was_stopped_is_the_reason_of_control_and_in_its_recording(
    system: System,
) -> None:
    recording = Path(str(system.config.record.file))
    recording.unlink(missing_ok=True)
    system.start("recorder")
    wait_for(lambda: recording.exists() and verify(recording).links, "control is recorded")
    system.set_moving()
    system.peers["sim"].ask("stop", {"reason": "joint 3\n\x1b[2Jis too hot"})
    system.until(lambda: system.state and system.state.mode == "STOPPED", "control stops")
    detail = "joint 3 [2Jis too hot"
    reason = f"the robot reports protective_stop: {detail}"
    assert system.state is not None
    assert system.state.reason == reason
    assert system.peers["control"].ask("status")["reason"] == reason
    system.send("recorder", signal.SIGTERM)
    ticks = [record for _, record in RecordingReader(recording) if isinstance(record, ControlTick)]
    assert (detail, reason) in {(tick.detail, tick.reason) for tick in ticks}


@pytest.fixture
def fault(system: System) -> Iterator[Path]:
    """Makes the driver of control fail in the way that is written into it, once the system is started."""
    file = system.folder / "fault"
    file.unlink(missing_ok=True)
    system.scripts["control"] = FAILING
    if "control" in system.running:
        system.send("control", signal.SIGKILL)
    yield file
    file.unlink(missing_ok=True)
    del system.scripts["control"]
    if "control" in system.running:
        system.send("control", signal.SIGKILL)


@pytest.mark.fault_row(24, 25, 26)
@pytest.mark.parametrize(
    ("how", "noticed_ms", "reason"),
    [
        ("protective_stop", 0, "joint 3 is too hot"),
        ("frozen", FROZEN_MS, "frozen for"),
        ("write", 0, "the cable is pulled"),
        ("read", 0, "the cable is pulled"),
    ],
)
def test_a_driver_that_fails_leaves_the_arm_still_and_control_tells_why(
    system: System, fault: Path, how: str, noticed_ms: float, reason: str
) -> None:
    system.set_moving()
    failed_ns = CLOCK.now_ns()
    fault.write_text(how, "utf-8")
    told(f"driver: {how}", system.still_after_ms(failed_ns), noticed_ms + WATCHDOG_MS + BRAKING_MS)
    if how in ("read", "write"):
        control = system.running.pop("control")
        assert control.wait(PATIENCE_S) != 0, "control has ended with an error"
        assert f"a control tick failed, the robot was stopped: {reason}" in system.log("control")
        return
    status = system.peers["control"].ask("status")
    assert (status["mode"], reason in status["reason"]) == ("STOPPED", True), status["reason"]
    assert system.state is not None
    assert reason in system.state.reason
    system.watch(300)
    assert system.state.mode == "STOPPED", "it never recovers by itself"


@pytest.mark.fault_row(44)
def test_a_killed_recorder_changes_nothing_for_the_arm(system: System) -> None:
    recording = Path(str(system.config.record.file))
    for _ in range(ATTEMPTS):
        recording.unlink(missing_ok=True)
        system.start("recorder")
        wait_for(lambda: recording.exists() and verify(recording).links, "control is recorded")
        system.set_moving()
        killed_ns = system.send("recorder", signal.SIGKILL)
        modes = system.modes_during(500)
        # On a busy machine the simulator can stutter just then, which stops the arm for a reason of its own.
        if modes <= {"RUNNING", "SLOWED"}:
            break
    assert modes <= {"RUNNING", "SLOWED"}, system.state
    assert system.moved_since(killed_ns + 400 * NS_PER_MS), "the arm goes on"


@pytest.mark.fault_row(38, 39, 40)
def test_processes_of_a_running_system_share_no_memory(system: System) -> None:
    with mmap.mmap(-1, mmap.PAGESIZE):
        assert shared_memory(os.getpid()), "it would be seen"
    system.set_moving()
    shared = {name: shared_memory(process.pid) for name, process in system.running.items()}
    assert shared == {name: set() for name in NAMES}


@pytest.mark.fault_row(42)
def test_running_control_has_no_thread_but_its_own_and_those_of_the_sockets(system: System) -> None:
    system.set_moving()
    pid = system.running["control"].pid
    threads = sorted(
        path.joinpath("comm").read_text("utf-8").strip() for path in Path(f"/proc/{pid}/task").iterdir()
    )
    others = [name for name in threads if not name.startswith("ZMQbg")]
    assert len(others) == 1, threads
    assert children_of(pid) == set()
    mapped = Path(f"/proc/{pid}/maps").read_text("utf-8")
    assert not [name for name in ("onnxruntime", "libtorch", "_asyncio", "uvloop") if name in mapped]
