"""Data of the panda-gym policies: stills for System 2, and runs of the arm for System 1.

A drawing of the arm is shown with many places of cube and marker (see `pictures`), and every state is
labelled for each of them by the expert. So a few hundred drawings of the arm make thousands of pictures, in
shards (see `dualsys.train.shards`). Stills: `images` uint8 [N, h, w, 3], `words` int16 [N, 2, MAX_WORDS],
`places` float32 [N, 2, 6], `classes` int8 [N, 2, 5]. Runs have the same with `fixed` for `images`, one row
for every `FRAME_STEPS` steps, and the arrays of `dualsys.train.action.ActionData`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dualsys.cameras.fitting import Fit
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys.train.action import FRAME_STEPS
from dualsys.train.panda_gym.pictures import Layer, Studio, put_together
from dualsys.train.panda_gym.tasks import (
    STAY_WORDS,
    STEP_M,
    TOOL_HIGH_M,
    TOOL_LOW_M,
    WORDS,
    FloatArray,
    Scene,
    TaskName,
    expert_action,
    expert_chunk,
    word_indices,
)
from dualsys.train.shards import Arrays, joined, make_shards

POSES_PER_SHARD: Final = 25
SCENES_PER_POSE: Final = 10
RUNS_PER_SHARD: Final = 5
SCENES_PER_RUN: Final[dict[TaskName, int]] = {"reach": 6, "pick": 3}
"""Places of the marker that a run is labelled for. Those of the cube are as many as runs."""
RUN_STEPS: Final[dict[TaskName, int]] = {"reach": 24, "pick": 48}
APART_M: Final = 0.1
"""Distance between tool and cube, at least, when a run begins."""
FUMBLE_CHANCE: Final = 0.02
FUMBLE_STEPS: Final = (2, 7)
"""How likely a step begins a fumble, in which the gripper does the opposite of what it did, and for how long:
cubes slip away, and fingers close beside them."""
OPEN_M: Final = 0.08
WRIST_PX: Final = 16
"""System 1 is shown the left view so small: where the marker is, it is told by the latent."""
STAY_CHUNK: Final = np.array([0.0, 0.0, 0.0, 1.0], dtype=np.float32)


@dataclass(frozen=True)
class Site:
    """What a shard is drawn from: the task, its environment, and the seed of the whole set."""

    task: TaskName
    options: EnvironmentOptions
    seed: int


def make_site(
    folder: Path, count: int, site: Site, make: Callable[[Studio, Site, int], Arrays], processes: int = 1
) -> None:
    """Make the shards of a site that are missing; each process draws with a studio of its own."""
    make_shards(folder, count, partial(_in_studio, site, make), processes, _open_studio, (site.options,))


_studio: Studio
"""Of a process that makes shards."""


def _open_studio(options: EnvironmentOptions) -> None:
    global _studio
    _studio = Studio(options)


def _in_studio(site: Site, make: Callable[[Studio, Site, int], Arrays], number: int) -> Arrays:
    return make(_studio, site, number)


def still_shard(studio: Studio, site: Site, number: int) -> Arrays:
    """Still pictures: the arm anywhere, cube and marker where the task puts them."""
    rng = np.random.default_rng([site.seed, number])
    rows: dict[str, list[NDArray[np.generic]]] = {"images": [], "words": [], "places": [], "classes": []}
    for _ in range(POSES_PER_SHARD):
        _teleport(studio, rng)
        arm = studio.arm()
        for _ in range(SCENES_PER_POSE):
            goal, cube = draw_places(studio, rng)
            if cube is not None and rng.random() < 0.3:
                # Between the fingers, as it is while it is carried.
                cube = np.array(studio.env.unwrapped.robot.get_ee_position())
                cube[2] = max(0.02, cube[2])
            rows["images"].append(put_together(_layers(studio, arm, goal, cube)))
            told = _told(site.task, rng, goal, cube)
            for name, array in told.items():
                rows[name].append(array)
    return {name: np.stack(arrays) for name, arrays in rows.items()}


def run_shard(studio: Studio, site: Site, number: int) -> Arrays:
    """Runs: the expert drives the arm, with noise; each is labelled for other places of the marker too."""
    rng = np.random.default_rng([site.seed, number])
    return joined(_runs(studio, site.task, rng))


def _runs(studio: Studio, task: TaskName, rng: np.random.Generator) -> Iterator[Arrays]:
    for _ in range(RUNS_PER_SHARD):
        recorded = _drive(studio, task, rng)
        goals = [recorded.goal_m, *(draw_places(studio, rng)[0] for _ in range(SCENES_PER_RUN[task] - 1))]
        for goal in goals:
            yield _labelled(studio, task, recorded, goal, rng)


def draw_places(studio: Studio, rng: np.random.Generator) -> tuple[FloatArray, FloatArray | None]:
    """Places of the marker [3] and of the cube [3] or None, as the task of the environment draws them."""
    task: Any = studio.env.unwrapped.task
    task.np_random = rng
    goal = np.asarray(task._sample_goal(), dtype=np.float64)
    cube = np.asarray(task._sample_object(), dtype=np.float64) if "object" in studio.things else None
    return goal, cube


@dataclass(frozen=True)
class Recorded:
    """A run of the arm, T steps; arrays are float64.

    Attributes:
        tool_m, command_m: [T, 3].
        width_m, width_speed_m_s, gripper: [T]; the last one told gripper action.
        cube_m: [T, 3], NaN without a cube; `cube_turn` [T, 4] is its quaternion.
        goal_m: [3], where the expert that drove was going.
        arms: Drawings of the arm, one for every `FRAME_STEPS` steps.
    """

    tool_m: FloatArray
    command_m: FloatArray
    width_m: FloatArray
    width_speed_m_s: FloatArray
    gripper: FloatArray
    cube_m: FloatArray
    cube_turn: FloatArray
    goal_m: FloatArray
    arms: list[Layer]


def _drive(studio: Studio, task: TaskName, rng: np.random.Generator) -> Recorded:
    """Let the expert drive the arm, with noise on its actions, towards one place after another."""
    env: Any = studio.env.unwrapped
    env.reset(seed=int(rng.integers(2**31)))
    if rng.random() < 0.7:
        _teleport(studio, rng)
    tool = np.array(env.robot.get_ee_position())
    goal, cube = draw_places(studio, rng)
    while cube is not None and float(np.linalg.norm(cube - tool)) < APART_M:
        goal, cube = draw_places(studio, rng)
    env.task.goal = goal
    if cube is not None:
        studio.sim.set_base_pose("object", cube, np.array([0.0, 0.0, 0.0, 1.0]))
    command, width = tool.copy(), fingers_width_m(env)
    # As the runtime takes it from the width until it is told something: panda-gym begins with closed fingers.
    gripper = 1.0 if width > 0.5 * OPEN_M else -1.0
    fumble, contrary = 0, gripper
    rows: list[tuple[Any, ...]] = []
    arms: list[Layer] = []
    drift = np.zeros(3)
    target = goal
    for step in range(RUN_STEPS[task]):
        tool, before, width = np.array(env.robot.get_ee_position()), width, fingers_width_m(env)
        if cube is not None:
            cube = np.array(studio.sim.get_base_position("object"))
        if step % FRAME_STEPS == 0:
            arms.append(studio.arm())
        turn = studio.sim.get_base_rotation("object", "quaternion") if cube is not None else (0, 0, 0, 1)
        rows.append((tool, command, width, (width - before) / 0.04, gripper,
                     np.full(3, np.nan) if cube is None else cube, np.array(turn, dtype=float)))  # fmt: skip
        if task == "reach" and rng.random() < 0.06:
            target = draw_places(studio, rng)[0]
        action = expert_action(task, Scene(command, tool, width, target, cube))
        drift = 0.7 * drift + 0.25 * rng.standard_normal(3)
        action[:3] = np.clip(action[:3] + drift * (rng.random() < 0.8), -1.0, 1.0)
        if fumble == 0 and task == "pick" and rng.random() < FUMBLE_CHANCE:
            fumble, contrary = int(rng.integers(*FUMBLE_STEPS)), -gripper
        command = np.clip(command + STEP_M * action[:3], TOOL_LOW_M, TOOL_HIGH_M)
        gripper = contrary if fumble else (1.0 if action[3] > 0 else -1.0)
        fumble = max(0, fumble - 1)
        step_towards(env, command, gripper)
    names = ("tool_m", "command_m", "width_m", "width_speed_m_s", "gripper", "cube_m", "cube_turn")
    columns: dict[str, FloatArray] = {
        name: np.array(column, dtype=np.float64)
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    return Recorded(**columns, goal_m=goal, arms=arms)


def step_towards(env: Any, command_m: FloatArray, gripper: float) -> None:
    """One step of the environment towards a commanded tool [3] and gripper, as the driver would do it."""
    move = (command_m - np.array(env.robot.get_ee_position())) / 0.05
    if not env.robot.block_gripper:
        move = np.append(move, ((OPEN_M if gripper > 0 else 0.0) - fingers_width_m(env)) / 0.2)
    env.step(np.clip(move, -1.0, 1.0).astype(np.float32))


def fingers_width_m(env: Any) -> float:
    """Distance between the fingertips, m; that of an open gripper where the environment blocks it."""
    return OPEN_M if env.robot.block_gripper else float(env.robot.get_fingers_width())


def _labelled(
    studio: Studio, task: TaskName, run: Recorded, goal: FloatArray, rng: np.random.Generator
) -> Arrays:
    """A run as it looks with the marker somewhere, and what the expert of that place would do."""
    marker = studio.thing("target", goal)
    rows: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("fixed", "words", "places", "classes")
    }
    chunks, aims, wrist = [], [], []
    fit = Fit(studio.width_px, studio.height_px, WRIST_PX, WRIST_PX, None)
    small, told = np.empty(0, dtype=np.uint8), Arrays()
    stays = _told(task, rng, goal, None)["words"]
    for step, (tool, command, width) in enumerate(zip(run.tool_m, run.command_m, run.width_m, strict=True)):
        cube = None if np.isnan(run.cube_m[step]).any() else run.cube_m[step]
        if step % FRAME_STEPS == 0:
            layers = [run.arms[step // FRAME_STEPS], marker]
            if cube is not None:
                layers.append(studio.thing("object", cube, run.cube_turn[step]))
            picture = put_together(layers)
            rows["fixed"].append(picture)
            told = _told(task, rng, goal, cube) | {"words": stays}
            for name, array in told.items():
                rows[name].append(array)
            small = fit(picture[:, : studio.width_px])
        wrist.append(small)
        places = told["places"][0].astype(np.float32)
        scene = Scene(command, tool, float(width), goal, cube)
        still = STAY_CHUNK * (1, 1, 1, run.gripper[step])
        chunks.append(np.stack([expert_chunk(task, scene), np.tile(still, (16, 1))]))
        aim = np.full((2, 8), np.nan, dtype=np.float32)
        aim[0, :6], aim[0, 6:] = places, 0.0
        aims.append(aim)
    state = np.column_stack(
        [run.tool_m, run.command_m - run.tool_m, run.width_m, run.width_speed_m_s, run.gripper]
    )
    return {
        **{name: np.stack(arrays) for name, arrays in rows.items()},
        "wrist": np.stack(wrist),
        "proprioception": state.astype(np.float32),
        "chunks": np.array(chunks, dtype=np.float16),
        "aims": np.array(aims, dtype=np.float32),
        "active": np.zeros(len(wrist), dtype=np.int8),
        "played": _played(run),
        "tossed": np.zeros((len(wrist), 2), dtype=np.bool_),
    }


def _played(run: Recorded) -> NDArray[np.float32]:
    """The action [T, 4] that was played at each step; the last one, of which nothing came, counts as rest."""
    travel = np.diff(run.command_m, axis=0, append=run.command_m[-1:]) / STEP_M
    return np.column_stack([travel, np.append(run.gripper[1:], run.gripper[-1])]).astype(np.float32)


def _told(task: TaskName, rng: np.random.Generator, goal: FloatArray, cube: FloatArray | None) -> Arrays:
    """Words, places and classes of the task's instruction and of one to stay."""
    texts = (WORDS[task][rng.integers(len(WORDS[task]))], STAY_WORDS[rng.integers(len(STAY_WORDS))])
    places = np.full((2, 6), np.nan, dtype=np.float32)
    if cube is None:
        places[0, :3] = goal
    else:
        places[0, :3], places[0, 3:] = cube, goal
    classes = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]], dtype=np.int8)
    return {"words": np.stack([word_indices(text) for text in texts]), "places": places, "classes": classes}


def _layers(studio: Studio, arm: Layer, goal: FloatArray, cube: FloatArray | None) -> list[Layer]:
    things = [studio.thing("target", goal)]
    if cube is not None:
        things.append(studio.thing("object", cube))
    return [arm, *things]


def _teleport(studio: Studio, rng: np.random.Generator) -> None:
    """Put the arm somewhere in its box, its tool pointing down, the gripper anyhow."""
    robot: Any = studio.env.unwrapped.robot
    robot.set_joint_neutral()
    place = rng.uniform(TOOL_LOW_M, TOOL_HIGH_M) * (0.85, 0.85, 1.0)
    width = 0.0 if robot.block_gripper else float(rng.choice([0.0, 0.04, 0.08, rng.uniform(0.0, 0.08)]))
    for _ in range(3):
        joints = robot.inverse_kinematics(
            link=robot.ee_link, position=place, orientation=np.array([1.0, 0.0, 0.0, 0.0])
        )
        robot.set_joint_angles(np.concatenate([joints[:7], [width / 2, width / 2]]))
