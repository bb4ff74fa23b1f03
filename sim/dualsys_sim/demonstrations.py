"""Demonstrations: long, disturbed episodes in which the expert is given one goal after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dualsys_sim import arena
from dualsys_sim.bodies import rest_height_m
from dualsys_sim.episode import MOVABLE_TASKS, Episode, Event, instructions_for_table, make_episode
from dualsys_sim.labels import HORIZON, expert_chunk
from dualsys_sim.runner import Actor, Step, Trajectory, expert_actor, run_episode
from dualsys_sim.scenes import padded
from dualsys_sim.state import ExpertState, Goal, ObjectTable
from dualsys_sim.task import Verdict
from dualsys_sim.tasks import all_tasks
from dualsys_sim.world import World

DURATION_S: Final = 9.0
TASK_SHARES: Final = {
    "pick": 0.2,
    "place": 0.25,
    "push": 0.15,
    "touch": 0.1,
    "conveyor": 0.15,
    "follow": 0.15,
}
STEP_NUMBERS: Final = (
    "tool_m", "command_m", "width_m", "width_speed_m_s", "gripper", "q_rad", "wanted", "action",
)  # fmt: skip
DIRECTIONS: Final = ("", "left", "right", "away")

EVENT_CHANCE: Final = 0.25
UNDISTURBED_CHANCE: Final = 0.15
USUAL_START_CHANCE: Final = 0.4
SWITCH_CHANCE: Final = 0.004
ABSENT_CHANCE: Final = 0.1
LINGER_STEPS: Final = (6, 30)


class GoalSequence:
    """Gives a new goal some time after the last one was reached, and now and then before that."""

    def __init__(self, rng: np.random.Generator, episode: Episode) -> None:
        self._rng = rng
        self._episode = episode
        self._wait = -1

    def __call__(self, step: Step, verdict: Verdict | None) -> tuple[str, Goal] | None:
        """A new instruction and goal, or None to go on."""
        if verdict is not None and self._wait < 0:
            self._wait = int(self._rng.integers(*LINGER_STEPS))
        self._wait = max(-1, self._wait - 1)
        if self._wait != 0 and self._rng.random() > SWITCH_CHANCE:
            return None
        self._wait = -1
        return self._draw(step.snapshot.objects)

    def _draw(self, objects: ObjectTable) -> tuple[str, Goal] | None:
        pairs = instructions_for_table(
            objects, self._rng, "seen", 1, self._episode.moving_index, belt=self._episode.belt is not None
        )
        absent = self._rng.random() < ABSENT_CHANCE
        fit = [pair for pair in pairs if (pair[1].target_index < 0) == absent and feasible(objects, pair[1])]
        if not fit:
            return None
        tasks = sorted({goal.task for _, goal in fit})
        task = tasks[int(self._rng.integers(len(tasks)))]
        fit = [pair for pair in fit if pair[1].task == task]
        return fit[int(self._rng.integers(len(fit)))]


def feasible(objects: ObjectTable, goal: Goal) -> bool:
    """Whether the goal's target lies within comfortable reach, on the table rather than in a bowl."""
    if goal.target_index < 0:
        return True
    x, y, z = objects.position_m[goal.target_index].tolist()
    in_reach = 0.32 < x < 0.67 and abs(y) < 0.28
    bowls = objects.position_m[objects.kind == arena.BOWL]
    in_bowl = bool(len(bowls)) and bool((np.hypot(bowls[:, 0] - x, bowls[:, 1] - y) < 0.06).any())
    return in_reach and not in_bowl and z < rest_height_m(arena.CUBE) + 0.25


def draw_episode(seed: int, duration_s: float = DURATION_S) -> Episode:
    """An episode for training: any task, sometimes an event, often an awkward start."""
    rng = np.random.default_rng([seed, 1])
    task = str(rng.choice(list(TASK_SHARES), p=list(TASK_SHARES.values())))
    event: Event | None = None
    if rng.random() < EVENT_CHANCE:
        event = "absent" if task not in MOVABLE_TASKS or rng.random() < 0.3 else "moved"
    episode = make_episode(task, seed, event=event)
    if rng.random() < USUAL_START_CHANCE:
        return replace(episode, timeout_s=duration_s)
    tool = _draw_tool(episode.table(), rng)
    width = float(rng.choice([arena.GRIPPER_OPEN_M, arena.GRIPPER_OPEN_M, 0.0, 0.05]))
    return replace(episode, timeout_s=duration_s, start_tool_m=tool, start_width_m=width)


def _draw_tool(objects: ObjectTable, rng: np.random.Generator) -> tuple[float, float, float]:
    """A start anywhere in the work area, low ones clear of the objects."""
    while True:
        tool = rng.uniform((0.33, -0.27, 0.02), (0.67, 0.27, 0.28))
        if rng.random() < 0.5:
            near = objects.position_m[int(rng.integers(len(objects.kind)))]
            tool[:2] = near[:2] + rng.normal(0.0, 0.05, 2)
            tool[2] = rng.uniform(0.02, 0.14)
        tool = np.clip(tool, arena.COMMAND_LOW_M, arena.COMMAND_HIGH_M)
        apart = np.abs(objects.position_m[:, :2] - tool[:2])
        reach = np.where(objects.kind == arena.BOWL, 0.03, 0.0)
        if tool[2] > 0.07 or not ((apart[:, 0] < 0.05 + reach) & (apart[:, 1] < 0.095 + reach)).any():
            return float(tool[0]), float(tool[1]), float(tool[2])


def demonstrate(
    world: World, seed: int, act: Actor = expert_actor, duration_s: float = DURATION_S
) -> Trajectory:
    """One demonstration with images. Whoever drives, the labels stay the expert's."""
    rng = np.random.default_rng([seed, 2])
    episode = draw_episode(seed, duration_s)
    disturb = None if rng.random() < UNDISTURBED_CHANCE else rng
    return run_episode(world, episode, act, disturb, cameras=True, regoal=GoalSequence(rng, episode))


def goal_row(goal: Goal) -> tuple[int, int, int, int]:
    """A goal as four integers: task (alphabetical), target row, bowl row, direction; see `goal_of`."""
    tasks = list(all_tasks())
    return tasks.index(goal.task), goal.target_index, goal.goal_index, DIRECTIONS.index(goal.direction)


def goal_of(row: NDArray[np.integer]) -> Goal:
    """The goal of four integers, the inverse of `goal_row`."""
    task, target, bowl, direction = (int(value) for value in row)
    return Goal(list(all_tasks())[task], target, bowl, DIRECTIONS[direction])


def trajectory_arrays(trajectory: Trajectory) -> dict[str, NDArray[np.generic]]:
    """The per-step arrays of an "episodes" shard, but for the indices across episodes."""
    steps = trajectory.steps
    kind = [spec.kind for spec in trajectory.episode.objects]
    arrays: dict[str, NDArray[np.generic]] = {
        name: np.asarray(trajectory.array(name), dtype=np.float32) for name in STEP_NUMBERS
    }
    for name in ("position_m", "velocity_m_s"):
        arrays[name] = np.stack([padded(step[name].astype(np.float32)) for step in steps])
    for name in ("wrist_image", "fixed_image"):
        if name in steps[0]:
            arrays[name] = trajectory.array(name)
    arrays["goal"] = np.array([goal_row(goal) for goal in trajectory.goals], dtype=np.int8)
    chunks = [
        expert_chunk(state_of(step, kind), goal, HORIZON)
        for step, goal in zip(steps, trajectory.goals, strict=True)
    ]
    arrays["chunk"] = np.stack(chunks)
    return arrays


def state_of(step: dict[str, NDArray[np.generic]], kind: list[int]) -> ExpertState:
    """The expert's state at a recorded step; extra rows of padded object arrays are left out."""
    count = len(kind)
    return ExpertState(
        step["command_m"].tolist(),
        step["tool_m"].tolist(),
        float(step["width_m"]),
        float(step["width_speed_m_s"]),
        list(kind),
        step["position_m"][:count].tolist(),
        step["velocity_m_s"][:count].tolist(),
    )
