"""The register table of Feetech STS servos is the one in Feetech's SDK."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scservo_sdk

from dualsys.robots.feetech import DRIVER, REGISTERS
from dualsys.robots.registry import driver_named
from dualsys.robots.servo_arm import ServoArm

from .servo_double import ServoDouble
from .servo_rig import KINDS, until


@pytest.mark.parametrize(
    ("register", "constant"),
    [
        (REGISTERS.mode, "SMS_STS_MODE"),
        (REGISTERS.torque, "SMS_STS_TORQUE_ENABLE"),
        (REGISTERS.goal, "SMS_STS_GOAL_POSITION_L"),
        (REGISTERS.position, "SMS_STS_PRESENT_POSITION_L"),
        (REGISTERS.velocity, "SMS_STS_PRESENT_SPEED_L"),
        (REGISTERS.load, "SMS_STS_PRESENT_LOAD_L"),
        (REGISTERS.voltage, "SMS_STS_PRESENT_VOLTAGE"),
        (REGISTERS.temperature, "SMS_STS_PRESENT_TEMPERATURE"),
        (REGISTERS.prepared[0][0], "SMS_STS_ACC"),
    ],
)
def test_every_register_is_where_the_sdk_has_it(register: object, constant: str) -> None:
    assert register.address == getattr(scservo_sdk, constant)  # type: ignore[attr-defined]


def test_error_bits_are_those_of_the_sdk() -> None:
    published = {
        scservo_sdk.ERRBIT_VOLTAGE: "voltage",
        scservo_sdk.ERRBIT_ANGLE: "encoder",
        scservo_sdk.ERRBIT_OVERHEAT: "overheated",
        scservo_sdk.ERRBIT_OVERELE: "current",
        scservo_sdk.ERRBIT_OVERLOAD: "overloaded",
    }
    assert {1 << bit for bit in REGISTERS.errors} == set(published)
    for bits, word in published.items():
        assert word in REGISTERS.errors_of(bits)[0]


def test_it_is_a_driver_of_dualsys() -> None:
    assert driver_named("feetech") is DRIVER
    assert DRIVER.usable
    assert DRIVER.install == "pip install 'dualsys[feetech]'"
    assert not DRIVER.simulated


@pytest.mark.parametrize("kind", [KINDS["feetech"]], ids=["feetech"])
def test_a_servo_that_counts_its_speed_in_fifties_is_understood(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    double.set(2, 18, 1, 8)
    for servo in double.servos.values():
        servo.speed = 1000.0
    arm = build()
    arm.connect()
    goal = np.array([1.4, 1.4, -1.4])
    reading = until(arm, lambda found: found.velocity[0] > 1.48, goal)
    assert reading.velocity[1] == pytest.approx(50 * reading.velocity[0])
    assert reading.velocity[2] == pytest.approx(-reading.velocity[0])
