"""The UR driver, with the real client library and a controller in software."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from dualsys.clock import VirtualClock
from dualsys.errors import ConfigError, MissingExtraError, RobotError
from dualsys.robots.registry import Option, RobotSettings, driver_named
from dualsys.robots.ur import DRIVER, UrRobot, require_rtde, safety_status

from .stepped_clock import until
from .ur_double import EMERGENCY, NORMAL, PROTECTIVE, STOPPED, UrDouble, ur_double
from .ur_rig import UrRig

real_client = pytest.mark.skipif(
    find_spec("rtde_control") is None, reason="needs ur-rtde: pip install 'dualsys[ur]'"
)


@pytest.fixture(scope="module")
def double() -> Iterator[UrDouble]:
    """A controller that is ready."""
    with ur_double("127.0.42.3") as controller:
        yield controller


@pytest.fixture
def rig(double: UrDouble) -> Iterator[UrRig]:
    """The controller, and drivers; it is ready again afterwards."""
    rig = UrRig(double)
    yield rig
    if rig.robot is not None:
        rig.robot.close()
    double.tell("end")
    double.tell(f"safety {NORMAL}")


def settings(**options: Option) -> RobotSettings:
    return RobotSettings("", "", "", 5.0, VirtualClock(), options=options)


def test_it_is_a_driver_of_dualsys() -> None:
    assert driver_named("ur") is DRIVER
    assert DRIVER.install == "pip install 'dualsys[ur]'"
    assert not DRIVER.simulated
    assert not DRIVER.tried


def test_without_its_library_it_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rtde_control", None)
    monkeypatch.setitem(sys.modules, "dashboard_client", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dualsys\[ur\]'"):
        UrRobot(settings(host="192.0.2.1"))


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("host", "", "a text"),
        ("host", 7, "a text"),
        ("lookahead_s", 0.02, "0.03 to 0.2"),
        ("lookahead_s", 0.3, "0.03 to 0.2"),
        ("gain", 99, "100 to 2000"),
        ("gain", 2001.0, "100 to 2000"),
        ("gain", True, "a number"),
        ("rate_hz", 501, "10 to 500"),
        ("watchdog_hz", 1, "3 to 8"),
    ],
)
def test_an_option_out_of_the_makers_range_is_refused(option: str, value: Option, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"robot.options.{option}: got .*expected {expected}"):
        UrRobot(settings(**{"host": "192.0.2.1", option: value}))


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(RobotError, match="unknown port"):
        UrRobot(settings(host="192.0.2.1", port=30004))


@pytest.mark.parametrize(
    ("bits", "status"),
    [(0b1, "ok"), (0b10, "ok"), *((1 << bit, "protective_stop") for bit in (2, 3, 4, 8, 9, 10))]
    + [(1 << bit | 1 << 10, "emergency_stop") for bit in (5, 6, 7)],
)
def test_the_bits_of_the_safety_status_are_understood(bits: int, status: str) -> None:
    assert safety_status(bits) == status


def test_who_does_not_speak_rtde_is_found_out() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n")
        with pytest.raises(ConnectionError, match="does not speak RTDE"):
            require_rtde(ours)
        assert theirs.recv(99) == struct.pack(">HBH", 5, ord("V"), 2)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.01)
        with pytest.raises(TimeoutError):
            require_rtde(ours)


@real_client
@pytest.mark.parametrize(
    ("question", "answer", "told"),
    [
        ("is in remote control", "false", "in local control.*Remote Control"),
        ("robotmode", "Robotmode: POWER_OFF", "not powered .*power it on"),
        ("safetystatus", "Safetystatus: PROTECTIVE_STOP", "PROTECTIVE_STOP.*clear it on the pendant"),
        ("get robot model", "UR10", "it is a UR10"),
    ],
)
def test_an_arm_that_may_not_be_moved_from_here_is_not_connected(
    rig: UrRig, question: str, answer: str, told: str
) -> None:
    good = str(rig.double.tell(f"answer {question}={answer}"))
    robot = rig.open()
    with pytest.raises(RobotError, match=told):
        robot.connect()
    rig.double.tell(f"answer {question}={good}")
    assert rig.double.state()["runtime"] == STOPPED


def trip(*_: object) -> None:
    """As a library that fails where nothing should."""
    raise RuntimeError("Broken pipe")


@real_client
def test_a_dashboard_that_does_not_let_go_hides_nothing(rig: UrRig, caplog: pytest.LogCaptureFixture) -> None:
    good = str(rig.double.tell("answer robotmode=Robotmode: POWER_OFF"))
    robot = rig.open()
    robot._dashboards = type("Tripping", (robot._dashboards,), {"disconnect": trip})
    with pytest.raises(RobotError, match="not powered"):
        robot.connect()
    assert "closing: Broken pipe" in caplog.text
    rig.double.tell(f"answer robotmode={good}")
    robot.connect()
    assert robot.read().status == "ok"


@real_client
@pytest.mark.parametrize("error", [TypeError("incompatible arguments"), KeyboardInterrupt()])
def test_whatever_breaks_off_a_connect_nothing_stays_connected(
    rig: UrRig, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken_off(*_: object) -> None:
        raise error

    robot = rig.open()
    with monkeypatch.context() as patch:
        patch.setattr(robot, "_wait_for_program", broken_off)
        with pytest.raises(type(error)):
            robot.connect()
    assert rig.double.state()["runtime"] == STOPPED
    assert not robot._receive.isConnected()
    robot.connect()
    assert robot.read().status == "ok"


@real_client
def test_a_connection_that_does_not_let_go_keeps_no_other(
    rig: UrRig, caplog: pytest.LogCaptureFixture
) -> None:
    robot = rig.open()
    robot.connect()
    receive = robot._receive

    class Tripping:
        """The connection of readings, which fails."""

        isConnected = staticmethod(trip)  # noqa: N815

        def disconnect(self) -> None:
            receive.disconnect()
            trip()

    robot._receive = Tripping()
    control = robot._control
    robot.close()
    assert caplog.text.count("closing: Broken pipe") == 2
    assert not receive.isConnected()
    assert not control.isConnected()


@real_client
def test_a_program_that_runs_is_not_ended(rig: UrRig) -> None:
    rig.double.tell("play")
    robot = rig.open()
    with pytest.raises(RobotError, match="a program runs on it; stop that program on the pendant"):
        robot.connect()
    assert rig.double.state()["runtime"] != STOPPED


@real_client
def test_set_points_arrive_as_they_were_sent(rig: UrRig) -> None:
    robot = rig.open(rate_hz=125, lookahead_s=0.05, gain=600)
    robot.connect()
    goal = robot.read().position + 0.05
    robot.write(goal)
    until(lambda: bool(rig.double.state()["servo"]))
    sent = rig.double.state()["servo"]
    assert isinstance(sent, list)
    assert sent[-1] == [*goal.tolist(), 0.0, 0.0, 1 / 125, 0.05, 600.0]
    for _ in range(30):
        robot.write(goal)
        rig.wait_s(0.02)
    assert robot.read().position == pytest.approx(goal, abs=1e-3)


@real_client
def test_set_points_that_stay_away_bring_it_to_rest_and_the_next_goes_on(rig: UrRig) -> None:
    robot = rig.open()
    robot.connect()
    goal = robot.read().position + 0.05
    robot.write(goal)
    until(lambda: bool(rig.double.state()["servoing"]))
    assert robot.read().status == "ok"
    rig.wait_s(0.2)
    reading = robot.read()
    assert reading.status == "watchdog"
    until(lambda: not rig.double.state()["servoing"])
    robot.write(reading.position)
    until(lambda: bool(rig.double.state()["servoing"]))
    assert robot.read().status == "ok"


@real_client
def test_a_first_set_point_far_from_where_it_rests_is_refused(rig: UrRig) -> None:
    robot = rig.open()
    robot.connect()
    with pytest.raises(RobotError, match=r"_joint: the arm is at rest, .* begin where the arm is"):
        robot.write(robot.read().position + 0.11)
    rig.wait_s(0.02)
    assert not rig.double.state()["servoing"]


@real_client
def test_the_controller_ends_the_program_when_nobody_is_left(rig: UrRig) -> None:
    robot = rig.open(watchdog_hz=5)
    robot.connect()
    robot.write(robot.read().position)
    rig.wait_s(0.02)
    assert rig.double.state()["watchdog_s"] == 0.2
    assert robot._sender is not None
    # As far as the controller sees, the process is gone.
    robot._sender.end()
    rig.wait_s(0.3)
    assert rig.double.state()["runtime"] == STOPPED
    assert robot.read().status == "protective_stop"


@real_client
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (f"safety {PROTECTIVE}", "protective_stop"),
        (f"safety {EMERGENCY}", "emergency_stop"),
        ("end", "protective_stop"),
    ],
)
def test_a_stop_of_the_arm_ends_control_until_somebody_connects_anew(
    rig: UrRig, fault: str, status: str
) -> None:
    robot = rig.open()
    robot.connect()
    here = robot.read().position
    robot.write(here)
    rig.wait_s(0.02)
    rig.double.tell(fault)
    rig.wait_s(0.02)
    assert robot.read().status == status
    assert robot.fault
    assert robot.read().detail == robot.fault
    rig.double.tell(f"safety {NORMAL}")
    robot.write(here)
    rig.wait_s(0.1)
    assert robot.read().status == "protective_stop"
    assert rig.double.state()["runtime"] == STOPPED
    said = rig.double.state()["said"]
    assert isinstance(said, list)
    assert not [line for line in said if "unlock" in line or "play" in line or "power" in line]
    robot.close()
    robot.connect()
    assert robot.read().status == "ok"
    assert robot.fault == ""


@real_client
def test_a_second_control_is_refused(rig: UrRig) -> None:
    first = rig.open()
    first.connect()
    second = rig.open()
    with pytest.raises(RobotError, match="a program runs on it"):
        second.connect()
    first.close()
