"""The control process as a process: what it loads, how it ends, with a scripted robot at the other end."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualsys.bus.channel import LatestSubscriber
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import NS_PER_S, VirtualClock, WallClock
from dualsys.errors import RobotError
from dualsys.fast.control.core import Ages
from dualsys.fast.control.process import ages_of, first_epoch, waiter
from dualsys.messages import ControlState
from dualsys.robots.registry import RobotSettings
from dualsys.robots.simulated import SIMULATED_PANDA, SimulatedRobot

SCRIPT = """
    import gc
    import sys
    import numpy as np
    from dualsys.config import SystemConfig
    from dualsys.robots import registry
    from dualsys.robots.contract import ArmReading
    from dualsys.robots.simulated import SIMULATED_PANDA

    UNWANTED = ("torch", "onnxruntime", "asyncio", "logging", "uvloop", "multiprocessing")

    def tell():
        print("loaded:", *[name for name in UNWANTED if name in sys.modules], flush=True)
        print("python threads:", len(sys._current_frames()), flush=True)
        print("collector:", gc.isenabled(), flush=True)

    class Scripted:
        spec = SIMULATED_PANDA

        def __init__(self, settings):
            self.clock = settings.clock
            self.reads = 0
            self.arm = np.array([0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08])

        def connect(self): ...

        def read(self):
            self.reads += 1
            if self.reads == 10:
                tell()
            return ArmReading(self.clock.now_ns(), self.arm, np.zeros(8))

        def write(self, command):
            self.arm = command

        def stop(self, reason):
            print("stop:", reason, flush=True)

        def close(self):
            print("closed", flush=True)

    DRIVER = registry.RobotDriver("Stands still wherever it is sent.", Scripted)

    if __name__ == "__main__":
        folder = sys.argv[1]
        ends = {
            owner: {name: f"ipc://{folder}/{owner}.{name}" for name in names}
            for owner, names in {
                "slow": ("observation", "latent", "service"),
                "planner": ("plan", "service"),
                "control": ("state", "service"),
                "robot": ("state", "command", "service", "cameras"),
            }.items()
        }
        config = SystemConfig.model_validate(
            {
                "endpoints": ends,
                "control": {
                    "realtime": sys.argv[2],
                    "rate_hz": 100.0,
                    "state_rate_hz": 100.0,
                    "prepare_ms": 0.4,
                },
            }
        )
        registry.BUILT_IN["pybullet"] = "scripted:DRIVER"
        from dualsys.fast.control.process import run_control
        run_control(config)
        tell()
"""


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    """A ZeroMQ context that is closed afterwards."""
    made = open_context()
    yield made
    close_context(made)


@pytest.fixture
def process(tmp_path: Path, realtime: str) -> Iterator[subprocess.Popen[str]]:
    """A control process with a scripted robot."""
    script = tmp_path / "scripted.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path), realtime]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        yield started
        started.kill()


@pytest.mark.fault_row(42)
@pytest.mark.parametrize(("number", "realtime"), [(signal.SIGTERM, "best_effort"), (signal.SIGINT, "off")])
def test_control_publishes_answers_and_ends_with_the_arm_stopped_and_nothing_heavy_loaded(
    process: subprocess.Popen[str], context: ZmqContext, tmp_path: Path, number: signal.Signals, realtime: str
) -> None:
    client = ServiceClient(context, f"ipc://{tmp_path}/control.service", "control")
    states = LatestSubscriber(
        context, f"ipc://{tmp_path}/control.state", bind=False, setting="test", types=(ControlState,)
    )
    status = client.request("status", 20.0).values
    assert (status["mode"], status["reason"].split(":")[0]) == ("WAITING", "control has just started")
    assert 0 < int(status["epoch"]) <= first_epoch(WallClock().now_ns())
    asked = {name for name in status if name.startswith("realtime.")}
    every = {"realtime.scheduler", "realtime.memory", "realtime.collector"}
    assert asked == (every if realtime == "best_effort" else set())
    first = status.get("realtime.scheduler", "refused").startswith("ok")
    assert status["prepared_us"] == ("400" if first else "0")
    wait_for_tick(client, 20)
    assert states.wait(5 * NS_PER_S)
    state = states.receive()
    assert state is not None
    assert state.command == (0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08)
    client.close()
    states.close()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    said = ["loaded:", "python threads: 1", f"collector: {realtime == 'off'}"]
    # What runs is looked at between two ticks, and again at the end. A stop is told at once, and once more.
    stopped = ["stop: control was told to end", "stop: control has ended", "closed"]
    assert out.splitlines() == [*said, *stopped, *said]


def wait_for_tick(client: ServiceClient, tick: int) -> None:
    """Ask until control has come that far."""
    clock = WallClock()
    deadline_ns = clock.now_ns() + 20 * NS_PER_S
    while int(client.request("status", 20.0).values["ticks"]) < tick:
        assert clock.now_ns() < deadline_ns


def test_a_control_that_starts_later_begins_above_all_epochs_of_the_one_before() -> None:
    episodes = 1000
    assert first_epoch(5 * NS_PER_S + 10**6 * episodes) >= first_epoch(5 * NS_PER_S) + episodes


def test_the_ages_of_a_configuration_are_taken_over() -> None:
    from dualsys.config import AgesConfig

    ages = ages_of(
        AgesConfig(
            latent_soft_ms=1.0, latent_hard_ms=2.0, plan_hard_ms=3.0, reading_hard_ms=4.0, gap_hard_ms=5.0
        )
    )
    assert ages == Ages(1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000)


class WithoutCycles:
    """A robot whose driver cannot tell when its cycles begin."""

    spec = SIMULATED_PANDA


def test_a_driver_that_cannot_set_the_pace_is_refused_by_name() -> None:
    clock = VirtualClock()
    settings = RobotSettings("ipc:///a", "ipc:///b", "ipc:///c", 1.0, clock)
    robot = SimulatedRobot(settings)
    assert waiter("device_paced", robot, clock) == robot.wait_cycle
    assert waiter("periodic", robot, clock) == clock.sleep_until_ns
    with pytest.raises(RobotError, match=r"simulated_panda' has none: choose 'periodic'"):
        waiter("device_paced", WithoutCycles(), clock)
