"""What moves by itself in a scene: the conveyor belt, a wandering block, a hand that slides a block, a block
that glides after a push.

Each mover is a small deterministic machine: given the time and where things are, it says with which velocity
(x, y, in m/s) a block must travel during the next tick. Everything random about it was drawn with the
episode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from dualsys_sim import arena

Xy = tuple[float, float]

BELT_ACCELERATION_M_S2: Final = 0.25
BELT_MARGIN_M: Final = 0.02
WANDER_CLEARANCE_M: Final = 0.11
WANDER_STEERING: Final = 2.5
HAND_DURATION_S: Final = 0.5
HAND_TOP_SPEED_M_S: Final = 1.2
GLIDE_ACCELERATION_M_S2: Final = 0.8
STOPPED_SHARE: Final = 0.5
GLIDE_END_M: Final = 0.06


@dataclass(frozen=True)
class BeltPlan:
    """A belt's speeds: from `change_s[i]` on it heads for `speed_m_s[i]` along +y (signed, zero stops it)."""

    change_s: tuple[float, ...]
    speed_m_s: tuple[float, ...]


@dataclass(frozen=True)
class WanderPlan:
    """A block's stroll: its top speed, and a heading (rad) that sums slow sines (rate rad/s, phase rad)."""

    index: int
    speed_m_s: float
    heading_rad: float
    amplitude_rad: tuple[float, ...]
    rate_rad_s: tuple[float, ...]
    phase_rad: tuple[float, ...]


@dataclass(frozen=True)
class HandPlan:
    """A hand that slides block `index` to `to_xy_m` from `time_s` on, unless the gripper holds it by then."""

    time_s: float
    index: int
    to_xy_m: Xy


@dataclass(frozen=True)
class GlidePlan:
    """A push at `time_s` that sets block `index` gliding with `velocity_m_s` (x, y)."""

    time_s: float
    index: int
    velocity_m_s: Xy


def _slew(value: float, wanted: float, step: float) -> float:
    return value + min(step, max(-step, wanted - value))


@dataclass
class Belt:
    """A belt in motion. It turns back when a carried block is about to leave it."""

    plan: BeltPlan
    speed_m_s: float = 0.0
    _sign: float = 1.0

    def velocity(self, time_s: float, carried_y_m: Sequence[float]) -> Xy:
        """Velocity of whatever rests on the belt, whose carried blocks are at `carried_y_m`."""
        stage = sum(1 for change in self.plan.change_s if change <= time_s)
        wanted = self._sign * self.plan.speed_m_s[stage - 1] if stage else 0.0
        limit = arena.BELT_END_M - BELT_MARGIN_M
        if wanted != 0.0 and any(y * wanted > 0.0 and abs(y) > limit for y in carried_y_m):
            if not any(y * wanted < 0.0 and abs(y) > limit for y in carried_y_m):
                self._sign = -self._sign
                wanted = -wanted
            else:
                wanted = 0.0
        self.speed_m_s = _slew(self.speed_m_s, wanted, BELT_ACCELERATION_M_S2 * arena.TICK_S)
        return 0.0, self.speed_m_s


@dataclass
class Wander:
    """A wandering block in motion: it strolls, and steers away from objects and the edges of the table."""

    plan: WanderPlan
    _velocity: Xy = (0.0, 0.0)

    def velocity(self, time_s: float, own_m: Xy, others_m: Sequence[Xy]) -> Xy:
        """Velocity of the block, which is at `own_m` while the other objects are at `others_m`."""
        plan = self.plan
        heading = plan.heading_rad
        for amplitude, rate, phase in zip(plan.amplitude_rad, plan.rate_rad_s, plan.phase_rad, strict=True):
            heading += amplitude * math.sin(rate * time_s + phase)
        push_x, push_y = math.cos(heading), math.sin(heading)
        for other_x, other_y in others_m:
            away_x, away_y = own_m[0] - other_x, own_m[1] - other_y
            distance = math.hypot(away_x, away_y) + 1e-9
            if distance < WANDER_CLEARANCE_M:
                strength = WANDER_STEERING * (WANDER_CLEARANCE_M - distance) / 0.035 / distance
                push_x += strength * away_x
                push_y += strength * away_y
        margin = 0.05
        for axis, value in enumerate(own_m):
            low, high = arena.WORK_LOW_M[axis] + 0.02, arena.WORK_HIGH_M[axis] - 0.02
            inward = max(0.0, low + margin - value) - max(0.0, value - high + margin)
            if axis == 0:
                push_x += WANDER_STEERING * inward / margin
            else:
                push_y += WANDER_STEERING * inward / margin
        scale = plan.speed_m_s / max(1.0, math.hypot(push_x, push_y))
        step = 0.12 * arena.TICK_S
        self._velocity = (
            _slew(self._velocity[0], scale * push_x, step),
            _slew(self._velocity[1], scale * push_y, step),
        )
        return self._velocity


@dataclass
class Hand:
    """A hand at work on one block: a minimum-jerk slide from wherever the block is to its new place."""

    plan: HandPlan
    _from_m: Xy | None = None
    _refused: bool = field(default=False)

    def velocity(self, time_s: float, own_m: Xy, held: bool) -> Xy | None:
        """Velocity of the block at `own_m`, or None while the hand leaves it alone."""
        phase = (time_s - self.plan.time_s) / HAND_DURATION_S
        if self._refused or phase < 0.0 or phase >= 1.1:
            return None
        if held:
            self._refused = True
            return None
        if self._from_m is None:
            self._from_m = own_m
        phase = min(1.0, phase)
        done = phase**3 * (10.0 - 15.0 * phase + 6.0 * phase**2)
        rate = 30.0 * phase**2 * (1.0 - phase) ** 2 / HAND_DURATION_S
        velocity = [
            rate * (end - start) + 20.0 * (start + done * (end - start) - now)
            for start, end, now in zip(self._from_m, self.plan.to_xy_m, own_m, strict=True)
        ]
        scale = min(1.0, HAND_TOP_SPEED_M_S / (math.hypot(*velocity) + 1e-9))
        return velocity[0] * scale, velocity[1] * scale


@dataclass
class Glide:
    """A block that glides without friction after a push, until something stops it or it is off the mat.

    Once it has reached its speed, it counts as stopped when less than `STOPPED_SHARE` of that is left along
    its way. From then on it is a block like any other.
    """

    plan: GlidePlan
    _wanted_m_s: float = 0.0
    _over: bool = field(default=False)

    def velocity(self, time_s: float, own_m: Xy, own_m_s: Xy, held: bool) -> Xy | None:
        """Velocity of the block at `own_m` that now has `own_m_s`, or None while it is left alone."""
        if self._over or time_s < self.plan.time_s:
            return None
        ways = self.plan.velocity_m_s
        speed = math.hypot(*ways)
        left = (own_m_s[0] * ways[0] + own_m_s[1] * ways[1]) / speed
        gone = any(
            not low - GLIDE_END_M < value < high + GLIDE_END_M
            for low, value, high in zip(arena.MAT_LOW_M, own_m, arena.MAT_HIGH_M, strict=True)
        )
        stopped = self._wanted_m_s == speed and left < STOPPED_SHARE * speed
        if held or gone or stopped:
            self._over = True
            return None
        self._wanted_m_s = _slew(self._wanted_m_s, speed, GLIDE_ACCELERATION_M_S2 * arena.TICK_S)
        return ways[0] * self._wanted_m_s / speed, ways[1] * self._wanted_m_s / speed
