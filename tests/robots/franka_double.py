"""What the Franka driver uses of `panda_py`, in memory: an arm that follows set-points, on any clock."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import Enum
from math import exp
from types import ModuleType

import pytest

from dualsys.clock import Clock, seconds

Mode = Enum("Mode", "kOther kIdle kMove kGuiding kReflex kUserStopped kAutomaticErrorRecovery")
Realtime = Enum("Realtime", "kEnforce kIgnore")


@dataclass(frozen=True)
class Duration:
    """The arm's own time."""

    time_s: float

    def to_sec(self) -> float:
        return self.time_s


@dataclass(frozen=True)
class State:
    """What the arm tells."""

    q: list[float]
    dq: list[float]
    robot_mode: Mode
    current_errors: str
    time: Duration


class JointPosition:
    """The controller."""

    def __init__(self, filter_coeff: float) -> None:
        self.filter_coeff = filter_coeff
        self.goal: list[float] | None = None

    def set_control(self, position: list[float]) -> None:
        self.goal = [float(number) for number in position]


@dataclass
class FrankaDouble:
    """The arm, which lives on when nobody is connected.

    Attributes:
        upper6: Upper limit of joint 6, as the library tells it, rad.
        refusal: What the library raises instead of a connection; empty if it connects.
        recovered: How often it recovered from an error.
    """

    clock: Clock
    q: list[float] = field(default_factory=lambda: [0.0, -0.4, 0.0, -2.0, 0.0, 1.6, 0.8])
    dq: list[float] = field(default_factory=lambda: [0.0] * 7)
    mode: Mode = Mode.kIdle
    errors: str = ""
    upper6: float = 3.7525
    refusal: str = ""
    recovered: int = 0
    controller: JointPosition | None = None
    realtime: Realtime | None = None
    _since_ns: int = 0

    def fail(self, mode: Mode, errors: str) -> None:
        """The arm stops, and the loop ends."""
        self.mode, self.errors, self.controller = mode, errors, None

    def step(self) -> None:
        """What happened since the last time."""
        now_ns = self.clock.now_ns()
        dt_s, self._since_ns = seconds(now_ns - self._since_ns), now_ns
        goal = self.q if self.controller is None else self.controller.goal or self.q
        part = 1.0 - exp(-dt_s / 0.03)
        if dt_s > 0:
            moved = [q + part * (to - q) for q, to in zip(self.q, goal, strict=True)]
            self.dq = [(after - before) / dt_s for before, after in zip(self.q, moved, strict=True)]
            self.q = moved

    def module(self, patch: pytest.MonkeyPatch) -> None:
        """Be the library from now on."""
        arm = self

        class Panda:
            def __init__(self, hostname: str, *, realtime_config: Realtime) -> None:
                if arm.refusal:
                    raise RuntimeError(f"{hostname}: {arm.refusal}")
                arm.realtime = realtime_config

            def get_joint_limits_upper(self) -> list[float]:
                return [0.0] * 5 + [arm.upper6, 0.0]

            def get_state(self) -> State:
                arm.step()
                return State(arm.q, arm.dq, arm.mode, arm.errors, Duration(seconds(arm.clock.now_ns())))

            def start_controller(self, controller: JointPosition) -> None:
                if arm.errors or arm.mode in (Mode.kReflex, Mode.kOther):
                    arm.recovered += 1
                    arm.errors = ""
                arm.controller, arm.mode = controller, Mode.kMove

            def is_moving(self) -> bool:
                return arm.controller is not None

            def raise_error(self) -> None:
                if arm.errors:
                    raise RuntimeError(arm.errors)

            def stop_controller(self) -> None:
                if arm.controller is not None:
                    arm.controller, arm.mode = None, Mode.kIdle

        package, controllers, libfranka = (
            ModuleType(name) for name in ("panda_py", "controllers", "libfranka")
        )
        vars(package).update(Panda=Panda, controllers=controllers, libfranka=libfranka, __path__=[])
        vars(controllers).update(JointPosition=JointPosition)
        vars(libfranka).update(RealtimeConfig=Realtime)
        patch.setitem(sys.modules, "panda_py", package)
