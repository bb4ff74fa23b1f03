"""Registers of bus servos: bytes to numbers and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.errors import RobotError
from dualsys.robots import dynamixel, feetech
from dualsys.robots.servo_registers import Register, RegisterMap, Signs, sample_of

SIGNS: tuple[Signs, ...] = ("unsigned", "twos_complement", "sign_bit")


@given(signs=st.sampled_from(SIGNS), size=st.sampled_from((1, 2, 4)), data=st.data())
def test_what_fits_comes_back(signs: Signs, size: int, data: st.DataObject) -> None:
    bits = 8 * size - (signs != "unsigned")
    lowest = 0 if signs == "unsigned" else -(1 << bits) + (signs == "sign_bit")
    value = data.draw(st.integers(lowest, (1 << bits) - 1))
    register = Register("value", 0, size, signs, 8 * size - 1)
    assert register.decode(register.encode(value)) == value
    assert len(register.encode(value)) == size


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (Register("goal", 42, 2), -1),
        (Register("goal", 42, 2), 1 << 16),
        (Register("goal", 42, 2, "sign_bit", 15), 1 << 15),
        (Register("goal", 116, 4, "twos_complement"), 1 << 31),
        (Register("goal", 116, 4, "twos_complement"), -(1 << 31) - 1),
    ],
)
def test_what_does_not_fit_is_refused(register: Register, value: int) -> None:
    with pytest.raises(RobotError, match=f"'goal' of . bytes cannot hold {value}"):
        register.encode(value)


def test_negative_numbers_are_told_as_the_makers_describe() -> None:
    assert feetech.REGISTERS.velocity.encode(-50) == bytes([50, 0x80])
    assert feetech.REGISTERS.load.decode(bytes([0xE8, 0x07])) == -1000
    assert dynamixel.REGISTERS.velocity.encode(-2) == b"\xfe\xff\xff\xff"


@pytest.mark.parametrize("registers", [dynamixel.REGISTERS, feetech.REGISTERS])
def test_a_block_holds_every_measurement(registers: RegisterMap) -> None:
    first, length = registers.block
    table = bytearray(first + length)
    for register, value in (
        (registers.position, 2047),
        (registers.velocity, -33),
        (registers.load, -120),
        (registers.voltage, 118),
        (registers.temperature, 41),
    ):
        table[register.address : register.end] = register.encode(value)
    sample = sample_of(registers, bytes(table[first:]))
    found = (sample.position, sample.velocity, sample.load, sample.voltage_v, sample.temperature_c)
    assert found == (2047, -33, -120, 11.8, 41)
    with pytest.raises(RobotError, match=f"expected {length} bytes of measurements, got {length - 1}"):
        sample_of(registers, bytes(table[first + 1 :]))


def test_error_bits_are_told_in_words() -> None:
    assert feetech.REGISTERS.errors_of(0b100101) == (
        "the supply voltage is out of range",
        "overheated",
        "overloaded",
    )
    assert dynamixel.REGISTERS.errors_of(0b1000_0000) == ("unknown error (bit 7)",)
    assert dynamixel.REGISTERS.errors_of(0) == ()
