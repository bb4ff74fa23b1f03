"""`dualsys calibrate`: the file of an arm of bus servos, made by a person who moves it, motors off."""

from __future__ import annotations

import select
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol

from pydantic import ValidationError

from dualsys.cli.arguments import CalibrateCommand
from dualsys.clock import NS_PER_MS, NS_PER_S, Clock, WallClock
from dualsys.config_faults import explain
from dualsys.errors import ConfigError, RobotError
from dualsys.robots import dynamixel, feetech
from dualsys.robots.profiles import PROFILES
from dualsys.robots.registry import RobotSettings
from dualsys.robots.servo_arm import ServoArm
from dualsys.robots.servo_calibration import TICKS_PER_TURN, ArmFile, load_arm
from dualsys.robots.servo_survey import Survey
from dualsys.telemetry.files import replace_file

OPEN: Final = {"dynamixel": dynamixel.open_arm, "feetech": feetech.open_arm}
POLL_NS: Final = 20 * NS_PER_MS
FRESH_NS: Final = 2 * NS_PER_S
"""Longest wait for a reading."""


class Person(Protocol):
    """Who moves the arm."""

    def say(self, text: str) -> None:
        """Tell them something."""
        ...

    def ask(self, text: str) -> None:
        """Ask them to do something, and wait until they have."""
        ...

    def done(self) -> bool:
        """Whether they have done what goes on in the meantime."""
        ...


class Terminal:
    """A person at a terminal, who presses Enter."""

    def say(self, text: str) -> None:
        print(text, flush=True)

    def ask(self, text: str) -> None:
        self.say(f"{text}\n  then press Enter.")
        if not sys.stdin.readline():
            raise RobotError("nobody pressed Enter: the input has ended; run it in a terminal")

    def done(self) -> bool:
        return bool(select.select([sys.stdin], [], [], 0)[0]) and bool(sys.stdin.readline())


def calibrate(command: CalibrateCommand, person: Person | None = None, clock: Clock | None = None) -> None:
    """Make or renew the file of an arm.

    Args:
        command: Which one.
        person: Who moves it; by default somebody at the terminal.
        clock: Where time comes from; by default that of the machine.

    Raises:
        ConfigError: The file that is there has faults, the arm is not known, or what was shown does not
            fit.
        RobotError: The arm cannot be reached, or what was shown makes no sense.
    """
    person, clock = person or Terminal(), clock or WallClock()
    draft = draft_of(command)
    with TemporaryDirectory(prefix="dualsys-") as folder:
        path = Path(folder) / "draft.yaml"
        path.write_text(draft.to_yaml(), "utf-8")
        settings = RobotSettings("", "", "", 5.0, clock, options={"arm": str(path)})
        arm = OPEN[command.driver](settings)
    # Nobody is asked to hold an arm that cannot be reached.
    arm.find()
    person.ask("The motors will be switched off. Hold the arm, so that it does not fall;")
    arm.connect_limp()
    try:
        survey = survey_of(arm, draft, person, clock)
    finally:
        arm.close()
    try:
        text = survey.result().to_yaml()
    except ValidationError as error:
        faults = [line for detail in error.errors() for line in explain(ArmFile, detail)]
        raise ConfigError(str(command.file), [*faults, "nothing was written: calibrate again"]) from None
    command.file.parent.mkdir(parents=True, exist_ok=True)
    # As a whole: half of a file would cost the calibration that was there, too.
    replace_file(command.file, text.encode())
    person.say(f"written: {command.file}. The motors are off.")


def draft_of(command: CalibrateCommand) -> ArmFile:
    """The arm before it is calibrated: the file that is there, or a new one of a known arm.

    Raises:
        ConfigError: The file has faults, or there is none and the arm is not known.
    """
    wide = {
        "homing_ticks": TICKS_PER_TURN // 2,
        "direction": 1,
        "min_ticks": 0,
        "max_ticks": TICKS_PER_TURN - 1,
    }
    if command.file.exists():
        known = load_arm(command.file)
        joints = [joint.model_copy(update=wide) for joint in known.joints]
        changes: dict[str, object] = {"joints": joints}
        return known.model_copy(update=changes if command.port is None else {**changes, "port": command.port})
    profile = PROFILES.get(command.arm)
    if profile is None or profile.limits.joints != len(profile.axes):
        expected = "so101, or a file with ids and models that is there: docs/servo-arms.md shows one"
        raise ConfigError("command line", [f"--arm: got {command.arm!r}, expected {expected}"])
    if command.port is None:
        raise ConfigError(
            "command line", ["--port: is missing; `python -m serial.tools.list_ports` lists them"]
        )
    entries = [
        {"name": name, "id": number, "model": command.model, **wide}
        for number, name in enumerate(profile.axes, start=1)
    ]
    return ArmFile.model_validate({"arm": command.arm, "port": command.port, "joints": entries})


def survey_of(arm: ServoArm, draft: ArmFile, person: Person, clock: Clock) -> Survey:
    """Have a person show the middle, the directions and the ranges of the joints.

    Raises:
        RobotError: A servo is lost, or a joint passes the end of its encoder's turn.
    """
    survey = Survey(draft)
    person.ask("Put every joint in the middle of its range, a gripper half open;")
    survey.middle(ticks_of(arm, clock))
    for at, joint in enumerate(draft.joints):
        fault = "not yet"
        while fault:
            before = ticks_of(arm, clock)
            person.ask(f"Turn {joint.name}, and only that, by 10 degrees in its positive direction;")
            if fault := survey.turned(at, before, ticks_of(arm, clock)):
                person.say(f"  {fault}: once more.")
    person.say("Now move every joint from one end of its range to the other, slowly; then press Enter.")
    survey.sweep(ticks_of(arm, clock))
    while not person.done():
        survey.sweep(ticks_of(arm, clock))
    for name, (lowest, highest) in survey.widths().items():
        person.say(f"  {name}: {lowest} to {highest}")
    return survey


def ticks_of(arm: ServoArm, clock: Clock) -> tuple[int, ...]:
    """Where the servos are now, ticks.

    Raises:
        RobotError: They do not tell.
    """
    began_ns = clock.now_ns()
    while arm.read().t_ns <= began_ns:
        if clock.now_ns() - began_ns > FRESH_NS:
            raise RobotError("the servos have stopped telling where they are: check cables and supply")
        clock.sleep_until_ns(clock.now_ns() + POLL_NS)
    return tuple(sample.position for sample in arm.samples)
