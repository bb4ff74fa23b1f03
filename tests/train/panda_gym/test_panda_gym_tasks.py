"""The experts of panda-gym, in a world of kinematics alone, and the words of its tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualsys.train.panda_gym.tasks import (
    MAX_WORDS,
    STAY_WORDS,
    STEP_M,
    TOOL_HIGH_M,
    TOOL_LOW_M,
    VOCABULARY,
    WORDS,
    Scene,
    TaskName,
    expert_action,
    expert_chunk,
    word_indices,
)

PLACE = st.tuples(st.floats(-0.15, 0.15), st.floats(-0.15, 0.15), st.floats(0.0, 0.3))


def at_rest(tool: tuple[float, ...], goal: tuple[float, ...], cube: tuple[float, ...] | None = None) -> Scene:
    place = np.array(tool)
    return Scene(place, place, 0.08, np.array(goal), None if cube is None else np.array(cube))


@settings(deadline=None)
@given(tool=PLACE, goal=PLACE)
def test_the_expert_of_reach_arrives_and_never_leaves_the_range_of_actions(
    tool: tuple[float, ...], goal: tuple[float, ...]
) -> None:
    scene = at_rest(tool, goal)
    for _ in range(40):
        action = expert_action("reach", scene)
        assert np.abs(action).max() <= 1.0
        command = scene.command_m + STEP_M * action[:3]
        scene = replace(scene, command_m=command, tool_m=command)
    np.testing.assert_allclose(scene.tool_m, goal, atol=1e-3)


@settings(deadline=None)
@given(
    tool=PLACE,
    cube=st.tuples(st.floats(-0.15, 0.15), st.floats(-0.15, 0.15)),
    goal=st.tuples(st.floats(-0.15, 0.15), st.floats(-0.15, 0.15), st.floats(0.02, 0.22)),
)
def test_the_expert_of_pick_brings_the_cube_to_the_marker(
    tool: tuple[float, ...], cube: tuple[float, ...], goal: tuple[float, ...]
) -> None:
    scene = at_rest((*tool[:2], tool[2] + 0.05), goal, (*cube, 0.02))
    for _ in range(100):
        action = expert_action("pick", scene)
        command = np.clip(scene.command_m + STEP_M * action[:3], TOOL_LOW_M, TOOL_HIGH_M)
        assert scene.cube_m is not None
        near = float(np.linalg.norm(scene.cube_m - scene.tool_m)) < 0.02
        width = min(0.08, scene.width_m + 0.03) if action[3] > 0 else max(0.04 * near, scene.width_m - 0.015)
        carried = near and width < 0.05
        moved = scene.cube_m + (command - scene.tool_m) * carried
        scene = replace(scene, command_m=command, tool_m=command, width_m=width, cube_m=moved)
    assert scene.cube_m is not None
    assert np.linalg.norm(scene.cube_m - goal) < 0.05


def test_the_beginning_of_a_chunk_is_what_the_expert_does_now() -> None:
    scene = at_rest((0.1, 0.0, 0.2), (-0.1, 0.1, 0.02), (0.05, -0.1, 0.02))
    chunk = expert_chunk("pick", scene)
    assert chunk.shape == (16, 4)
    np.testing.assert_allclose(chunk[0], expert_action("pick", scene), atol=1e-6)


@pytest.mark.parametrize("task", ["reach", "pick"])
def test_every_wording_fits_and_is_in_the_vocabulary(task: TaskName) -> None:
    for text in (*WORDS[task], *STAY_WORDS):
        indices = word_indices(text)
        assert indices.shape == (MAX_WORDS,)
        assert [VOCABULARY[index] for index in indices if index] == text.split()
