"""Environments keep the contract of a robot, in simulated time: a toy, and those of others if installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS, NS_PER_S, VirtualClock
from dualsys.errors import PeerTimeoutError, RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.messages import ArmCommand
from dualsys.plugins import Option
from dualsys.robots.contract import ArmReading
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys.robots.kit import Bench, RobotContract

pytest.importorskip("gymnasium", reason="needs the extra gymnasium")
sys.path.insert(0, str(Path(__file__).parent))
import toy_environment  # noqa: F401

from dualsys_sim.environment import EnvironmentCore

TOOL: dict[str, Option] = {
    "axes": "x y z gripper_opening",
    "position": "0 1 2",
    "velocity": "3 4 5",
    "scale": "0.05 0.05 0.05",
    "lower": "-0.3 -0.3 0 0",
    "upper": "0.3 0.3 0.3 0.08",
    "speed": "1 1 1 0.4",
    "acceleration": "10 10 10 4",
}


class EnvironmentRobot:
    """A driver without a transport: the environment on a clock, with a line to it that can be cut."""

    def __init__(self, core: EnvironmentCore | None, clock: VirtualClock, line: dict[str, Any]) -> None:
        self._core, self._clock, self._line = core, clock, line
        self._connected = False

    @property
    def spec(self) -> Any:
        assert self._core is not None
        return self._core.spec

    def connect(self) -> None:
        if self._core is None:
            self._clock.advance_ns(NS_PER_S)
            raise PeerTimeoutError("the environment", "nowhere", 1.0)
        self._clock.advance_ns(self._core.tick_ns)
        self._connected = True

    def read(self) -> ArmReading:
        core = self._core
        if not self._connected or core is None:
            raise RobotError("not connected")
        while self._line["there"] and core.time_ns < self._clock.now_ns() - self._line["began_ns"]:
            self._line["state"] = core.tick()
        state = self._line["state"]
        t_ns = self._line["began_ns"] + state.t_robot_ns - core.tick_ns
        return ArmReading(t_ns, np.array(state.position), np.array(state.velocity), state.status)

    def write(self, command: FloatArray) -> None:
        if not self._connected or self._core is None:
            raise RobotError("not connected")
        position = tuple(self.spec.require_command(command).tolist())
        self._line["seq"] += 1
        assert self._core.on_command(ArmCommand(seq=self._line["seq"], position=position))

    def stop(self, reason: str) -> None:
        del reason

    def close(self) -> None:
        self._connected = False


class _Environment(RobotContract):
    """Every check but that of a cycle, which belongs to the transport."""

    bench: Bench
    environment: str
    module = ""
    options: Mapping[str, Option] = TOOL

    @classmethod
    def make_bench(cls) -> Bench:
        return cls.bench

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def world(cls) -> Iterator[None]:
        if cls.module:
            pytest.importorskip(cls.module, reason="needs the extra panda-gym")
        clock = VirtualClock(NS_PER_S)
        options = EnvironmentOptions.of({**cls.options, "environment": cls.environment})
        core = EnvironmentCore(options, 100 * NS_PER_MS)
        line: dict[str, Any] = {"there": True, "began_ns": clock.now_ns(), "state": core.tick(), "seq": 0}
        cls.bench = Bench(
            lambda: EnvironmentRobot(core, clock, line),
            clock,
            may_move=True,
            drop=lambda: line.update(there=False),
            absent=lambda: EnvironmentRobot(None, clock, line),
        )
        yield
        core.close()


class TestToy(_Environment):
    environment = "ToyPoint-v0"


class TestPandaReach(_Environment):
    environment = "panda_gym:PandaReach-v3"
    module = "panda_gym"
    # The velocity that it observes is that of the last of twenty moments of a step, in which it slows down.
    options = {name: value for name, value in TOOL.items() if name != "velocity"}  # noqa: RUF012


class TestPandaPickAndPlace(_Environment):
    environment = "panda_gym:PandaPickAndPlace-v3"
    module = "panda_gym"
    options = TestPandaReach.options | {"position": "0 1 2 6", "scale": "0.05 0.05 0.05 0.2"}


def test_the_arm_of_gymnasium_robotics_is_led_by_set_points() -> None:
    pytest.importorskip("gymnasium_robotics", reason="needs gymnasium-robotics and mujoco")
    more = {"environment": "gymnasium_robotics:FetchReach-v4", "position": "0 1 2 3", "velocity": "5 6 7 8"}
    limits = {"lower": "0.9 0.3 0.3 0", "upper": "1.7 1.2 0.9 0.05", "scale": "0.05 0.05 0.05 1"}
    core = EnvironmentCore(EnvironmentOptions.of(TOOL | more | limits), 200 * NS_PER_MS)
    assert core.reset({"task": "reach", "seed": "1"})["judged"] == "yes"
    goal = np.asarray(core.env.unwrapped.goal)
    target = np.array(core.tick().position)
    for seq in range(49):
        target[:3] += np.clip(goal - target[:3], -0.02, 0.02)
        assert core.on_command(ArmCommand(seq=seq, position=tuple(target.tolist())))
        core.tick()
    assert core.verdict()["verdict"] == "success"
