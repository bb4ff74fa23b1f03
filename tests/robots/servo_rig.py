"""What the tests of servo arms share: both makers' servos, the file of an arm, and how to tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dualsys.clock import NS_PER_MS, NS_PER_S, Clock
from dualsys.fast.control.limits import FloatArray
from dualsys.robots import dynamixel, feetech
from dualsys.robots.contract import ArmReading
from dualsys.robots.registry import RobotSettings
from dualsys.robots.servo_arm import ServoArm
from dualsys.robots.servo_family import ServoFamily

from .servo_double import DynamixelWire, FeetechWire, Wire

HOME = np.zeros(3)
RAD_PER_TICK = 2 * np.pi / 4096

PORT = "/dev/pts/none"


@dataclass(frozen=True)
class Kind:
    """One maker's servos.

    Attributes:
        family: What drives them.
        wire: What speaks for them.
        model: Name of the model.
        number: Its number.
        overload: Value of the error register of an overloaded servo.
        load: Address of the load, and its value near the most that the servo can give.
        temperature: Address of the temperature.
        mode: Address of the operating mode.
    """

    family: ServoFamily
    wire: Callable[[], Wire]
    model: str
    number: int
    overload: int
    load: tuple[int, int]
    temperature: int
    mode: int


KINDS = {
    "dynamixel": Kind(dynamixel.FAMILY, DynamixelWire, "xl430-w250", 1060, 0x20, (126, 990), 146, 11),
    "feetech": Kind(feetech.FAMILY, FeetechWire, "sts3215", 777, 0x20, (60, 990), 63, 33),
}


def arm_tree(model: str, **changes: object) -> dict[str, object]:
    """The file of an arm of three joints, the second of which turns the other way."""
    joints = [
        {
            "name": name,
            "id": number,
            "model": model,
            "homing_ticks": 2048,
            "direction": direction,
            "min_ticks": 1000,
            "max_ticks": 3000,
            "velocity_rad_s": 3.0,
            "acceleration_rad_s2": 10.0,
        }
        for number, (name, direction) in enumerate((("base", 1), ("elbow", -1), ("hand", 1)), start=1)
    ]
    return {"arm": "test_arm", "port": PORT, "joints": joints, **changes}


def settings_of(clock: Clock, **options: str | int | None) -> RobotSettings:
    """Settings with these options."""
    return RobotSettings("", "", "", 5.0, clock, options=options)


def tick(arm: ServoArm, command: FloatArray | None = None) -> ArmReading:
    """One cycle: read, and perhaps write."""
    clock = arm._settings.clock
    reading = arm.read()
    if command is not None:
        arm.write(command)
    clock.sleep_until_ns(clock.now_ns() + 20 * NS_PER_MS)
    return reading


def until(arm: ServoArm, done: Callable[[ArmReading], bool], command: FloatArray | None = None) -> ArmReading:
    """Tick until a reading is as it should be, at most three seconds."""
    clock = arm._settings.clock
    deadline_ns = clock.now_ns() + 3 * NS_PER_S
    while not done(reading := tick(arm, command)):
        assert clock.now_ns() < deadline_ns, reading
    return reading
