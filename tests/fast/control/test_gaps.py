from __future__ import annotations

import pytest

from dualsys.clock import NS_PER_MS
from dualsys.fast.control.gaps import GapWatch

HARD_NS = 200 * NS_PER_MS


def test_a_pause_is_told_just_past_the_hard_age() -> None:
    watch = GapWatch(HARD_NS)
    assert watch.suspended(HARD_NS) == ""
    assert watch.suspended(HARD_NS + NS_PER_MS) == "control was suspended for 201 ms"


@pytest.mark.fault_row(11)
def test_a_robot_without_commands_is_told_from_the_first_sign_of_its_watchdog_on() -> None:
    watch = GapWatch(HARD_NS)
    assert watch.cut_off(7, "watchdog") == ""
    assert watch.cut_off(7 + HARD_NS, "watchdog") == ""
    assert watch.cut_off(8 + HARD_NS, "watchdog") == "the robot has received no command for 200 ms"


def test_a_command_in_between_begins_the_pause_anew() -> None:
    watch = GapWatch(HARD_NS)
    watch.cut_off(0, "watchdog")
    assert watch.cut_off(HARD_NS, "ok") == ""
    assert watch.cut_off(HARD_NS + 1, "watchdog") == ""
    assert watch.cut_off(2 * HARD_NS, "watchdog") == ""
