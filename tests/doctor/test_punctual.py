"""What is said of a rehearsal of the control loop, and the rehearsal itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dualsys.doctor.punctual import punctuality
from dualsys.errors import RobotError
from dualsys.fast.control.realtime import RealtimeMode
from dualsys.fast.control.rehearsal import Rehearsed, main, read_rehearsed, rehearsal_command


def rehearsed(missed: int = 0, longest: int = 0, p99_us: float = 50.0) -> Rehearsed:
    """A rehearsal of 20,000 ticks."""
    late_us = {"p50": 20.0, "p99": p99_us, "p999": p99_us, "max": 2 * p99_us}
    return Rehearsed(20_000 - missed, missed, longest, late_us, "SCHED_FIFO 50")


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (rehearsed(), "ok"),
        (rehearsed(missed=2, longest=1), "ok"),
        (rehearsed(missed=3, longest=1), "warning"),
        (rehearsed(p99_us=500.0), "warning"),
        (rehearsed(missed=201, longest=1), "problem"),
        (rehearsed(missed=11, longest=11), "problem"),
    ],
)
def test_missed_ticks_lateness_and_long_pauses_are_judged(found: Rehearsed, level: str) -> None:
    finding = punctuality(found, 500.0)
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


@pytest.mark.parametrize("mode", ["off", "best_effort"])
def test_a_rehearsal_is_the_control_loop_in_a_process_of_its_own(mode: RealtimeMode) -> None:
    command = rehearsal_command(100.0, 0.3, mode, spin_us=50.0, prepare_us=400.0)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    found = read_rehearsed(done.stdout)
    assert found.ticks + found.missed >= 30
    assert found.ticks >= 1
    assert 0 <= found.late_us["p50"] <= found.late_us["p99"] <= found.late_us["max"]
    assert (found.realtime == "not asked for") == (mode == "off")


def test_a_rehearsal_loads_no_inference_and_no_event_loop() -> None:
    code = (
        "import sys, dualsys.fast.control.rehearsal\n"
        "print(*[name for name in ('onnxruntime', 'asyncio', 'torch', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(RobotError, match="expected JSON"):
        read_rehearsed("Segmentation fault")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["500", "1", "always", "50", "0", "0"], "REALTIME must be one of"),
        (["5000", "1", "off", "50", "0", "0"], "50 to 1000 Hz"),
        (["500", "1", "off", "50"], "not enough values"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert says in capsys.readouterr().err
