"""The register table of Dynamixel X servos is the one that ROBOTIS publishes with its SDK."""

from __future__ import annotations

from importlib.resources import files

import pytest

from dualsys.robots.dynamixel import DRIVER, MODELS
from dualsys.robots.registry import driver_named
from dualsys.robots.servo_registers import Register, ServoModel

TABLES = files("dynamixel_easy_sdk") / "control_table"

PUBLISHED = {
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
