"""What a robot tells about itself over the robot link."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import VirtualClock
from dualsys.errors import DualsysError, MismatchError, RobotError
from dualsys.fast.control.limits import Limits
from dualsys.robots.contract import RobotSpec
from dualsys.robots.link import LinkRobot, spec_details, spec_from
from dualsys.robots.profiles import PROFILES
from dualsys.robots.registry import RobotSettings
from dualsys.robots.simulated import SIMULATED_PANDA

DETAILS = spec_details(SIMULATED_PANDA)
NOWHERE = RobotSettings("ipc:///a", "ipc:///b", "ipc:///c", 0.1, VirtualClock())

positive = st.floats(1e-9, 1e9)


@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6), positive, positive, positive, positive), min_size=1, max_size=64
    ),
    positive,
    positive,
)
def test_a_specification_arrives_to_the_last_bit(
    rows: list[tuple[float, ...]], rate_hz: float, rest_s: float
) -> None:
    lower, span, velocity, acceleration, jerk = np.array(rows).T
    limits = Limits(lower, lower + np.maximum(span, 1e-3), velocity, acceleration, len(rows) // 2, jerk)
    spec = RobotSpec("arm", tuple(f"axis{number}" for number in range(len(rows))), limits, rate_hz, rest_s)
    told = spec_from(spec_details(spec))
    assert (told.name, told.axes, told.rate_hz, told.rest_s) == (spec.name, spec.axes, rate_hz, rest_s)
    assert told.limits.joints == limits.joints
    for name in ("lower", "upper", "velocity", "acceleration", "jerk"):
        np.testing.assert_array_equal(getattr(told.limits, name), getattr(limits, name))


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_known_arm_fits_into_a_welcome(profile: RobotSpec) -> None:
    spec = RobotSpec(profile.name, profile.axes, profile.limits, profile.rate_hz)
    assert spec_from(spec_details(spec)).axes == profile.axes


def test_jerk_and_the_time_to_rest_may_be_left_out() -> None:
    told = spec_from({name: text for name, text in DETAILS.items() if name not in ("jerk", "rest_s")})
    assert np.isinf(told.limits.jerk).all()
    assert told.rest_s == 0.5


@pytest.mark.parametrize("name", sorted(DETAILS.keys() - {"jerk", "rest_s"}))
def test_what_a_robot_must_tell_is_asked_for_by_name(name: str) -> None:
    with pytest.raises(RobotError, match=f"does not tell its {name}"):
        spec_from({key: text for key, text in DETAILS.items() if key != name})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lower", "a b c", "lower: expected numbers"),
        ("velocity", "", "velocity: expected numbers, got none"),
        ("joints", "-1", "joints: expected a whole number"),
        ("joints", "seven", "joints: expected a whole number"),
        ("joints", "9", "limits.joints"),
        ("upper", "nan " * 8, "limits.upper"),
        ("upper", "1 2 3", "limits.upper"),
        ("acceleration", "0 " * 8, "limits.acceleration"),
        ("rate_hz", "inf", "rate_hz"),
        ("rest_s", "-1", "rest_s"),
        ("robot", "", "expected a name"),
        ("axes", "one two", "axis names"),
    ],
)
def test_nonsense_is_refused_and_named(name: str, text: str, said: str) -> None:
    with pytest.raises(RobotError, match=said):
        spec_from(DETAILS | {name: text})


def test_another_version_of_the_link_is_refused() -> None:
    with pytest.raises(MismatchError, match="link differs: ours '1', theirs '2'"):
        spec_from(DETAILS | {"link": "2"})


def test_what_only_the_robot_can_tell_is_not_known_before_the_connection() -> None:
    with pytest.raises(RobotError, match="not connected yet"):
        _ = LinkRobot(NOWHERE).spec
    assert LinkRobot(NOWHERE, SIMULATED_PANDA).spec is SIMULATED_PANDA


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(RobotError, match=r"robot\.options: unknown port; there are robot"):
        LinkRobot(replace(NOWHERE, options={"port": "/dev/ttyACM0"}))


def test_after_a_failed_connection_nothing_is_held() -> None:
    robot = LinkRobot(NOWHERE)
    for _ in range(2):
        with pytest.raises(DualsysError):
            robot.connect()
    robot.close()
