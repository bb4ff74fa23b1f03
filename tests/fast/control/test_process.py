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
from dualsys.clock import NS_PER_S
from dualsys.fast.control.core import Ages
from dualsys.fast.control.process import ages_of
from dualsys.messages import ControlState

SCRIPT = """
    import sys
    import numpy as np
    from dualsys.config import ControlConfig, SystemConfig
    from dualsys.robots import registry
    from dualsys.robots.contract import ArmReading
    from dualsys.robots.simulated import SIMULATED_PANDA

    class Scripted:
        spec = SIMULATED_PANDA

        def __init__(self, settings):
            self.clock = settings.clock
            self.arm = np.array([0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08])

        def connect(self): ...

        def read(self):
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
            {"endpoints": ends, "control": {"realtime": "off", "rate_hz": 100.0, "state_rate_hz": 100.0}}
        )
        registry.BUILT_IN["simulated"] = "scripted:DRIVER"
        from dualsys.fast.control.process import run_control
        run_control(config)
        unwanted = ("torch", "onnxruntime", "asyncio", "logging", "uvloop", "multiprocessing")
        print("loaded:", *[name for name in unwanted if name in sys.modules], flush=True)
"""


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    """A ZeroMQ context that is closed afterwards."""
    made = open_context()
    yield made
    close_context(made)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A control process with a scripted robot."""
    script = tmp_path / "scripted.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        yield started
        started.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_control_publishes_answers_and_ends_with_the_arm_stopped_and_nothing_heavy_loaded(
    process: subprocess.Popen[str], context: ZmqContext, tmp_path: Path, number: signal.Signals
) -> None:
    client = ServiceClient(context, f"ipc://{tmp_path}/control.service", "control")
    states = LatestSubscriber(
        context, f"ipc://{tmp_path}/control.state", bind=False, setting="test", types=(ControlState,)
    )
    assert client.request("status", 20.0).values["mode"] == "WAITING"
    assert states.wait(5 * NS_PER_S)
    state = states.receive()
    assert state is not None
    assert state.command == (0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08)
    client.close()
    states.close()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    # A stop is told at once, and once more at the end.
    assert out.splitlines() == [
        "stop: control was told to end",
        "stop: control has ended",
        "closed",
        "loaded:",
    ]


def test_the_ages_of_a_configuration_are_taken_over() -> None:
    from dualsys.config import AgesConfig

    ages = ages_of(
        AgesConfig(
            latent_soft_ms=1.0, latent_hard_ms=2.0, plan_hard_ms=3.0, reading_hard_ms=4.0, gap_hard_ms=5.0
        )
    )
    assert ages == Ages(1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000)
