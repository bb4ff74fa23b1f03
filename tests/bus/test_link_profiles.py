"""The lines that have a name."""

from __future__ import annotations

import random
from itertools import pairwise
from statistics import median
from typing import get_args

import pytest

from dualsys.bus.link_model import Line
from dualsys.bus.link_profiles import PROFILES, ProfileName
from dualsys.clock import NS_PER_MS, NS_PER_S

NAMES = get_args(ProfileName)


def trips_ms(name: ProfileName, count: int = 4000) -> list[float]:
    """How long small messages take one way, 50 ms apart, so that they seldom wait for each other."""
    line = Line(PROFILES[name].schedule, random.Random(7))
    sent = [number * 50 * NS_PER_MS for number in range(count)]
    return [(line.arrival_ns(t, 200) - t) / NS_PER_MS for t in sent]


def test_every_profile_has_a_name_that_can_be_typed_and_sources() -> None:
    assert set(PROFILES) == set(NAMES)
    for profile in PROFILES.values():
        assert profile.sources
        assert all(len(source) > 40 for source in profile.sources)


@pytest.mark.parametrize(
    ("name", "round_trip_ms", "tolerance_ms"),
    [("4g", 53.1, 2), ("5g", 25, 2), ("transatlantic", 90, 2), ("geo-satellite", 664.9, 2)],
)
def test_a_round_trip_is_as_long_as_published(
    name: ProfileName, round_trip_ms: float, tolerance_ms: float
) -> None:
    # The median: those who measured left out what was lost, which here comes late.
    assert 2 * median(trips_ms(name)) == pytest.approx(round_trip_ms, abs=tolerance_ms)


def test_the_wireless_network_has_the_published_median_and_tail() -> None:
    trips = sorted(trips_ms("wifi-roam"))
    assert 2 * median(trips) == pytest.approx(3, abs=1.5)
    # Two of 100 sit behind a handoff, which takes 400 ms of each 20 s.
    assert 200 < 2 * trips[len(trips) * 97 // 100] < 900


@pytest.mark.parametrize(("name", "gap_ms"), [("4g", 50), ("wifi-roam", 400)])
def test_a_robot_that_goes_about_is_cut_off_for_as_long_as_published(
    name: ProfileName, gap_ms: float
) -> None:
    schedule = PROFILES[name].schedule
    cuts = [schedule.at(t).blackhole for t in range(0, 60 * NS_PER_S, 10 * NS_PER_MS)]
    assert sum(now and not before for before, now in pairwise(cuts)) == 3
    assert sum(cuts) * 10 == pytest.approx(3 * gap_ms, abs=10)
