"""Action chunks for any recorded state: the expert played forward in a kinematic model of the world.

The model is fitted to the simulated arm. The tool follows the command with a short lag, the fingers move at
their speed and stop on a block between them, a held block follows the tool, closed fingers push what they run
into, and things that moved by themselves keep their velocity; a glide ends at the fingers. It has no walls:
the expert keeps clear of one from wherever it starts. It takes well below a millisecond.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dualsys_sim import arena
from dualsys_sim.skills import ground_velocity
from dualsys_sim.state import ExpertState, Goal
from dualsys_sim.task import Action
from dualsys_sim.tasks import expert_action

HORIZON: Final = 16

LAG_RECOVERED: Final = 0.90
"""Share of the tool's distance to the command that it makes good within a policy step."""

COMMAND_FOLLOWED: Final = 0.64
"""Share of the command's travel in a policy step that the tool follows within that step."""

FINGER_STEP_M: Final = 2 * arena.FINGER_SPEED_M_S * arena.POLICY_STEP_S
HALF_BLOCK_M: Final = arena.BLOCK_SIZE_M / 2
BLOCK_REST_M: Final = HALF_BLOCK_M
BOWL_REST_M: Final = HALF_BLOCK_M + arena.BOWL_FLOOR_M
FINGERS_X_M: Final = 0.0115
FINGERS_Y_M: Final = 0.0245
"""Half the extent of the closed fingers along x and y."""

GRAVITY_M_S2: Final = 9.81
BOWL: Final = arena.BOWL
COMMAND_BOX_M: Final = tuple(zip(range(3), arena.COMMAND_LOW_M, arena.COMMAND_HIGH_M, strict=True))
"""Axis, lowest and highest command, for each axis."""


def expert_chunk(state: ExpertState, goal: Goal, horizon: int = HORIZON) -> NDArray[np.float32]:
    """The expert's next actions [horizon, 4] from a state, had nothing disturbed it from there on."""
    state = at_start(state)
    chunk: list[Action] = []
    for _ in range(horizon):
        action = expert_action(state, goal)
        chunk.append(action)
        advance(state, action)
    return np.array(chunk, dtype=np.float32)


def at_start(state: ExpertState) -> ExpertState:
    """A copy to begin a roll-out from: objects keep only the velocity that they have by themselves."""
    state = state.copy()
    for index in range(len(state.kind)):
        pushed = index != state.glider and _pushed(state, index)
        vx, vy = (0.0, 0.0) if pushed else ground_velocity(state, index)
        state.velocity[index] = [vx, vy, 0.0]
    return state


def advance(state: ExpertState, action: Action) -> None:
    """Move the kinematic model on by one policy step, in place."""
    tool, command, kinds = state.tool, state.command, state.kind
    travelled = []
    for axis, low, high in COMMAND_BOX_M:
        before, share = command[axis], action[axis]
        share = -1.0 if share < -1.0 else 1.0 if share > 1.0 else share
        wanted = before + arena.ACTION_STEP_M * share
        wanted = low if wanted < low else high if wanted > high else wanted
        travelled.append(LAG_RECOVERED * (before - tool[axis]) + COMMAND_FOLLOWED * (wanted - before))
        command[axis] = wanted
    between = _between(state)
    holding = _move_fingers(state, action[3] > 0.0, between)
    for axis in range(3):
        tool[axis] += travelled[axis]
    bowls = [place for kind, place in zip(kinds, state.position, strict=True) if kind == BOWL]
    for index, kind in enumerate(kinds):
        if index == between and holding:
            _carry(state, index, travelled)
        elif kind != BOWL:
            _let_be(state, index, bowls)


def _between(state: ExpertState) -> int:
    """Row of the block that the closing fingers would meet, or -1."""
    if not state.width > 0.03:
        return -1
    x, y, z = state.tool
    for index, place in enumerate(state.position):
        if (
            abs(x - place[0]) < 0.028
            and abs(y - place[1]) < 0.032
            and -0.024 < z - place[2] < 0.025
            and state.kind[index] != BOWL
        ):
            return index
    return -1


def _move_fingers(state: ExpertState, opening: bool, between: int) -> bool:
    """Open or close by one step; whether the fingers have come to rest on the block between them."""
    before = state.width
    if opening:
        state.width = min(arena.GRIPPER_OPEN_M, before + FINGER_STEP_M)
        state.width_speed = 0.0 if state.width == arena.GRIPPER_OPEN_M else 2 * arena.FINGER_SPEED_M_S
        return False
    stop = 0.0
    if between >= 0:
        stalled = before < 0.06 and abs(state.width_speed) < 0.06
        stop = before if stalled else min(before, arena.BLOCK_SIZE_M + 0.001)
    state.width = max(stop, before - FINGER_STEP_M)
    state.width_speed = 0.0 if state.width == stop else -2 * arena.FINGER_SPEED_M_S
    return between >= 0 and state.width == stop


def _carry(state: ExpertState, index: int, travelled: list[float]) -> None:
    place, tool = state.position[index], state.tool
    place[0] += travelled[0]
    place[1] = tool[1]
    place[2] = max(BLOCK_REST_M, place[2] + travelled[2])
    state.velocity[index] = [0.0, 0.0, 0.0]


def _let_be(state: ExpertState, index: int, bowls: list[list[float]]) -> None:
    """Let a block that is not held fall, travel by itself, or be pushed by closed fingers.

    `bowls` are the places of the bowls.
    """
    place, velocity = state.position[index], state.velocity[index]
    floor = _floor(bowls, place)
    if place[2] > floor + 0.002:
        velocity[2] -= GRAVITY_M_S2 * arena.POLICY_STEP_S
        place[2] = max(floor, place[2] + velocity[2] * arena.POLICY_STEP_S)
        return
    velocity[2] = 0.0
    place[0] += velocity[0] * arena.POLICY_STEP_S
    place[1] += velocity[1] * arena.POLICY_STEP_S
    if not _pushed(state, index):
        return
    across = HALF_BLOCK_M + FINGERS_X_M - abs(place[0] - state.tool[0])
    along = HALF_BLOCK_M + FINGERS_Y_M - abs(place[1] - state.tool[1])
    if across > 0.0 and along > 0.0:
        axis, depth = (0, across) if across < along else (1, along)
        place[axis] += depth if place[axis] > state.tool[axis] else -depth
        if index == state.glider:
            state.velocity[index] = [0.0, 0.0, 0.0]


def _floor(bowls: list[list[float]], place: list[float]) -> float:
    """Height at which a block comes to rest under where it is now."""
    x, y, z = place
    for bowl_x, bowl_y, bowl_z in bowls:
        if abs(x - bowl_x) < 0.05 and abs(y - bowl_y) < 0.05:
            return bowl_z + BOWL_REST_M
    return z if z < BLOCK_REST_M else BLOCK_REST_M


def _pushed(state: ExpertState, index: int) -> bool:
    """Whether closed fingers are down beside the block, so that it moves only as they push it."""
    place, tool = state.position[index], state.tool
    return (
        state.width < 0.03
        and tool[2] - place[2] < HALF_BLOCK_M
        and abs(place[0] - tool[0]) < 0.045
        and abs(place[1] - tool[1]) < 0.055
    )
