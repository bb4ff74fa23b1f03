"""Whether the latent bears the load: what becomes of success when System 1 is given something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from dualsys.errors import InstructionError
from dualsys.messages import LatentPacket, Observation, Tensor
from dualsys.slow.core import SlowCore

if TYPE_CHECKING:
    from dualsys_sim.episode import Episode
    from dualsys_sim.state import Goal

DONOR_SEED_OFFSET = 500_000_003
"""Between the seed of an episode and that of the one whose latent it is given when latents are shuffled."""


Think = Callable[[SlowCore, Observation], LatentPacket]
"""From System 2 and an observation to the latent that the planner is given."""


def true_latent(slow: SlowCore, observation: Observation) -> LatentPacket:
    """What System 2 makes of the observation."""
    return slow.process(observation, 0)


def zeroed_latent(slow: SlowCore, observation: Observation) -> LatentPacket:
    """The same with every tensor full of zeros."""
    packet = slow.process(observation, 0)
    tensors = {name: Tensor.of(np.zeros_like(tensor.array())) for name, tensor in packet.tensors.items()}
    return msgspec.structs.replace(packet, tensors=tensors)


def donated_latent(donor: LatentPacket) -> Think:
    """The tensors of another packet, whatever is observed."""

    def think(slow: SlowCore, observation: Observation) -> LatentPacket:
        return msgspec.structs.replace(slow.process(observation, 0), tensors=donor.tensors)

    return think


def latent_for(words: str) -> Think:
    """What System 2 makes of the same images under other words; the planner is not told."""

    def think(slow: SlowCore, observation: Observation) -> LatentPacket:
        packet = slow.process(msgspec.structs.replace(observation, instruction=words), 0)
        return msgspec.structs.replace(packet, instruction=observation.instruction)

    return think


def other_words(episode: Episode, phrasing: str) -> tuple[str, Goal]:
    """Words of the same task for another object of the scene, and their meaning.

    Raises:
        InstructionError: The scene has no other object for this task.
    """
    from dualsys_sim.episode import instructions_for_table

    rng = np.random.default_rng([episode.seed, DONOR_SEED_OFFSET])
    pairs = instructions_for_table(
        episode.table(),
        rng,
        phrasing,  # type: ignore[arg-type]
        per_goal=1,
        moving=episode.moving_index,
        belt=episode.belt is not None,
    )
    others = [
        (words, goal)
        for words, goal in pairs
        if goal.task == episode.task and goal.target_index not in (-1, episode.goal.target_index)
    ]
    if not others:
        raise InstructionError(
            f"latent 'other': the scene of task {episode.task!r}, seed {episode.seed}, has one target only"
        )
    return others[int(rng.integers(len(others)))]


def retold(episode: Episode, words: str, goal: Goal) -> Episode:
    """The same episode, judged by other words from the start on."""
    return replace(episode, instruction=words, goal=goal, change=None)
