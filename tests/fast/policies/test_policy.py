"""What is no System 1 is refused by name, not by an AttributeError somewhere in the planner."""

from __future__ import annotations

from typing import Any

import pytest

from dualsys.errors import ConfigError
from dualsys.fast.chunking.strategy import make_strategy
from dualsys.fast.planner.core import PlannerCore
from dualsys.fast.policies.policy import require_policy
from dualsys.robots.kinematics import PANDA

from .double import FieldPolicy

NAMED = (
    "action", "specs", "wrist", "latents", "weights", "capabilities", "steps", "encode_wrist", "condition",
    "sample",
)  # fmt: skip


class Lacking:
    """A policy of which one thing is hidden."""

    def __init__(self, *hidden: str) -> None:
        self._policy, self._hidden = FieldPolicy(), hidden

    def __getattr__(self, name: str) -> Any:
        if name in self._hidden:
            raise AttributeError(name)
        return getattr(self._policy, name)


def test_a_whole_policy_is_accepted() -> None:
    require_policy(FieldPolicy())


@pytest.mark.parametrize("name", NAMED)
def test_a_policy_that_lacks_something_is_refused_with_its_class_and_what_to_add(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PlannerCore(Lacking(name), make_strategy("rtc"), PANDA, 1, 0)
    assert caught.value.source == f"System 1 policy {__name__}.Lacking"
    (fault,) = caught.value.faults
    assert fault.startswith(f"{name}: missing; add it: ")


def test_what_a_weak_policy_takes_is_asked_for_where_the_strategy_draws_from_one() -> None:
    whole = PlannerCore(FieldPolicy(), make_strategy("bid", nearest=2), PANDA, 1, 0)
    assert whole.statistics().jobs == 0
    PlannerCore(Lacking("weak_weights"), make_strategy("bid"), PANDA, 1, 0)
    for name in ("weak_weights", "sample_weak"):
        with pytest.raises(ConfigError, match=f"{name}: missing; add it: "):
            PlannerCore(Lacking(name), make_strategy("bid", nearest=2), PANDA, 1, 0)


def test_what_is_to_be_added_is_told_in_words() -> None:
    with pytest.raises(ConfigError, match="latents: missing; add it: How many of the newest"):
        require_policy(Lacking("latents"))


def test_everything_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        require_policy(object())
    assert [fault.partition(":")[0] for fault in caught.value.faults] == list(NAMED)
