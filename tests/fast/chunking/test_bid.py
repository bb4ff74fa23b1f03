from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dualsys.fast.chunking.bid import BidirectionalDecoding, best_candidate
from dualsys.fast.chunking.requests import Candidates, noises_for
from dualsys.fast.chunking.strategy import Overlap

ACTIONS = np.zeros((8, 4), np.float32)


def test_it_asks_for_as_many_noises_as_it_draws_chunks() -> None:
    for nearest, noises in ((0, 6), (2, 12)):
        request = BidirectionalDecoding(samples=6, nearest=nearest).request(Overlap(ACTIONS, 7, 2))
        assert isinstance(request, Candidates)
        assert noises_for(request) == noises


def test_the_candidate_nearest_to_the_planned_motion_wins_where_it_is_weighted() -> None:
    near = np.zeros((8, 4), np.float32)
    near[6:] = 5.0
    far = np.full((8, 4), 0.5, np.float32)
    weights = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.float32)
    assert best_candidate(np.stack([far, near]), ACTIONS, weights) == 1
    assert best_candidate(np.stack([far, near]), ACTIONS, np.ones(8, np.float32)) == 0


def test_a_weak_policy_drives_the_choice_away_from_what_it_would_do() -> None:
    left, right = np.full((8, 4), -1.0, np.float32), np.full((8, 4), 1.0, np.float32)
    strong = np.stack([left, right])
    nothing = np.zeros(8, np.float32)
    assert best_candidate(strong, ACTIONS, nothing, np.stack([left, left]), 2) == 1
    assert best_candidate(strong, ACTIONS, nothing, np.stack([right, right]), 2) == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5))
def test_the_choice_is_that_of_the_formula_written_out(seed: int, count: int, nearest: int) -> None:
    rng = np.random.default_rng(seed)
    strong, weak = rng.standard_normal((2, count, 8, 4), dtype=np.float32)
    previous, weights = rng.standard_normal((8, 4), dtype=np.float32), rng.uniform(0, 1, 8).astype(np.float32)
    nearest = min(nearest, count)

    def backward(chunk: np.ndarray) -> float:
        return sum(
            float(w) * float(np.linalg.norm(a - y)) for w, a, y in zip(weights, chunk, previous, strict=True)
        )

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        return sum(float(np.linalg.norm(a - b)) for a, b in zip(one, other, strict=True))

    losses = []
    for chunk in strong:
        positive = sum(distance(chunk, other) for other in sorted(strong, key=backward)[:nearest])
        negative = sum(distance(chunk, other) for other in sorted(weak, key=backward)[:nearest])
        losses.append(backward(chunk) + (positive - negative) / count)
    chosen = best_candidate(strong, previous, weights, weak, nearest)
    assert losses[chosen] <= min(losses) + 1e-4
