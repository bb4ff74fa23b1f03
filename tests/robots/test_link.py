"""What a robot tells about itself over the robot link, and how its words about a stop reach control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bus.handshake import answer_hello
from dualsys.bus.order import header
from dualsys.bus.service import ServiceServer
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, VirtualClock, WallClock
from dualsys.errors import DualsysError, MismatchError, RobotError
from dualsys.fast.control.core import Ages, ControlCore, ControlOutput
from dualsys.fast.control.limits import Limits
from dualsys.fast.control.modes import Mode
from dualsys.messages import MAX_DETAIL, Reply
from dualsys.robots.contract import RobotSpec
from dualsys.robots.link import LinkRobot, spec_details, spec_from
from dualsys.robots.profiles import PROFILES
from dualsys.robots.registry import RobotSettings
from dualsys.robots.simulated import SIMULATED_PANDA

DETAILS = spec_details(SIMULATED_PANDA)
CLOCK = WallClock()
OLDEST_NS = 20 * NS_PER_S
HOME = np.array([0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08])
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


class Foreign:
    """A robot of another make: readings in bytes of its own, sent over and over from a thread."""

    def __init__(self, folder: Path) -> None:
        ends = [f"ipc://{folder}/{name}" for name in ("state", "command", "service")]
        self.settings = RobotSettings(*ends, 20.0, CLOCK)
        self.says: dict[str, object] = {"status": "ok"}
        self._ended = Event()
        self._thread = Thread(target=self._work)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        context = open_context()
        states = context.socket(zmq.PUB)
        states.setsockopt(zmq.CONFLATE, 1)
        states.bind(self.settings.state_endpoint)
        service = ServiceServer(context, self.settings.service_endpoint, setting="test")
        seq = 0
        while not self._ended.is_set():
            seq += 1
            told = {"type": "arm_state", "seq": seq, "t_robot_ns": seq * NS_PER_MS, "command_seq": -1}
            told |= {"position": HOME.tolist(), "velocity": [0.0] * len(HOME)} | self.says
            states.send(b"\0" + header(7, seq) + msgpack.packb(told))
            service.serve(lambda hello: answer_hello(hello, "robot", None, DETAILS), lambda _: Reply(ok=True))
            CLOCK.sleep_until_ns(CLOCK.now_ns() + 2 * NS_PER_MS)
        close_context(context)


@dataclass
class Pair:
    """A robot, and control that reads it over the robot link."""

    foreign: Foreign
    robot: LinkRobot
    core: ControlCore

    def until_stopped(self) -> ControlOutput:
        deadline_ns = CLOCK.now_ns() + 20 * NS_PER_S
        while True:
            output = self.core.step(CLOCK.now_ns(), self.robot.read())
            if output.mode is Mode.STOPPED:
                return output
            assert CLOCK.now_ns() < deadline_ns, output.reason
            self.robot.wait_cycle(deadline_ns)

    def until_nothing_is_taken(self) -> None:
        """Wait until ten messages in turn have changed nothing."""
        deadline_ns = CLOCK.now_ns() + 20 * NS_PER_S
        alike = 0
        while alike < 10:
            before = self.robot.read()
            self.robot.wait_cycle(deadline_ns)
            assert CLOCK.now_ns() < deadline_ns
            alike = alike + 1 if self.robot.read() is before else 0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A robot that has not stopped, connected."""
    foreign = Foreign(tmp_path)
    robot = LinkRobot(foreign.settings)
    try:
        robot.connect()
        # However busy the computer is.
        ages = Ages(reading_hard_ns=OLDEST_NS, gap_hard_ns=2 * OLDEST_NS)
        core = ControlCore(robot.spec.limits, ages, 4 * NS_PER_MS, session=1)
        assert core.step(CLOCK.now_ns(), robot.read()).mode is not Mode.STOPPED
        yield Pair(foreign, robot, core)
    finally:
        robot.close()
        foreign.close()


@pytest.mark.fault_row(26)
@pytest.mark.parametrize("status", ["protective_stop", "emergency_stop"])
def test_why_a_robot_behind_the_link_stopped_itself_is_the_reason_of_control(pair: Pair, status: str) -> None:
    pair.foreign.says = {"status": status, "detail": "elbow: 71 \u00b0C, at most 70"}
    output = pair.until_stopped()
    assert output.state.reason == f"the robot reports {status}: elbow: 71 \u00b0C, at most 70"


def test_a_robot_behind_the_link_that_has_no_words_stops_control_all_the_same(pair: Pair) -> None:
    pair.foreign.says = {"status": "protective_stop"}
    assert pair.until_stopped().state.reason == "the robot reports protective_stop"


@pytest.mark.fault_row(26, 32)
@pytest.mark.parametrize("words", ["x" * (MAX_DETAIL + 1), "two\nlines", "\x1b[2J", b"\xff\xfe"])
def test_a_reading_whose_words_are_too_long_or_no_line_is_refused_and_counts_as_none(
    pair: Pair, words: object
) -> None:
    pair.foreign.says = {"status": "protective_stop", "detail": words}
    pair.until_nothing_is_taken()
    reading = pair.robot.read()
    assert (reading.status, reading.detail) == ("ok", "")
    pair.core.step(reading.t_ns + OLDEST_NS + 1, reading)
    assert pair.core.statistics()["silent"] == 1
