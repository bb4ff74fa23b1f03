"""Ages: what is too old, and which of several old things is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import NS_PER_MS
from dualsys.errors import SpecError
from dualsys.fast.control.ages import FRESH, Ages, Stamps, fresh_until_ns, judge

NOW_NS = 10**12
AGES = Ages()
FIELDS = ("latent", "observation", "plan", "reading")


def stamps(**ages_ms: float) -> Stamps:
    """Stamps of things of some age; the others are as fresh as can be."""
    return Stamps(*(NOW_NS - round(ages_ms.get(name, 0) * NS_PER_MS) for name in FIELDS))


def limit_ms(name: str, kind: str) -> float:
    limit_ns: int = getattr(AGES, f"{name}_{kind}_ns")
    return limit_ns / NS_PER_MS


@pytest.mark.fault_row(1, 2, 3)
@pytest.mark.parametrize("name", FIELDS)
def test_a_soft_age_slows_just_past_it_and_a_hard_age_holds_just_past_it(name: str) -> None:
    soft, hard = limit_ms(name, "soft"), limit_ms(name, "hard")
    assert judge(AGES, stamps(**{name: soft}), NOW_NS) == FRESH
    assert judge(AGES, stamps(**{name: soft + 1}), NOW_NS).slow
    assert not judge(AGES, stamps(**{name: hard}), NOW_NS).hold
    assert bool(judge(AGES, stamps(**{name: hard + 1}), NOW_NS).hold) is (name != "reading")


def test_the_age_is_told_with_what_is_allowed() -> None:
    assert judge(AGES, stamps(latent=2500), NOW_NS).hold == "latent is 2500 ms old, at most 2000 ms"
    assert judge(AGES, stamps(plan=501), NOW_NS).hold == "no plan for 501 ms, at most 500 ms"


@pytest.mark.fault_row(4)
def test_what_has_never_come_has_no_age() -> None:
    assert judge(AGES, Stamps(-1, -1, -1, -1), NOW_NS) == FRESH


@pytest.mark.fault_row(46)
@pytest.mark.parametrize("name", FIELDS)
def test_ages_that_make_no_sense_are_refused_by_name(name: str) -> None:
    with pytest.raises(SpecError, match=f"{name}_soft_ns"):
        Ages(**{f"{name}_soft_ns": 0})
    with pytest.raises(SpecError, match=f"{name}_hard_ns"):
        Ages(**{f"{name}_hard_ns": -1})


def test_ages_are_read_from_settings_in_ms() -> None:
    given = {f"{name}_{kind}_ms": limit_ms(name, kind) for name in FIELDS for kind in ("soft", "hard")}
    assert Ages.from_ms(given | {"gap_hard_ms": 200.0}) == AGES


@given(
    st.lists(st.integers(1, 40), min_size=9, max_size=9),
    st.lists(st.integers(-1, 60), min_size=3, max_size=3),
    st.integers(0, 120),
)
def test_up_to_when_nothing_is_too_old_is_exactly_what_the_judgement_says(
    ages: list[int], made: list[int], now_ns: int
) -> None:
    limits = Ages(*ages)
    latent_ns, observation_ns, plan_ns = made
    # The reading is as fresh as can be: it is judged at every tick.
    found = judge(limits, Stamps(latent_ns, observation_ns, plan_ns, now_ns), now_ns)
    assert (now_ns <= fresh_until_ns(limits, *made)) == (found == FRESH)
