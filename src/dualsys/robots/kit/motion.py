"""Small motions, and what the readings during one tell. Pure functions of arrays.

One motion leads a single axis out and back along a raised cosine, a (1 - cos(2 pi t / T)) / 2: its speed is
at most pi a / T and its acceleration 2 pi^2 a / T^2, and it begins and ends at rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dualsys.fast.control.limits import FloatArray
from dualsys.robots.contract import RobotSpec

SPEED_FRACTION: Final = 0.2
"""Part of an axis's speed and acceleration limits that a motion uses, at most."""

MOST_LAG_S: Final = 0.5
_LAG_STEP_S: Final = 0.005
_DEGREES: Final = 180.0 / np.pi


@dataclass(frozen=True)
class Trace:
    """What was sent and read, sample by sample.

    Attributes:
        t_s: [N], time of each sample.
        command: [N, A], the set-point of that time, rad then m.
        position: [N, A], as read, rad then m.
        velocity: [N, A], as read, rad/s then m/s.
    """

    t_s: FloatArray
    command: FloatArray
    position: FloatArray
    velocity: FloatArray


@dataclass(frozen=True)
class Response:
    """What a motion of one axis did.

    Attributes:
        gain: [A], how far each axis moved, as a part of how far it would have been told to.
        lag_s: How much later than its set-points the axis moved.
        velocity_gain: Velocity that was read, as a part of the one at which the axis moved.
    """

    gain: FloatArray
    lag_s: float
    velocity_gain: float


def excursion(spec: RobotSpec, position: FloatArray, rad: float, m: float) -> FloatArray:
    """How far [A] each axis is moved, away from the nearer of its limits; rad then m, with sign."""
    size = np.where(np.arange(len(spec.axes)) < spec.limits.joints, rad, m)
    up, down = spec.limits.upper - position, position - spec.limits.lower
    room = np.maximum(np.maximum(up, down), 0.0)
    return np.where(up >= down, 1.0, -1.0) * np.minimum(size, 0.5 * room)


def duration_s(spec: RobotSpec, distance: FloatArray, least_s: float) -> float:
    """Duration of motions over distances [A] that keeps well below the limits of speed and acceleration."""
    length = np.abs(distance)
    by_speed = np.pi * length / (SPEED_FRACTION * spec.limits.velocity)
    by_acceleration = np.sqrt(2 * np.pi**2 * length / (SPEED_FRACTION * spec.limits.acceleration))
    return float(max(least_s, by_speed.max(), by_acceleration.max()))


def out_and_back(phase: float) -> float:
    """The raised cosine: 0 at 0 and 1, 1 at 0.5; 0 outside."""
    return float(0.5 * (1.0 - np.cos(2 * np.pi * phase))) if 0.0 < phase < 1.0 else 0.0


def one_way(phase: float) -> float:
    """From 0 at 0 to 1 at 1 along half a raised cosine; constant outside."""
    return float(0.5 * (1.0 - np.cos(np.pi * min(max(phase, 0.0), 1.0))))


def response(trace: Trace, axis: int, distance: FloatArray) -> Response:
    """Fit what was read to what was sent, by least squares over a range of lags.

    Args:
        trace: One motion of one axis, whole or cut short.
        axis: Which.
        distance: [A], how far each axis is told to move when it is its turn.
    """
    if len(trace.t_s) < 3:
        return Response(np.zeros(len(distance)), 0.0, 0.0)
    t_s = trace.t_s - trace.t_s[0]
    shape = (trace.command[:, axis] - trace.command[0, axis]) / distance[axis]
    moved = (trace.position - trace.position[0]) / np.abs(distance)
    best = (np.inf, 0.0, np.zeros(moved.shape[1]), shape)
    for lag_s in np.arange(0.0, min(MOST_LAG_S, 0.6 * t_s[-1]), _LAG_STEP_S):
        late = np.interp(t_s - lag_s, t_s, shape)
        power = float(late @ late)
        if power <= 1e-9:
            break
        gain = late @ moved / power
        left = float(np.square(moved - np.outer(late, gain)).sum())
        if left < best[0]:
            best = (left, float(lag_s), gain, late)
    _, lag_s, gain, late = best
    # How fast it moved, from how far it moved: differences of readings would be noise.
    speed = gain[axis] * abs(distance[axis]) * np.gradient(late, t_s)
    power = float(speed @ speed)
    velocity_gain = float(speed @ trace.velocity[:, axis]) / power if power > 0 else 0.0
    gain = gain.copy()
    gain[axis] *= np.sign(distance[axis])
    return Response(gain, lag_s, velocity_gain)


def scale_fault(gain: float, cut_short: bool) -> str:
    """What a gain that should be 1 tells; nothing if it is near enough.

    Args:
        gain: See `Response`.
        cut_short: The motion was stopped because the arm went astray: it would have gone further.
    """
    if 0.5 <= gain <= 1.5 and not cut_short:
        return ""
    size = abs(gain)
    back = "backwards, " if gain < -0.1 else ""
    if 0.7 < size * _DEGREES < 1.4:
        return f"moved {back}1/57 of the way: set-points in radians are taken for degrees"
    if 0.7 < size / _DEGREES < 1.4:
        return f"moved {back}57 times as far: set-points arrive in degrees, or readings are in degrees"
    if 0.7 < size / 1000 < 1.4 or 0.7 < size * 1000 < 1.4:
        return f"moved {back}{gain:.3g} times as far: one side means millimetres"
    if 0.5 <= -gain <= 1.5:
        return "moved backwards: its sign is turned round between set-points and readings"
    if size < 0.2:
        return "did not move"
    if cut_short:
        return f"moved {back}{size:.3g} times as far and was about to go on: a gain, or degrees for radians"
    return f"moved {back}{size:.3g} times as far: a gain between set-points and readings"


def explain_departure(told: FloatArray, went: FloatArray, tolerance: FloatArray, joints: int) -> str:
    """What can be wrong when an arm that is told to stay leaves; nothing if nothing fits.

    Args:
        told: [A], where it was, and was told to stay, rad then m.
        went: [A], how far each axis went.
        tolerance: [A], how far an axis may go.
        joints: How many of the axes are joints.
    """
    moved = np.abs(went) > 0.3 * tolerance
    turns = np.arange(len(told)) < joints
    degrees = np.where(turns, _DEGREES, 1.0)
    guesses = {
        "set-points arrive in degrees": told * degrees,
        "set-points are taken for degrees": told / degrees,
        "set-points arrive 10 times too large": told * 10,
        "signs are turned round": np.where(turns, -told, told),
    }
    found = [
        text
        for text, target in guesses.items()
        if (np.sign(target - told)[moved] == np.sign(went)[moved]).all()
        and (np.abs(target - told)[~moved] <= tolerance[~moved]).all()
    ]
    others = [np.delete(told, axis) for axis in range(len(told))]
    swapped = [
        (np.sign(others[axis] - told[axis]) == np.sign(went[axis])).any() for axis in np.flatnonzero(moved)
    ]
    if moved.sum() >= 2 and all(swapped):
        found.append("set-points are in another order of the axes than readings")
    return " or ".join(found)
