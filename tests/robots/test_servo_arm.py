"""Arms of bus servos: scripted servos on a pseudo-terminal, through the makers' own SDKs."""

from __future__ import annotations

import sys
import termios
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dualsys.clock import WallClock
from dualsys.errors import ConfigError, MissingExtraError, RobotError
from dualsys.robots import feetech
from dualsys.robots.servo_arm import ServoArm
from dualsys.robots.servo_bus import LATE_BYTES_NS
from dualsys.robots.servo_calibration import ArmFile

from .servo_double import SYNC_READ, ServoDouble
from .servo_rig import HOME, RAD_PER_TICK, Kind, arm_tree, settings_of, tick, until

CLOCK = WallClock()


def test_nothing_jumps_when_the_motors_are_switched_on(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    for servo in double.servos.values():
        servo.position = 1777
    arm = build()
    arm.connect()
    assert arm.read().position == pytest.approx(np.array([-271, 271, -271]) * RAD_PER_TICK)
    assert [servo.goals for servo in double.servos.values()] == [[1777]] * 3
    assert [servo.torques for servo in double.servos.values()] == [[1]] * 3
    double.rest(50)
    assert until(arm, lambda _: True).status == "ok"
    assert [round(servo.position) for servo in double.servos.values()] == [1777] * 3


def test_goals_are_followed_in_the_direction_of_each_joint(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build()
    arm.connect()
    goal = np.array([0.3, 0.2, -0.4])
    reading = until(arm, lambda found: bool(np.abs(found.position - goal).max() < 0.01), goal)
    assert reading.status == "ok"
    ticks = [round(servo.position) for servo in double.servos.values()]
    assert ticks == pytest.approx([2048 + 196, 2048 - 130, 2048 - 261], abs=8)


def test_velocities_are_those_of_the_joints(build: Callable[..., ServoArm], double: ServoDouble) -> None:
    for servo in double.servos.values():
        servo.speed = 1000.0
    arm = build()
    arm.connect()
    goal = np.array([1.4, 1.4, -1.4])
    reading = until(arm, lambda found: bool(np.abs(found.velocity).min() > 1.48), goal)
    assert reading.velocity == pytest.approx(np.array([1, 1, -1]) * 1000 * RAD_PER_TICK, rel=0.05)


def test_a_reading_is_as_old_as_it_says(build: Callable[..., ServoArm], double: ServoDouble) -> None:
    arm = build()
    arm.connect()
    before_ns = double.clock.now_ns()
    first = until(arm, lambda found: found.t_ns > before_ns)
    assert before_ns < first.t_ns <= double.clock.now_ns()
    second = until(arm, lambda found: found.t_ns > first.t_ns)
    assert second is not first


def test_no_call_in_a_cycle_waits_for_a_servo_that_says_nothing(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build(tolerated_losses=100)
    arm.connect()
    tick(arm, HOME)
    double.servos[2].silent = -1
    longest_ns = 0
    for _ in range(40):
        began_ns = double.clock.now_ns()
        arm.read()
        arm.write(HOME)
        longest_ns = max(longest_ns, double.clock.now_ns() - began_ns)
        double.rest(5)
    assert arm.counts()["lost"] > 5
    assert longest_ns <= LATE_BYTES_NS + 1


def test_a_set_point_that_comes_while_answers_are_under_way_is_sent_after_them(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build()
    arm.connect()
    arm.read()
    for step in (0.01, 0.02):
        arm.write(np.full(3, step))
    double.rest(20)
    assert double.servos[1].goals == [2048]
    arm.read()
    double.rest(1)
    assert double.servos[1].goals == [2048, 2061]


def test_it_works_by_the_clock_on_the_wall(kind: Kind, tmp_path: Path) -> None:
    double = ServoDouble(kind.wire(), dict.fromkeys((1, 2, 3), kind.number), clock=CLOCK)
    path = tmp_path / "arm.yaml"
    # Rarely enough that an answer is never late on a busy machine; it is ticked faster than that.
    path.write_text(ArmFile.model_validate(arm_tree(kind.model, rate_hz=10.0)).to_yaml(), "utf-8")
    arm = ServoArm(settings_of(CLOCK, arm=str(path), port=double.port), kind.family)
    arm.connect()
    until(arm, lambda found: abs(found.position[0] - 0.1) < 0.01, np.array([0.1, 0.0, 0.0]))
    arm.close()
    double.close()


@pytest.mark.parametrize("command", [[0.0, np.nan, 0.0], [np.inf, 0.0, 0.0], [0.0, 0.0]])
def test_what_is_no_number_never_reaches_the_bus(
    build: Callable[..., ServoArm], double: ServoDouble, command: list[float]
) -> None:
    arm = build()
    arm.connect()
    sent = len(double.requests)
    with pytest.raises(RobotError, match="nothing was sent"):
        arm.write(np.array(command))
    double.rest(20)
    assert len(double.requests) == sent


def test_a_goal_outside_of_a_turn_never_reaches_the_bus(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build()
    arm.connect()
    sent = len(double.requests)
    with pytest.raises(RobotError, match="elbow: position 5307 lies outside of 0 to 4095: nothing was sent"):
        arm.write(np.array([0.0, -5.0, 0.0]))
    assert len(double.requests) == sent


def test_holding_keeps_the_motors_on_and_what_is_in_the_way_is_not_pushed(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build(on_stop="hold")
    arm.connect()
    double.servos[2].blocked = True
    goal = np.array([0.3, 0.3, 0.3])
    until(arm, lambda found: abs(found.position[0] - 0.3) < 0.01, goal)
    arm.stop("a person asked")
    double.rest(50)
    assert [servo.goals[-1] for servo in double.servos.values()] == [2244, 2048, 2244]
    assert [servo.torques for servo in double.servos.values()] == [[1]] * 3
    arm.close()
    assert [servo.torques for servo in double.servos.values()] == [[1]] * 3


def test_limp_switches_the_motors_off_and_the_next_set_point_on_again(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build(on_stop="limp")
    arm.connect()
    tick(arm, HOME)
    arm.stop("a person asked")
    arm.stop("and again")
    tick(arm)
    tick(arm)
    assert [servo.torques[-1] for servo in double.servos.values()] == [0] * 3
    with pytest.raises(RobotError, match=r"base: the motors are off, and the first .* is 0\.50 rad away"):
        arm.write(np.array([0.5, 0.0, 0.0]))
    until(arm, lambda found: abs(found.position[0] - 0.1) < 0.01, np.array([0.1, 0.0, 0.0]))
    assert [servo.torques[-1] for servo in double.servos.values()] == [1] * 3
    arm.close()
    assert [servo.torques[-1] for servo in double.servos.values()] == [0] * 3


def test_an_arm_can_be_read_with_its_motors_off(build: Callable[..., ServoArm], double: ServoDouble) -> None:
    arm = build()
    arm.connect_limp()
    double.servos[1].position = 2500
    until(arm, lambda found: abs(found.position[0] - 452 * RAD_PER_TICK) < 1e-6)
    arm.close()
    assert [servo.torques for servo in double.servos.values()] == [[0]] * 3


def test_it_works_again_after_close_and_not_before_connect(build: Callable[..., ServoArm]) -> None:
    arm = build()
    arm.stop("early")
    for _ in range(2):
        with pytest.raises(RobotError, match="not connected"):
            arm.read()
        with pytest.raises(RobotError, match="not connected"):
            arm.write(HOME)
        arm.connect()
        with pytest.raises(RobotError, match="connected already"):
            arm.connect()
        tick(arm, HOME)
        arm.close()
        arm.close()
    arm.stop("late")


def test_a_port_serves_one_program(build: Callable[..., ServoArm]) -> None:
    build().connect()
    with pytest.raises(RobotError, match="another program uses it"):
        build().connect()


def test_a_port_that_is_not_there_says_how_to_find_it(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    double.port = "/dev/ttyNOBODY"
    with pytest.raises(RobotError, match=r"/dev/ttyNOBODY cannot be opened.*list_ports"):
        build().connect()


def test_a_port_that_is_pulled_out_while_it_is_opened_is_told_and_not_kept(
    build: Callable[..., ServoArm], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pulled(*_: object) -> None:
        raise termios.error(5, "Input/output error")

    arm = build()
    with monkeypatch.context() as patch:
        # The last of termios that pyserial calls while it opens a port.
        patch.setattr(termios, "tcflush", pulled)
        with pytest.raises(
            RobotError, match=r"/dev/pts/\d+ cannot be opened: .*Input/output.*check the cable"
        ):
            arm.connect()
    # Locked for this process alone: whoever kept it would be told that another program uses it.
    build().connect()


def test_a_device_that_is_no_terminal_is_told(build: Callable[..., ServoArm], double: ServoDouble) -> None:
    double.port = "/dev/null"
    with pytest.raises(RobotError, match=r"/dev/null cannot be opened: .*check .* the name of the port"):
        build().connect()


def test_a_bus_that_is_too_slow_for_the_arm_is_refused(build: Callable[..., ServoArm]) -> None:
    with pytest.raises(RobotError, match="baud_rate: 9600 is too slow for 3 servos at rate_hz 50"):
        build(baud_rate=9600, rate_hz=50.0)


def test_one_request_per_cycle_asks_every_servo(build: Callable[..., ServoArm], double: ServoDouble) -> None:
    arm = build()
    arm.connect()
    before = len(double.requests)
    for _ in range(10):
        tick(arm, HOME)
    kinds = [request.kind for request in double.requests[before:]]
    # The first `read` asks too.
    assert 1 <= kinds.count(SYNC_READ) <= 11
    assert set(kinds) == {"sync read", "sync write"}


def test_an_arm_without_a_file_says_how_to_make_one(kind: Kind) -> None:
    with pytest.raises(ConfigError, match=r"robot.options.arm: got None.*dualsys calibrate"):
        ServoArm(settings_of(CLOCK), kind.family)


def test_an_unknown_option_is_refused(kind: Kind) -> None:
    with pytest.raises(RobotError, match="unknown baud; there are arm, port"):
        ServoArm(settings_of(CLOCK, baud=1), kind.family)


def test_a_model_of_another_maker_is_refused(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "arm.yaml"
    path.write_text(ArmFile.model_validate(arm_tree("toaster")).to_yaml(), "utf-8")
    with pytest.raises(ConfigError, match=rf"joints.0.model: got 'toaster', expected one of .*{kind.model}"):
        ServoArm(settings_of(CLOCK, arm=str(path)), kind.family)


def test_a_missing_sdk_names_its_extra(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "arm.yaml"
    path.write_text(ArmFile.model_validate(arm_tree(kind.model)).to_yaml(), "utf-8")
    for module in ("dynamixel_sdk", "scservo_sdk"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'dualsys\[{kind.family.name}\]'"):
        ServoArm(settings_of(CLOCK, arm=str(path)), kind.family)


def test_another_package_in_the_place_of_the_feetech_sdk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "arm.yaml"
    path.write_text(ArmFile.model_validate(arm_tree("sts3215")).to_yaml(), "utf-8")
    monkeypatch.setitem(sys.modules, "scservo_sdk", ModuleType("scservo_sdk"))
    with pytest.raises(RobotError, match="pip uninstall feetech-servo-sdk"):
        ServoArm(settings_of(CLOCK, arm=str(path)), feetech.FAMILY)
