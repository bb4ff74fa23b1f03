"""What all strategies do that continue the planned motion."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.fast.chunking.requests import Candidates, Guidance, Plain, Prefix, Ramp, Replacement
from dualsys.fast.chunking.strategy import Overlap, make_strategy

NAMES = ("rtc", "hard_mask", "replacement", "rtc_prefix", "bid", "groot_ramp")
ACTIONS = np.arange(64, dtype=np.float32).reshape(16, 4)


@pytest.mark.parametrize("name", NAMES)
def test_without_planned_motion_the_chunk_is_sampled_plainly(name: str) -> None:
    strategy = make_strategy(name)
    assert strategy.request(Overlap(ACTIONS, 0, 2)) == Plain()
    assert strategy.statistics()["infeasible_requests"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_delay_beyond_the_planned_motion_is_sampled_plainly_and_counted(name: str) -> None:
    strategy = make_strategy(name, execution_horizon=4)
    assert strategy.request(Overlap(ACTIONS, 16, 12)) != Plain()
    assert strategy.request(Overlap(ACTIONS, 16, 13)) == Plain()
    assert strategy.request(Overlap(ACTIONS, 3, 4)) == Plain()
    assert strategy.statistics()["infeasible_requests"] == 2


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_planned_is_never_filled_with_zeros_but_with_the_last_real_action(name: str) -> None:
    request = make_strategy(name).request(Overlap(ACTIONS, 5, 2))
    assert isinstance(request, Guidance | Replacement | Prefix | Ramp | Candidates)
    np.testing.assert_array_equal(request.previous[:5], ACTIONS[:5])
    np.testing.assert_array_equal(request.previous[5:], np.tile(ACTIONS[4], (11, 1)))


@pytest.mark.parametrize("name", ["rtc", "hard_mask", "bid"])
def test_nothing_beyond_the_planned_motion_has_weight(name: str) -> None:
    request = make_strategy(name).request(Overlap(ACTIONS, 5, 2))
    assert isinstance(request, Guidance | Candidates)
    assert (request.weights[:2] == 1.0).all()
    assert (request.weights[5:] == 0.0).all()


def test_replacement_replaces_the_frozen_actions_only() -> None:
    request = make_strategy("replacement").request(Overlap(ACTIONS, 9, 3))
    assert isinstance(request, Replacement)
    assert request.count == 3


def test_a_prefix_is_the_frozen_actions_and_nothing_soft() -> None:
    request = make_strategy("rtc_prefix").request(Overlap(ACTIONS, 9, 3))
    assert isinstance(request, Prefix)
    assert request.given.dtype == np.float32
    np.testing.assert_array_equal(request.given, [1, 1, 1] + [0] * 13)


def test_a_prefix_longer_than_any_in_training_is_shortened_and_counted() -> None:
    strategy = make_strategy("rtc_prefix", max_prefix=2)
    request = strategy.request(Overlap(ACTIONS, 9, 3))
    assert isinstance(request, Prefix)
    np.testing.assert_array_equal(request.given, [1, 1] + [0] * 14)
    strategy.request(Overlap(ACTIONS, 9, 2))
    assert strategy.statistics() == {"infeasible_requests": 0, "shortened_prefixes": 1}
