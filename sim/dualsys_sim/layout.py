"""Where things lie: random scenes without overlaps, drawn from a generator."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dualsys_sim import arena
from dualsys_sim.bodies import ObjectSpec, jittered_rgba, rest_height_m
from dualsys_sim.movers import BeltPlan, WanderPlan
from dualsys_sim.state import ObjectTable
from dualsys_sim.task import SceneRule

Xy = tuple[float, float]

BLOCK_GAP_M: Final = 0.09
BOWL_BLOCK_GAP_M: Final = 0.13
BOWL_GAP_M: Final = 0.17
RIDER_GAP_M: Final = 0.12
YAW_RAD: Final = 0.35
MAX_BLOCKS: Final = 5
SAME_COLOUR_CHANCE: Final = 0.4
ATTEMPTS: Final = 60


def draw_objects(rng: np.random.Generator, rule: SceneRule, min_blocks: int) -> tuple[ObjectSpec, ...]:
    """Blocks, then bowls, placed as the rule asks; the first one or two blocks of a belt scene ride it."""
    blocks = int(rng.integers(min_blocks, MAX_BLOCKS + 1))
    riders = int(rng.integers(1, 3)) if rule.belt else 0
    kinds, colours = _draw_names(rng, blocks, rule.bowls)
    places = _draw_places(rng, blocks, rule.bowls, riders)
    specs = []
    for kind, colour, place in zip(kinds, colours, places, strict=True):
        jitter = (float(rng.normal(0.0, 0.008)), float(rng.normal(0.0, 0.04)), float(rng.normal(0.0, 0.05)))
        yaw = float(rng.uniform(-YAW_RAD, YAW_RAD))
        specs.append(ObjectSpec(kind, colour, place, yaw, jittered_rgba(colour, jitter)))
    return tuple(specs)


def table_of(specs: tuple[ObjectSpec, ...]) -> ObjectTable:
    """The object table of a scene at rest."""
    return ObjectTable(
        kind=np.array([spec.kind for spec in specs], dtype=np.int8),
        colour=np.array([spec.colour for spec in specs], dtype=np.int8),
        position_m=np.array([(*spec.xy_m, rest_height_m(spec.kind)) for spec in specs], dtype=np.float64),
        velocity_m_s=np.zeros((len(specs), 3)),
    )


def draw_free_place(rng: np.random.Generator, objects: ObjectTable, index: int) -> Xy | None:
    """A place for block `index` elsewhere, reached in a straight line past the others; None if full."""
    start = objects.position_m[index, :2]
    others = [
        (objects.position_m[i, :2], 0.03 if objects.kind[i] == arena.BOWL else 0.0)
        for i in range(len(objects.kind))
        if i != index
    ]
    for _ in range(200):
        end = rng.uniform(arena.WORK_LOW_M, arena.WORK_HIGH_M)
        if np.hypot(*(end - start)) < 0.09:
            continue
        if any(np.hypot(*(end - place)) < BLOCK_GAP_M + extra for place, extra in others):
            continue
        if all(_distance_to_segment(place, start, end) > 0.062 + extra for place, extra in others):
            return float(end[0]), float(end[1])
    return None


def draw_belt(rng: np.random.Generator) -> BeltPlan:
    """A belt's life: runs of 1 to 4 s at changing speeds and directions, with short stops."""
    changes, speeds = [], []
    time_s, sign = float(rng.uniform(0.0, 0.8)), 1.0 if rng.random() < 0.5 else -1.0
    while time_s < 20.0:
        changes.append(time_s)
        speeds.append(0.0 if rng.random() < 0.15 else sign * float(rng.uniform(0.03, arena.MOVER_SPEED_M_S)))
        if rng.random() < 0.2:
            sign = -sign
        time_s += float(rng.uniform(1.0, 4.0))
    return BeltPlan(tuple(changes), tuple(speeds))


def draw_wander(rng: np.random.Generator, index: int) -> WanderPlan:
    """A stroll for block `index`."""
    return WanderPlan(
        index=index,
        speed_m_s=float(rng.uniform(0.03, 0.06)),
        heading_rad=float(rng.uniform(-math.pi, math.pi)),
        amplitude_rad=tuple(float(a) for a in rng.uniform(0.6, 1.8, 3)),
        rate_rad_s=tuple(float(r) for r in rng.uniform(0.2, 1.0, 3)),
        phase_rad=tuple(float(p) for p in rng.uniform(-math.pi, math.pi, 3)),
    )


def _draw_names(rng: np.random.Generator, blocks: int, bowls: int) -> tuple[list[int], list[int]]:
    """Kinds and colours, no pair of both twice; sometimes a cube and a cylinder share a colour."""
    colours = [int(c) for c in rng.permutation(len(arena.COLOURS))[:blocks]]
    kinds = [int(k) for k in rng.integers(0, 2, blocks)]
    if rng.random() < SAME_COLOUR_CHANCE:
        first, second = rng.permutation(blocks)[:2]
        colours[second] = colours[first]
        kinds[second] = 1 - kinds[first]
    return kinds + [arena.BOWL] * bowls, colours + [
        int(c) for c in rng.permutation(len(arena.COLOURS))[:bowls]
    ]


def _draw_places(rng: np.random.Generator, blocks: int, bowls: int, riders: int) -> list[Xy]:
    while True:
        places: list[Xy] = []
        for index in [*range(blocks, blocks + bowls), *range(blocks)]:
            place = _draw_place(rng, places, index, blocks, bowls, riders)
            if place is None:
                break
            places.append(place)
        else:
            return places[bowls:] + places[:bowls]


def _draw_place(
    rng: np.random.Generator, taken: list[Xy], index: int, blocks: int, bowls: int, riders: int
) -> Xy | None:
    """A place for object `index`; `taken` holds the bowls first, then the blocks so far."""
    for _ in range(ATTEMPTS):
        if index >= blocks:
            place = (float(rng.uniform(0.39, 0.61)), float(rng.uniform(-0.20, 0.20)))
        elif index < riders:
            place = (arena.BELT_X_M + float(rng.uniform(-0.01, 0.01)), float(rng.uniform(-0.14, 0.14)))
        else:
            place = (float(rng.uniform(0.355, 0.645)), float(rng.uniform(-0.245, 0.245)))
            if riders and abs(place[0] - arena.BELT_X_M) < 0.085:
                continue
        if all(
            math.dist(place, other) >= _gap(index, slot, blocks, bowls, riders)
            for slot, other in enumerate(taken)
        ):
            return place
    return None


def _gap(index: int, slot: int, blocks: int, bowls: int, riders: int) -> float:
    """The least distance between object `index` and the one in `slot` of the list of places taken."""
    if index >= blocks:
        return BOWL_GAP_M
    if slot < bowls:
        return BOWL_BLOCK_GAP_M
    return RIDER_GAP_M if index < riders else BLOCK_GAP_M


def _distance_to_segment(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    along = end - start
    share = float(np.clip(np.dot(point - start, along) / max(1e-12, float(np.dot(along, along))), 0.0, 1.0))
    return float(np.hypot(*(start + share * along - point)))
