"""A status is names and texts, however deep the records are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dualsys.bus.status import flat
from dualsys.messages import MAX_TEXT


@dataclass(frozen=True)
class Totals:
    made: int = 2
    refused: Mapping[str, int] = field(default_factory=lambda: {"late": 1})
    fault: str = ""


def test_every_leaf_is_told_under_the_names_that_lead_to_it() -> None:
    told = flat({"core": Totals(), "robots": {"left": Totals(made=3)}, "rate": 2.5})
    assert told["core.made"] == "2"
    assert told["core.refused.late"] == "1"
    assert told["core.fault"] == ""
    assert told["robots.left.made"] == "3"
    assert told["rate"] == "2.5"


def test_a_record_can_have_a_name_of_its_own() -> None:
    assert flat(Totals(refused={}), "gate") == {"gate.made": "2", "gate.fault": ""}


def test_what_is_too_long_for_a_reply_is_cut() -> None:
    assert len(flat({"fault": "x" * (2 * MAX_TEXT)})["fault"]) == MAX_TEXT
