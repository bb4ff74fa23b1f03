"""A control core under a scripted arm, plans and time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.fast.control.core import Ages, ControlCore, ControlOutput
from dualsys.fast.control.readings import Tolerances
from dualsys.messages import Plan, Tensor
from dualsys.robots.contract import ArmReading, ArmStatus
from dualsys.robots.profiles import SIMULATED_PANDA_LIMITS

FloatArray = NDArray[np.float64]

PERIOD_NS = 4 * NS_PER_MS
SESSION = 7
HOME = np.array([0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08])
JOINT_1 = np.array([1.0, 0, 0, 0, 0, 0, 0, 0])


class Rig:
    """A core, an arm that is wherever it was commanded to be, and a planner that says what it is told to."""

    def __init__(self, ages: Ages | None = None, tolerances: Tolerances | None = None) -> None:
        self.limits = SIMULATED_PANDA_LIMITS
        self.core = ControlCore(
            self.limits,
            ages or Ages(),
            PERIOD_NS,
            session=SESSION,
            slowed_fraction=0.5,
            tolerances=tolerances,
        )
        self.now_ns = 10 * NS_PER_S
        self.arm = HOME.copy()
        self.status: ArmStatus = "ok"
        self.seq = 0
        self.commands: list[FloatArray] = []
        self.output: ControlOutput | None = None

    def reading(self) -> ArmReading:
        return ArmReading(self.now_ns, self.arm.copy(), np.zeros(len(HOME)), self.status)

    def tick(self, count: int = 1, reading: Callable[[], ArmReading] | None = None) -> ControlOutput:
        for _ in range(count):
            self.now_ns += PERIOD_NS
            self.output = self.core.step(self.now_ns, (reading or self.reading)())
            if self.output.command is not None:
                self.commands.append(self.output.command.copy())
                self.arm = self.output.command.copy()
        assert self.output is not None
        return self.output

    def plan(
        self,
        start: FloatArray | None = None,
        rate: FloatArray = 0 * HOME,
        duration_ms: int = 640,
        latent_age_ms: int = 0,
        **changes: object,
    ) -> Plan:
        """A plan from `start` (the arm by default) at a constant rate, in knots of 40 ms."""
        self.seq += 1
        steps = np.arange(0, duration_ms + 1, 40, dtype=np.int64)
        times = self.now_ns + steps * NS_PER_MS
        origin = self.arm if start is None else start
        fields: dict[str, object] = {
            "session": SESSION,
            "episode": 0,
            "epoch": self.core.epoch,
            "seq": self.seq,
            "t_ns": Tensor.of(times),
            "setpoints": Tensor.of(origin + steps[:, None] * 1e-3 * rate),
            "latent_seq": self.seq,
            "t_latent_ns": self.now_ns - latent_age_ms * NS_PER_MS,
            "t_observation_ns": self.now_ns,
            "splice_ns": self.now_ns,
            "delay_ns": 0,
            "delay_steps": 0,
        }
        return Plan(**(fields | changes))  # type: ignore[arg-type]

    def give(self, plan: Plan | None = None) -> bool:
        return self.core.on_plan(self.plan() if plan is None else plan, self.now_ns)

    def count(self, name: str) -> int:
        return self.core.statistics()[name]


@pytest.fixture
def rig() -> Rig:
    """A core that has seen the arm once and is waiting."""
    made = Rig()
    made.tick()
    return made


@pytest.fixture
def make_rig() -> Callable[..., Rig]:
    """A rig with other ages or tolerances."""
    return Rig
