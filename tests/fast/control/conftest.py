"""A control core under a scripted arm, plans and time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.fast.control.core import Ages, ControlCore, ControlOutput
from dualsys.fast.control.limiter import Smoothing
from dualsys.fast.control.limits import Limits
from dualsys.fast.control.readings import Tolerances
from dualsys.messages import Plan, Tensor
from dualsys.robots.contract import ArmReading, ArmStatus
from dualsys.robots.profiles import SIMULATED_PANDA_LIMITS

FloatArray = NDArray[np.float64]

PERIOD_NS = 4 * NS_PER_MS
SESSION = 7
HOME = np.array([0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08])
JOINT_1 = np.array([1.0, 0, 0, 0, 0, 0, 0, 0])


def obeys(limits: Limits, rows: list[FloatArray], period_ns: int, jerk_slack: float = 1e-6) -> None:
    """Assert that commands keep position, velocity, acceleration and jerk limits, from rest at the first one.

    Where the first one is outside, nothing is further outside.
    """
    dt_s = period_ns / NS_PER_S
    commands = np.array([rows[0], rows[0], rows[0], *rows])
    speeds = np.diff(commands, axis=0) / dt_s
    changes = np.diff(speeds, axis=0) / dt_s
    jerks = np.diff(changes, axis=0) / dt_s
    assert np.isfinite(commands).all()
    assert (commands >= np.minimum(limits.lower, rows[0])).all()
    assert (commands <= np.maximum(limits.upper, rows[0])).all()
    assert (np.abs(speeds) <= limits.velocity * (1 + 1e-9) + 1e-6).all()
    assert (np.abs(changes) <= limits.acceleration * (1 + 1e-6) + 1e-3).all()
    assert (np.abs(jerks) <= limits.jerk * (1 + jerk_slack) + 1.0).all()
    up = np.sqrt(2 * limits.braking * np.maximum(0.0, np.maximum(limits.upper, rows[0]) - commands[:-1]))
    down = np.sqrt(2 * limits.braking * np.maximum(0.0, commands[:-1] - np.minimum(limits.lower, rows[0])))
    assert (speeds <= up + 1e-6).all(), "too fast for its distance from the upper limit"
    assert (-speeds <= down + 1e-6).all(), "too fast for its distance from the lower limit"


class Rig:
    """A core, an arm that is wherever it was commanded to be, and a planner that says what it is told to."""

    def __init__(
        self,
        ages: Ages | None = None,
        tolerances: Tolerances | None = None,
        limits: Limits = SIMULATED_PANDA_LIMITS,
        period_ns: int = PERIOD_NS,
        smoothing: Smoothing = "limiter",
        home: FloatArray = HOME,
        latched: bool = False,
    ) -> None:
        self.limits = limits
        self.period_ns = period_ns
        self.core = ControlCore(
            limits,
            ages or Ages(),
            period_ns,
            session=SESSION,
            latched=latched,
            slowed_fraction=0.5,
            tolerances=tolerances,
            smoothing=smoothing,
        )
        self.now_ns = 10 * NS_PER_S
        self.arm = home.copy()
        self.velocity = np.zeros(limits.axes)
        self.status: ArmStatus = "ok"
        self.seq = 0
        self.commands: list[FloatArray] = []
        self.output: ControlOutput | None = None

    def reading(self) -> ArmReading:
        return ArmReading(self.now_ns, self.arm.copy(), self.velocity, self.status)

    def tick(self, count: int = 1, reading: Callable[[], ArmReading] | None = None) -> ControlOutput:
        for _ in range(count):
            self.now_ns += self.period_ns
            self.output = self.core.step(self.now_ns, (reading or self.reading)())
            if self.output.command is not None:
                self.commands.append(self.output.command.copy())
                self.arm = self.output.command.copy()
        assert self.output is not None
        return self.output

    def plan(
        self,
        start: FloatArray | None = None,
        rate: FloatArray | float = 0.0,
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
            "setpoints": Tensor.of(origin + steps[:, None] * 1e-3 * np.asarray(rate)),
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
