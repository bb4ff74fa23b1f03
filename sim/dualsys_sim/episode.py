"""Episodes: everything about one run, drawn from a seed."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from dualsys_sim import arena, layout
from dualsys_sim.bodies import ObjectSpec, Rgba
from dualsys_sim.cameras import FIXED_CAMERA, WRIST_CAMERA, CameraPose, Light
from dualsys_sim.language import say, say_absent
from dualsys_sim.movers import BeltPlan, GlidePlan, HandPlan, WanderPlan
from dualsys_sim.state import Goal, ObjectTable, Wall
from dualsys_sim.task import Task
from dualsys_sim.tasks import all_tasks, task_named

Phrasing = Literal["seen", "unseen"]
Event = Literal["moved", "changed", "absent"]

ABSENT_TIMEOUT_S: Final = 5.0
MOVABLE_TASKS: Final = ("touch", "pick", "place")


@dataclass(frozen=True)
class Change:
    """A new instruction in the middle of an episode."""

    time_s: float
    instruction: str
    goal: Goal


@dataclass(frozen=True)
class Episode:
    """One run, complete: the scene, the light, the cameras, the words, and what happens on the way.

    Attributes:
        task: name of the task.
        seed: the seed that everything was drawn from.
        objects: K objects; their order is that of every object table of the episode.
        start_tool_m: [3], where the tool starts (base frame), pointing down.
        start_width_m: finger width at the start.
        instruction: the words at the start; see `instruction_at`.
        goal: what they mean; see `goal_at`.
        timeout_s: when the episode ends without success.
        belt, wander, hand, glide: what moves by itself, if anything.
        change: the new instruction, if there is one.
        wall: what stands in the way, if anything.
        side: the way round the wall that an expert takes in this episode where both are as good: +1 left,
            -1 right; 0 without a wall. See `ExpertState.side`.
    """

    task: str
    seed: int
    objects: tuple[ObjectSpec, ...]
    start_tool_m: tuple[float, float, float]
    start_width_m: float
    instruction: str
    goal: Goal
    timeout_s: float
    table_rgba: Rgba
    mat_rgba: Rgba
    belt_rgba: Rgba
    light: Light
    fixed_camera: CameraPose
    wrist_camera: CameraPose
    belt: BeltPlan | None = None
    wander: WanderPlan | None = None
    hand: HandPlan | None = None
    change: Change | None = None
    glide: GlidePlan | None = None
    wall: Wall | None = None
    wall_rgba: Rgba = (0.0, 0.0, 0.0, 1.0)
    side: int = 0

    def goal_at(self, time_s: float) -> Goal:
        """The goal in force at that time."""
        return self.change.goal if self.change is not None and time_s >= self.change.time_s else self.goal

    def instruction_at(self, time_s: float) -> str:
        """The words in force at that time."""
        changed = self.change is not None and time_s >= self.change.time_s
        return self.change.instruction if changed and self.change is not None else self.instruction

    def table(self) -> ObjectTable:
        """The object table at the start."""
        return layout.table_of(self.objects, self.wall, -1 if self.glide is None else self.glide.index)

    @property
    def moving_index(self) -> int:
        """Row of the block that wanders or glides, or -1."""
        mover = self.wander or self.glide
        return -1 if mover is None else mover.index


def make_episode(
    task: str, seed: int, phrasing: Phrasing = "seen", event: Event | None = None, min_blocks: int = 3
) -> Episode:
    """The episode of a task, a seed and, if wanted, an event: the same arguments, the same episode.

    Args:
        task: name of a task.
        seed: any non-negative integer.
        phrasing: "unseen" takes wordings that are kept from training.
        event: "moved" slides the target elsewhere between 0.4 and 1.2 s; "changed" names another object
            between 0.7 and 2 s; "absent" asks for an object that is not there.
        min_blocks: the least number of blocks on the table, 3 to 5.

    Raises:
        ValueError: there is no such task, or the event does not suit it.
    """
    chosen = task_named(task)
    if event == "moved" and task not in MOVABLE_TASKS:
        raise ValueError(f"event 'moved' suits {', '.join(MOVABLE_TASKS)}, not {task!r}")
    if event == "changed" and chosen.scene.glide:
        raise ValueError(f"event 'changed' does not suit {task!r}: only one block is given a push")
    rng = np.random.default_rng([seed, zlib.crc32(f"{task}/{phrasing}/{event}/{min_blocks}".encode())])
    scene = _draw_scene(rng, chosen, event, min_blocks)
    wander = layout.draw_wander(rng, scene.goal.target_index) if chosen.scene.wander else None
    glide, wall = scene.furniture.glide, scene.furniture.wall
    mover = wander or glide
    moving = -1 if mover is None else mover.index
    words, goal, timeout_s = _instruct(chosen, scene.goal, scene.table, rng, phrasing, event, moving)
    change = None
    if event == "changed":
        other = scene.others[int(rng.integers(len(scene.others)))]
        instruction = say(chosen, other, scene.table, rng, phrasing, moving)
        change = Change(float(rng.uniform(0.7, 2.0)), instruction, other)
    return Episode(
        task=task,
        seed=seed,
        objects=scene.objects,
        start_tool_m=_draw_start(rng) if wall is None else _draw_start_before(wall, rng),
        start_width_m=arena.GRIPPER_OPEN_M,
        instruction=words,
        goal=goal,
        timeout_s=timeout_s,
        belt=layout.draw_belt(rng) if chosen.scene.belt else None,
        wander=wander,
        hand=_draw_hand(rng, scene),
        change=change,
        **_draw_looks(rng),
        glide=glide,
        wall=wall,
        **({} if wall is None else _draw_passage(rng)),
    )


def instructions_for(
    episode: Episode, phrasing: Phrasing = "seen", per_goal: int = 2, seed: int = 0
) -> list[tuple[str, Goal]]:
    """Instructions that make sense in the episode's scene, of every task, some of them for absent objects."""
    return instructions_for_table(
        episode.table(),
        np.random.default_rng([seed, episode.seed]),
        phrasing,
        per_goal,
        episode.moving_index,
        belt=episode.belt is not None,
    )


def instructions_for_table(
    objects: ObjectTable,
    rng: np.random.Generator,
    phrasing: Phrasing = "seen",
    per_goal: int = 2,
    moving: int = -1,
    belt: bool | None = None,
    tasks: Collection[str] | None = None,
) -> list[tuple[str, Goal]]:
    """Instructions that make sense for the objects as they lie now, of every task, some for absent objects.

    Args:
        objects: the scene.
        rng: draws the wordings.
        phrasing: "seen" or "unseen".
        per_goal: wordings for each goal.
        moving: row of a wandering block, or -1.
        belt: whether the scene has a belt; unless told, the conveyor's instructions are left out.
        tasks: names of the tasks whose instructions are wanted; all by default. Whatever is left out, the
            wordings of the others stay the same as long as those left out have nothing to say in the scene.
    """
    pairs = []
    for task in all_tasks().values():
        if (task.scene.belt and not belt) or (tasks is not None and task.name not in tasks):
            continue
        if objects.wall is not None and not task.scene.wall:
            continue  # The other experts know nothing of walls.
        goals = task.goals(objects)
        for goal in goals:
            pairs += [(say(task, goal, objects, rng, phrasing, moving), goal) for _ in range(per_goal)]
        if goals:
            like = goals[int(rng.integers(len(goals)))]
            missing = Goal(task.name, -1, -1, like.direction)
            pairs += [(say_absent(task, like, objects, rng, phrasing), missing) for _ in range(per_goal)]
    return pairs


@dataclass(frozen=True)
class _Scene:
    """Objects, a goal, the goals with other targets, for the hand a free place (x, y), and the furniture."""

    objects: tuple[ObjectSpec, ...]
    table: ObjectTable
    goal: Goal
    others: list[Goal]
    place_m: tuple[float, float] | None
    furniture: layout.Furniture


def _draw_scene(rng: np.random.Generator, task: Task, event: str | None, min_blocks: int) -> _Scene:
    """Scenes until one suits the task and the event."""
    while True:
        furniture = layout.draw_furniture(rng, task.scene)
        objects = layout.draw_objects(rng, task.scene, min_blocks, furniture)
        table = layout.table_of(objects, furniture.wall, furniture.glider)
        goals = task.goals(table)
        if not goals:
            continue
        goal = goals[int(rng.integers(len(goals)))]
        others = [other for other in goals if other.target_index != goal.target_index]
        place = layout.draw_free_place(rng, table, goal.target_index) if event == "moved" else None
        if (event != "changed" or others) and (event != "moved" or place is not None):
            return _Scene(objects, table, goal, others, place, furniture)


def _draw_hand(rng: np.random.Generator, scene: _Scene) -> HandPlan | None:
    if scene.place_m is None:
        return None
    return HandPlan(float(rng.uniform(0.4, 1.2)), scene.goal.target_index, scene.place_m)


def _instruct(
    task: Task,
    goal: Goal,
    table: ObjectTable,
    rng: np.random.Generator,
    phrasing: str,
    event: str | None,
    moving: int,
) -> tuple[str, Goal, float]:
    """The opening words, their meaning, and the time limit."""
    if event == "absent":
        missing = Goal(task.name, -1, -1, goal.direction)
        return say_absent(task, goal, table, rng, phrasing), missing, ABSENT_TIMEOUT_S + 1.0
    return say(task, goal, table, rng, phrasing, moving), goal, task.timeout_s


def _draw_start(rng: np.random.Generator) -> tuple[float, float, float]:
    x, y, z = np.asarray(arena.START_TOOL_M) + rng.uniform(-1.0, 1.0, 3) * (0.04, 0.06, 0.04)
    return float(x), float(y), float(z)


def _draw_start_before(wall: Wall, rng: np.random.Generator) -> tuple[float, float, float]:
    """A start on the arm's side of a wall, near its middle and below its top."""
    x, y = wall.to_base(float(rng.uniform(-0.02, 0.02)), float(rng.uniform(-0.115, -0.085)))
    return max(x, arena.COMMAND_LOW_M[0] + 0.01), y, float(rng.uniform(0.08, 0.11))


def _draw_passage(rng: np.random.Generator) -> dict[str, Any]:
    """The colour of a wall, and the side on which the expert passes it."""
    shade = float(rng.uniform(0.8, 1.2))
    return {
        "wall_rgba": (0.47 * shade, 0.38 * shade, 0.32 * shade, 1.0),
        "side": 1 if rng.random() < 0.5 else -1,
    }


def _draw_looks(rng: np.random.Generator) -> dict[str, Any]:
    """Light, cameras and colours of the furniture."""
    grey = float(rng.uniform(0.55, 0.85))
    tint = rng.uniform(-0.05, 0.05, 3)
    table = np.clip(grey + tint, 0.0, 1.0)
    mat = grey * float(rng.uniform(0.25, 0.6))
    belt = float(rng.uniform(0.18, 0.34))
    light = Light(
        direction=(
            float(rng.uniform(-0.5, 1.2)),
            float(rng.uniform(-1.0, 1.0)),
            float(rng.uniform(1.2, 2.0)),
        ),
        ambient=float(rng.uniform(0.5, 0.65)),
        diffuse=float(rng.uniform(0.3, 0.5)),
        specular=float(rng.uniform(0.0, 0.1)),
        colour=tuple(float(c) for c in rng.uniform(0.93, 1.0, 3)),  # type: ignore[arg-type]
    )
    return {
        "table_rgba": (float(table[0]), float(table[1]), float(table[2]), 1.0),
        "mat_rgba": (mat, mat, mat, 1.0),
        "belt_rgba": (belt, belt, belt + 0.03, 1.0),
        "light": light,
        "fixed_camera": _jittered(FIXED_CAMERA, rng, 0.01, 0.5),
        "wrist_camera": _jittered(WRIST_CAMERA, rng, 0.002, 0.5),
    }


def _jittered(pose: CameraPose, rng: np.random.Generator, shift_m: float, turn_deg: float) -> CameraPose:
    distance = float(np.linalg.norm(np.subtract(pose.target_m, pose.eye_m)))
    shift = rng.uniform(-shift_m, shift_m, 3)
    turn = np.deg2rad(rng.uniform(-turn_deg, turn_deg, 3)) * distance
    eye, target = np.asarray(pose.eye_m) + shift, np.asarray(pose.target_m) + shift + turn
    return CameraPose(
        (float(eye[0]), float(eye[1]), float(eye[2])),
        (float(target[0]), float(target[1]), float(target[2])),
        pose.fov_deg + float(rng.uniform(-turn_deg, turn_deg)),
    )
