"""The motion that is planned: which track the next chunk continues, and the set-points that lead along it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS
from dualsys.fast.planner.arm import ArmModel, ArmView
from dualsys.fast.planner.track import FloatArray, Track

Start = Literal["continued", "divergences", "fresh_starts"]
"""How a motion goes on: along its track, or from the command, since control did not follow or it is over."""

_HISTORY_NS = 1000 * NS_PER_MS


class PlannedMotion:
    """The planned motion of the commanded tool.

    Args:
        arm_model: Makes joint set-points of a track.
        max_divergence_m: Distance between the planned and the commanded tool beyond which control has not
            followed.

    Attributes:
        track: Where the tool goes; None while nothing is planned.
    """

    def __init__(self, arm_model: ArmModel, max_divergence_m: float) -> None:
        self._arm_model = arm_model
        self._max_divergence_m = max_divergence_m
        self.track: Track | None = None

    def clear(self) -> None:
        """Plan nothing."""
        self.track = None

    def track_from(self, now_ns: int, arm: ArmView) -> tuple[Track, Start]:
        """The track to continue: what is planned, or a fresh start where the arm is commanded to be.

        A track that is over, or that control has not followed, is nothing to be continuous with.
        """
        start: Start = "fresh_starts"
        if self.track is not None and now_ns < self.track.end_ns:
            planned_m = self.track.at(arm.t_ns)[0]
            if np.linalg.norm(planned_m - arm.commanded_tool_m) <= self._max_divergence_m:
                return self.track, "continued"
            start = "divergences"
        grip = self.grip(now_ns, arm)
        self._arm_model.anchor(arm, now_ns)
        self.track = Track.holding(now_ns, arm.commanded_tool_m, grip)
        return self.track, start

    def grip(self, t_ns: int, arm: ArmView | None) -> float:
        """What the gripper is told at a time, +1 or -1: by the track, or while there is none, the command."""
        if self.track is not None:
            return self.track.at(t_ns)[1]
        return 1.0 if arm is None else self._arm_model.grip_of(float(arm.command[-1]))

    def adopt(self, track: Track, now_ns: int, arm: ArmView) -> tuple[NDArray[np.int64], FloatArray, bool]:
        """Plan another track.

        Returns:
            Its knots from now on: times int64 `[N]`, set-points float64 `[N, A]`; and whether the arm reaches
            every one of them.
        """
        self.track = track.since(now_ns - _HISTORY_NS)
        ahead = track.since(now_ns)
        setpoints, reachable = self._arm_model.setpoints(ahead, arm)
        return ahead.t_ns, setpoints, reachable


def come_to_rest(track: Track, arm: ArmView) -> Track:
    """The track; if it ended before the state was measured, a rest where the arm was led meanwhile.

    Control cannot stop at once where a plan ends: it brakes, and what comes next goes on from there.
    """
    if arm.t_ns <= track.end_ns:
        return track
    return Track.holding(track.end_ns, arm.commanded_tool_m, float(track.grip[-1]))
