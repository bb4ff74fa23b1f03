"""Modes: the table of legal changes, spelled out once more."""

from __future__ import annotations

import pytest

from dualsys.fast.control.modes import LEGAL, Mode, require_legal

EXPECTED = {
    ("WAITING", "RUNNING"), ("WAITING", "STOPPED"),
    ("RUNNING", "WAITING"), ("RUNNING", "SLOWED"), ("RUNNING", "HOLDING"), ("RUNNING", "STOPPED"),
    ("SLOWED", "WAITING"), ("SLOWED", "RUNNING"), ("SLOWED", "HOLDING"), ("SLOWED", "STOPPED"),
    ("HOLDING", "WAITING"), ("HOLDING", "RUNNING"), ("HOLDING", "STOPPED"),
    ("STOPPED", "WAITING"),
}  # fmt: skip


@pytest.mark.parametrize("current", list(Mode))
@pytest.mark.parametrize("following", list(Mode))
def test_a_change_of_mode_is_legal_exactly_if_the_table_has_it(current: Mode, following: Mode) -> None:
    if (current, following) in EXPECTED:
        assert require_legal(current, following) is following
    else:
        with pytest.raises(ValueError, match=f"not {following}"):
            require_legal(current, following)


@pytest.mark.fault_row(3, 49)
def test_every_mode_can_be_stopped_and_a_stop_leads_only_to_waiting() -> None:
    assert all(Mode.STOPPED in LEGAL[mode] for mode in Mode if mode is not Mode.STOPPED)
    assert LEGAL[Mode.STOPPED] == {Mode.WAITING}
