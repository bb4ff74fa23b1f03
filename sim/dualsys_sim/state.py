"""What the world says about itself, and what an instruction asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualsys_sim import arena

FloatArray = NDArray[np.float64]
Int8Array = NDArray[np.int8]


@dataclass(frozen=True)
class Goal:
    """The meaning of an instruction.

    Attributes:
        task: name of the task.
        target_index: row of the named object in the object table, or -1 if the scene has no such object.
        goal_index: row of the bowl to place it in, or -1.
        direction: "left", "right" or "away" for a push, otherwise "".
    """

    task: str
    target_index: int
    goal_index: int = -1
    direction: str = ""


@dataclass(frozen=True)
class ArmState:
    """Measured joints of the arm.

    Attributes:
        q_rad: [J], joint angles.
        dq_rad_s: [J], joint speeds.
        width_m: distance between the fingertips, 0 to 0.08.
        width_speed_m_s: its rate of change, positive when opening.
    """

    q_rad: FloatArray
    dq_rad_s: FloatArray
    width_m: float
    width_speed_m_s: float


@dataclass(frozen=True)
class Wall:
    """An upright box that stands fast on the table, `arena.WALL_THICKNESS_M` thick.

    Its own axes: `along` runs left as seen from the arm, `across` away from it; both are zero at its centre.

    Attributes:
        x_m: centre (base frame).
        y_m: the same.
        yaw_rad: turn of `across` away from +x.
        length_m: extent along it.
        height_m: of its top above the table.
    """

    x_m: float
    y_m: float
    yaw_rad: float
    length_m: float
    height_m: float

    def to_wall(self, x_m: float, y_m: float) -> tuple[float, float]:
        """A point (base frame) as seen from the wall: along and across it."""
        east, north = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        x, y = x_m - self.x_m, y_m - self.y_m
        return east * y - north * x, east * x + north * y

    def to_base(self, along_m: float, across_m: float) -> tuple[float, float]:
        """The way back: x and y in the base frame."""
        east, north = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return (
            self.x_m + east * across_m - north * along_m,
            self.y_m + north * across_m + east * along_m,
        )

    def reach_m(self, half_x_m: float, half_y_m: float) -> tuple[float, float]:
        """How far along and across a box's centre must be from that of the wall for the two to be apart.

        The box is upright, its sides lie along the axes of the base frame, and it is as high as one likes.
        """
        east, north = math.cos(self.yaw_rad), abs(math.sin(self.yaw_rad))
        return (
            self.length_m / 2 + north * half_x_m + east * half_y_m,
            arena.WALL_THICKNESS_M / 2 + east * half_x_m + north * half_y_m,
        )

    def gap_m(self, x_m: float, y_m: float, half_x_m: float, half_y_m: float) -> float:
        """A lower bound on the distance from such a box about (x, y) to the wall; below zero if they touch.

        It is the largest gap along the axes of the two rectangles that one sees from above, which are apart
        if and only if it is positive (separating axes).
        """
        along, across = self.to_wall(x_m, y_m)
        reach_along, reach_across = self.reach_m(half_x_m, half_y_m)
        east, north = math.cos(self.yaw_rad), abs(math.sin(self.yaw_rad))
        length, thickness = self.length_m / 2, arena.WALL_THICKNESS_M / 2
        return max(
            abs(along) - reach_along,
            abs(across) - reach_across,
            abs(x_m - self.x_m) - half_x_m - east * thickness - north * length,
            abs(y_m - self.y_m) - half_y_m - north * thickness - east * length,
        )


@dataclass(frozen=True)
class ObjectTable:
    """The K objects of a scene, base frame, in an order that never changes within an episode.

    Attributes:
        kind: [K], index into `arena.KINDS`.
        colour: [K], index into `arena.COLOURS`.
        position_m: [K, 3], centre of a block; centre of a bowl's underside.
        velocity_m_s: [K, 3].
        wall: the wall of the scene, if it has one.
        glider: row of the block that glides once it is pushed, or -1.
    """

    kind: Int8Array
    colour: Int8Array
    position_m: FloatArray
    velocity_m_s: FloatArray
    wall: Wall | None = None
    glider: int = -1


@dataclass(frozen=True)
class Snapshot:
    """One instant of a world, as a judge sees it.

    `tool_m` [3] is the measured tool point in the base frame.
    """

    time_s: float
    tool_m: FloatArray
    width_m: float
    width_speed_m_s: float
    objects: ObjectTable


@dataclass
class ExpertState:
    """What a scripted expert sees, as plain numbers for speed (m, m/s, base frame).

    Attributes:
        command: [3], the commanded tool point.
        tool: [3], the measured tool point.
        width: distance between the fingertips.
        width_speed: its rate of change, positive when opening.
        kind: [K], index into `arena.KINDS`.
        position: [K][3].
        velocity: [K][3].
        wall: the wall, if there is one.
        glider: row of the block that may be faster than a mover, or -1.
        side: the way round the wall where both are as good: +1 left, -1 right, 0 the nearer. It is no fact of
            the scene but the toss of a coin, for whoever rolls an expert out to draw: once for a run, so that
            the expert keeps to its way, and anew for every labelled state, so that labels hold both ways.
    """

    command: list[float]
    tool: list[float]
    width: float
    width_speed: float
    kind: list[int]
    position: list[list[float]]
    velocity: list[list[float]]
    wall: Wall | None = None
    glider: int = -1
    side: int = 0

    @classmethod
    def of(cls, command_m: FloatArray, snapshot: Snapshot, side: int = 0) -> ExpertState:
        """The state of a snapshot under the given commanded tool point [3], and a side to pass a wall on."""
        return cls(
            command=np.asarray(command_m, dtype=np.float64).tolist(),
            tool=snapshot.tool_m.tolist(),
            width=float(snapshot.width_m),
            width_speed=float(snapshot.width_speed_m_s),
            kind=snapshot.objects.kind.tolist(),
            position=snapshot.objects.position_m.tolist(),
            velocity=snapshot.objects.velocity_m_s.tolist(),
            wall=snapshot.objects.wall,
            glider=snapshot.objects.glider,
            side=side,
        )

    def copy(self) -> ExpertState:
        """An independent copy."""
        return ExpertState(
            list(self.command),
            list(self.tool),
            self.width,
            self.width_speed,
            list(self.kind),
            [list(row) for row in self.position],
            [list(row) for row in self.velocity],
            self.wall,
            self.glider,
            self.side,
        )
