from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest

from dualsys.errors import ConfigError
from dualsys.fast.chunking.masks import soft_mask
from dualsys.fast.chunking.requests import Guidance
from dualsys.fast.chunking.strategy import (
    STRATEGIES,
    Overlap,
    default_options,
    make_strategy,
    require_suitable,
    strategy_class,
)
from dualsys.fast.chunking.temporal_ensemble import TemporalEnsemble
from dualsys.fast.policies.policy import Capability, System1
from dualsys.specs import ActionSpec

ACTION = ActionSpec("tool_velocity", ("x", "y", "z", "gripper"), 16, 40_000_000, (0.012, 0.012, 0.012, 1.0))


@dataclass
class Offer:
    """As much of a System 1 as is asked before it is used."""

    capabilities: frozenset[Capability]
    action: ActionSpec = ACTION
    weights: str = "abc"


def offering(*capabilities: Capability) -> System1:
    return cast(System1, Offer(frozenset({"sampler", *capabilities})))


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_listed_strategy_is_built_by_its_name_and_says_what_it_is(name: str) -> None:
    strategy = make_strategy(name)
    assert strategy.name == name
    strategy.check(ACTION, 2)
    strategy.reset()
    assert all(count == 0 for count in strategy.statistics().values())
    about = strategy_class(name).about
    assert all((about.summary, about.paper, about.cost))
    for capability in strategy.needs - {"sampler"}:
        assert capability in about.needs


def test_the_option_names_and_defaults_are_those_of_the_class() -> None:
    expected = {
        "beta": 5.0,
        "mask": "exp",
        "execution_horizon": 1,
        "jacobian": "exact",
        "sigma_d": 1.0,
        "pull": "actions",
    }
    assert default_options("rtc") == expected
    assert default_options("latest_overwrite") == {}


def test_options_reach_the_strategy() -> None:
    planned = Overlap(np.zeros((16, 4), np.float32), 16, 2)
    options = {"beta": 2, "mask": "linear", "execution_horizon": 4, "sigma_d": 0.5}
    guidance = make_strategy("rtc", **options).request(planned)
    assert isinstance(guidance, Guidance)
    assert (guidance.beta, guidance.sigma_d) == (2.0, 0.5)
    np.testing.assert_array_equal(guidance.weights, soft_mask(2, 12, 16, "linear"))
    ensemble = make_strategy("temporal_ensemble", decay=0.1, newest_first=True)
    assert isinstance(ensemble, TemporalEnsemble)
    assert (ensemble._decay, ensemble._newest_first) == (0.1, True)


def test_null_is_a_value_of_an_option_that_may_be_null() -> None:
    playing_all = make_strategy("synchronous", execution_horizon=None)
    playing_all.check(ACTION, 0)
    assert default_options("synchronous") == {"execution_horizon": None}


def test_an_unknown_name_lists_the_known_ones() -> None:
    expected = "name: 'magic' is not one of synchronous, naive_async, temporal_ensemble, vote, rtc"
    with pytest.raises(ConfigError, match=expected):
        make_strategy("magic")


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="beta: temporal_ensemble has no such option, it has decay, newest"):
        make_strategy("temporal_ensemble", beta=5.0)
    with pytest.raises(ConfigError, match="beta: latest_overwrite has no such option, it has none"):
        make_strategy("latest_overwrite", beta=5.0)
    with pytest.raises(ConfigError, match="name: rtc has no such option"):
        make_strategy("rtc", **{"name": "rtc"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "fault"),
    [
        ("rtc", {"beta": -1.0}, "beta: expected a number from 0 to 1000, got -1.0"),
        ("rtc", {"beta": 1e39}, "beta: expected a number from 0 to 1000, got 1e\\+39"),
        ("hard_mask", {"sigma_d": 1e200}, "sigma_d: expected a number above 0, up to 1000, got 1e\\+200"),
        ("rtc", {"beta": float("nan")}, "beta"),
        ("rtc", {"beta": True}, "beta: expected a number, got True"),
        ("rtc", {"beta": "high"}, "beta: expected a number, got 'high'"),
        ("rtc", {"beta": 10**400}, "beta: expected a number, got 1000"),
        ("rtc", {"mask": "cosine"}, "mask: expected one of exp, linear, ones, zeros, got 'cosine'"),
        ("rtc", {"jacobian": None}, "jacobian: expected one of exact, constant_velocity, got None"),
        ("rtc", {"sigma_d": 0}, "sigma_d: expected a number above 0, up to 1000, got 0"),
        ("rtc", {"execution_horizon": -5}, "execution_horizon: expected at least 1, got -5"),
        ("rtc", {"execution_horizon": 1.5}, "execution_horizon: expected a whole number, got 1.5"),
        ("hard_mask", {"mask": "exp"}, "mask: hard_mask has no such option"),
        ("temporal_ensemble", {"decay": float("inf")}, "decay: expected a finite number >= 0"),
        ("temporal_ensemble", {"newest_first": 1}, "newest_first: expected true or false, got 1"),
        ("synchronous", {"execution_horizon": 0}, "execution_horizon: expected at least 1, got 0"),
        ("synchronous", {"execution_horizon": "all"}, "expected a whole number or null, got 'all'"),
        ("vote", {"committee": 0}, "committee: expected at least 1, got 0"),
        ("vote", {"threshold": 1.0}, "threshold: expected a cosine from -1 to below 1, got 1.0"),
        ("rtc_prefix", {"max_prefix": 0}, "max_prefix: expected at least 1, got 0"),
        ("bid", {"samples": 0}, "samples: expected at least 1, got 0"),
        ("bid", {"samples": 4, "nearest": 5}, "nearest: expected 0 to samples 4, got 5"),
        ("queue_aggregate", {"aggregate": "median"}, "aggregate: expected one of weighted_average, latest"),
        ("queue_aggregate", {"threshold": 1.1}, "threshold: expected 0 to 1, got 1.1"),
        ("groot_ramp", {"rate": 0.0}, "rate: expected a finite number > 0, got 0.0"),
        ("groot_ramp", {"overlap_steps": 0}, "overlap_steps: expected at least 1, got 0"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(name: str, options: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        make_strategy(name, **options)


def test_all_faults_of_a_strategy_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        make_strategy("rtc", beta=-1.0, mask="cosine", execution_horizon=0, magic=1)
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize(("name", "steps"), [("rtc", 16), ("naive_async", 16), ("synchronous", 17)])
def test_an_execution_horizon_that_the_chunk_cannot_fill_is_refused(name: str, steps: int) -> None:
    with pytest.raises(ConfigError, match=f"got {steps}"):
        make_strategy(name, execution_horizon=steps).check(ACTION, 0)


CONTINUING = ("rtc", "hard_mask", "replacement", "rtc_prefix", "bid", "groot_ramp")


@pytest.mark.parametrize("name", CONTINUING)
def test_a_delay_beyond_the_horizon_less_what_is_executed_is_refused_with_the_numbers(name: str) -> None:
    strategy = make_strategy(name, execution_horizon=10)
    strategy.check(ACTION, 6)
    with pytest.raises(ConfigError, match="horizon 16, execution_horizon 10 and an expected delay of 7 act"):
        strategy.check(ACTION, 7)
    # One job runs at a time, so no fewer actions are executed than the delay is long.
    make_strategy(name).check(ACTION, 8)
    with pytest.raises(ConfigError, match="horizon 16, execution_horizon 1 and an expected delay of 9 act"):
        make_strategy(name).check(ACTION, 9)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in (*CONTINUING, "synchronous")])
def test_a_delay_after_which_nothing_of_a_chunk_is_left_is_refused_with_the_numbers(name: str) -> None:
    make_strategy(name).check(ACTION, 15)
    with pytest.raises(ConfigError, match="horizon of 16 actions and is expected after 16"):
        make_strategy(name).check(ACTION, 16)


def test_synchronous_execution_waits_for_any_delay() -> None:
    make_strategy("synchronous").check(ACTION, 1000)


def test_a_policy_that_lacks_what_a_strategy_needs_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError) as caught:
        require_suitable(make_strategy("rtc_prefix"), offering("guided"), 1)
    text = str(caught.value)
    assert "chunk strategy rtc_prefix: 1 fault" in text
    assert "needs prefix of System 1; System 1 with weights abc offers sampler, guided" in text
    assert "export a bundle that has it, or choose one of synchronous, naive_async" in text
    assert "hard_mask" in text
    assert "replacement" not in text


@pytest.mark.parametrize(
    ("name", "options", "capabilities"),
    [
        ("rtc", {}, ("guided",)),
        ("rtc", {"sigma_d": 0.2}, ("guided", "guidance_schedule")),
        ("rtc", {"jacobian": "constant_velocity", "sigma_d": 0.2}, ("velocity",)),
        ("hard_mask", {}, ("guided",)),
        ("replacement", {}, ("velocity",)),
        ("rtc_prefix", {}, ("prefix",)),
        ("bid", {}, ()),
        ("bid", {"nearest": 3}, ("weak",)),
        ("groot_ramp", {}, ("velocity",)),
        ("vlash", {}, ()),
    ],
)
def test_each_strategy_asks_for_just_what_it_uses(
    name: str, options: dict[str, object], capabilities: tuple[Capability, ...]
) -> None:
    strategy = make_strategy(name, **options)
    require_suitable(strategy, offering(*capabilities), 1)
    for missing in capabilities:
        rest = [one for one in capabilities if one != missing]
        with pytest.raises(ConfigError, match=f"needs {missing} of System 1"):
            require_suitable(strategy, offering(*rest), 1)
