"""Calibration of an arm: a scripted person moves scripted servos."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dualsys.cli import main
from dualsys.cli.arguments import CalibrateCommand
from dualsys.cli.calibrate_command import Terminal, calibrate
from dualsys.errors import ConfigError, RobotError
from dualsys.robots import servo_arm
from dualsys.robots.profiles import SO101
from dualsys.robots.servo_calibration import TICKS_PER_TURN, load_arm

from ..robots.servo_double import FeetechWire, ServoDouble

RAD_PER_TICK = 2 * np.pi / TICKS_PER_TURN
IDS = range(1, 7)
DIRECTIONS = (1, -1, 1, 1, -1, 1)
TRUE_HOMING = (2048, 2100, 2000, 1900, 2048, 1500)
"""Where the zero of each joint is, ticks."""


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServoDouble]:
    """Six servos of an SO-101."""
    bus = ServoDouble(FeetechWire(), dict.fromkeys(IDS, 777))
    monkeypatch.setattr(servo_arm, "SerialPort", bus.port_class())
    yield bus
    bus.close()


class ScriptedPerson:
    """Moves the servos as asked, within the range of each joint.

    Args:
        double: The servos.
        zero: Position of each servo at angle zero, ticks.
        clumsy: What else is moved at the first attempt to show a direction: the id.
    """

    def __init__(self, double: ServoDouble, zero: tuple[int, ...] = TRUE_HOMING, clumsy: int = 0) -> None:
        self.double = double
        self.zero = zero
        self.clumsy = clumsy
        self.told: list[str] = []
        self.path = iter(self.sweep())

    def put(self, joint: int, angle_rad: float) -> None:
        ticks = self.zero[joint] + DIRECTIONS[joint] * angle_rad / RAD_PER_TICK
        self.double.servos[joint + 1].position = ticks % TICKS_PER_TURN

    def say(self, text: str) -> None:
        self.told.append(text)

    def ask(self, text: str) -> None:
        self.told.append(text)
        if "middle" in text:
            for joint in range(6):
                # By eye, 3 degrees beside it.
                self.put(joint, float(SO101.limits.lower[joint] + SO101.limits.upper[joint]) / 2 + 0.05)
        if text.startswith("Turn "):
            joint = SO101.axes.index(text.split()[1].rstrip(","))
            if self.clumsy:
                self.double.servos[self.clumsy].position += 300
                self.clumsy = 0
                return
            self.double.servos[joint + 1].position += DIRECTIONS[joint] * 120

    def sweep(self) -> Iterator[None]:
        for joint in range(6):
            for angle in np.linspace(SO101.limits.lower[joint], SO101.limits.upper[joint], 8):
                self.put(joint, float(angle))
                yield

    def done(self) -> bool:
        return next(self.path, "done") == "done"


def command_for(double: ServoDouble, folder: Path) -> CalibrateCommand:
    """Calibrate a new SO-101."""
    return CalibrateCommand(folder / "arms" / "so101.yaml", port=double.port)


def test_what_a_person_shows_becomes_the_file_of_the_arm(double: ServoDouble, tmp_path: Path) -> None:
    command = command_for(double, tmp_path)
    calibrate(command, ScriptedPerson(double), double.clock)
    arm = load_arm(command.file)
    assert [joint.id for joint in arm.joints] == list(IDS)
    assert tuple(joint.direction for joint in arm.joints) == DIRECTIONS
    # The ends of a joint tell its zero better than the pose that was set by eye.
    assert [joint.homing_ticks for joint in arm.joints] == pytest.approx(TRUE_HOMING, abs=2)
    limits = arm.spec().limits
    assert limits.lower == pytest.approx(SO101.limits.lower, abs=0.03)
    assert limits.upper == pytest.approx(SO101.limits.upper, abs=0.03)
    assert (limits.lower > SO101.limits.lower).all()
    assert (limits.upper < SO101.limits.upper).all()
    assert all(set(servo.torques) == {0} for servo in double.servos.values())


def test_a_file_that_is_there_keeps_what_is_not_calibrated(double: ServoDouble, tmp_path: Path) -> None:
    command = command_for(double, tmp_path)
    calibrate(command, ScriptedPerson(double), double.clock)
    text = command.file.read_text("utf-8").replace("on_stop: hold", "on_stop: limp")
    command.file.write_text(text.replace("max_temperature_c: 60", "max_temperature_c: 50"), "utf-8")
    calibrate(command, ScriptedPerson(double), double.clock)
    renewed = load_arm(command.file)
    assert (renewed.on_stop, renewed.protection.max_temperature_c) == ("limp", 50)


def test_the_wrong_joint_is_told_and_asked_for_again(double: ServoDouble, tmp_path: Path) -> None:
    person = ScriptedPerson(double, clumsy=4)
    command = command_for(double, tmp_path)
    calibrate(command, person, double.clock)
    assert "  wrist_flex turned, not shoulder_pan: once more." in person.told
    assert load_arm(command.file).joints[0].direction == 1


@pytest.mark.parametrize(
    ("zero", "told"),
    [
        (300, "shoulder_pan: reads 333 in its middle, expected 1252 to 2843"),
        (3900, "shoulder_pan: reads 3933 in its middle"),
    ],
)
def test_a_joint_that_would_pass_the_end_of_its_turn_is_told_at_once(
    double: ServoDouble, tmp_path: Path, zero: int, told: str
) -> None:
    command = command_for(double, tmp_path)
    with pytest.raises(RobotError, match=told):
        calibrate(command, ScriptedPerson(double, (zero, *TRUE_HOMING[1:])), double.clock)
    assert not command.file.exists()


def test_a_joint_that_passes_the_end_of_its_turn_is_told(double: ServoDouble, tmp_path: Path) -> None:
    class Rough(ScriptedPerson):
        def sweep(self) -> Iterator[None]:
            for ticks in (3000, 3900, 100):
                self.double.servos[5].position = ticks
                yield

    command = command_for(double, tmp_path)
    with pytest.raises(RobotError, match="wrist_roll: jumped from 3900 to 100: it passed the end"):
        calibrate(command, Rough(double), double.clock)


def test_a_joint_that_was_not_moved_is_told_and_nothing_is_written(
    double: ServoDouble, tmp_path: Path
) -> None:
    class Lazy(ScriptedPerson):
        def sweep(self) -> Iterator[None]:
            yield

    command = command_for(double, tmp_path)
    with pytest.raises(
        ConfigError, match=r"(?s)joints.0.max_ticks: .* at least 64 more.*nothing was written"
    ):
        calibrate(command, Lazy(double), double.clock)
    assert not command.file.exists()


@pytest.mark.parametrize(("port", "lacking"), [("/dev/ttyNOBODY", 0), ("", 3)])
def test_nobody_is_asked_for_anything_before_the_port_is_open_and_every_servo_is_found(
    double: ServoDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: str, lacking: int
) -> None:
    if port:
        monkeypatch.undo()
    double.servos.pop(lacking, None)
    person = ScriptedPerson(double)
    command = CalibrateCommand(tmp_path / "so101.yaml", port=port or double.port)
    with pytest.raises(RobotError, match="cannot be opened" if port else "servo 3"):
        calibrate(command, person, double.clock)
    assert person.told == []
    assert all(servo.torques == [] for servo in double.servos.values())


def test_without_anybody_at_the_terminal_the_motors_are_left_as_they_are(
    double: ServoDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(RobotError, match="nobody pressed Enter"):
        calibrate(command_for(double, tmp_path), Terminal(), double.clock)
    assert all(servo.torques == [] for servo in double.servos.values())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--arm", "toaster", "--port", "x"], "--arm: got 'toaster'"),
        (["--arm", "panda", "--port", "x", "--model", "x"], "got 'x', expected one of sts3215"),
        ([], "--port: is missing"),
        (["--driver", "feetech", "--port", "/dev/ttyNOBODY"], "/dev/ttyNOBODY cannot be opened: "),
    ],
)
def test_what_is_wrong_on_the_command_line_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["calibrate", str(tmp_path / "arm.yaml"), *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_person_at_a_terminal_presses_enter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("\n\n", "utf-8")
    with (tmp_path / "keys").open(encoding="utf-8") as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        terminal = Terminal()
        terminal.ask("Hold the arm;")
        assert terminal.done()
    assert "Hold the arm;\n  then press Enter." in capsys.readouterr().out
