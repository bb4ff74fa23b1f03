"""What arms of bus servos do when something is wrong with a servo, an answer, or the line."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest

from dualsys.clock import seconds
from dualsys.errors import RobotError
from dualsys.robots.servo_arm import ServoArm
from dualsys.robots.servo_bus import LATE_BYTES_NS
from dualsys.robots.servo_port import SerialPort

from .servo_double import PING, READ, Request, ServoDouble
from .servo_rig import HOME, Kind, tick, until


def test_a_servo_of_another_model_is_refused_by_name(
    build: Callable[..., ServoArm], double: ServoDouble, kind: Kind
) -> None:
    double.set(2, 0 if kind.family.name == "dynamixel" else 3, 2, 4242)
    with pytest.raises(RobotError, match=rf"elbow: servo 2 .* model is 4242, expected {kind.model}"):
        build().connect()
    assert all(not servo.torques for servo in double.servos.values())


def test_a_missing_servo_is_named_and_nothing_is_switched_on(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    del double.servos[3]
    with pytest.raises(RobotError, match="servo 3 did not answer in 3 attempts"):
        build().connect()
    assert all(not servo.torques for servo in double.servos.values())


def test_a_servo_in_another_mode_is_refused(
    build: Callable[..., ServoArm], double: ServoDouble, kind: Kind
) -> None:
    double.set(1, kind.mode, 1, 1)
    with pytest.raises(RobotError, match="base: the operating mode of servo 1 is 1"):
        build().connect()


def test_a_motor_that_cannot_be_switched_on_leaves_none_on(
    build: Callable[..., ServoArm], double: ServoDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = build(on_stop="limp")
    put = arm._bus.put

    def failing(servo: int, register: object, value: int) -> None:
        if servo == 3 and register is arm._family.registers.torque and value == 1:
            double.servos[3].silent = -1
        put(servo, register, value)  # type: ignore[arg-type]

    monkeypatch.setattr(arm._bus, "put", failing)
    with pytest.raises(RobotError, match="servo 3 did not take 1 as its torque"):
        arm.connect()
    assert double.servos[1].torques[-1] == double.servos[2].torques[-1] == 0


def test_a_lost_answer_costs_a_reading_and_is_counted(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build()
    arm.connect()
    tick(arm, HOME)
    double.servos[2].silent = 2
    until(arm, lambda _: arm.counts()["lost"] == 2, HOME)
    then_ns = double.clock.now_ns()
    reading = until(arm, lambda found: found.t_ns > then_ns, HOME)
    assert reading.status == "ok"
    assert arm.counts()["lost"] == 2


def test_a_damaged_answer_is_counted_and_never_believed(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build()
    arm.connect()
    tick(arm, HOME)
    double.servos[2].garbled = 3
    until(arm, lambda _: arm.counts()["corrupted"] >= 3, HOME)
    then_ns = double.clock.now_ns()
    reading = until(arm, lambda found: found.t_ns > then_ns, HOME)
    assert reading.position == pytest.approx(HOME, abs=0.01)


def test_a_servo_that_vanishes_ends_it_within_the_tolerated_losses(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build(tolerated_losses=2)
    arm.connect()
    tick(arm, HOME)
    double.servos[2].silent = -1
    began_ns = double.clock.now_ns()
    with pytest.raises(RobotError, match="no good answer from elbow for 3 cycles in a row"):
        until(arm, lambda _: False, HOME)
    assert seconds(double.clock.now_ns() - began_ns) < 1.5
    assert arm.counts()["lost"] == 3


def test_the_others_are_stopped_when_a_servo_has_vanished(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build(on_stop="limp", tolerated_losses=0)
    arm.connect()
    tick(arm, HOME)
    double.servos[2].silent = -1
    with pytest.raises(RobotError, match="elbow"):
        until(arm, lambda _: False, HOME)
    arm.stop("a control tick failed")
    double.rest(50)
    assert double.servos[1].torques[-1] == double.servos[3].torques[-1] == 0


def test_an_unplugged_board_is_an_error_and_no_hang(
    build: Callable[..., ServoArm], double: ServoDouble, caplog: pytest.LogCaptureFixture
) -> None:
    arm = build()
    arm.connect()
    double.close()
    with pytest.raises(RobotError, match=r"failed: .*; check the cable"):
        until(arm, lambda _: False, HOME)
    with caplog.at_level(logging.WARNING):
        arm.stop("it is gone")
        arm.close()
    assert "could not be told to stop (it is gone)" in caplog.text


def test_a_hot_servo_stops_the_arm_with_its_name_until_it_has_cooled(
    build: Callable[..., ServoArm], double: ServoDouble, kind: Kind
) -> None:
    arm = build(protection={"max_temperature_c": 55})
    arm.connect()
    double.set(3, kind.temperature, 1, 56)
    until(arm, lambda found: found.status == "protective_stop")
    assert arm.fault == "hand: 56 degrees C, at most 55: let it cool to 50"
    assert arm.read().detail == arm.fault
    double.set(3, kind.temperature, 1, 52)
    then_ns = double.clock.now_ns()
    assert until(arm, lambda found: found.t_ns > then_ns).status == "protective_stop"
    double.set(3, kind.temperature, 1, 50)
    assert until(arm, lambda found: found.status == "ok").detail == ""
    assert arm.samples[2].temperature_c == 50


def test_a_high_load_is_borne_for_a_while_only(
    build: Callable[..., ServoArm], double: ServoDouble, kind: Kind
) -> None:
    arm = build(protection={"max_load": 0.9, "max_load_s": 0.15})
    arm.connect()
    address, value = kind.load
    began_ns = double.clock.now_ns()
    double.set(2, address, 2, value)
    assert until(arm, lambda found: found.t_ns > began_ns).status == "ok"
    until(arm, lambda found: found.status == "protective_stop")
    assert seconds(double.clock.now_ns() - began_ns) >= 0.15
    assert arm.fault.startswith("elbow: load 0.99 of what it can give, at most 0.9 for 0.15 s")


def test_an_overloaded_servo_stops_the_arm_and_says_so(
    build: Callable[..., ServoArm], double: ServoDouble, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    arm = build()
    arm.connect()
    double.set(2, kind.wire().errors, 1, kind.overload)
    with caplog.at_level(logging.WARNING):
        until(arm, lambda found: found.status == "protective_stop")
    assert arm.fault == "elbow: overloaded"
    assert "protective stop: elbow: overloaded" in caplog.text
    double.set(2, kind.wire().errors, 1, 0)
    until(arm, lambda found: found.status == "ok")
    assert arm.fault == ""


def test_an_arm_with_a_fault_is_not_switched_on(
    build: Callable[..., ServoArm], double: ServoDouble, kind: Kind
) -> None:
    double.set(1, kind.temperature, 1, 75)
    with pytest.raises(RobotError, match="test_arm cannot be switched on: base: 75 degrees C"):
        build().connect()
    assert all(not servo.torques for servo in double.servos.values())


def test_noise_on_the_line_is_neither_believed_nor_waited_for(
    build: Callable[..., ServoArm], double: ServoDouble, rng: np.random.Generator
) -> None:
    arm = build(tolerated_losses=100)
    arm.connect()
    for servo in double.servos.values():
        servo.blocked = True
    pieces = [b"\xff\xff", b"\xff\xff\xfd\x00", b"\x01", b"\x55", b"\x00", b"\xfd"]

    def noise(answers: bytes) -> bytes:
        way = rng.integers(4)
        if way == 0:  # whatever comes
            return rng.bytes(int(rng.integers(0, 120)))
        if way == 1:  # what looks like the beginning of answers
            return b"".join(pieces[number] for number in rng.integers(0, len(pieces), 30))
        if way == 2:  # cut off, anywhere
            return answers[: rng.integers(0, len(answers))]
        spoilt = bytearray(answers)  # one bit is another
        spoilt[rng.integers(0, len(spoilt))] ^= 1 << int(rng.integers(0, 8))
        return bytes(spoilt)

    double.noise = noise
    for _ in range(80):
        began_ns = double.clock.now_ns()
        reading = arm.read()
        arm.write(HOME)
        assert double.clock.now_ns() - began_ns <= 2 * (LATE_BYTES_NS + 1)
        assert reading.position.tolist() == HOME.tolist()
        double.rest(20)
    assert arm.counts()["corrupted"] > 20
    double.noise = bytes
    then_ns = double.clock.now_ns()
    until(arm, lambda found: found.t_ns > then_ns, HOME)


def followed(double: ServoDouble, late: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer of the second servo to a question is followed by another packet, when it is too late."""
    reply = double._reply

    def longer(request: Request) -> bytes:
        return reply(request) + (late if request.kind in (PING, READ) and request.id == 2 else b"")

    monkeypatch.setattr(double, "_reply", longer)
    monkeypatch.setattr(SerialPort, "clearPort", lambda _: None)


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(
    build: Callable[..., ServoArm], double: ServoDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It confirms something that was written before, and holds no data.
    followed(double, double.wire.answer(2, 0, b""), monkeypatch)
    arm = build()
    arm.find()
    # One of another servo is none either.
    followed(double, double.wire.answer(1, 0, b"\7"), monkeypatch)
    arm.find()


def test_whatever_an_sdk_raises_the_port_is_let_go_of(
    build: Callable[..., ServoArm], monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = build()

    def trips(*_: object) -> int:
        raise IndexError("list index out of range")

    with monkeypatch.context() as patch:
        patch.setattr(arm._bus, "request", trips)
        with pytest.raises(IndexError):
            arm.connect()
    arm.connect()


def test_a_joint_beyond_its_turn_does_not_keep_the_others_from_giving_way(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    arm = build(on_stop="hold")
    arm.connect()
    double.servos[2].blocked = True
    until(arm, lambda found: abs(found.position[0] - 0.3) < 0.01, np.array([0.3, 0.3, 0.3]))
    # Somebody pushes the third one over the end of its encoder.
    double.servos[3].blocked, double.servos[3].position = True, 4100
    until(arm, lambda found: found.position[2] > 3.0, np.array([0.3, 0.3, 0.3]))
    arm.stop("a person asked")
    double.rest(50)
    assert [servo.goals[-1] for servo in double.servos.values()] == [2244, 2048, 4095]
