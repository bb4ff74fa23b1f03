from __future__ import annotations

import pytest

from dualsys.errors import ConfigError
from dualsys.fast.chunking.strategy import STRATEGIES, make_strategy
from dualsys.specs import ActionSpec

ACTION = ActionSpec("tool_velocity", ("x", "y", "z", "gripper"), 16, 40_000_000, (0.012, 0.012, 0.012, 1.0))


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_listed_strategy_is_built_by_its_name(name: str) -> None:
    strategy = make_strategy(name)
    assert strategy.name == name
    strategy.check(ACTION)
    strategy.reset()
    assert all(count == 0 for count in strategy.statistics().values())


def test_options_reach_the_strategy() -> None:
    make_strategy("rtc", beta=2.0, mask="linear", execution_horizon=4)
    make_strategy("temporal_ensemble", decay=0.1, newest_first=True)


def test_an_unknown_name_lists_the_known_ones() -> None:
    expected = "name: 'magic' is not one of synchronous, naive_async, temporal_ensemble, rtc"
    with pytest.raises(ConfigError, match=expected):
        make_strategy("magic")


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="beta: temporal_ensemble has no such option, it has decay, newest"):
        make_strategy("temporal_ensemble", beta=5.0)
    with pytest.raises(ConfigError, match="beta: naive_async has no such option, it has none"):
        make_strategy("naive_async", beta=5.0)


@pytest.mark.parametrize(
    ("name", "options", "fault"),
    [
        ("rtc", {"beta": -1.0}, "beta: expected a finite number >= 0, got -1.0"),
        ("rtc", {"beta": float("nan")}, "beta"),
        ("rtc", {"mask": "cosine"}, "mask: expected one of exp, linear, ones, zeros, got 'cosine'"),
        ("rtc", {"execution_horizon": -5}, "execution_horizon: expected at least 1, got -5"),
        ("temporal_ensemble", {"decay": float("inf")}, "decay: expected a finite number >= 0"),
        ("synchronous", {"execution_horizon": 0}, "execution_horizon: expected at least 1, got 0"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(name: str, options: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        make_strategy(name, **options)


def test_all_faults_of_a_strategy_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        make_strategy("rtc", beta=-1.0, mask="cosine", execution_horizon=0)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(("name", "steps"), [("rtc", 16), ("synchronous", 17)])
def test_an_execution_horizon_that_the_chunk_cannot_fill_is_refused(name: str, steps: int) -> None:
    with pytest.raises(ConfigError, match=f"got {steps}"):
        make_strategy(name, execution_horizon=steps).check(ACTION)
