"""The referee of an episode: the task's judge, changes of goal, absent and wrong objects, time limits."""

from __future__ import annotations

from typing import Final

import numpy as np

from dualsys_sim.episode import ABSENT_TIMEOUT_S, Episode
from dualsys_sim.judging import lifted_by_arm, object_name
from dualsys_sim.state import Goal, Snapshot
from dualsys_sim.task import Judge, Verdict
from dualsys_sim.tasks import task_named
from dualsys_sim.tasks.touch import TouchJudge

ABSENT_RADIUS_M: Final = 0.03


class AbsentJudge:
    """For an instruction about an object that is not there: success if the tool stays where it was."""

    def __init__(self, first: Snapshot) -> None:
        self._start = first.tool_m
        self._end_s = first.time_s + ABSENT_TIMEOUT_S

    def update(self, snapshot: Snapshot) -> Verdict | None:
        """Take in one instant."""
        strayed_m = float(np.linalg.norm(snapshot.tool_m - self._start))
        if strayed_m > ABSENT_RADIUS_M:
            return Verdict(False, "moved although the object is absent", {"strayed_m": strayed_m})
        if snapshot.time_s >= self._end_s:
            return Verdict(True, "stayed", {"strayed_m": strayed_m})
        return None


def judge_for(goal: Goal, first: Snapshot) -> Judge:
    """A new judge for a goal, from the instant the goal is given."""
    if goal.target_index < 0:
        return AbsentJudge(first)
    return task_named(goal.task).judge(goal, first)


class Referee:
    """Judges one episode from snapshots, at any rate. Every verdict carries the metrics of `_metrics`:

    `time_s` since the reset, `time_to_success_s` since the goal in force was given, and `wrong_object`, the
    name of the first other block that was lifted or touched, if any.
    """

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self._change = episode.change
        self._goal: Goal | None = None
        self._judge: Judge | None = None
        self._since_s = 0.0
        self._excused: set[int] = set()
        self._wrong = ""

    @property
    def goal(self) -> Goal:
        """The goal being judged."""
        return self._episode.goal if self._goal is None else self._goal

    @property
    def wrong_object(self) -> str:
        """Name of the first wrong object that was lifted or touched, or an empty string."""
        return self._wrong

    def give(self, goal: Goal, snapshot: Snapshot, *, for_good: bool = False) -> None:
        """Judge this goal from now on. Whatever the gripper has lifted already is not held against it.

        Args:
            goal: What is to be done.
            snapshot: This instant.
            for_good: The change of goal that the episode has in store does not come any more.
        """
        if for_good:
            self._change = None
        self._goal = goal
        self._judge = judge_for(goal, snapshot)
        self._since_s = snapshot.time_s
        self._excused = set(lifted_by_arm(snapshot)) | {goal.target_index}

    def update(self, snapshot: Snapshot) -> Verdict | None:
        """Take in one instant; the verdict once the episode is decided."""
        change = self._change
        scheduled = self._episode.goal_at(snapshot.time_s)
        if self._judge is None or (change is not None and scheduled != self.goal):
            self.give(scheduled, snapshot)
        assert self._judge is not None
        verdict = self._judge.update(snapshot)
        if change is not None and snapshot.time_s < change.time_s and verdict is not None and verdict.success:
            verdict = None  # There is more to come; what cannot be made good stays.
        self._watch_for_wrong_objects(snapshot)
        if verdict is None and snapshot.time_s >= self._episode.timeout_s - 1e-9:
            verdict = Verdict(False, "timeout", {})
        if verdict is None:
            return None
        return Verdict(verdict.success, verdict.reason, {**verdict.metrics, **self._metrics(snapshot)})

    def _watch_for_wrong_objects(self, snapshot: Snapshot) -> None:
        lifted = lifted_by_arm(snapshot)
        self._excused &= {*lifted, self.goal.target_index}
        strangers = [index for index in lifted if index not in self._excused]
        if isinstance(self._judge, TouchJudge) and self._judge.wrong_index >= 0:
            strangers.append(self._judge.wrong_index)
        if strangers and not self._wrong:
            self._wrong = object_name(snapshot.objects, strangers[0])

    def _metrics(self, snapshot: Snapshot) -> dict[str, float | str]:
        metrics: dict[str, float | str] = {
            "time_s": snapshot.time_s,
            "time_to_success_s": snapshot.time_s - self._since_s,
        }
        if self._wrong:
            metrics["wrong_object"] = self._wrong
        return metrics
