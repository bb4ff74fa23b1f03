"""The recipe: sizes, and what it refuses."""

from __future__ import annotations

import pytest

from dualsys.errors import ConfigError
from dualsys.train.__main__ import SEED_SPACING, SEEDS, Recipe
from dualsys.twin.evaluate import FIRST_SEED


def test_a_scaled_stage_is_never_empty() -> None:
    assert Recipe(scale=0.01).size(8000) == 80
    assert Recipe(scale=0.001).size(160) == 1
    assert Recipe().size(123) == 123


@pytest.mark.parametrize(
    ("recipe", "fault"),
    [
        (Recipe(seed=0), "--seed: got 0, expected 1 to 7"),
        (Recipe(seed=8), "--seed: got 8, expected 1 to 7"),
        (Recipe(scale=0.0), "--scale: got 0, expected more than 0"),
        (Recipe(scale=float("nan")), "--scale: got nan, expected more than 0"),
        (Recipe(workers=0), "--workers: got 0, expected 1 or more"),
    ],
)
def test_a_recipe_that_would_spoil_data_or_evaluation_is_refused(recipe: Recipe, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        recipe.check()


def test_no_recipe_learns_from_episodes_of_evaluation() -> None:
    for seed in SEEDS:
        Recipe(seed=seed).check()
    assert SEEDS[0] * SEED_SPACING >= 1_000_000
    assert (SEEDS[-1] + 3) * SEED_SPACING <= FIRST_SEED
