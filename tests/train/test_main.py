"""The recipe: sizes."""

from __future__ import annotations

from dualsys.train.__main__ import Recipe


def test_a_scaled_stage_is_never_empty() -> None:
    assert Recipe(scale=0.01).size(8000) == 80
    assert Recipe(scale=0.001).size(160) == 1
    assert Recipe().size(123) == 123
