"""What an episode is measured by, beyond success: smoothness, joins, ages, delays, ticks in each mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.messages import Plan
from dualsys.telemetry.statistics import percentiles

FloatArray = NDArray[np.float64]

ACTION_STEP_S = 0.04
"""Interval over which the acceleration of the tool is taken: a shorter one would see only the corners of the
piecewise linear motion that plans are made of."""


class Forward(Protocol):
    """Forward kinematics of the arm."""

    def forward(self, q_rad: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Tool position [..., 3] (m) and rotation [..., 3, 3] at joint angles [..., J] (rad)."""
        ...


class Meter:
    """Collects what one episode does and sums it up at the end.

    Args:
        kinematics: Of the arm.
        joints: How many of the command's axes are joints.
        tick_s: Control period, s.
    """

    def __init__(self, kinematics: Forward, joints: int, tick_s: float) -> None:
        self._kinematics = kinematics
        self._joints = joints
        self._tick_s = tick_s
        self._commands: list[FloatArray] = []
        self._modes: Counter[str] = Counter()
        self._previous: Plan | None = None
        self._seams: list[FloatArray] = []
        self._seam_times_s: list[tuple[float, float]] = []
        self._latent_ages_ms: list[float] = []
        self._plan_delays_ms: list[float] = []

    def on_tick(self, command: FloatArray | None, mode: str) -> None:
        """Take in what control did in one tick."""
        self._modes[mode] += 1
        if command is not None:
            self._commands.append(command)

    def on_plan(self, plan: Plan) -> None:
        """Take in a plan that control accepted."""
        previous, self._previous = self._previous, plan
        self._plan_delays_ms.append(plan.delay_ns / NS_PER_MS)
        if plan.latent_seq >= 0:
            self._latent_ages_ms.append((plan.splice_ns - plan.t_latent_ns) / NS_PER_MS)
        if previous is None or previous.epoch != plan.epoch:
            return
        before, before_s = _segment(previous, plan.splice_ns, "left")
        after, after_s = _segment(plan, plan.splice_ns, "right")
        self._seams.append(np.concatenate([before, after])[:, : self._joints])
        self._seam_times_s.append((before_s, after_s))

    def summary(self) -> dict[str, float]:
        """Everything by name, units in the names; what could not be measured is left out."""
        ticks = sum(self._modes.values())
        found = {
            "waiting_fraction": self._modes["WAITING"] / max(1, ticks),
            "held_fraction": self._modes["HOLDING"] / max(1, ticks),
            "slowed_fraction": self._modes["SLOWED"] / max(1, ticks),
            **_spread("plan_delay_ms", self._plan_delays_ms),
            **_spread("latent_age_ms", self._latent_ages_ms),
        }
        if self._seams:
            jumps = self._seam_jumps_m_s()
            found |= {"seam_jump_mean_m_s": float(jumps.mean()), "seam_jump_max_m_s": float(jumps.max())}
        return found | self._smoothness()

    def _seam_jumps_m_s(self) -> FloatArray:
        """Change of the commanded tool velocity at each join, m/s."""
        tool, _ = self._kinematics.forward(np.stack(self._seams))
        spans_s = np.asarray(self._seam_times_s)
        before = (tool[:, 1] - tool[:, 0]) / spans_s[:, 0, None]
        after = (tool[:, 3] - tool[:, 2]) / spans_s[:, 1, None]
        jumps: FloatArray = np.linalg.norm(after - before, axis=-1)
        return jumps

    def _smoothness(self) -> dict[str, float]:
        stride = max(1, round(ACTION_STEP_S / self._tick_s))
        if len(self._commands) < 3 * stride:
            return {}
        joints = np.stack(self._commands)[:, : self._joints]
        tool, _ = self._kinematics.forward(joints[::stride])
        joint_acceleration = np.diff(joints, n=2, axis=0) / self._tick_s**2
        tool_acceleration = np.diff(tool, n=2, axis=0) / (stride * self._tick_s) ** 2
        return {
            "joint_acceleration_rms_rad_s2": float(np.sqrt(np.mean(joint_acceleration**2))),
            "tool_acceleration_rms_m_s2": float(np.sqrt(np.mean(np.sum(tool_acceleration**2, axis=-1)))),
        }


def _spread(name: str, samples: Sequence[float]) -> dict[str, float]:
    if not samples:
        return {}
    middle, high = percentiles(samples, (50.0, 95.0))
    return {f"{name}_p50": middle, f"{name}_p95": high}


def _segment(plan: Plan, t_ns: int, side: str) -> tuple[FloatArray, float]:
    """The two set-points [2, A] around a time, on its left or right side, and the seconds between them.

    Before the first knot and after the last the plan rests: then both are the same.
    """
    times = plan.t_ns.array()
    setpoints = np.asarray(plan.setpoints.array(), dtype=np.float64)
    if side == "left":
        first = int(np.searchsorted(times, t_ns, side="left")) - 1
    else:
        first = int(np.searchsorted(times, t_ns, side="right")) - 1
    if not 0 <= first < len(times) - 1:
        resting = setpoints[min(max(first, 0), len(times) - 1)]
        return np.stack([resting, resting]), 1.0
    return setpoints[first : first + 2], float(times[first + 1] - times[first]) / NS_PER_S
