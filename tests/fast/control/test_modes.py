"""Modes: the table of legal changes, spelled out once more."""

from __future__ import annotations

import pytest

from dualsys.fast.control.modes import LEGAL, Mode, require_legal

from .conftest import JOINT_1, Rig

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


def enter(rig: Rig, mode: Mode) -> None:
    """Bring a waiting rig into a mode."""
    if mode is Mode.STOPPED:
        rig.core.request_stop("operator")
    elif mode is Mode.HOLDING:
        rig.give(rig.plan(duration_ms=80))
        rig.tick(30)
    elif mode is not Mode.WAITING:
        rig.give(rig.plan(rate=0.1 * JOINT_1, latent_age_ms=1200 if mode is Mode.SLOWED else 0))
        rig.tick(2)
    assert rig.core.mode is mode


def resume_after_a_hard_age(rig: Rig) -> None:
    """Let the planner be silent, come back, and an operator resume."""
    rig.tick(130)
    rig.give()
    rig.core.resume(rig.now_ns)


CAUSES = {
    ("WAITING", "RUNNING"): lambda rig: rig.give(),
    ("RUNNING", "WAITING"): lambda rig: rig.core.new_epoch(),
    ("RUNNING", "SLOWED"): lambda rig: rig.tick(101),
    ("RUNNING", "HOLDING"): lambda rig: (rig.give(rig.plan(duration_ms=40)), rig.tick(11)),
    ("SLOWED", "WAITING"): lambda rig: rig.core.new_epoch(),
    ("SLOWED", "RUNNING"): lambda rig: (rig.give(rig.plan(latent_age_ms=0)), rig.tick()),
    ("SLOWED", "HOLDING"): lambda rig: rig.tick(210),
    ("HOLDING", "WAITING"): resume_after_a_hard_age,
    ("HOLDING", "RUNNING"): lambda rig: rig.give(),
    ("STOPPED", "WAITING"): lambda rig: (rig.tick(3), rig.core.resume(rig.now_ns)),
}


@pytest.mark.parametrize(("current", "following"), sorted(EXPECTED))
def test_every_change_of_the_table_has_a_cause(rig: Rig, current: str, following: str) -> None:
    enter(rig, Mode(current))
    cause = CAUSES.get((current, following), lambda rig: rig.core.request_stop("operator"))
    cause(rig)
    assert rig.core.mode == following
