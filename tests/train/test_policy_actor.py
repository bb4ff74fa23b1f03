"""A trained policy at the wheel: late plans, old latents with their true ages, one instruction at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dualsys.slow.backend import System2Output
from dualsys.train.policy_actor import DELAYS, PolicyActor, policy_actor
from dualsys.train.recordings import Bundles
from dualsys_sim import arena
from dualsys_sim.runner import Step
from dualsys_sim.state import Goal

SEEDS = range(24)
HORIZON = 8


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
    action = SimpleNamespace(chunk=SimpleNamespace(shape=(HORIZON, 4)), horizon=HORIZON)
    prefixes: list[np.ndarray] = field(default_factory=list)

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
        assert noise.shape == (HORIZON, 4)
        return np.array([[condition, row, 0.0, 1.0] for row in range(HORIZON)], np.float32)

    def sample_prefix(
        self, noise: np.ndarray, prefix: np.ndarray, given: np.ndarray, condition: int
    ) -> np.ndarray:
        """A chunk, with a mark; keeps the prefix."""
        self.prefixes.append(prefix[given == 1.0])
        return self.sample(noise, condition) + np.array([0.0, 0.0, 1.0, 0.0], np.float32)


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


def delay_of(actions: list[np.ndarray]) -> int:
    """How many steps the plans of an episode took: from what is played at the end."""
    delay = int(actions[-1][1])
    while delay not in DELAYS or any(row < delay for row in (int(action[1]) for action in actions[20:])):
        delay -= 1
    return delay


@pytest.mark.parametrize("seed", SEEDS)
def test_the_arm_waits_for_its_first_plan_and_then_plays_the_newest_that_is_done(seed: int) -> None:
    _, fast, actions = drive(seed)
    delay = delay_of(actions)
    every = max(delay, 1)
    assert [now for now, *_ in fast.conditions] == list(range(0, 60, every))
    for index, action in enumerate(actions):
        if index < delay:
            np.testing.assert_array_equal(action, [0.0, 0.0, 0.0, 1.0])
        else:
            planned = (index - delay) // every * every
            np.testing.assert_array_equal(action[:2], [planned, index - planned])


def test_how_long_plans_take_differs_between_episodes_and_never_longer_than_a_chunk_allows() -> None:
    delays = {delay_of(drive(seed)[2]) for seed in SEEDS}
    assert delays == {delay for delay in DELAYS if 2 * delay <= HORIZON}


@pytest.mark.parametrize("seed", SEEDS)
def test_plans_go_on_from_what_will_have_been_played_in_some_episodes(seed: int) -> None:
    _, fast, actions = drive(seed)
    delay = delay_of(actions)
    for count, prefix in enumerate(fast.prefixes):
        begun = fast.conditions[count + 1][0]
        np.testing.assert_array_equal(
            prefix, np.array(actions[begun : begun + delay], np.float32)[: len(prefix)]
        )
    assert len(fast.prefixes) in (0, len(fast.conditions) - 1)


def test_plans_with_and_without_prefix_are_both_common() -> None:
    with_prefix = [bool(drive(seed)[1].prefixes) for seed in SEEDS]
    assert 0.15 < np.mean(with_prefix) < 0.75


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
