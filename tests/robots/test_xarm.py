"""The xArm driver, with the maker's own SDK and a controller in software."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from dualsys.clock import VirtualClock
from dualsys.errors import ConfigError, MissingExtraError, RobotError
from dualsys.robots.profiles import XARM7
from dualsys.robots.registry import Option, RobotSettings, driver_named
from dualsys.robots.xarm import DRIVER, XarmRobot

from .stepped_clock import until
from .xarm_double import CLEAN_ERROR, SERVO_MODE, SLEEPING, STOPPED
from .xarm_rig import XarmRig, xarm_rig

real_sdk = pytest.mark.skipif(
    find_spec("xarm") is None, reason="needs xarm-python-sdk: pip install 'dualsys[xarm]'"
)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[XarmRig]:
    """A controller that is ready, and drivers."""
    with xarm_rig(monkeypatch, "127.0.43.2") as made:
        yield made


def settings(**options: Option) -> RobotSettings:
    return RobotSettings("", "", "", 5.0, VirtualClock(), options=options)


def test_it_is_a_driver_of_dualsys() -> None:
    assert driver_named("xarm") is DRIVER
    assert DRIVER.install == "pip install 'dualsys[xarm]'"
    assert not DRIVER.simulated
    assert not DRIVER.tried


def test_without_its_library_it_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarm", None)
    monkeypatch.setitem(sys.modules, "xarm.wrapper", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dualsys\[xarm\]'"):
        XarmRobot(settings(host="192.0.2.1", model="xarm6"))


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("host", None, "a text"),
        ("model", "xarm5", "one of xarm6, xarm7"),
        ("model", None, "one of xarm6, xarm7"),
        ("rate_hz", 251, "10 to 250"),
        ("rate_hz", "fast", "a number"),
    ],
)
def test_a_wrong_option_is_refused(option: str, value: Option, expected: str) -> None:
    told = f"robot.options.{option}: (got .*|is missing), expected {expected}"
    with pytest.raises(ConfigError, match=told):
        XarmRobot(settings(**{"host": "192.0.2.1", "model": "xarm6", option: value}))


@real_sdk
def test_the_limits_are_those_of_the_model() -> None:
    robot = XarmRobot(settings(host="192.0.2.1", model="xarm7"))
    assert robot.spec.axes == XARM7.axes
    assert robot.spec.limits is XARM7.limits


@real_sdk
@pytest.mark.parametrize(("axes", "kind"), [(7, 7), (6, 9), (6, 12)])
def test_an_arm_with_other_limits_is_refused(rig: XarmRig, axes: int, kind: int) -> None:
    rig.double.axes, rig.double.kind = axes, kind
    with pytest.raises(RobotError, match=f"it has {axes} joints and the type {kind}"):
        rig.open().connect()
    assert not rig.double.enabled


@real_sdk
def test_an_error_is_not_cleared_from_here(rig: XarmRig) -> None:
    rig.double.fail(31)
    with pytest.raises(RobotError, match="it has error 31; find out why, and clear it in UFACTORY Studio"):
        rig.open().connect()
    assert CLEAN_ERROR not in rig.double.asked
    assert not rig.double.enabled


@real_sdk
def test_it_is_ready_in_servo_mode_and_stopped_when_it_is_let_go_of(rig: XarmRig) -> None:
    before = socket.getdefaulttimeout()
    robot = rig.open()
    robot.connect()
    assert (rig.double.mode, rig.double.state, rig.double.enabled) == (SERVO_MODE, SLEEPING, True)
    assert socket.getdefaulttimeout() == before
    robot.close()
    assert rig.double.state == STOPPED


@real_sdk
def test_set_points_arrive_and_silence_is_a_rest_after_which_it_goes_on(rig: XarmRig) -> None:
    robot = rig.open()
    robot.connect()
    goal = robot.read().position + 0.05
    robot.write(goal)
    rig.wait_s(0.02)
    assert rig.double.servo[-1][:6] == pytest.approx(goal, abs=1e-6)
    assert robot.read().status == "ok"
    rig.wait_s(0.2)
    reading = robot.read()
    assert reading.status == "watchdog"
    assert reading.position == pytest.approx(goal, abs=1e-3)
    robot.write(goal)
    rig.wait_s(0.02)
    assert robot.read().status == "ok"


@real_sdk
def test_a_first_set_point_far_from_where_it_rests_is_refused(rig: XarmRig) -> None:
    robot = rig.open()
    robot.connect()
    with pytest.raises(RobotError, match=r"the arm is at rest, .* begin where the arm is"):
        robot.write(robot.read().position + 0.11)
    rig.wait_s(0.02)
    assert rig.double.servo == []


@real_sdk
@pytest.mark.parametrize(
    ("error", "status"), [(1, "emergency_stop"), (2, "emergency_stop"), (31, "protective_stop")]
)
def test_an_error_ends_control_until_somebody_connects_anew(rig: XarmRig, error: int, status: str) -> None:
    robot = rig.open()
    robot.connect()
    here = robot.read().position
    rig.double.fail(error)
    rig.wait_s(0.04)
    assert robot.read().status == status
    assert robot.fault.startswith(f"error {error}")
    assert robot.read().detail == robot.fault
    # Somebody clears it, and switches the arm on again.
    rig.double.error, rig.double.state = 0, SLEEPING
    robot.write(here)
    rig.wait_s(0.04)
    assert robot.read().status == status
    assert rig.double.servo == []
    assert CLEAN_ERROR not in rig.double.asked
    robot.close()
    robot.connect()
    assert robot.read().status == "ok"
    assert robot.fault == ""


@real_sdk
def test_an_arm_that_somebody_stopped_stays_stopped(rig: XarmRig) -> None:
    robot = rig.open()
    robot.connect()
    rig.double.state = STOPPED
    robot.write(robot.read().position)
    rig.wait_s(0.04)
    assert robot.read().status == "protective_stop"
    assert rig.double.state == STOPPED


@real_sdk
def test_a_mode_that_somebody_changed_is_a_stop(rig: XarmRig) -> None:
    robot = rig.open()
    robot.connect()
    rig.double.mode = 2

    def seen() -> bool:
        rig.wait_s(0.04)
        return robot.read().status == "protective_stop"

    until(seen)
    assert robot.fault == "mode 2: somebody changed it"


@real_sdk
def test_a_controller_that_falls_silent_is_an_error(rig: XarmRig) -> None:
    robot = rig.open()
    robot.connect()
    rig.double.mute = True
    rig.clock.advance_ns(10**9)

    def lost() -> bool:
        try:
            robot.read()
        except RobotError as error:
            return "no answer to" in str(error)
        return False

    until(lost)


@real_sdk
def test_a_connection_that_breaks_while_it_is_made_is_an_error_of_ours(
    rig: XarmRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xarm.wrapper import XArmAPI

    # What the SDK gives of every question once it has noticed: a code, and words in place of numbers.
    monkeypatch.setattr(XArmAPI, "get_err_warn_code", lambda _: (-1, "xArm is not connect"))
    robot = rig.open()
    with pytest.raises(RobotError, match=r"no answer to get_err_warn_code \(code -1\)"):
        robot.connect()
    assert robot._api is None


@real_sdk
@pytest.mark.parametrize("code", [-3, 10, 11, 12])
def test_an_answer_that_is_none_is_no_reading(
    rig: XarmRig, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    robot = rig.open()
    robot.connect()
    api = robot._api
    # Zeros stand where the joints would be.
    monkeypatch.setattr(api, "get_joint_states", lambda **_: (code, [[0.0] * 7, [0.0] * 7]))
    rig.wait_s(0.1)
    with pytest.raises(RobotError, match=rf"no answer to get_joint_states \(code {code}\)"):
        robot.read()
