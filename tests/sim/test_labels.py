"""Labels: what the model of the world predicts is what the expert then does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dualsys_sim import arena
from dualsys_sim.episode import make_episode
from dualsys_sim.labels import advance, expert_chunk
from dualsys_sim.runner import Trajectory, run_episode
from dualsys_sim.state import ExpertState, Goal
from dualsys_sim.world import World


def still_state(
    tool: tuple[float, float, float], width: float, *blocks: tuple[float, float, float]
) -> ExpertState:
    """Cubes at rest, and the tool at rest on its command."""
    places = [list(block) for block in blocks]
    return ExpertState(
        list(tool), list(tool), width, 0.0, [0] * len(places), places, [[0.0] * 3 for _ in places]
    )


def recorded_state(trajectory: Trajectory, step: int) -> ExpertState:
    """What the expert saw at a recorded step."""
    recorded = trajectory.steps[step]
    return ExpertState(
        recorded["command_m"].tolist(),
        recorded["tool_m"].tolist(),
        float(recorded["width_m"]),
        float(recorded["width_speed_m_s"]),
        [spec.kind for spec in trajectory.episode.objects],
        recorded["position_m"].tolist(),
        recorded["velocity_m_s"].tolist(),
    )


@pytest.mark.parametrize(
    ("task", "typical_mm", "rare_mm"),
    [("touch", 0.5, 1.0), ("pick", 1.5, 12.0), ("place", 1.5, 15.0), ("push", 4.0, 30.0)],
)
def test_chunks_agree_with_what_the_expert_does_next(
    world: World, task: str, typical_mm: float, rare_mm: float
) -> None:
    errors, grippers = [], []
    for seed in range(3):
        episode = make_episode(task, 100 + seed)
        trajectory = run_episode(world, episode, linger_s=0.8)
        done = trajectory.array("action")
        for first in range(0, len(done) - 16, 4):
            chunk = expert_chunk(recorded_state(trajectory, first), episode.goal)
            apart = np.cumsum(chunk[:, :3] - done[first : first + 16, :3], axis=0) * arena.ACTION_STEP_M
            errors.append(1000 * np.abs(apart).max())
            grippers.append((chunk[:, 3] != done[first : first + 16, 3]).mean())
    assert np.mean(errors) < typical_mm
    assert np.percentile(errors, 98) < rare_mm
    assert np.mean(grippers) < 0.02


def test_a_chunk_follows_what_moves(world: World) -> None:
    trajectory = run_episode(world, replace(make_episode("follow", 1), timeout_s=6.1))
    target = trajectory.episode.goal.target_index
    chunk = expert_chunk(recorded_state(trajectory, 150), trajectory.episode.goal)
    travelled = chunk[:, :2].sum(axis=0) * arena.ACTION_STEP_M
    expected = trajectory.steps[150]["velocity_m_s"][target, :2] * 16 * arena.POLICY_STEP_S
    np.testing.assert_allclose(travelled, expected, atol=0.012)


def test_a_chunk_leaves_the_state_as_it_was() -> None:
    state = still_state((0.45, 0.0, 0.2), 0.08, (0.5, 0.1, 0.02))
    before = state.copy()
    chunk = expert_chunk(state, Goal("pick", 0), horizon=24)
    assert state == before
    assert chunk.shape == (24, 4)
    assert chunk.dtype == np.float32
    assert np.abs(chunk).max() <= 1.0


def test_a_chunk_for_an_absent_object_is_still() -> None:
    chunk = expert_chunk(still_state((0.45, 0.0, 0.2), 0.08, (0.5, 0.1, 0.02)), Goal("pick", -1))
    assert np.abs(chunk[:, :3]).max() == 0.0
    assert (chunk[:, 3] == 1.0).all()


def test_in_the_model_fingers_stop_on_a_block_and_carry_it() -> None:
    state = still_state((0.5, 0.1, 0.02), 0.08, (0.5, 0.1, 0.02))
    for _ in range(8):
        advance(state, (0.0, 0.0, 0.0, -1.0))
    assert state.width == pytest.approx(arena.BLOCK_SIZE_M, abs=2e-3)
    for _ in range(10):
        advance(state, (0.0, 0.0, 0.8, -1.0))
    assert state.position[0][2] > 0.1
    for _ in range(12):
        advance(state, (0.0, 0.0, 0.0, 1.0))
    assert state.position[0][2] == pytest.approx(arena.BLOCK_SIZE_M / 2)


def test_in_the_model_closed_fingers_push_a_block() -> None:
    state = still_state((0.5, 0.03, 0.02), 0.0, (0.5, 0.1, 0.02))
    for _ in range(12):
        advance(state, (0.0, 0.5, 0.0, -1.0))
    assert state.position[0][1] > 0.13
    assert state.position[0][0] == pytest.approx(0.5)


def test_in_the_model_the_command_stays_in_its_box() -> None:
    state = still_state((0.5, 0.0, 0.02), 0.08, (0.6, 0.2, 0.02))
    for _ in range(40):
        advance(state, (1.0, 1.0, -1.0, 1.0))
    np.testing.assert_allclose(state.command, [arena.COMMAND_HIGH_M[0], arena.COMMAND_HIGH_M[1], 0.012])
