"""The Franka driver, with an arm and a library in memory. Neither the real library nor an arm moves here."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import ClassVar

import pytest

from dualsys.clock import NS_PER_S, VirtualClock, nanoseconds
from dualsys.errors import ConfigError, MissingExtraError, RobotError
from dualsys.robots import franka
from dualsys.robots.contract import ArmReading
from dualsys.robots.franka import DRIVER, FrankaRobot
from dualsys.robots.kit import Bench, RobotContract
from dualsys.robots.profiles import FR3
from dualsys.robots.registry import Option, RobotSettings, driver_named

from .franka_double import FrankaDouble, JointPosition, Mode, Realtime

NOBODY = "127.0.44.254"


def open_robot(clock: VirtualClock, **options: Option) -> FrankaRobot:
    chosen: dict[str, Option] = {"host": "127.0.0.1", "model": "panda", **options}
    return FrankaRobot(RobotSettings("", "", "", 5.0, clock, options=chosen))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Somebody who answers where the arm would."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def arm(clock: VirtualClock, port: int, monkeypatch: pytest.MonkeyPatch) -> FrankaDouble:
    """An arm that is ready."""
    monkeypatch.setattr(franka, "COMMAND_PORT", port)
    double = FrankaDouble(clock)
    double.module(monkeypatch)
    return double


class TestContract(RobotContract):
    arm: ClassVar[FrankaDouble]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _serve(cls, port: int) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(franka, "COMMAND_PORT", port)
            cls.arm = FrankaDouble(VirtualClock(NS_PER_S))
            cls.arm.module(patch)
            yield

    @classmethod
    def make_bench(cls) -> Bench:
        clock, arm = cls.arm.clock, cls.arm
        assert isinstance(clock, VirtualClock)
        return Bench(
            lambda: open_robot(clock),
            clock,
            may_move=True,
            drop=lambda: arm.fail(Mode.kReflex, "communication_constraints_violation"),
            absent=lambda: open_robot(clock, host=NOBODY),
        )


def test_it_is_a_driver_of_dualsys() -> None:
    assert driver_named("franka") is DRIVER
    assert DRIVER.install == "pip install 'dualsys[franka]'"
    assert not DRIVER.simulated
    assert not DRIVER.tried


def test_without_its_library_it_names_the_pip_line(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "panda_py", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dualsys\[franka\]'"):
        open_robot(clock)


@pytest.mark.skipif(find_spec("panda_py") is None, reason="needs panda-python: pip install 'dualsys[franka]'")
def test_the_library_has_what_is_used_of_it() -> None:
    import panda_py
    from panda_py import controllers, libfranka

    used = ("get_state", "start_controller", "stop_controller", "is_moving", "raise_error")
    assert [name for name in (*used, "get_joint_limits_upper") if not hasattr(panda_py.Panda, name)] == []
    assert hasattr(controllers.JointPosition(filter_coeff=0.1), "set_control")
    assert {mode.name for mode in Mode} == set(libfranka.RobotMode.__members__)
    assert {mode.name for mode in Realtime} == set(libfranka.RealtimeConfig.__members__)
    state = ("q", "dq", "robot_mode", "current_errors", "time")
    assert [name for name in state if not hasattr(libfranka.RobotState, name)] == []


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("host", "", "a text"),
        ("model", "fr4", "one of panda, fr3"),
        ("rate_hz", 1001, "10 to 1000"),
        ("filter", 0, "0.001 to 1"),
        ("realtime", "hope", "one of enforce, ignore"),
    ],
)
def test_a_wrong_option_is_refused(clock: VirtualClock, option: str, value: Option, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"robot.options.{option}: got .*expected {expected}"):
        open_robot(clock, **{option: value})


def test_a_kernel_without_real_time_must_be_asked_for(arm: FrankaDouble, clock: VirtualClock) -> None:
    robot = open_robot(clock)
    robot.connect()
    assert arm.realtime is Realtime.kEnforce
    robot.close()
    open_robot(clock, realtime="ignore").connect()
    assert arm.realtime is Realtime.kIgnore


def test_the_other_model_is_refused(arm: FrankaDouble, clock: VirtualClock) -> None:
    robot = open_robot(clock, model="fr3")
    assert robot.spec.limits is FR3.limits
    with pytest.raises(RobotError, match=r"it is a panda, expected fr3; change robot.options.model"):
        robot.connect()
    arm.upper6 = 4.5169
    robot.connect()
    assert robot.read().status == "ok"


@pytest.mark.parametrize(
    ("mode", "errors"),
    [
        (Mode.kReflex, "joint_reflex"),
        (Mode.kOther, ""),
        (Mode.kUserStopped, ""),
        (Mode.kIdle, "joint_reflex"),
    ],
)
def test_an_arm_that_is_not_ready_is_refused_and_not_recovered(
    arm: FrankaDouble, clock: VirtualClock, mode: Mode, errors: str
) -> None:
    arm.mode, arm.errors = mode, errors
    with pytest.raises(RobotError, match=f"in mode {mode.name}, errors {errors}; make it ready in Desk"):
        open_robot(clock).connect()
    assert arm.recovered == 0
    assert arm.controller is None


def test_what_the_library_raises_is_told(arm: FrankaDouble, clock: VirtualClock) -> None:
    arm.refusal = "libfranka: Incompatible library version"
    with pytest.raises(RobotError, match=r"127.0.0.1: libfranka: Incompatible library version; see Desk"):
        open_robot(clock).connect()


def test_set_points_are_handed_over_and_silence_is_a_rest(arm: FrankaDouble, clock: VirtualClock) -> None:
    robot = open_robot(clock, filter=0.2)
    robot.connect()
    controller = arm.controller
    assert isinstance(controller, JointPosition)
    assert controller.filter_coeff == 0.2
    goal = robot.read().position + 0.05
    robot.write(goal)
    assert controller.goal == goal.tolist()
    later(clock, 0.099)
    assert robot.read().status == "ok"
    later(clock, 0.001)
    assert robot.read().status == "watchdog"
    later(clock, 0.3)
    assert robot.read().position == pytest.approx(goal, abs=1e-4)
    with pytest.raises(RobotError, match=r"the arm is at rest, and its first set-point is 0.15 rad away"):
        robot.write(goal + 0.15)
    robot.write(goal)
    later(clock, 0.004)
    assert robot.read().status == "ok"


@pytest.mark.parametrize("mode", [Mode.kUserStopped, Mode.kReflex])
def test_a_stop_of_the_arm_ends_control_until_somebody_connects_anew(
    arm: FrankaDouble, clock: VirtualClock, mode: Mode
) -> None:
    robot = open_robot(clock)
    robot.connect()
    here = robot.read().position
    # The state comes first, then the library's loop ends.
    arm.mode = mode
    later(clock, 0.004)
    status = robot.read().status
    assert status == ("emergency_stop" if mode is Mode.kUserStopped else "protective_stop")
    arm.fail(Mode.kIdle, "")
    later(clock, 0.004)
    robot.write(here)
    reading: ArmReading = robot.read()
    assert reading.status == status
    assert robot.fault.startswith(f"it is in mode {mode.name}")
    assert reading.detail == robot.fault
    assert arm.controller is None
    assert arm.recovered == 0
    robot.close()
    robot.connect()
    assert robot.read().status == "ok"


def test_a_loop_that_has_ended_is_a_stop_and_its_readings_grow_old(
    arm: FrankaDouble, clock: VirtualClock
) -> None:
    robot = open_robot(clock)
    robot.connect()
    before = robot.read()
    arm.fail(Mode.kReflex, "communication_constraints_violation")
    later(clock, 0.5)
    reading = robot.read()
    assert reading.status == "protective_stop"
    assert reading.t_ns == before.t_ns
    assert robot.fault == "the library's loop has ended: communication_constraints_violation"
    assert reading.detail == robot.fault


def later(clock: VirtualClock, by_s: float) -> None:
    clock.advance_ns(nanoseconds(by_s))
