"""Where things lie: random scenes without overlaps, drawn from a generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from dualsys_sim import arena
from dualsys_sim.bodies import ObjectSpec, jittered_rgba, rest_height_m
from dualsys_sim.clearance import hidden
from dualsys_sim.movers import BeltPlan, GlidePlan, WanderPlan
from dualsys_sim.state import ObjectTable, Wall
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
HIDDEN_BLOCKS: Final = 2
HIDDEN_ACROSS_M: Final = (0.06, 0.20)
WALL_BLOCK_GAP_M: Final = 0.01
HALF_DIAGONAL_M: Final = 0.029
TRACK_GAP_M: Final = 0.085
TRACK_LENGTH_M: Final = (0.26, 0.50)
CROSSING_S: Final = (2.0, 4.0)


@dataclass(frozen=True)
class Furniture:
    """What the blocks of a scene are placed around: a wall, or the way from `start` to `end` of a glide.

    The first two blocks of a scene with a wall lie behind it; the first block of a scene with a glide is the
    one that glides.
    """

    wall: Wall | None = None
    glide: GlidePlan | None = None
    start_m: Xy = (0.0, 0.0)
    end_m: Xy = (0.0, 0.0)

    @property
    def glider(self) -> int:
        """Row of the gliding block, or -1."""
        return -1 if self.glide is None else self.glide.index

    def leaves_room(self, index: int, place_m: Xy) -> bool:
        """Whether block `index` may lie at `place_m` as far as the furniture is concerned."""
        if self.wall is not None:
            if index < HIDDEN_BLOCKS:
                inside = zip(arena.WORK_LOW_M, place_m, arena.WORK_HIGH_M, strict=True)
                return hidden(self.wall, *place_m) and all(low < value < high for low, value, high in inside)
            return self.wall.gap_m(*place_m, HALF_DIAGONAL_M, HALF_DIAGONAL_M) > WALL_BLOCK_GAP_M
        if self.glide is not None and index > 0:
            way = (np.asarray(self.start_m), np.asarray(self.end_m))
            return _distance_to_segment(np.asarray(place_m), *way) > TRACK_GAP_M
        return True


NOTHING: Final = Furniture()


def draw_furniture(rng: np.random.Generator, rule: SceneRule) -> Furniture:
    """A wall or a glide, if the rule asks for one; nothing is drawn if it does not."""
    if rule.wall:
        return Furniture(wall=_draw_wall(rng))
    return _draw_glide(rng) if rule.glide else Furniture()


def _draw_wall(rng: np.random.Generator) -> Wall:
    """A wall between the arm and the far part of the work area, nearly square to the arm."""
    return Wall(
        x_m=float(rng.uniform(0.435, 0.47)),
        y_m=float(rng.uniform(-0.05, 0.05)),
        yaw_rad=float(rng.uniform(-0.3, 0.3)),
        length_m=float(rng.uniform(0.14, 0.18)),
        height_m=float(rng.uniform(0.10, 0.11)),
    )


def _draw_glide(rng: np.random.Generator) -> Furniture:
    """A push across the middle of the work area, off the mat within `CROSSING_S`."""
    low, high = np.asarray(arena.WORK_LOW_M), np.asarray(arena.WORK_HIGH_M)
    while True:
        start, heading = rng.uniform(low, high), float(rng.uniform(-math.pi, math.pi))
        duration_s, time_s = float(rng.uniform(*CROSSING_S)), float(rng.uniform(0.4, 1.5))
        way = np.array([math.cos(heading), math.sin(heading)])
        bounds = np.where(way > 0.0, arena.MAT_HIGH_M, arena.MAT_LOW_M)
        length = float(np.min((bounds - start) / way))
        middle = np.abs(start + 0.5 * length * way - (low + high) / 2) / (high - low)
        speed = length / duration_s
        slowest, fastest = arena.GLIDE_SPEED_M_S
        if (
            TRACK_LENGTH_M[0] < length < TRACK_LENGTH_M[1]
            and slowest < speed < fastest
            and middle.max() < 0.3
        ):
            end = start + length * way
            plan = GlidePlan(time_s, 0, (float(speed * way[0]), float(speed * way[1])))
            ends = (float(start[0]), float(start[1])), (float(end[0]), float(end[1]))
            return Furniture(glide=plan, start_m=ends[0], end_m=ends[1])


def draw_objects(
    rng: np.random.Generator, rule: SceneRule, min_blocks: int, furniture: Furniture = NOTHING
) -> tuple[ObjectSpec, ...]:
    """Blocks, then bowls, placed as the rule asks; the first one or two blocks of a belt scene ride it."""
    blocks = int(rng.integers(min_blocks, MAX_BLOCKS + 1))
    riders = int(rng.integers(1, 3)) if rule.belt else 0
    kinds, colours = _draw_names(rng, blocks, rule.bowls)
    places = _draw_places(rng, blocks, rule.bowls, riders, furniture)
    specs = []
    for kind, colour, place in zip(kinds, colours, places, strict=True):
        jitter = (float(rng.normal(0.0, 0.008)), float(rng.normal(0.0, 0.04)), float(rng.normal(0.0, 0.05)))
        yaw = float(rng.uniform(-YAW_RAD, YAW_RAD))
        specs.append(ObjectSpec(kind, colour, place, yaw, jittered_rgba(colour, jitter)))
    return tuple(specs)


def table_of(specs: tuple[ObjectSpec, ...], wall: Wall | None = None, glider: int = -1) -> ObjectTable:
    """The object table of a scene at rest."""
    return ObjectTable(
        kind=np.array([spec.kind for spec in specs], dtype=np.int8),
        colour=np.array([spec.colour for spec in specs], dtype=np.int8),
        position_m=np.array([(*spec.xy_m, rest_height_m(spec.kind)) for spec in specs], dtype=np.float64),
        velocity_m_s=np.zeros((len(specs), 3)),
        wall=wall,
        glider=glider,
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


def _draw_places(
    rng: np.random.Generator, blocks: int, bowls: int, riders: int, furniture: Furniture
) -> list[Xy]:
    while True:
        places: list[Xy] = []
        for index in [*range(blocks, blocks + bowls), *range(blocks)]:
            place = _draw_place(rng, places, index, blocks, bowls, riders, furniture)
            if place is None:
                break
            places.append(place)
        else:
            return places[bowls:] + places[:bowls]


def _draw_place(
    rng: np.random.Generator,
    taken: list[Xy],
    index: int,
    blocks: int,
    bowls: int,
    riders: int,
    furniture: Furniture,
) -> Xy | None:
    """A place for object `index`; `taken` holds the bowls first, then the blocks so far."""
    for _ in range(ATTEMPTS):
        if index >= blocks:
            place = (float(rng.uniform(0.39, 0.61)), float(rng.uniform(-0.20, 0.20)))
        elif index < riders:
            place = (arena.BELT_X_M + float(rng.uniform(-0.01, 0.01)), float(rng.uniform(-0.14, 0.14)))
        elif index == furniture.glider:
            place = furniture.start_m
        elif furniture.wall is not None and index < HIDDEN_BLOCKS:
            half = furniture.wall.length_m / 2
            place = furniture.wall.to_base(
                float(rng.uniform(-half, half)), float(rng.uniform(*HIDDEN_ACROSS_M))
            )
        else:
            place = (float(rng.uniform(0.355, 0.645)), float(rng.uniform(-0.245, 0.245)))
            if riders and abs(place[0] - arena.BELT_X_M) < 0.085:
                continue
        if not furniture.leaves_room(index, place):
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
