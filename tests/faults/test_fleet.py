"""Two whole robots with one System 2: what is said to one of them is said to no other."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from dualsys.cli import main
from dualsys.clock import NS_PER_MS

from .harness import CHANNELS, CLOCK, System, wait_for

pytestmark = pytest.mark.timeout(300)

EDGE = ("sim", "control", "planner")

# No age is to hold an arm here, however busy the machine: a stop is what is looked at.
SETTINGS: dict[str, object] = {
    "fleet.robots": 2,
    "fleet.largest_batch": 2,
    "slow.rate_hz": None,
    "slow.delay_ms": 0.0,
    "slow.observation_rate_hz": 10.0,
    "fast.plan_hz": 20.0,
    "fast.strategy.name": "naive_async",
    "control.rate_hz": 125.0,
    "control.state_rate_hz": 125.0,
    "control.ages.latent_soft_ms": 20_000.0,
    "control.ages.latent_hard_ms": 30_000.0,
    "control.ages.observation_soft_ms": 20_000.0,
    "control.ages.observation_hard_ms": 30_000.0,
    "control.ages.plan_soft_ms": 9000.0,
    "control.ages.plan_hard_ms": 10_000.0,
    "control.ages.reading_soft_ms": 900.0,
    "control.ages.reading_hard_ms": 1000.0,
    "control.ages.gap_hard_ms": 1000.0,
    "sim.watchdog_ms": 1000.0,
    "sim.camera_wrist_hz": 10.0,
    "sim.camera_fixed_hz": 10.0,
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[System, System]]:
    """Two edges, each with a simulated arm, control and planner; the first one has System 2 beside it."""
    first = System(tmp_path_factory.mktemp("f"), SETTINGS | {"robot.name": "arm1"})
    shared = {f"endpoints.slow.{name}": f"ipc://{first.folder}/slow.{name}" for name in CHANNELS["slow"]}
    second = System(tmp_path_factory.mktemp("f"), SETTINGS | shared | {"robot.name": "arm2"})
    try:
        first.start("slow", *EDGE)
        second.start(*EDGE)
        yield first, second
    finally:
        first.close()
        second.close()


def lead(system: System) -> None:
    """Have the arm of a robot go round."""
    system.until(system.led, "control follows plans")
    system.until(lambda: CLOCK.now_ns() - system.moving_ns < 50 * NS_PER_MS, "the arm moves")


def stop(system: System) -> None:
    """Stop the arm of a robot, by the command of an operator."""
    assert main(["robot", "stop", str(system.path)]) == 0
    system.until(lambda: system.state and system.state.mode == "STOPPED", "the arm is stopped")


def runs_on(system: System, duration_ms: int) -> bool:
    """Look on for so long; whether the arm was led along its plans all the time, and has moved."""
    modes = set()

    def over() -> bool:
        modes.add(system.state.mode if system.state else "none")
        return CLOCK.now_ns() >= end_ns

    system.look()
    begun_ns = CLOCK.now_ns()
    end_ns = begun_ns + duration_ms * NS_PER_MS
    system.until(over, "time passes")
    system.until(lambda: system.moved_since(begun_ns), "the arm moves")
    return modes <= {"RUNNING", "SLOWED"}


def test_a_stop_for_one_robot_of_a_fleet_latches_that_one_and_leaves_the_other_running(
    fleet: tuple[System, System],
) -> None:
    for system in fleet:
        lead(system)
    served = fleet[0].peers["slow"].ask("status")
    assert {"robots.arm1.processed", "robots.arm2.processed"} <= served.keys()
    for stopped, other in (fleet, fleet[::-1]):
        stop(stopped)
        assert stopped.state is not None
        assert "stopped by the operator" in stopped.state.reason
        stopped.still_after_ms(CLOCK.now_ns())
        still_ns = CLOCK.now_ns()
        assert runs_on(other, 500)
        # Its planner and System 2 go on all the while; no plan and no latent of theirs moves it.
        assert not stopped.moved_since(still_ns)
        assert stopped.state.mode == "STOPPED"
        stopped.resume()
        lead(stopped)


def test_a_stop_reaches_a_robot_whatever_has_become_of_the_system_2_that_it_shares(
    fleet: tuple[System, System],
) -> None:
    for system in fleet:
        lead(system)
    first, second = fleet
    first.send("slow", signal.SIGSTOP)
    try:
        stop(second)
        assert runs_on(first, 100)
    finally:
        first.send("slow", signal.SIGCONT)
    second.resume()
    lead(second)
    processed = int(first.peers["slow"].ask("status")["robots.arm2.processed"])

    def served() -> bool:
        status = first.peers["slow"].ask("status")
        return int(status["robots.arm2.processed"]) > processed

    wait_for(served, "System 2 serves both again")
