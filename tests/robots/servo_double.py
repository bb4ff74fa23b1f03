"""Servos that are not there: they speak the real protocols on a pseudo-terminal, and move.

Nothing here is taken from the SDKs: packets, checksums and register tables are written from the makers'
protocol descriptions, so that a mistake in the driver is not repeated here.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import termios
import tty
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Protocol

from dualsys.clock import NS_PER_MS, NS_PER_S, Clock, VirtualClock, WallClock
from dualsys.robots.servo_port import SerialPort

CLOCK = WallClock()

EAGERNESS_HZ = 40.0
"""How soon a servo follows: it is late by the inverse of that."""

SPEED_MEAN_S = 0.01
"""Time over which a servo takes the mean of its speed."""

PING, READ, WRITE, SYNC_READ, SYNC_WRITE = "ping", "read", "write", "sync read", "sync write"


@dataclass
class ScriptedServo:
    """One servo: a table of bytes, a motor that turns at a limited speed, and what goes wrong.

    Attributes:
        table: Its registers, byte by byte.
        position: Where it is, ticks.
        speed: Ticks per second while it is on and away from its goal.
        turning: Ticks per second now.
        silent: Requests that it will not answer; -1 for all that come.
        garbled: Answers that it will send with a flipped bit.
        blocked: Something keeps it where it is.
        alert: The bit that answers carry while its error register is not zero.
        goals: Every goal it was given.
        torques: Every value that its torque switch was given.
    """

    table: bytearray
    position: float
    speed: float = 3000.0
    turning: float = 0.0
    silent: int = 0
    garbled: int = 0
    blocked: bool = False
    goals: list[int] = field(default_factory=list)
    torques: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """One packet from the driver."""

    kind: str
    id: int
    address: int = 0
    length: int = 0
    data: bytes = b""


class Wire(Protocol):
    """A protocol and a table, as one maker has them."""

    goal: tuple[int, int]
    torque: int
    position: tuple[int, int]
    velocity: tuple[int, int]
    errors: int
    refuses_beyond: int

    def new_table(self, model: int) -> bytearray:
        """The registers of a servo as it leaves the factory."""
        ...

    def parse(self, stream: bytearray) -> Iterator[Request]:
        """Take every whole packet from the front of a stream."""
        ...

    def answer(self, servo: int, error: int, data: bytes) -> bytes:
        """A status packet."""
        ...

    def pong(self, table: bytearray) -> bytes:
        """What a ping is answered with."""
        ...

    def error_byte(self, table: bytearray) -> int:
        """The error byte of answers."""
        ...

    def targets(self, request: Request) -> Iterator[tuple[int, bytes]]:
        """Ids, and the data for each, of a sync write; ids of a sync read."""
        ...

    def speed(self, ticks_per_second: float) -> int:
        """A speed in its own unit, as it is written."""
        ...


class DynamixelWire:
    """Protocol 2.0 and the table of X servos."""

    goal, torque, position, velocity, errors = (116, 4), 64, (132, 4), (128, 4), 70
    refuses_beyond = 4095

    def new_table(self, model: int) -> bytearray:
        table = bytearray(148)
        table[0:2] = model.to_bytes(2, "little")
        table[11] = 3
        table[38:40] = (1193).to_bytes(2, "little")
        table[68] = 2
        table[144:146] = (120).to_bytes(2, "little")
        table[146] = 32
        # Left by whoever used it before.
        table[116:120] = (3333).to_bytes(4, "little")
        table[112:116] = (7).to_bytes(4, "little")
        return table

    @staticmethod
    def crc(data: bytes) -> int:
        """CRC-16 with polynomial 0x8005, high bit first, from zero."""
        register = 0
        for byte in data:
            register ^= byte << 8
            for _ in range(8):
                register = (register << 1 ^ (0x8005 if register & 0x8000 else 0)) & 0xFFFF
        return register

    def parse(self, stream: bytearray) -> Iterator[Request]:
        while (start := stream.find(b"\xff\xff\xfd\x00")) >= 0 and len(stream) >= start + 7:
            end = start + 7 + int.from_bytes(stream[start + 5 : start + 7], "little")
            if len(stream) < end:
                return
            packet = bytes(stream[start:end])
            del stream[:end]
            if self.crc(packet[:-2]) != int.from_bytes(packet[-2:], "little"):
                continue
            servo, kind, rest = (
                packet[4],
                packet[7],
                packet[8:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd"),
            )
            address, length = int.from_bytes(rest[:2], "little"), int.from_bytes(rest[2:4], "little")
            if kind == 0x01:
                yield Request(PING, servo)
            elif kind == 0x02:
                yield Request(READ, servo, address, length)
            elif kind == 0x03:
                yield Request(WRITE, servo, address, len(rest) - 2, rest[2:])
            elif kind in (0x82, 0x83):
                yield Request(SYNC_READ if kind == 0x82 else SYNC_WRITE, servo, address, length, rest[4:])

    def answer(self, servo: int, error: int, data: bytes) -> bytes:
        body = (b"\x55" + bytes([error]) + data).replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")
        packet = b"\xff\xff\xfd\x00" + bytes([servo]) + (len(body) + 2).to_bytes(2, "little") + body
        return packet + self.crc(packet).to_bytes(2, "little")

    def pong(self, table: bytearray) -> bytes:
        return bytes(table[0:2]) + b"\x2e"

    def error_byte(self, table: bytearray) -> int:
        return 0x80 if table[self.errors] else 0

    def targets(self, request: Request) -> Iterator[tuple[int, bytes]]:
        step = 1 if request.kind == SYNC_READ else 1 + request.length
        for at in range(0, len(request.data), step):
            yield request.data[at], request.data[at + 1 : at + step]

    def speed(self, ticks_per_second: float) -> int:
        return round(ticks_per_second * 60 / 4096 / 0.229) & 0xFFFFFFFF


class FeetechWire:
    """The protocol of STS servos and their table."""

    goal, torque, position, velocity, errors = (42, 2), 40, (56, 2), (58, 2), 65
    refuses_beyond = 1 << 16

    def new_table(self, model: int) -> bytearray:
        table = bytearray(71)
        table[3:5] = model.to_bytes(2, "little")
        table[8] = 1
        table[18] = 12
        table[62], table[63] = 74, 31
        table[42:44] = (3333).to_bytes(2, "little")
        return table

    def parse(self, stream: bytearray) -> Iterator[Request]:
        while (start := stream.find(b"\xff\xff")) >= 0 and len(stream) >= start + 4:
            end = start + 4 + stream[start + 3]
            if len(stream) < end:
                return
            packet = bytes(stream[start:end])
            del stream[:end]
            if ~sum(packet[2:-1]) & 0xFF != packet[-1]:
                continue
            servo, kind, rest = packet[2], packet[4], packet[5:-1]
            if kind == 0x01:
                yield Request(PING, servo)
            elif kind == 0x02:
                yield Request(READ, servo, rest[0], rest[1])
            elif kind == 0x03:
                yield Request(WRITE, servo, rest[0], len(rest) - 1, rest[1:])
            elif kind in (0x82, 0x83):
                yield Request(SYNC_READ if kind == 0x82 else SYNC_WRITE, servo, rest[0], rest[1], rest[2:])

    def answer(self, servo: int, error: int, data: bytes) -> bytes:
        body = bytes([servo, len(data) + 2, error]) + data
        return b"\xff\xff" + body + bytes([~sum(body) & 0xFF])

    def pong(self, table: bytearray) -> bytes:
        del table
        return b""

    def error_byte(self, table: bytearray) -> int:
        return table[self.errors]

    def targets(self, request: Request) -> Iterator[tuple[int, bytes]]:
        return DynamixelWire.targets(DynamixelWire(), request)

    def speed(self, ticks_per_second: float) -> int:
        magnitude = min(round(abs(ticks_per_second)), 0x7FFF)
        return magnitude | (0x8000 if ticks_per_second < 0 else 0)


class BusClock(VirtualClock):
    """A clock on which sleeping gives the servos time to answer what they were asked before."""

    def __init__(self) -> None:
        super().__init__(NS_PER_S)
        self.double: ServoDouble | None = None

    def sleep_until_ns(self, deadline_ns: int) -> None:
        if self.double is not None:
            self.double.pump()
        super().sleep_until_ns(deadline_ns)


class ServoDouble:
    """A bus with servos, on a pseudo-terminal, whose time is that of its clock, however busy the machine is.

    Args:
        wire: Protocol and table.
        models: Id to model number.
        position: Where every servo is, ticks.
        clock: A `WallClock` for a bus that answers by itself, in a thread; by default one that is slept on.
    """

    def __init__(
        self, wire: Wire, models: dict[int, int], position: int = 2048, clock: Clock | None = None
    ) -> None:
        self.wire = wire
        self.clock: Clock = BusClock() if clock is None else clock
        self.servos = {
            servo: ScriptedServo(wire.new_table(model), position) for servo, model in models.items()
        }
        self.requests: list[Request] = []
        self.unplugged = False
        self.noise: Callable[[bytes], bytes] = bytes
        """What becomes of the answers to a sync read on the line."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave, termios.TCSANOW)
        self.port = os.ttyname(self._slave)
        self._under_way = 0
        self._stream = bytearray()
        self._moved_ns = self.clock.now_ns()
        self._done = Event()
        self._thread = Thread(target=self._serve, daemon=True)
        if isinstance(self.clock, BusClock):
            self.clock.double = self
        else:
            self._thread.start()

    def close(self) -> None:
        """Unplug the board. Calling it again does nothing."""
        if self.unplugged:
            return
        self.unplugged = True
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def rest(self, duration_ms: float) -> None:
        """Let time pass."""
        self.clock.sleep_until_ns(self.clock.now_ns() + round(duration_ms * NS_PER_MS))

    def port_class(self) -> type[SerialPort]:
        """A serial port that waits on the clock of this bus, and tells it what it sends."""
        double = self

        class BusPort(SerialPort):
            def writePort(self, packet: Sequence[int]) -> int:  # noqa: N802
                sent = super().writePort(packet)
                double.expect(sent)
                return sent

            def _wait(self, handle: int, longest_ns: int) -> None:
                del handle
                double.pump()
                if not self.waiting:
                    double.clock.sleep_until_ns(double.clock.now_ns() + longest_ns + 1)

        return BusPort

    def expect(self, count: int) -> None:
        """So many bytes are on their way to the servos: the kernel takes a while."""
        self._under_way += count

    def pump(self) -> None:
        """Take what was sent, and answer it."""
        if self.unplugged:
            return
        while self._under_way > 0:
            assert select.select([self._master], [], [], 10)[0], "what was sent never came"
            data = os.read(self._master, 4096)
            self._under_way -= len(data)
            self._stream += data
        before = self._arrived()
        sent = self._answer_all()
        give_up_ns = CLOCK.now_ns() + 10 * NS_PER_S
        while self._arrived() < before + sent:
            assert CLOCK.now_ns() < give_up_ns, "what was answered never came"

    def _serve(self) -> None:
        while not self._done.is_set():
            if select.select([self._master], [], [], 0.02)[0]:
                self._stream += os.read(self._master, 4096)
                self._answer_all()

    def _arrived(self) -> int:
        """Bytes that the driver can read."""
        count = array("i", [0])
        fcntl.ioctl(self._slave, termios.FIONREAD, count)
        return count[0]

    def _answer_all(self) -> int:
        """Move, and answer whole packets. Returns how many bytes were sent."""
        self._move()
        sent = 0
        for request in self.wire.parse(self._stream):
            self.requests.append(request)
            reply = self._reply(request)
            sent += os.write(self._master, self.noise(reply) if request.kind == SYNC_READ else reply)
        return sent

    def set(self, servo: int, address: int, size: int, value: int) -> None:
        """Write a register behind the driver's back."""
        self.servos[servo].table[address : address + size] = value.to_bytes(size, "little")

    def get(self, servo: int, address: int, size: int = 1) -> int:
        """Read a register behind the driver's back."""
        return int.from_bytes(self.servos[servo].table[address : address + size], "little")

    def _move(self) -> None:
        now_ns = self.clock.now_ns()
        passed_s = (now_ns - self._moved_ns) / NS_PER_S
        self._moved_ns = now_ns
        address, size = self.wire.goal
        for servo in self.servos.values():
            away = int.from_bytes(servo.table[address : address + size], "little") - servo.position
            if servo.table[self.wire.torque] != 1 or servo.blocked:
                away = 0.0
            # It comes closer by a part of the way per second, but never faster than it can turn.
            step = away * -math.expm1(-EAGERNESS_HZ * passed_s)
            step = max(-servo.speed * passed_s, min(servo.speed * passed_s, step))
            servo.position += step
            # Its speed is a mean over some time, as in servos, which take differences of positions.
            if passed_s > 0:
                weight = -math.expm1(-passed_s / SPEED_MEAN_S)
                servo.turning += weight * (step / passed_s - servo.turning)
            self._put(servo, self.wire.position, round(servo.position))
            self._put(servo, self.wire.velocity, self.wire.speed(servo.turning))

    @staticmethod
    def _put(servo: ScriptedServo, place: tuple[int, int], value: int) -> None:
        address, size = place
        servo.table[address : address + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def _reply(self, request: Request) -> bytes:
        if request.kind == SYNC_READ:
            return b"".join(
                self._answer(servo, self._read(servo, request))
                for servo, _ in self.wire.targets(request)
                if servo in self.servos
            )
        if request.kind == SYNC_WRITE:
            for servo, data in self.wire.targets(request):
                if servo in self.servos and self.servos[servo].silent >= 0:
                    self._write(servo, request.address, data)
            return b""
        if request.id not in self.servos:
            return b""
        if request.kind == WRITE:
            if self.servos[request.id].silent:
                return self._answer(request.id, b"")
            refusal = self._write(request.id, request.address, request.data)
            return self._answer(request.id, b"", refusal)
        data = (
            self.wire.pong(self.servos[request.id].table)
            if request.kind == PING
            else self._read(request.id, request)
        )
        return self._answer(request.id, data)

    def _read(self, servo: int, request: Request) -> bytes:
        return bytes(self.servos[servo].table[request.address : request.address + request.length])

    def _write(self, servo: int, address: int, data: bytes) -> int:
        found = self.servos[servo]
        value = int.from_bytes(data, "little")
        if address == self.wire.goal[0]:
            if value > self.wire.refuses_beyond:
                return 0x04
            found.goals.append(value)
        if address == self.wire.torque:
            found.torques.append(value)
        found.table[address : address + len(data)] = data
        return 0

    def _answer(self, servo: int, data: bytes, refusal: int = 0) -> bytes:
        found = self.servos[servo]
        if found.silent:
            found.silent -= found.silent > 0
            return b""
        packet = self.wire.answer(servo, self.wire.error_byte(found.table) | refusal, data)
        if found.garbled:
            found.garbled -= 1
            packet = packet[:-3] + bytes([packet[-3] ^ 0x10]) + packet[-2:]
        return packet
