"""The shipped weights, in the twin: they do the task, and they do it because of what System 2 says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dualsys.config import load_config
from dualsys.twin.evaluate import evaluate

if TYPE_CHECKING:
    from dualsys.twin.settings import LatentMode

ROOT = Path(__file__).parents[2]
EPISODES = 8
FIRST_SEED = 500_000

pytestmark = pytest.mark.timeout(300)


def _successes(latent: LatentMode) -> int:
    config = load_config(ROOT / "configs/tabletop.yaml")
    return evaluate(
        config, "pick", episodes=EPISODES, seed=FIRST_SEED, latent=latent, show_progress=False
    ).successes


def test_success_collapses_when_the_latent_is_zeroed_or_of_another_scene() -> None:
    true = _successes("true")
    assert true >= EPISODES * 3 // 4
    assert _successes("zeroed") <= true // 2
    assert _successes("shuffled") <= true // 2


def test_the_latent_of_another_instruction_gets_the_other_block_picked() -> None:
    assert _successes("other") >= EPISODES * 5 // 8
