"""What an episode is measured by, beyond success: smoothness, joins, ages, delays, reactions, modes.

`Meter` only collects while the episode runs; what it comes to is computed once, at the end, by functions of
arrays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.messages import Plan
from dualsys.telemetry.statistics import percentiles

FloatArray = NDArray[np.float64]
Int64Array = NDArray[np.int64]

ACTION_STEP_S = 0.04
"""Interval over which the acceleration of the tool is taken: a shorter one would see only the corners of the
piecewise linear motion that plans are made of."""

APART_NS = 200 * NS_PER_MS
"""How long after a join the new plan and the one before it are compared."""


class Forward(Protocol):
    """Forward kinematics of the arm."""

    def forward(self, q_rad: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Tool position [..., 3] (m) and rotation [..., 3, 3] at joint angles [..., J] (rad)."""
        ...


@dataclass(frozen=True, eq=False)
class PlanTimes:
    """The P plans that control has followed, in order; all int64 [P], ns.

    Attributes:
        begun: When the job began.
        in_force: When it took over from the plan before it.
        seen: Stamp of the arm state and wrist image behind it, the older of both.
        latent: Stamp of the images behind its latent; -1 for none.
    """

    begun: Int64Array
    in_force: Int64Array
    seen: Int64Array
    latent: Int64Array


class Meter:
    """Collects what one episode does and sums it up at the end.

    Args:
        kinematics: Of the arm.
        joints: How many of the command's axes are joints.
        tick_s: Control period, s. The first tick is at time zero.
    """

    def __init__(self, kinematics: Forward, joints: int, tick_s: float) -> None:
        self._kinematics = kinematics
        self._joints = joints
        self._tick_s = tick_s
        self._commands: list[FloatArray] = []
        self._modes: Counter[str] = Counter()
        self._previous: Plan | None = None
        self._joins: list[FloatArray] = []
        self._join_spans_s: list[tuple[float, float]] = []
        self._later: list[FloatArray] = []
        self._times_ns: list[tuple[int, int, int, int]] = []
        self._latent_ages_ms: list[float] = []
        self._plan_delays_ms: list[float] = []

    def on_tick(self, command: FloatArray | None, mode: str) -> None:
        """Take in what control did in one tick."""
        self._modes[mode] += 1
        if command is not None:
            self._commands.append(command)

    def on_plan(self, plan: Plan, now_ns: int) -> None:
        """Take in a plan that control accepted at that time."""
        previous, self._previous = self._previous, plan
        latent_ns = plan.t_latent_ns if plan.latent_seq >= 0 else -1
        in_force_ns = max(now_ns, plan.splice_ns)
        self._times_ns.append((now_ns - plan.delay_ns, in_force_ns, plan.t_observation_ns, latent_ns))
        self._plan_delays_ms.append(plan.delay_ns / NS_PER_MS)
        if plan.latent_seq >= 0:
            self._latent_ages_ms.append((plan.splice_ns - plan.t_latent_ns) / NS_PER_MS)
        if previous is None or previous.epoch != plan.epoch:
            return
        before, before_s = _segment(previous, plan.splice_ns, "left")
        after, after_s = _segment(plan, plan.splice_ns, "right")
        over = plan.splice_ns > _end_ns(previous) and bool(self._commands)
        led = self._commands[-1] if over else _at(previous, plan.splice_ns)
        at_join = [led, _at(plan, plan.splice_ns)]
        self._joins.append(np.concatenate([before, after, at_join])[:, : self._joints])
        self._join_spans_s.append((before_s, after_s))
        later_ns = plan.splice_ns + APART_NS
        if later_ns <= min(_end_ns(previous), _end_ns(plan)):
            self._later.append(np.stack([_at(previous, later_ns), _at(plan, later_ns)])[:, : self._joints])

    def summary(self, events_ns: Sequence[int] = ()) -> dict[str, float]:
        """Everything by name, units in the names; what could not be measured is left out.

        Args:
            events_ns: When something happened that the arm should react to.
        """
        ticks = sum(self._modes.values())
        found = {
            "waiting_fraction": self._modes["WAITING"] / max(1, ticks),
            "held_fraction": self._modes["HOLDING"] / max(1, ticks),
            "slowed_fraction": self._modes["SLOWED"] / max(1, ticks),
            "starved_ticks": float(self._modes["HOLDING"]),
            **_spread("plan_delay_ms", self._plan_delays_ms),
            **_spread("latent_age_ms", self._latent_ages_ms),
        }
        return found | self._joining() | self._smoothness() | self._timing(ticks, events_ns)

    def _joining(self) -> dict[str, float]:
        if not self._joins:
            return {}
        tool, _ = self._kinematics.forward(np.stack(self._joins))
        jumps = velocity_jumps_m_s(tool[:, :4], np.asarray(self._join_spans_s))
        gaps_m = np.linalg.norm(tool[:, 5] - tool[:, 4], axis=-1)
        found = {
            "seam_jump_mean_m_s": float(jumps.mean()),
            "seam_jump_max_m_s": float(jumps.max()),
            "seam_gap_max_m": float(gaps_m.max()),
        }
        if self._later:
            tool, _ = self._kinematics.forward(np.stack(self._later))
            apart_m = np.linalg.norm(tool[:, 1] - tool[:, 0], axis=-1)
            found |= {"seam_apart_mean_m": float(apart_m.mean()), "seam_apart_max_m": float(apart_m.max())}
        return found

    def _smoothness(self) -> dict[str, float]:
        stride = max(1, round(ACTION_STEP_S / self._tick_s))
        if len(self._commands) < 3 * stride:
            return {}
        joints = np.stack(self._commands)[:, : self._joints]
        tool, _ = self._kinematics.forward(joints[::stride])
        joint_acceleration = np.diff(joints, n=2, axis=0) / self._tick_s**2
        found = {
            "joint_acceleration_rms_rad_s2": float(np.sqrt(np.mean(joint_acceleration**2))),
            "tool_acceleration_rms_m_s2": derivative_rms(tool, stride * self._tick_s, 2),
        }
        if len(tool) > 3:
            found["tool_jerk_rms_m_s3"] = derivative_rms(tool, stride * self._tick_s, 3)
        return found

    def _timing(self, ticks: int, events_ns: Sequence[int]) -> dict[str, float]:
        """Ages of what is acted on and reactions, over all ticks and to the events."""
        if not self._times_ns or not ticks:
            return {}
        times = PlanTimes(*np.array(self._times_ns, dtype=np.int64).T)
        ticks_ns = round(self._tick_s * NS_PER_S) * np.arange(ticks, dtype=np.int64)
        events = np.array(events_ns, dtype=np.int64)
        happened = events[(events >= times.in_force[0]) & (events <= ticks_ns[-1])]
        found = {}
        if len(times.begun) > 1:
            found["plan_period_ms_mean"] = float(np.diff(times.begun).mean()) / NS_PER_MS
            predicted_ns = predicted_reaction_ns(times.begun, times.in_force)
            found["system1_reaction_predicted_ms"] = predicted_ns / NS_PER_MS
        for name, stamps in (("system1", times.seen), ("system2", times.latent)):
            if stamps[0] < 0:
                continue
            ages_ms = ages_in_force_ns(ticks_ns, times.in_force, stamps) / NS_PER_MS
            found |= _spread(f"{name}_age_in_force_ms", ages_ms)
            moments = ticks_ns[(ticks_ns >= times.in_force[0]) & (ticks_ns <= stamps.max())]
            reactions_ms = reactions_ns(moments, times.in_force, stamps) / NS_PER_MS
            if len(reactions_ms):
                found[f"{name}_reaction_ms_mean"] = float(reactions_ms.mean())
                found |= _spread(f"{name}_reaction_ms", reactions_ms)
            found |= _answers(name, happened, times.in_force, stamps)
        return found


def velocity_jumps_m_s(tool_m: FloatArray, spans_s: FloatArray) -> FloatArray:
    """Change of the tool's velocity at each of K joins, float64 [K], m/s.

    Args:
        tool_m: [K, 4, 3], both ends of the piece of motion before a join, then of the piece after it.
        spans_s: [K, 2], how long the two pieces take.
    """
    before = (tool_m[:, 1] - tool_m[:, 0]) / spans_s[:, 0, None]
    after = (tool_m[:, 3] - tool_m[:, 2]) / spans_s[:, 1, None]
    jumps: FloatArray = np.linalg.norm(after - before, axis=-1)
    return jumps


def derivative_rms(position_m: FloatArray, step_s: float, order: int) -> float:
    """Root mean square of the length of the derivative of that order, m/s^order, by finite differences.

    Args:
        position_m: [N, 3] with N > order, evenly spaced in time.
        step_s: Time from one to the next.
        order: 2 for acceleration, 3 for jerk.
    """
    derivative = np.diff(position_m, n=order, axis=0) / step_s**order
    return float(np.sqrt(np.mean(np.sum(derivative**2, axis=-1))))


def reactions_ns(events_ns: Int64Array, in_force_ns: Int64Array, stamps_ns: Int64Array) -> FloatArray:
    """Time from each event to the first plan in force that has seen it, float64 [M]; NaN where there is none.

    For back-to-back inference of duration L, one every s steps of dt, an event at a random time meets a
    reaction that is uniform on (L, L + s dt); where the arm waits for each chunk and plays it for a time E
    before, on (L, 2 L + E) (FASTER, arXiv:2603.19199).

    Args:
        events_ns: int64 [M].
        in_force_ns: int64 [P], when each plan took over, ascending.
        stamps_ns: int64 [P], the time up to which it has seen what happens.
    """
    seen_ns = np.maximum.accumulate(stamps_ns)
    first = np.searchsorted(seen_ns, events_ns, side="left")
    known = first < len(in_force_ns)
    answers_ns = in_force_ns[np.minimum(first, len(in_force_ns) - 1)]
    return np.where(known, (answers_ns - events_ns).astype(np.float64), np.nan)


def predicted_reaction_ns(begun_ns: Int64Array, in_force_ns: Int64Array) -> float:
    """Mean reaction to an event at a random time if every job sees the present when it begins, ns.

    An event within a time T between two starts waits T / 2 for the next job, on average, then its delay L.
    Over time, the mean is sum(T (T / 2 + L)) / sum(T): more events fall into a longer T. Where neither
    varies, that is the mean L + s dt / 2 of the uniform distribution on (L, L + s dt), s dt being T.

    Args:
        begun_ns: int64 [P], P > 1, when the job of each plan began.
        in_force_ns: int64 [P], when the plan took over.
    """
    periods = np.diff(begun_ns).astype(np.float64)
    delays = (in_force_ns - begun_ns)[1:].astype(np.float64)
    return float(np.average(delays + periods / 2.0, weights=periods))


def ages_in_force_ns(ticks_ns: Int64Array, in_force_ns: Int64Array, stamps_ns: Int64Array) -> Int64Array:
    """How old what the arm acts on is, at every tick from the first plan on, int64.

    Args:
        ticks_ns: int64 [N].
        in_force_ns: int64 [P], when each plan took over, ascending.
        stamps_ns: int64 [P], of what it was made from.
    """
    plan = np.searchsorted(in_force_ns, ticks_ns, side="right") - 1
    acting = plan >= 0
    ages: Int64Array = ticks_ns[acting] - stamps_ns[plan[acting]]
    return ages


def _answers(
    name: str, events_ns: Int64Array, in_force_ns: Int64Array, stamps_ns: Int64Array
) -> dict[str, float]:
    """Reactions to events; those that the end of the episode cut off are only counted."""
    if not len(events_ns):
        return {}
    reactions_ms = reactions_ns(events_ns, in_force_ns, stamps_ns) / NS_PER_MS
    answered = reactions_ms[np.isfinite(reactions_ms)]
    found = {"events": float(len(events_ns)), f"{name}_events_answered": float(len(answered))}
    return found | ({f"{name}_event_reaction_ms_mean": float(answered.mean())} if len(answered) else {})


def _spread(name: str, samples: ArrayLike) -> dict[str, float]:
    if not np.size(samples):
        return {}
    middle, high = percentiles(samples, (50.0, 95.0))
    return {f"{name}_p50": middle, f"{name}_p95": high}


def _end_ns(plan: Plan) -> int:
    return int(plan.t_ns.array()[-1])


def _at(plan: Plan, t_ns: int) -> FloatArray:
    """The set-point [A] at a time; at rest before the first knot and after the last."""
    times = plan.t_ns.array()
    setpoints = np.asarray(plan.setpoints.array(), dtype=np.float64)
    after = int(np.searchsorted(times, t_ns, side="right"))
    if not 0 < after < len(times):
        resting: FloatArray = setpoints[0 if after == 0 else -1]
        return resting
    share = float(t_ns - times[after - 1]) / float(times[after] - times[after - 1])
    between: FloatArray = (1.0 - share) * setpoints[after - 1] + share * setpoints[after]
    return between


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
