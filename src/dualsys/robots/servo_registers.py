"""Registers of bus servos: where a value is, how it is written, and what one of it means. Pure.

A servo is a table of registers. What it measures lies close together, so that one request reads all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dualsys.errors import RobotError

Signs = Literal["unsigned", "twos_complement", "sign_bit"]
"""How a register tells negative numbers: not at all, in two's complement, or by one bit and a magnitude."""


@dataclass(frozen=True)
class Register:
    """One value in the table of a servo; its low byte comes first.

    Attributes:
        name: What it holds.
        address: Its first byte.
        size: Bytes.
        signs: How it tells negative numbers.
        sign_bit: Which bit is set for negative numbers, where `signs` is `sign_bit`.
    """

    name: str
    address: int
    size: int
    signs: Signs = "unsigned"
    sign_bit: int = 0

    @property
    def end(self) -> int:
        """The address after its last byte."""
        return self.address + self.size

    def encode(self, value: int) -> bytes:
        """The bytes [size] of a value.

        Raises:
            RobotError: It does not fit.
        """
        raw = value
        if self.signs == "sign_bit" and value < 0:
            raw = -value | 1 << self.sign_bit
        elif self.signs == "twos_complement" and value < 0:
            raw = value + (1 << 8 * self.size)
        if not 0 <= raw < 1 << 8 * self.size or self.decode(raw.to_bytes(self.size, "little")) != value:
            raise RobotError(f"register {self.name!r} of {self.size} bytes cannot hold {value}")
        return raw.to_bytes(self.size, "little")

    def decode(self, data: bytes) -> int:
        """The value of its bytes [size]."""
        raw = int.from_bytes(data, "little")
        if self.signs == "sign_bit" and raw >> self.sign_bit & 1:
            return -(raw & ~(1 << self.sign_bit))
        if self.signs == "twos_complement" and raw >> (8 * self.size - 1):
            return raw - (1 << 8 * self.size)
        return raw


@dataclass(frozen=True)
class RegisterMap:
    """The registers that a driver uses.

    Attributes:
        model: Number of the model.
        mode: Operating mode.
        position_mode: Its value for control of the position within one turn.
        torque: 1 while the motor is on.
        goal: Where the servo goes, ticks.
        position: Where it is, ticks.
        velocity: How fast it turns; the unit is that of the model.
        load: What the motor gives; the unit is that of the model.
        voltage: Supply, 0.1 V.
        temperature: Degrees Celsius.
        error: What the servo finds wrong with itself, one bit each.
        error_in_block: It lies next to the measurements and is read with them; else the servo's answers say
            that there is one, and only then it is read.
        errors: Bit to what it means.
        prepared: What is written before the motor is switched on, so that goals are followed at once.
    """

    model: Register
    mode: Register
    position_mode: int
    torque: Register
    goal: Register
    position: Register
    velocity: Register
    load: Register
    voltage: Register
    temperature: Register
    error: Register
    error_in_block: bool
    errors: Mapping[int, str]
    prepared: tuple[tuple[Register, int], ...]

    @property
    def block(self) -> tuple[int, int]:
        """First address and length of what is read in every cycle."""
        measured = [self.position, self.velocity, self.load, self.voltage, self.temperature]
        measured += [self.error] if self.error_in_block else []
        first = min(register.address for register in measured)
        return first, max(register.end for register in measured) - first

    def errors_of(self, bits: int) -> tuple[str, ...]:
        """What the bits of the error register mean."""
        return tuple(
            self.errors.get(bit, f"unknown error (bit {bit})")
            for bit in range(8 * self.error.size)
            if bits >> bit & 1
        )


@dataclass(frozen=True)
class ServoModel:
    """A kind of servo.

    Attributes:
        name: Its name in files.
        number: What it says when it is asked for its model.
        registers: Its table.
        ticks_per_turn: Positions per turn; they start at 0.
        velocity_rad_s: One unit of its velocity.
        load_unit: One unit of its load, as a part of the most that it can give; None if the load is a
            current, which is compared with the register `load_limit`.
        load_limit: Where the largest current is; None if the load is no current.
        velocity_unit_flag: A register and a bit of it: while the bit is not set, one unit of velocity is
            `velocity_coarse` times as much. None if the unit is fixed.
        velocity_coarse: See there.
    """

    name: str
    number: int
    registers: RegisterMap
    ticks_per_turn: int
    velocity_rad_s: float
    load_unit: float | None
    load_limit: Register | None = None
    velocity_unit_flag: tuple[Register, int] | None = None
    velocity_coarse: float = 1.0


@dataclass(frozen=True)
class ServoSample:
    """What one servo measured.

    Attributes:
        position: Ticks.
        velocity: In units of its model.
        load: In units of its model; negative in negative direction.
        voltage_v: Supply, V.
        temperature_c: Degrees Celsius.
        errors: What it finds wrong with itself.
    """

    position: int
    velocity: int
    load: int
    voltage_v: float
    temperature_c: int
    errors: tuple[str, ...] = ()


def sample_of(registers: RegisterMap, data: bytes) -> ServoSample:
    """Read a block.

    Args:
        registers: The table it is a part of.
        data: `registers.block`, as the servo sent it.

    Raises:
        RobotError: It has another length.
    """
    first, length = registers.block
    if len(data) != length:
        raise RobotError(f"expected {length} bytes of measurements, got {len(data)}")

    def value(register: Register) -> int:
        return register.decode(data[register.address - first : register.end - first])

    return ServoSample(
        position=value(registers.position),
        velocity=value(registers.velocity),
        load=value(registers.load),
        voltage_v=value(registers.voltage) / 10.0,
        temperature_c=value(registers.temperature),
        errors=registers.errors_of(value(registers.error)) if registers.error_in_block else (),
    )
