"""The two tasks of panda-gym that are learned: their words, their scripted experts, and what is seen.

The experts are pure. They know the truth of the scene, which the trained systems do not: those see pictures,
words, and where the tool is. Base frame of panda-gym, m; one step is 40 ms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from dualsys.specs import ActionSpec

FloatArray = NDArray[np.float64]
TaskName = Literal["reach", "pick"]

STEP_NS: Final = 40_000_000
STEP_M: Final = 0.02
"""Travel of the commanded tool in one step for an action of one: 0.5 m/s, of 1.25 that panda-gym allows."""

HORIZON: Final = 16
ACTION: Final = ActionSpec(
    "tool_velocity", ("x", "y", "z", "gripper"), HORIZON, STEP_NS, (STEP_M, STEP_M, STEP_M, 1.0)
)
GAIN: Final = 0.6
"""Part of the way to where it is going that an expert takes in a step, where that is less than it may."""

TOOL_LOW_M: Final = (-0.25, -0.25, 0.0)
TOOL_HIGH_M: Final = (0.25, 0.25, 0.35)
"""The box in which the commanded tool is kept."""

ABOVE_M: Final = 0.07
"""From here above the cube the open gripper comes down."""
BESIDE_M: Final = 0.012
"""Horizontal distance from the cube's middle within which the gripper may come down, and close."""
HELD_M: Final = 0.05
"""A gripper that is no wider than this, with the cube between its fingers, holds it."""
CUBE_M: Final = 0.04

WORDS: Final[dict[TaskName, tuple[str, ...]]] = {
    "reach": (
        "reach the green dot",
        "go to the green dot",
        "touch the green marker",
        "move to the marker",
        "touch the dot",
    ),
    "pick": (
        "put the cube on the marker",
        "place the cube on the red marker",
        "bring the cube to the marker",
        "move the green cube to the marker",
        "pick the cube and put it on the marker",
    ),
}
STAY_WORDS: Final = ("stay where you are", "do not move", "hold still")
"""The other instruction that each scene is shown with: so what to do cannot be told without the words."""

MAX_WORDS: Final = 9
VOCABULARY: Final = (
    "",
    *sorted({word for text in (*sum(WORDS.values(), ()), *STAY_WORDS) for word in text.split()}),
)


@dataclass(frozen=True)
class Scene:
    """The truth, as an expert sees it.

    Attributes:
        command_m: [3], the commanded tool point.
        tool_m: [3], the measured one.
        width_m: Distance between the fingertips.
        goal_m: [3], the marker.
        cube_m: [3], the cube's middle; None in a scene without one.
    """

    command_m: FloatArray
    tool_m: FloatArray
    width_m: float
    goal_m: FloatArray
    cube_m: FloatArray | None = None


def held(scene: Scene) -> bool:
    """Whether the cube is between the fingers, and they are closed on it."""
    if scene.cube_m is None:
        return False
    return bool(np.linalg.norm(scene.cube_m - scene.tool_m) < 0.5 * CUBE_M and scene.width_m < HELD_M)


def expert_action(task: TaskName, scene: Scene) -> FloatArray:
    """The scripted expert's action [4] in [-1, 1]: three of travel, then the gripper (+1 opens it)."""
    if task == "reach" or scene.cube_m is None:
        return _towards(scene, scene.goal_m, 1.0)
    cube = scene.cube_m
    if held(scene):
        # The cube is where the tool is, give or take; what has to arrive is the cube.
        return _towards(scene, scene.goal_m + (scene.command_m - cube) * (cube[2] > CUBE_M), -1.0)
    beside_m = float(np.hypot(*(scene.command_m - cube)[:2]))
    if beside_m > BESIDE_M:
        low = scene.command_m[2] < cube[2] + 0.8 * ABOVE_M
        above = np.array([cube[0], cube[1], cube[2] + ABOVE_M])
        if low and beside_m > 2 * BESIDE_M:
            above[:2] = scene.command_m[:2]
        return _towards(scene, above, 1.0)
    down = scene.tool_m[2] < cube[2] + 0.012
    return _towards(scene, cube, -1.0 if down else 1.0)


def expert_chunk(task: TaskName, scene: Scene) -> NDArray[np.float32]:
    """What the expert would play from here, [HORIZON, 4].

    The scene is rolled out by its kinematics: the tool follows as far behind as it is now, the fingers close
    on the cube within three steps, and the cube moves with them once it is held.
    """
    actions = np.empty((HORIZON, 4), dtype=np.float32)
    behind_m = scene.command_m - scene.tool_m
    for step in range(HORIZON):
        action = expert_action(task, scene)
        actions[step] = action
        command = np.clip(scene.command_m + STEP_M * action[:3], TOOL_LOW_M, TOOL_HIGH_M)
        behind_m = 0.5 * behind_m
        tool = command - behind_m
        cube, width = scene.cube_m, scene.width_m
        if cube is not None:
            if held(scene) and action[3] < 0:
                cube = cube + (tool - scene.tool_m)
            between = float(np.linalg.norm(cube - tool)) < 0.5 * CUBE_M
            width = (
                min(0.08, width + 0.03) if action[3] > 0 else max(CUBE_M if between else 0.0, width - 0.015)
            )
        scene = replace(scene, command_m=command, tool_m=tool, cube_m=cube, width_m=width)
    return actions


def word_indices(text: str) -> NDArray[np.int16]:
    """Indices `[MAX_WORDS]` of the words, 0 for padding."""
    indices = np.zeros(MAX_WORDS, dtype=np.int16)
    words = text.split()
    indices[: len(words)] = [VOCABULARY.index(word) for word in words]
    return indices


def _towards(scene: Scene, place_m: FloatArray, gripper: float) -> FloatArray:
    step = GAIN * (place_m - scene.command_m) / STEP_M
    return np.append(step / max(1.0, float(np.abs(step).max())), gripper)
