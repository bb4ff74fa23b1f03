"""What the world says about itself, and what an instruction asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        q_rad: [7], joint angles.
        dq_rad_s: [7], joint speeds.
        width_m: distance between the fingertips, 0 to 0.08.
        width_speed_m_s: its rate of change, positive when opening.
    """

    q_rad: FloatArray
    dq_rad_s: FloatArray
    width_m: float
    width_speed_m_s: float


@dataclass(frozen=True)
class ObjectTable:
    """The K objects of a scene, base frame, in an order that never changes within an episode.

    Attributes:
        kind: [K], index into `arena.KINDS`.
        colour: [K], index into `arena.COLOURS`.
        position_m: [K, 3], centre of a block; centre of a bowl's underside.
        velocity_m_s: [K, 3].
    """

    kind: Int8Array
    colour: Int8Array
    position_m: FloatArray
    velocity_m_s: FloatArray


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
    """

    command: list[float]
    tool: list[float]
    width: float
    width_speed: float
    kind: list[int]
    position: list[list[float]]
    velocity: list[list[float]]

    @classmethod
    def of(cls, command_m: FloatArray, snapshot: Snapshot) -> ExpertState:
        """The state of a snapshot under the given commanded tool point [3]."""
        return cls(
            command=np.asarray(command_m, dtype=np.float64).tolist(),
            tool=snapshot.tool_m.tolist(),
            width=float(snapshot.width_m),
            width_speed=float(snapshot.width_speed_m_s),
            kind=snapshot.objects.kind.tolist(),
            position=snapshot.objects.position_m.tolist(),
            velocity=snapshot.objects.velocity_m_s.tolist(),
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
        )
