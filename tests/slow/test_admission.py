"""Who may share a System 2, by the numbers."""

from __future__ import annotations

import re

import pytest

from dualsys.clock import NS_PER_MS
from dualsys.errors import AdmissionError, MessageError
from dualsys.slow.admission import Capacity, PassTimes, RobotNeeds

MS = NS_PER_MS
TOLD = {"observation_rate_hz": "10", "latent_soft_ms": "1000"}


def capacity(robots: int = 99, largest: int = 4, period_ms: int = 0, delay_ms: int = 0) -> Capacity:
    return Capacity(robots, tuple(range(1, largest + 1)), 10 * MS, period_ms * MS, delay_ms * MS)


def needs(count: int, age_ms: int = 1000) -> dict[str, RobotNeeds]:
    return {f"arm{number}": RobotNeeds(100 * MS, age_ms * MS) for number in range(1, count + 1)}


def test_an_age_is_made_of_observing_waiting_for_others_and_passes() -> None:
    # 100 between observations, 10 for others, the pass that runs, and two of four robots each.
    assert capacity().worst_age_ns(100 * MS, 8, 50 * MS) == (100 + 10 + 3 * 50) * MS
    assert capacity(period_ms=200).worst_age_ns(100 * MS, 8, 50 * MS) == (100 + 10 + 3 * 200) * MS
    assert capacity(delay_ms=200).worst_age_ns(100 * MS, 8, 50 * MS) == (100 + 200) * MS


def test_robots_are_admitted_as_long_as_no_latent_becomes_too_old() -> None:
    # Four to a pass of 200 ms: 100 + 10 + 200 + 200 * ceil(robots / 4) <= 1000 up to twelve robots.
    for count in range(1, 13):
        capacity().admit("arm1", needs(count), 200 * MS)
    with pytest.raises(AdmissionError) as refused:
        capacity().admit("arm13", needs(13), 200 * MS)
    assert str(refused.value) == (
        "robot 'arm13' would be number 13, and its latents up to 1110 ms old before they leave (100 ms "
        "between observations, 10 ms for others to join, 5 passes of 200 ms), where "
        "control.ages.latent_soft_ms allows 1000 ms: connect to another System 2, or raise that age"
    )


def test_a_robot_that_would_ruin_the_age_of_another_is_told_whose() -> None:
    asked = {**needs(4), "hasty": RobotNeeds(20 * MS, 400 * MS)}
    with pytest.raises(
        AdmissionError, match=r"'arm5' would be number 6.* the latents of robot 'hasty' up to"
    ):
        capacity().admit("arm5", {**asked, "arm5": RobotNeeds(100 * MS, 1000 * MS)}, 150 * MS)


def test_there_are_no_more_robots_than_are_allowed() -> None:
    capacity(robots=2).admit("arm2", needs(2), 0)
    with pytest.raises(AdmissionError, match=r"'arm3' would be number 3, and fleet\.robots is 2"):
        capacity(robots=2).admit("arm3", needs(3), 0)


def test_what_a_robot_needs_is_read_from_its_handshake() -> None:
    assert RobotNeeds.of(TOLD) == RobotNeeds(100 * MS, 1000 * MS)


@pytest.mark.parametrize("name", list(TOLD))
@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1e7", "1e-7", "5e-324", "ten", None])
def test_a_need_that_is_no_number_is_refused(name: str, text: str | None) -> None:
    told = {key: value for key, value in TOLD.items() if key != name}
    if text is not None:
        told[name] = text
    with pytest.raises(
        MessageError, match=rf"details\.{name}: expected a number .* got {re.escape(repr(text or ''))}"
    ):
        RobotNeeds.of(told)


def test_the_time_of_a_pass_is_that_of_the_slowest_size_without_rare_hiccups() -> None:
    times = PassTimes()
    assert (times.longest_ns(), times.of_size_ns(1)) == (0, None)
    for number in range(64):
        times.add(1, 5 * MS)
        times.add(8, 900 * MS if number == 3 else (20 + number % 2) * MS)
    assert times.of_size_ns(1) == 5 * MS
    assert times.longest_ns() == times.of_size_ns(8) == 21 * MS
    for _ in range(64):
        times.add(8, 40 * MS)
    assert times.longest_ns() == 40 * MS
