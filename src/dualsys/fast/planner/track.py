"""What the tool is going to do: a chunk of actions, and the track that accepted chunks are accumulated into.

A track is the only memory of motion that the planner has. Strategies decide which actions go into it; its
arithmetic makes sure that positions never jump at a join, that no action is played after its time, and that
none is played twice.

All positions are the *commanded* tool point in the base frame, in metres. The gripper is the action's own
value, +1 open and -1 closed. Times are integer nanoseconds of the edge clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dualsys.specs import ActionSpec

FloatArray = NDArray[np.float64]
ActionArray = NDArray[np.float32]


@dataclass(frozen=True)
class Box:
    """Axis-aligned box in the base frame, m, that the commanded tool is kept in."""

    lower_m: tuple[float, float, float]
    upper_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.lower_m, self.upper_m, strict=True)):
            raise ValueError(f"box is empty: lower_m {self.lower_m} is not below upper_m {self.upper_m}")

    def step(self, start_m: FloatArray, displacement_m: FloatArray) -> FloatArray:
        """Where a displacement from `start_m` [3] ends inside the box.

        From outside, a coordinate may move towards the box but is not pulled there at once: a clip never
        lengthens a displacement, so it never makes the tool jump.
        """
        lower, upper = np.minimum(self.lower_m, start_m), np.maximum(self.upper_m, start_m)
        return np.clip(start_m + displacement_m, lower, upper)


@dataclass(frozen=True)
class Chunk:
    """Actions of one prediction on their time grid: action i acts from t0 + i * step to t0 + (i + 1) * step.

    Attributes:
        t0_ns: When the first action starts.
        step_ns: Duration of one action.
        actions: float32 `[H, 4]`: displacement of the commanded tool per step divided by `scale_m`, then the
            gripper.
        scale_m: Displacement of a normalised action of one, m.
    """

    t0_ns: int
    step_ns: int
    actions: ActionArray
    scale_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.step_ns < 1:
            raise ValueError(f"step_ns must be positive, got {self.step_ns}")
        if self.actions.ndim != 2 or self.actions.shape[1] != 4 or len(self.actions) < 1:
            raise ValueError(f"actions must be [H, 4] with H >= 1, got {list(self.actions.shape)}")

    @property
    def end_ns(self) -> int:
        """When the last action ends."""
        return self.t0_ns + len(self.actions) * self.step_ns

    @property
    def displacements_m(self) -> FloatArray:
        """Tool displacement of each action, float64 `[H, 3]`."""
        moves_m: FloatArray = self.actions[:, :3].astype(np.float64) * np.asarray(self.scale_m)
        return moves_m

    def path(self) -> Track:
        """The motion of the chunk alone, from the origin, not limited by any box."""
        times_ns = self.t0_ns + self.step_ns * np.arange(len(self.actions) + 1, dtype=np.int64)
        tool = np.concatenate([np.zeros((1, 3)), np.cumsum(self.displacements_m, axis=0)])
        grip = self.actions[:, 3].astype(np.float64)
        return Track(times_ns, tool, np.append(grip, grip[-1]))


@dataclass(frozen=True)
class Track:
    """Commanded motion over time: linear between knots, held before the first and after the last.

    Attributes:
        t_ns: int64 `[n]`, strictly increasing knot times, n >= 1.
        tool: float64 `[n, 3]`, commanded tool position at each knot, m.
        grip: float64 `[n]`, gripper value from each knot to the next; the last one holds for ever.
    """

    t_ns: NDArray[np.int64]
    tool: FloatArray
    grip: FloatArray

    def __post_init__(self) -> None:
        count = len(self.t_ns)
        if count < 1 or self.tool.shape != (count, 3) or self.grip.shape != (count,):
            shapes = (self.t_ns.shape, self.tool.shape, self.grip.shape)
            raise ValueError(f"expected t_ns [n], tool [n, 3] and grip [n] with n >= 1, got {shapes}")
        if (np.diff(self.t_ns) <= 0).any():
            raise ValueError(f"t_ns must be strictly increasing, got {self.t_ns}")

    @classmethod
    def holding(cls, t_ns: int, tool_m: FloatArray, grip: float) -> Self:
        """A track that stays where it is."""
        tool = np.array(tool_m, dtype=np.float64).reshape(1, 3)
        return cls(np.array([t_ns], dtype=np.int64), tool, np.array([grip], dtype=np.float64))

    @property
    def end_ns(self) -> int:
        """When the motion ends and the hold begins."""
        return int(self.t_ns[-1])

    def at(self, t_ns: int) -> tuple[FloatArray, float]:
        """Tool position [3] (m) and gripper value at one time."""
        time = np.array([t_ns], dtype=np.int64)
        return self._tool_at(time)[0], float(self._grip_at(time)[0])

    def displacements(
        self, t0_ns: int, step_ns: int, count: int, scale_m: tuple[float, float, float]
    ) -> tuple[ActionArray, int]:
        """The track as actions on another grid. Exact: a displacement is a difference of track positions.

        Args:
            t0_ns: Start of the grid.
            step_ns: Duration of one action.
            count: Number of actions.
            scale_m: Displacement of a normalised action of one, m.

        Returns:
            float32 `[count, 4]` actions, whose gripper is the value that holds in the middle of the step, and
            the number of leading steps that the track still covers as a whole. The steps after those describe
            the hold.
        """
        edges = t0_ns + step_ns * np.arange(count + 1, dtype=np.int64)
        actions = np.empty((count, 4), dtype=np.float32)
        actions[:, :3] = np.diff(self._tool_at(edges), axis=0) / np.asarray(scale_m)
        actions[:, 3] = self._grip_at(edges[:-1] + step_ns // 2)
        covered = (self.end_ns - t0_ns) // step_ns if t0_ns >= self.t_ns[0] else 0
        return actions, int(np.clip(covered, 0, count))

    def spliced(self, now_ns: int, chunk: Chunk, workspace: Box) -> Track:
        """This track up to `now_ns`, then the actions of `chunk` whose time has not passed.

        They are accumulated from where this track is at the join, the first one in proportion to what is left
        of its step. A chunk that starts later than now joins at its start. A chunk that is over changes
        nothing: the very same track is returned.
        """
        splice_ns = max(now_ns, chunk.t0_ns)
        first = (splice_ns - chunk.t0_ns) // chunk.step_ns
        if first >= len(chunk.actions):
            return self
        t_ns = chunk.t0_ns + chunk.step_ns * np.arange(first, len(chunk.actions) + 1, dtype=np.int64)
        t_ns[0] = splice_ns
        moves_m = chunk.displacements_m[first:]
        moves_m[0] *= float(t_ns[1] - splice_ns) / chunk.step_ns
        tool = np.empty((len(t_ns), 3))
        tool[0] = self.at(splice_ns)[0]
        for knot, move_m in enumerate(moves_m):
            tool[knot + 1] = workspace.step(tool[knot], move_m)
        grip = chunk.actions[first:, 3].astype(np.float64)
        kept = int(np.searchsorted(self.t_ns, splice_ns, side="left"))
        return Track(
            np.concatenate([self.t_ns[:kept], t_ns]),
            np.concatenate([self.tool[:kept], tool]),
            np.concatenate([self.grip[:kept], grip, grip[-1:]]),
        )

    def nudged(self, now_ns: int, until_ns: int, offset_m: FloatArray, grip: float, workspace: Box) -> Track:
        """This track with an offset that grows evenly from zero at one time to its full size at another.

        What follows is moved by the whole offset; displacements are never lengthened to stay in the box.

        Args:
            now_ns: Where the offset begins.
            until_ns: Where it is complete, later than `now_ns` and no later than the end.
            offset_m: [3].
            grip: Gripper value in between.
            workspace: Box that the tool is kept in.
        """
        inner = (self.t_ns > now_ns) & (self.t_ns < until_ns)
        later = self.t_ns > until_ns
        t_ns = np.concatenate([[now_ns], self.t_ns[inner], [until_ns], self.t_ns[later]]).astype(np.int64)
        share = np.clip((t_ns - now_ns) / (until_ns - now_ns), 0.0, 1.0)
        moves_m = np.diff(self._tool_at(t_ns) + share[:, None] * offset_m, axis=0)
        tool = np.empty((len(t_ns), 3))
        tool[0] = self.at(now_ns)[0]
        for knot, move_m in enumerate(moves_m):
            tool[knot + 1] = workspace.step(tool[knot], move_m)
        grips = np.where(t_ns < until_ns, grip, self._grip_at(t_ns))
        kept = self.t_ns < now_ns
        return Track(
            np.concatenate([self.t_ns[kept], t_ns]),
            np.concatenate([self.tool[kept], tool]),
            np.concatenate([self.grip[kept], grips]),
        )

    def since(self, t_ns: int) -> Track:
        """The same motion without the knots that no time from `t_ns` on needs."""
        first = max(0, int(np.searchsorted(self.t_ns, t_ns, side="right")) - 1)
        return Track(self.t_ns[first:], self.tool[first:], self.grip[first:])

    def _tool_at(self, times_ns: NDArray[np.int64]) -> FloatArray:
        # Differences of integer stamps stay exact in float64 where the stamps themselves would not.
        origin_ns = self.t_ns[0]
        wanted, knots = (times_ns - origin_ns).astype(np.float64), (self.t_ns - origin_ns).astype(np.float64)
        return np.stack([np.interp(wanted, knots, self.tool[:, axis]) for axis in range(3)], axis=-1)

    def _grip_at(self, times_ns: NDArray[np.int64]) -> FloatArray:
        return self.grip[np.maximum(0, np.searchsorted(self.t_ns, times_ns, side="right") - 1)]


def tool_scale_m(action: ActionSpec) -> tuple[float, float, float]:
    """Displacement of the tool by a normalised action of one, along x, y and z, m."""
    x_m, y_m, z_m = action.scale[:3]
    return x_m, y_m, z_m
