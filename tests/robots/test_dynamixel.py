"""The register table of Dynamixel X servos is the one that ROBOTIS publishes with its SDK."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from dualsys.errors import RobotError
from dualsys.robots.dynamixel import DRIVER, MODELS
from dualsys.robots.registry import driver_named
from dualsys.robots.servo_arm import ServoArm
from dualsys.robots.servo_registers import Register, ServoModel

from .servo_double import ServoDouble
from .servo_rig import KINDS, until

TABLES = files("dynamixel_easy_sdk") / "control_table"

PUBLISHED = {
    "model number": "Model Number",
    "operating mode": "Operating Mode",
    "torque enable": "Torque Enable",
    "goal position": "Goal Position",
    "present position": "Present Position",
    "present velocity": "Present Velocity",
    "present input voltage": "Present Input Voltage",
    "present temperature": "Present Temperature",
    "hardware error status": "Hardware Error Status",
    "profile acceleration": "Profile Acceleration",
    "profile velocity": "Profile Velocity",
    "current limit": "Current Limit",
}


def table_of(model: ServoModel) -> tuple[dict[str, tuple[int, int]], dict[str, float]]:
    """Address and size of every register of a model, and its units, by ROBOTIS' names."""
    index = (TABLES / "dynamixel.model").read_text("utf-8")
    name = dict(line.split("\t")[:2] for line in index.splitlines() if "\t" in line)[str(model.number)]
    registers, units = {}, {}
    for line in (TABLES / name).read_text("utf-8").splitlines():
        words = line.split("\t")
        if len(words) == 3 and words[0].isdigit():
            registers[words[2]] = (int(words[0]), int(words[1]))
        elif len(words) == 4 and words[0] != "Data Name":
            units[words[0]] = float(words[1])
    return registers, units


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_register_of_every_model_is_where_it_is_published(model: ServoModel) -> None:
    published, units = table_of(model)
    ours = model.registers
    used: list[Register] = [
        ours.model,
        ours.mode,
        ours.torque,
        ours.goal,
        ours.position,
        ours.velocity,
        ours.voltage,
        ours.temperature,
        ours.error,
        *(register for register, _ in ours.prepared),
        *([model.load_limit] if model.load_limit else []),
    ]
    for register in used:
        assert published[PUBLISHED[register.name]] == (register.address, register.size), register.name
    load = "Present Load" if model.load_unit is not None else "Present Current"
    assert published[load] == (ours.load.address, ours.load.size)
    assert units["Present Velocity"] == pytest.approx(model.velocity_rad_s, rel=1e-3)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_turn_has_as_many_ticks_as_published(model: ServoModel) -> None:
    index = dict(
        line.split("\t")[:2]
        for line in (TABLES / "dynamixel.model").read_text("utf-8").splitlines()
        if "\t" in line
    )
    lines = (TABLES / index[str(model.number)]).read_text("utf-8").splitlines()
    values = dict(line.split("\t") for line in lines if line.count("\t") == 1)
    assert int(values["value_of_max_radian_position"]) == model.ticks_per_turn - 1


def test_it_is_a_driver_of_dualsys() -> None:
    assert driver_named("dynamixel") is DRIVER
    assert DRIVER.usable
    assert DRIVER.install == "pip install 'dualsys[dynamixel]'"
    assert not DRIVER.simulated


XM430 = replace(KINDS["dynamixel"], model="xm430-w350", number=1020)


@pytest.mark.parametrize("kind", [XM430], ids=["xm430-w350"])
def test_a_current_is_compared_with_the_limit_that_is_set_in_the_servo(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    double.set(3, 38, 2, 500)
    arm = build(protection={"max_load": 0.8, "max_load_s": 0.1})
    arm.connect()
    for servo in (1, 3):
        double.set(servo, 126, 2, (1 << 16) - 420)
    until(arm, lambda found: found.status == "protective_stop")
    assert arm.fault.startswith("hand: load 0.84 of what it can give")
    assert "base" not in arm.fault
    arm.close()
    double.set(2, 38, 2, 0)
    with pytest.raises(RobotError, match="elbow: the current limit of servo 2 is 0, expected more than 0"):
        arm.connect()


@pytest.mark.parametrize("kind", [KINDS["dynamixel"]], ids=["dynamixel"])
def test_an_answer_that_looks_like_a_header_comes_through(
    build: Callable[..., ServoArm], double: ServoDouble
) -> None:
    # A velocity of -1, then a position of 0x07FD, is FF FF FF FF FD on the wire: protocol 2.0 stuffs it.
    for servo in double.servos.values():
        servo.position = 0x07FD
        servo.blocked = True
    arm = build()
    arm.connect()
    for servo in double.servos.values():
        servo.turning = -15.7
    first = arm.read()
    reading = until(arm, lambda found: found.t_ns > first.t_ns and found.velocity[0] < 0)
    assert reading.velocity[0] == pytest.approx(-0.024, abs=0.001)
    assert reading.position[0] == pytest.approx((0x07FD - 2048) * 2 * np.pi / 4096)
    assert arm.counts()["corrupted"] == 0
