"""A trained policy at the wheel: late plans, old latents with their true ages, one instruction at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dualsys.slow.backend import System2Output
from dualsys.train.policy_actor import PLAN_STEPS, PolicyActor, policy_actor
from dualsys.train.recordings import Bundles
from dualsys_sim import arena
from dualsys_sim.runner import Step
from dualsys_sim.state import Goal

SEEDS = range(12)


@dataclass
class Slow:
    """A System 2 that counts, and hides the count and the words in its tokens."""

    told: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    now: int = 0

    def encode(self, images: dict[str, Any], proprioception: np.ndarray, instruction: str) -> System2Output:
        """Tokens that say at which step and about what they were made."""
        assert set(images) == {"fixed"}
        assert proprioception.shape == (9,)
        self.told.append(instruction)
        self.steps.append(self.now)
        return System2Output({"tokens": np.array([[self.now, len(instruction)]], np.float32)}, "")


@dataclass
class Fast:
    """A System 1 whose chunk says when it was planned and how far into it one is."""

    conditions: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    now: int = 0
    latents: int = 3
    action = SimpleNamespace(chunk=SimpleNamespace(shape=(6, 4)))

    def encode_wrist(self, image: np.ndarray) -> np.ndarray:
        """The number that is written into the image."""
        return image[0, 0, :1].astype(np.float32)

    def condition(self, tokens: np.ndarray, ages_s: np.ndarray, frames: np.ndarray, state: np.ndarray) -> int:
        """Remember what the plan was made from."""
        assert state.dtype == np.float32
        self.conditions.append((self.now, tokens, ages_s, frames))
        return self.now

    def sample(self, noise: np.ndarray, condition: int) -> np.ndarray:
        """A chunk."""
        assert noise.shape == (6, 4)
        return np.array([[condition, row, 0.0, 1.0] for row in range(6)], np.float32)


def drive(
    seed: int, words: dict[int, str] | None = None, latents: int = 3
) -> tuple[Slow, Fast, list[np.ndarray]]:
    """Sixty steps of a policy that reads so many latents; `words` are given from a step on."""
    slow, fast, actions = Slow(), Fast(latents=latents), []
    actor = PolicyActor(fast, slow, np.random.default_rng(seed))  # type: ignore[arg-type]
    instruction = "touch the red cube"
    for index in range(60):
        instruction = (words or {}).get(index, instruction)
        slow.now = fast.now = index
        picture = np.full((64, 64, 3), index, np.uint8)
        images = {"wrist": picture} | ({"fixed": picture} if index % 2 == 0 else {})
        snapshot: Any = SimpleNamespace(tool_m=np.zeros(3), width_m=0.08, width_speed_m_s=0.0)
        world: Any = None
        step = Step(
            index, world, snapshot, np.zeros(3), 1.0, np.zeros(7), Goal("touch", 0), instruction, images
        )
        actions.append(actor(step))
    return slow, fast, actions


@pytest.mark.parametrize("seed", SEEDS)
def test_the_arm_waits_for_its_first_plan_and_then_plays_the_newest_that_is_ready(seed: int) -> None:
    _, _, actions = drive(seed)
    for index, action in enumerate(actions):
        if index < PLAN_STEPS:
            np.testing.assert_array_equal(action, [0.0, 0.0, 0.0, 1.0])
        else:
            planned = (index - PLAN_STEPS) // PLAN_STEPS * PLAN_STEPS
            np.testing.assert_array_equal(action, [planned, index - planned, 0.0, 1.0])


@pytest.mark.parametrize("seed", SEEDS)
def test_latents_come_with_their_true_ages_newest_first(seed: int) -> None:
    slow, fast, _ = drive(seed)
    assert len(set(np.diff(slow.steps))) == 1
    assert slow.steps[1] % 2 == 0
    for now, tokens, ages_s, _ in fast.conditions:
        np.testing.assert_allclose(ages_s, (now - tokens[:, 0, 0]) * arena.POLICY_STEP_S, atol=1e-6)
        assert len(tokens) == len(ages_s) == fast.latents
        assert (np.diff(ages_s) >= 0).all()
    settled = [ages_s[0] for now, _, ages_s, _ in fast.conditions if now > 20]
    assert min(settled) >= 2 * arena.POLICY_STEP_S - 1e-6


@pytest.mark.parametrize("latents", [1, 2, 4])
def test_as_many_latents_are_shown_as_system_1_reads_and_the_oldest_stands_for_those_before_it(
    latents: int,
) -> None:
    slow, fast, _ = drive(0, latents=latents)
    period = slow.steps[1]
    for _, tokens, _, _ in fast.conditions:
        made = tokens[:, 0, 0]
        np.testing.assert_array_equal(made, np.maximum(made[0] - period * np.arange(latents), 0))


def test_how_slow_system2_is_differs_between_episodes() -> None:
    assert len({drive(seed)[0].steps[1] for seed in SEEDS}) > 2


@pytest.mark.parametrize("seed", SEEDS)
def test_latents_of_two_instructions_are_never_mixed(seed: int) -> None:
    _, fast, _ = drive(seed, {25: "follow the blue block"})
    for _, tokens, _, _ in fast.conditions:
        assert len(set(tokens[:, 0, 1])) == 1
    assert fast.conditions[-1][1][0, 0, 1] == len("follow the blue block")


def test_the_two_wrist_images_are_120_ms_apart() -> None:
    _, fast, _ = drive(0)
    for now, _, _, frames in fast.conditions:
        assert frames[:, 0].tolist() == [now, max(now - 3, 0)]


def test_bundles_are_loaded_to_drive(bundles: Bundles) -> None:
    assert isinstance(policy_actor(bundles.system1, bundles.system2, np.random.default_rng(0)), PolicyActor)
