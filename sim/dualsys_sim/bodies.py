"""Builders of the bodies in the scene apart from the arm: the table, the belt, blocks and bowls."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import Any, Final

from dualsys_sim import arena
from dualsys_sim.physics import pybullet
from dualsys_sim.state import Wall

Rgba = tuple[float, float, float, float]

BLOCK_FRICTION: Final = 1.0
TABLE_FRICTION: Final = 0.35
BELT_TOP_M: Final = 0.0004
MAT_EDGE_M: Final = 0.010
MAT_TOP_M: Final = 0.001
BOWL_SIDES: Final = 10
BOWL_WALL_LIFT_M: Final = 0.001


def _box(client: int, half_m: tuple[float, float, float], position_m: tuple[float, float, float], rgba: Rgba,
         collides: bool = True) -> int:  # fmt: skip
    shape = -1
    if collides:
        shape = pybullet.createCollisionShape(pybullet.GEOM_BOX, halfExtents=half_m, physicsClientId=client)
    visual = pybullet.createVisualShape(
        pybullet.GEOM_BOX, halfExtents=half_m, rgbaColor=rgba, specularColor=(0, 0, 0), physicsClientId=client
    )
    body: int = pybullet.createMultiBody(0.0, shape, visual, position_m, physicsClientId=client)
    return body


def build_table(client: int, rgba: Rgba) -> int:
    """The table: a slab whose top is z = 0."""
    table = _box(client, (0.75, 0.9, 0.02), (0.45, 0.0, -0.02), rgba)
    pybullet.changeDynamics(
        table, -1, lateralFriction=TABLE_FRICTION, restitution=0.0, contactProcessingThreshold=0.0,
        physicsClientId=client,
    )  # fmt: skip
    return table


def build_mat(client: int, rgba: Rgba) -> None:
    """The edge of a mat: four thin strips that touch nothing, centred on the lines of `arena.MAT_*_M`."""
    (low_x, low_y), (high_x, high_y) = arena.MAT_LOW_M, arena.MAT_HIGH_M
    half, height = MAT_EDGE_M / 2, MAT_TOP_M / 2
    middle = ((low_x + high_x) / 2, (low_y + high_y) / 2)
    for x in (low_x, high_x):
        _box(
            client, (half, (high_y - low_y) / 2 + half, height), (x, middle[1], height), rgba, collides=False
        )
    for y in (low_y, high_y):
        _box(
            client, ((high_x - low_x) / 2 + half, half, height), (middle[0], y, height), rgba, collides=False
        )


def build_belt(client: int, rgba: Rgba) -> int:
    """The belt's drawing: a thin strip along y that touches nothing; `movers.Belt` does the carrying."""
    half = (arena.BELT_WIDTH_M / 2, arena.BELT_END_M + 0.05, BELT_TOP_M / 2)
    return _box(client, half, (arena.BELT_X_M, 0.0, BELT_TOP_M / 2), rgba, collides=False)


def build_wall(client: int, wall: Wall, rgba: Rgba) -> int:
    """A wall that stands fast."""
    half = (arena.WALL_THICKNESS_M / 2, wall.length_m / 2, wall.height_m / 2)
    place = (wall.x_m, wall.y_m, half[2])
    body = _box(client, half, place, rgba)
    turn = pybullet.getQuaternionFromEuler((0.0, 0.0, wall.yaw_rad))
    pybullet.resetBasePositionAndOrientation(body, place, turn, physicsClientId=client)
    return body


@dataclass(frozen=True)
class ObjectSpec:
    """One object: kind and colour (indices into `arena`), place (x, y) in m, yaw in rad, and RGBA."""

    kind: int
    colour: int
    xy_m: tuple[float, float]
    yaw_rad: float
    rgba: Rgba


def rest_height_m(kind: int) -> float:
    """Height of an object's origin above the table when it rests there."""
    return 0.0 if kind == arena.BOWL else arena.BLOCK_SIZE_M / 2


def build_object(client: int, spec: ObjectSpec) -> int:
    """A block or a bowl at rest on the table; returns its body number."""
    build = _build_bowl if spec.kind == arena.BOWL else _build_block
    body = build(client, spec)
    pose = (*spec.xy_m, rest_height_m(spec.kind))
    turn = pybullet.getQuaternionFromEuler((0.0, 0.0, spec.yaw_rad))
    pybullet.resetBasePositionAndOrientation(body, pose, turn, physicsClientId=client)
    return body


def _build_block(client: int, spec: ObjectSpec) -> int:
    half = arena.BLOCK_SIZE_M / 2
    if spec.kind == arena.CUBE:
        geometry = pybullet.GEOM_BOX
        solid: dict[str, Any] = {"halfExtents": (half, half, half)}
        drawn = solid
    else:
        geometry = pybullet.GEOM_CYLINDER
        solid, drawn = {"radius": half, "height": 2 * half}, {"radius": half, "length": 2 * half}
    shape = pybullet.createCollisionShape(geometry, physicsClientId=client, **solid)
    visual = pybullet.createVisualShape(
        geometry, rgbaColor=spec.rgba, specularColor=(0, 0, 0), physicsClientId=client, **drawn
    )
    body: int = pybullet.createMultiBody(arena.BLOCK_MASS_KG, shape, visual, physicsClientId=client)
    pybullet.changeDynamics(
        body, -1, lateralFriction=BLOCK_FRICTION, spinningFriction=0.002, rollingFriction=0.0002,
        restitution=0.0, linearDamping=0.0, angularDamping=0.04, physicsClientId=client,
    )  # fmt: skip
    return body


def _build_bowl(client: int, spec: ObjectSpec) -> int:
    wall, height, floor = arena.BOWL_WALL_M / 2, arena.BOWL_HEIGHT_M / 2, arena.BOWL_FLOOR_M / 2
    middle = arena.BOWL_RADIUS_M + wall
    length = middle * math.tan(math.pi / BOWL_SIDES) + wall / 2
    inner = arena.BOWL_RADIUS_M * 0.86
    halves: list[tuple[float, float, float]] = [(inner, inner, floor)]
    places: list[tuple[float, float, float]] = [(0.0, 0.0, floor)]
    turns: list[tuple[float, float, float, float]] = [(0.0, 0.0, 0.0, 1.0)]
    for side in range(BOWL_SIDES):
        angle = 2 * math.pi * side / BOWL_SIDES
        halves.append((wall, length, height))
        places.append((middle * math.cos(angle), middle * math.sin(angle), height + BOWL_WALL_LIFT_M))
        turns.append(pybullet.getQuaternionFromEuler((0.0, 0.0, angle)))
    kinds = [pybullet.GEOM_BOX] * len(halves)
    frames = {"physicsClientId": client}
    shape = pybullet.createCollisionShapeArray(
        shapeTypes=kinds,
        halfExtents=halves,
        collisionFramePositions=places,
        collisionFrameOrientations=turns,
        **frames,
    )
    visual = pybullet.createVisualShapeArray(
        shapeTypes=kinds, halfExtents=halves, rgbaColors=[spec.rgba] * len(halves),
        visualFramePositions=places, visualFrameOrientations=turns, **frames,
    )  # fmt: skip
    body: int = pybullet.createMultiBody(arena.BOWL_MASS_KG, shape, visual, **frames)
    pybullet.changeVisualShape(body, -1, rgbaColor=spec.rgba, specularColor=(0, 0, 0), **frames)
    pybullet.changeDynamics(body, -1, lateralFriction=BLOCK_FRICTION, restitution=0.0, **frames)
    return body


def jittered_rgba(colour: int, jitter: tuple[float, float, float]) -> Rgba:
    """The colour's RGBA after adding `jitter` to its hue, saturation and value."""
    hue, saturation, value = arena.COLOUR_HSV[arena.COLOURS[colour]]
    red, green, blue = colorsys.hsv_to_rgb(
        (hue + jitter[0]) % 1.0,
        min(1.0, max(0.0, saturation + jitter[1])),
        min(1.0, max(0.0, value + jitter[2])),
    )
    return red, green, blue, 1.0
