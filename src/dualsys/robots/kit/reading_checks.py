"""Checks of what a robot says: its specification, its readings, and their time. Nothing is moved."""

from __future__ import annotations

from typing import Final

import numpy as np

from dualsys.clock import NS_PER_MS, NS_PER_S, period_ns
from dualsys.fast.control.pacing import PacingDevice
from dualsys.robots.kit.bench import PACE_HZ, Bench
from dualsys.robots.kit.judging import beyond_limits, named, per_axis, skipped
from dualsys.robots.kit.outcomes import Outcome

WIDEST_RAD: Final = 8 * np.pi
"""No joint turns further than so, in radians; in degrees nearly every joint does."""

FASTEST_RAD_S: Final = 60.0
WIDEST_M: Final = 1.0
OUTSIDE_RAD: Final = 0.02
OUTSIDE_M: Final = 0.005
"""How far outside its limits an axis may be measured."""

OLDEST_NS: Final = 100 * NS_PER_MS
"""Readings older than so stop control by default."""

FRESH_PART: Final = 0.7
"""Part of the readings that must be new, on a computer that does other things too."""

SLOWEST_CALL: Final = 0.5
"""Part of a period that half of the calls may take. Not more of them: a busy computer makes any call wait."""


def specification(bench: Bench) -> Outcome:
    """The specification is one of a robot in rad and m."""
    passed, failed = named("specification")
    if (spec := bench.watched.spec) is None:
        return skipped("specification", bench.watched)
    joints = spec.limits.joints
    ranges, speeds = spec.limits.upper - spec.limits.lower, spec.limits.velocity
    for axis, name in enumerate(spec.axes):
        if axis < joints and (ranges[axis] > WIDEST_RAD or speeds[axis] > FASTEST_RAD_S):
            seen = f"{name} has a range of {ranges[axis]:.4g} rad and a speed of {speeds[axis]:.4g} rad/s"
            return failed(
                f"{seen}: these look like degrees",
                f"at most {WIDEST_RAD:.3g} rad and {FASTEST_RAD_S:g} rad/s",
                "give limits in rad and rad/s: numpy.radians()",
            )
        if axis >= joints and ranges[axis] > WIDEST_M:
            return failed(
                f"{name} has an opening of {ranges[axis]:.4g} m: this looks like millimetres, or per cent",
                f"at most {WIDEST_M:g} m",
                "give gripper openings in m, or count a gripper that turns as a joint (limits.joints)",
            )
    return passed(
        f"{joints} joints, {len(spec.axes) - joints} grippers, {spec.rate_hz:g} set-points per second"
    )


def reading(bench: Bench) -> Outcome:
    """Every reading is one number for each axis, finite, with a stamp of the past."""
    passed, failed = named("reading")
    trial = bench.watched
    if trial.spec is None or not trial.samples.readings:
        return skipped("reading", trial)
    spec, samples = trial.spec, trial.samples
    for one, t_ns, took_ns in zip(samples.readings, samples.t_ns, samples.read_ns, strict=True):
        for name in ("position", "velocity"):
            values = getattr(one, name)
            if np.shape(values) != (len(spec.axes),):
                return failed(
                    f"{name} has the shape {list(np.shape(values))}",
                    f"[{len(spec.axes)}]: {', '.join(spec.axes)}",
                    "return one number for each axis of the specification, in its order",
                )
            if not np.isfinite(values).all():
                axis = int(np.isfinite(values).argmin())
                return failed(
                    f"{name} of {spec.axes[axis]} is {values[axis]} (NaN or infinite)",
                    "finite numbers",
                    "keep the last reading and its old stamp while an encoder gives no number",
                )
        if one.t_ns > t_ns + took_ns:
            return failed(
                f"a reading is stamped {(one.t_ns - t_ns) / NS_PER_MS:.1f} ms ahead of the clock",
                "the time at which it came, on the clock of the settings",
                "stamp readings with `settings.clock.now_ns()`, not with the robot's clock",
            )
    return passed(f"{len(samples.readings)} readings of {len(spec.axes)} positions and velocities")


def range_of_readings(bench: Bench) -> Outcome:
    """The arm is measured within its limits; elsewhere, units or zero are wrong."""
    passed, failed = named("range of readings")
    trial = bench.watched
    if trial.spec is None or reading(bench).state != "passed":
        return skipped("range of readings", trial)
    spec, found = trial.spec, trial.samples.readings[-1].position
    margin = per_axis(spec, OUTSIDE_RAD, OUTSIDE_M)
    outside = beyond_limits(spec, found, margin)
    if not outside.any():
        return passed("every axis is within its limits")
    axis = int(outside.argmax())
    lower, upper = spec.limits.lower[axis], spec.limits.upper[axis]
    smaller = np.where(spec.limits.joints > np.arange(len(spec.axes)), np.radians(found), found / 1000)
    guess = "look at the zero of the encoder and at the limits"
    if not beyond_limits(spec, smaller, margin)[outside].any():
        guess = "these look like degrees (or millimetres): convert to rad and m, numpy.radians()"
    return failed(
        f"{spec.axes[axis]} is at {found[axis]:.4g} {spec.units[axis]}",
        f"{lower:.4g} to {upper:.4g} {spec.units[axis]}",
        guess,
    )


def readings_in_time(bench: Bench) -> Outcome:
    """New readings come at the stated rate, and never stay away for long."""
    passed, failed = named("readings in time")
    trial = bench.watched
    if trial.spec is None or len(trial.samples.t_ns) < 2:
        return skipped("readings in time", trial)
    samples, rate_hz = trial.samples, min(trial.spec.rate_hz, PACE_HZ)
    fresh = np.diff(samples.stamp_ns) != 0
    part = float(fresh.mean())
    # Counted in looks, so that a kit that was kept waiting itself does not blame the robot.
    longest, run = 0, 0
    for new in fresh:
        run = 0 if new else run + 1
        longest = max(longest, run)
    silent_ns = longest * period_ns(rate_hz)
    remedy = "read in a thread or a process of the driver's own, so that a new reading is there at every tick"
    if not fresh.any():
        return failed("no new reading came: the robot is silent", f"{rate_hz:g} per second", remedy)
    oldest_ns = max(t_ns - stamp_ns for t_ns, stamp_ns in zip(samples.t_ns, samples.stamp_ns, strict=True))
    if silent_ns > OLDEST_NS:
        return failed(
            f"no new reading for {silent_ns / NS_PER_MS:.0f} ms",
            f"at most {OLDEST_NS // NS_PER_MS} ms",
            remedy,
        )
    if part < FRESH_PART:
        return failed(
            f"{100 * part:.0f} % of the looks at {rate_hz:g} per second found a new reading",
            f"at least {100 * FRESH_PART:.0f} %",
            f"{remedy}, or state a lower rate_hz",
        )
    return passed(
        f"{100 * part:.0f} % of the looks at {rate_hz:g} per second found a new one, the oldest was "
        f"{oldest_ns / NS_PER_MS:.0f} ms old"
    )


def calls_do_not_wait(bench: Bench) -> Outcome:
    """`read` and `write` leave time for the rest of the tick."""
    passed, failed = named("calls do not wait")
    trial = bench.watched
    if trial.spec is None or not trial.samples.t_ns:
        return skipped("calls do not wait", trial)
    period_s = 1.0 / min(trial.spec.rate_hz, PACE_HZ)
    typical = {"read": _median_s(trial.samples.read_ns)}
    if bench.may_move and bench.moved.samples.write_ns:
        typical["write"] = _median_s(bench.moved.samples.write_ns)
    for name, took_s in typical.items():
        if took_s > SLOWEST_CALL * period_s:
            return failed(
                f"{name}() takes {1000 * took_s:.2f} ms",
                f"at most {1000 * SLOWEST_CALL * period_s:.2f} ms, half a period",
                f"never wait in `{name}`: leave the bus to a thread or a process of the driver's own",
            )
    told = ", ".join(f"{name}() {1000 * took_s:.2f} ms" for name, took_s in typical.items())
    return passed(f"as a median: {told}")


def cycle(bench: Bench) -> Outcome:
    """A cycle that can be waited for comes, and the wait ends at its deadline."""
    passed, failed = named("cycle")
    if bench.watched.spec is None or bench.watched.fault:
        return skipped("cycle", bench.watched)
    clock, rounds = bench.clock, 20
    with bench.connected() as session:
        if not isinstance(session.robot, PacingDevice):
            return Outcome("cycle", "skipped", "the driver has no wait_cycle(): control paces itself")
        period = period_ns(min(session.spec.rate_hz, PACE_HZ))
        begun, longest_ns = 0, 0
        for _ in range(rounds):
            before_ns = clock.now_ns()
            begun += session.robot.wait_cycle(before_ns + 10 * period)
            longest_ns = max(longest_ns, clock.now_ns() - before_ns)
    if longest_ns > 10 * period + OLDEST_NS:
        return failed(
            f"wait_cycle() came back {(longest_ns - 10 * period) / NS_PER_MS:.0f} ms after its deadline",
            "at its deadline",
            "bound every wait by the deadline",
        )
    if begun < FRESH_PART * rounds:
        return failed(
            f"{begun} of {rounds} waits of 10 periods saw a cycle",
            "a cycle in each",
            "return True when a new cycle has begun, or leave out wait_cycle()",
        )
    return passed(f"{begun} of {rounds} waits saw a cycle begin")


def _median_s(took_ns: list[int]) -> float:
    return float(np.median(took_ns)) / NS_PER_S
