"""Checks that move the arm a little, where somebody allowed it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from dualsys.errors import RobotError
from dualsys.robots.kit.bench import HOLD_S, Bench, Trial
from dualsys.robots.kit.judging import BoolArray, beyond_limits, ended, named, per_axis, raised, skipped
from dualsys.robots.kit.motion import Response, explain_departure, scale_fault
from dualsys.robots.kit.outcomes import Outcome
from dualsys.robots.kit.reading_checks import (
    OUTSIDE_M,
    OUTSIDE_RAD,
    range_of_readings,
    reading,
    specification,
)

MOST_LAG_S: Final = 0.3
REST_RAD: Final = 0.002
REST_M: Final = 0.0005
"""How far an axis at rest may be measured to move."""

CONSENT: Final = (
    "stand at the emergency stop, then allow motion: `--i-am-at-the-stop`, or Bench(may_move=True)"
)


def refuses_nonsense(bench: Bench) -> Outcome:
    """What is no set-point is refused, and not sent."""
    passed, failed = named("refuses nonsense")
    if (obstacle := _obstacle(bench)) is not None:
        return obstacle("refuses nonsense")
    with bench.connected() as session:
        here = session.robot.read().position.copy()
        bad = {
            f"{value} for {name}": np.where(np.arange(len(here)) == axis, value, here)
            for axis, name in enumerate(session.spec.axes)
            for value in (np.nan, np.inf, -np.inf)
        }
        bad |= {"one number too few": here[:-1], "one number too many": np.append(here, here[-1])}
        for what, command in bad.items():
            error, _ = raised(bench, partial(session.robot.write, command))
            if not isinstance(error, RobotError):
                return failed(
                    f"write() {ended(error)} when given {what}",
                    "a RobotError, and nothing sent",
                    "begin `write` with `self.spec.require_command(command)`",
                )
    return passed(f"{len(bad)} set-points with NaN, infinity or another length were refused")


def stays(bench: Bench) -> Outcome:
    """An arm that is told to be where it is stays there."""
    passed, failed = named("stays")
    if (obstacle := _obstacle(bench)) is not None:
        return obstacle("stays")
    trial = bench.moved
    if trial.segments or trial.spec is None:
        return passed(f"for {HOLD_S:g} s")
    if (astray := trial.astray) is None:
        return failed(trial.fault, f"set-points for {HOLD_S:g} s", "see what the driver raised")
    axis = int(np.abs(astray.went / astray.tolerance).argmax())
    name, unit = trial.spec.axes[axis], trial.spec.units[axis]
    guess = explain_departure(astray.told, astray.went, astray.tolerance, trial.spec.limits.joints)
    return failed(
        f"told to stay at {astray.told[axis]:.4g} {unit}, {name} went off by {astray.went[axis]:+.4g} "
        f"{unit}, and was stopped",
        "set-points and readings in the same units, order and zero",
        f"what fits: {guess}"
        if guess
        else "compare what `write` sends with what `read` returns, axis by axis",
    )


def order(bench: Bench) -> Outcome:
    """The axis that is told to move moves, and no other."""
    passed, failed = named("order of axes")
    if (obstacle := _obstacle(bench)) is not None:
        return obstacle("order of axes")
    trial = bench.moved
    if trial.spec is None or not trial.segments:
        return skipped("order of axes", trial)
    for axis, found in trial.responses:
        gain = np.abs(found.gain)
        gain[axis] = 0.0
        other = int(gain.argmax())
        if gain[other] > 0.3 and gain[other] > 0.5 * abs(found.gain[axis]):
            return failed(
                f"{trial.spec.axes[axis]} was told to move, and {trial.spec.axes[other]} moved",
                f"the order of the specification: {', '.join(trial.spec.axes)}",
                "sort set-points and readings by name, not by the order in which the robot lists them",
            )
    return passed(f"{', '.join(trial.spec.axes)}")


def scale(bench: Bench) -> Outcome:
    """Each axis moves as far as it is told, in the direction that it is told."""
    passed, failed = named("scale and direction")
    if (obstacle := _obstacle(bench)) is not None:
        return obstacle("scale and direction")
    trial = bench.moved
    if trial.spec is None or not trial.segments:
        return skipped("scale and direction", trial)
    if trial.fault and trial.astray is None:
        return failed(trial.fault, "a motion of every axis", "see what the driver raised, or what it read")
    gains = []
    for axis, found in trial.responses:
        gain = float(found.gain[axis])
        gains.append(gain)
        cut_short = trial.astray is not None and axis == trial.segments[-1].axis
        if fault := scale_fault(gain, cut_short):
            far = f"{trial.distance[axis]:+.4g} {trial.spec.units[axis]}"
            return failed(
                f"{trial.spec.axes[axis]}, told to go {far}, {fault}",
                "0.5 to 1.5 times as far as told",
                "convert at the driver's edge, once in each direction: rad, m, and the sign of each axis",
            )
    return passed(f"{min(gains):.2f} to {max(gains):.2f} times as far as told")


def lag(bench: Bench) -> Outcome:
    """The arm follows its set-points soon, and its readings show it soon."""
    passed, failed = named("lag")
    if (responses := _whole_motion(bench)) is None or bench.moved.spec is None:
        return _not_moved(bench, "lag")
    latest = max(responses, key=lambda pair: pair[1].lag_s)
    told = f"{bench.moved.spec.axes[latest[0]]} followed {1000 * latest[1].lag_s:.0f} ms after its set-points"
    if latest[1].lag_s > MOST_LAG_S:
        return failed(
            told,
            f"at most {1000 * MOST_LAG_S:.0f} ms",
            "send the newest set-point and return the newest reading: a queue between them makes both late",
        )
    return passed(told)


def velocities(bench: Bench) -> Outcome:
    """The velocity that is read is the one at which the axis moves."""
    passed, failed = named("velocities")
    if (responses := _whole_motion(bench)) is None or bench.moved.spec is None:
        return _not_moved(bench, "velocities")
    for axis, found in responses:
        if not 0.3 <= found.velocity_gain <= 1.7:
            return failed(
                f"{bench.moved.spec.axes[axis]} reads {found.velocity_gain:.3g} times its velocity",
                "0.3 to 1.7 times",
                "give velocities in rad/s and m/s; where the arm tells none, take differences of positions",
            )
    gains = [found.velocity_gain for _, found in responses]
    return passed(f"{min(gains):.2f} to {max(gains):.2f} times the velocity of the motion")


def limits(bench: Bench) -> Outcome:
    """Nothing is measured beyond the limits while the arm moves within them."""
    passed, failed = named("limits")
    if _whole_motion(bench) is None or (spec := bench.moved.spec) is None:
        return _not_moved(bench, "limits")
    trace = bench.moved.samples.trace()
    margin = per_axis(spec, OUTSIDE_RAD, OUTSIDE_M)
    speed = np.abs(np.diff(trace.position[::10], axis=0)) / np.diff(trace.t_s[::10])[:, None]
    too_fast: BoolArray = np.any(speed > 1.1 * spec.limits.velocity, axis=0)
    outside: BoolArray = np.any(beyond_limits(spec, trace.position, margin), axis=0)
    beyond = too_fast | outside
    if beyond.any():
        axis = int(beyond.argmax())
        what = "speed" if too_fast[axis] else "position"
        return failed(
            f"the {what} of {spec.axes[axis]} was beyond its limits while its set-points were within",
            "an arm that stays within spec.limits when its set-points do",
            "compare the limits of the specification with those of the arm",
        )
    return passed(
        f"at most {100 * float((speed / spec.limits.velocity).max()):.0f} % of the speed limits was used"
    )


def stop(bench: Bench) -> Outcome:
    """After `stop` the arm rests, and goes on with the next set-point."""
    return _rests(bench, "stop", lambda: bench.stopped, "stop()")


def silence(bench: Bench) -> Outcome:
    """Without set-points the arm rests by itself, whatever became of this process."""
    return _rests(bench, "silence", lambda: bench.silenced, "the last set-point")


def _rests(bench: Bench, name: str, make: Callable[[], Trial], since: str) -> Outcome:
    passed, failed = named(name)
    if (obstacle := _obstacle(bench)) is not None:
        return obstacle(name)
    if bench.moved.fault:
        return skipped(name, bench.moved)
    trial = make()
    if trial.spec is None or trial.halted < 0:
        return skipped(name, trial)
    trace = trial.samples.trace(trial.halted)
    watched = np.isnan(trace.command).all(axis=1)
    position, t_s = trace.position[watched], trace.t_s[watched] - trace.t_s[0]
    if len(t_s) < 2:
        return skipped(name, trial)
    margin = per_axis(trial.spec, REST_RAD, REST_M)
    moving = (np.abs(position - position[-1]) > margin).any(axis=1)
    rest_s = float(t_s[np.flatnonzero(moving)[-1]]) if moving.any() else 0.0
    if rest_s > trial.spec.rest_s:
        axis = int((np.abs(position - position[-1]) / margin).max(axis=0).argmax())
        return failed(
            f"{trial.spec.axes[axis]} still moved {rest_s:.2f} s after {since}",
            f"rest within rest_s, {trial.spec.rest_s:g} s",
            "have the arm stop by its own watchdog when set-points stay away, or state a longer rest_s",
        )
    if trial.fault:
        return failed(
            f"after the rest: {trial.fault}",
            "an arm that goes on with the next set-point from where it is",
            "rest only until the next `write`",
        )
    return passed(f"at rest {rest_s:.2f} s after {since}, and goes on from there")


def _obstacle(bench: Bench) -> Callable[[str], Outcome] | None:
    """Why nothing may be moved, as what makes the outcome; None if it may."""
    if bench.watched.spec is None or bench.watched.fault:
        return lambda name: skipped(name, bench.watched)
    if any(check(bench).state == "failed" for check in (specification, reading, range_of_readings)):
        return lambda name: Outcome(name, "skipped", "nothing is moved while readings are wrong")
    if not bench.may_move:
        return lambda name: Outcome(name, "skipped", "it moves the arm", remedy=CONSENT)
    return None


def _whole_motion(bench: Bench) -> list[tuple[int, Response]] | None:
    """The responses of all axes; None if they did not all move."""
    if _obstacle(bench) is not None or bench.moved.fault or not bench.moved.segments:
        return None
    return bench.moved.responses


def _not_moved(bench: Bench, name: str) -> Outcome:
    obstacle = _obstacle(bench)
    return obstacle(name) if obstacle is not None else skipped(name, bench.moved)
