"""A bus of servos: requests, answers and what went wrong with them, on the packet handler of an SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from dualsys.clock import NS_PER_MS, period_ns
from dualsys.errors import RobotError
from dualsys.robots.servo_port import SerialPort
from dualsys.robots.servo_registers import Register, RegisterMap

Value = TypeVar("Value")

ATTEMPTS: Final = 3
"""How often an answer is asked for before a servo is given up."""

LATE_ANSWERS: Final = 8
"""Answers to something else that are passed over at most, while one is waited for."""

PATIENCE_PART: Final = 0.75
"""Part of a cycle that answers may take beyond their time on the wire: the next one finds the bus free."""

LATE_BYTES_NS: Final = NS_PER_MS
"""Longest wait for the rest of answers that have almost come."""


@dataclass(frozen=True)
class Packet:
    """An answer as the SDK took it from the wire.

    Attributes:
        id: Who sent it.
        error: Its error byte.
        data: The rest.
    """

    id: int
    error: int
    data: bytes


@dataclass(frozen=True)
class PacketCalls:
    """What is used of an SDK, with the port put in.

    Attributes:
        ask: id, address, length -> result; asks one servo for a part of its table.
        write: id, address, length, data -> result, error byte.
        request: address, length, ids -> result; asks several servos at once.
        receive: -> the next answer, None where it was damaged or did not come; result.
        sync_write: address, length, [id, data..., id, data...] -> result; nobody answers.
        overhead: Bytes of an answer besides its data.
        success: The result that is one.
        nothing: The result of an answer that did not come at all.
        instruction_errors: Bits of the error byte that refuse a request; the others are about the servo.
        alert: Bit of the error byte that says that the error register is worth a look; 0 for none.
    """

    ask: Callable[[int, int, int], int]
    write: Callable[[int, int, int, Sequence[int]], tuple[int, int]]
    request: Callable[[int, int, Sequence[int]], int]
    receive: Callable[[], tuple[Packet | None, int]]
    sync_write: Callable[[int, int, Sequence[int]], int]
    overhead: int
    success: int
    nothing: int
    instruction_errors: int
    alert: int


@dataclass(frozen=True)
class Answers:
    """The answers of one cycle.

    Attributes:
        data: Id to the block that it sent; servos without a good answer are missing.
        alerts: Ids that say that their error register is worth a look.
        corrupted: How many answers came damaged.
    """

    data: Mapping[int, bytes]
    alerts: frozenset[int]
    corrupted: int


class ServoBus:
    """Servos on one port. Requests of a cycle are sent by `request` and taken by `answers`, without waiting.

    Args:
        port: Open while the bus is used.
        calls: The SDK.
        registers: The table of the servos.
        ids: Of the servos, in the order of the joints.
    """

    def __init__(
        self, port: SerialPort, calls: PacketCalls, registers: RegisterMap, ids: Sequence[int]
    ) -> None:
        self._port = port
        self._calls = calls
        self._model = registers.model
        self._block = registers.block
        self._ids = tuple(ids)
        self._asked = False

    @property
    def asked(self) -> bool:
        """Whether answers are under way, so that the wire is taken."""
        return self._asked

    @property
    def arrived(self) -> bool:
        """Whether all answers have come, or none is waited for any more."""
        expected = len(self._ids) * (self._calls.overhead + self._block[1])
        return self._port.expired or self._port.waiting >= expected

    @property
    def deadline_ns(self) -> int:
        """Until when answers are waited for."""
        return self._port.deadline_ns

    def close(self) -> None:
        """Close the port."""
        self._asked = False
        self._port.close()

    def ping(self, servo: int) -> int:
        """The model number of a servo.

        Raises:
            RobotError: It does not answer.
        """
        data = self._insist(servo, "answer", lambda: self._asked_once(servo, self._model))
        return self._model.decode(data)

    def get(self, servo: int, register: Register) -> int:
        """A register of a servo.

        Raises:
            RobotError: It does not answer, or refuses.
        """
        purpose = f"tell its {register.name}"
        return register.decode(self._insist(servo, purpose, lambda: self._asked_once(servo, register)))

    def put(self, servo: int, register: Register, value: int) -> None:
        """Write a register of a servo, and have it confirmed.

        Raises:
            RobotError: It does not answer, or refuses, or the value does not fit.
        """
        data = register.encode(value)

        def once() -> tuple[None, int, int]:
            result, error = self._calls.write(servo, register.address, register.size, list(data))
            return None, result, error

        self._insist(servo, f"take {value} as its {register.name}", once)

    def put_all(self, register: Register, values: Mapping[int, int]) -> None:
        """Write a register of many servos with one packet that nobody confirms.

        Args:
            register: Which one.
            values: Id to value.

        Raises:
            RobotError: It cannot be sent, or a value does not fit.
        """
        packet = [byte for servo, value in values.items() for byte in (servo, *register.encode(value))]
        self._free()
        self._check_sent(self._calls.sync_write(register.address, register.size, packet))

    def request(self) -> None:
        """Ask all servos for their measurements.

        Raises:
            RobotError: It cannot be sent.
        """
        self._free()
        self._check_sent(self._calls.request(*self._block, self._ids))
        packet = len(self._ids) + 14
        self._port.setPacketTimeout(packet + len(self._ids) * (self._calls.overhead + self._block[1]))
        self._asked = True

    def answers(self) -> Answers:
        """Take the answers to `request` that have come; the rest is given up.

        Raises:
            RobotError: The port failed.
        """
        self._asked = False
        self._port.wait_at_most_ns(LATE_BYTES_NS)
        data: dict[int, bytes] = {}
        alerts: set[int] = set()
        corrupted = 0
        # Each round takes at least one byte or ends; a wire full of noise must not keep us.
        for _ in range(2 * len(self._ids) + 2):
            packet, result = self._calls.receive()
            if result == self._calls.nothing:
                break
            if packet is None or packet.id not in self._ids or len(packet.data) != self._block[1]:
                corrupted += 1
                continue
            data[packet.id] = packet.data
            if packet.error & self._calls.alert:
                alerts.add(packet.id)
            if len(data) == len(self._ids):
                break
        return Answers(data, frozenset(alerts), corrupted)

    def _asked_once(self, servo: int, register: Register) -> tuple[bytes, int, int]:
        """Ask for a register once: its bytes, the result, the error byte.

        An answer of another length is one to an earlier request that came late. The SDKs' own calls take it,
        with its checksum for the value, or fail for what it lacks.
        """
        calls = self._calls
        result = calls.ask(servo, register.address, register.size)
        for _ in range(LATE_ANSWERS):
            if result != calls.success:
                break
            packet, result = calls.receive()
            if packet is None or packet.id != servo:
                continue
            if len(packet.data) == register.size or packet.error & calls.instruction_errors:
                return packet.data, calls.success, packet.error
        return b"", calls.nothing, 0

    def _insist(self, servo: int, purpose: str, once: Callable[[], tuple[Value, int, int]]) -> Value:
        refusal = 0
        for _ in range(ATTEMPTS):
            self._free()
            value, result, error = once()
            refusal = error & self._calls.instruction_errors
            if result == self._calls.success and not refusal:
                return value
        if refusal:
            raise RobotError(f"servo {servo} did not {purpose}: it refused with error {refusal}")
        raise RobotError(
            f"servo {servo} did not {purpose} in {ATTEMPTS} attempts: check its cable and supply, its id, "
            "and the baud rate"
        )

    def _free(self) -> None:
        """Whatever was under way is given up."""
        self._asked = False
        self._port.is_using = False

    def _check_sent(self, result: int) -> None:
        if result != self._calls.success:
            raise RobotError(f"the bus took no packet (result {result} of the SDK)")


def patience_ns(rate_hz: float) -> int:
    """What answers may take beyond their time on the wire, ns, where cycles come at `rate_hz`."""
    return round(PATIENCE_PART * period_ns(rate_hz))


def cycle_bytes(calls: PacketCalls, registers: RegisterMap, servos: int) -> int:
    """Bytes on the wire per cycle: goals out, a request out, answers in."""
    goals = servos * (1 + registers.goal.size) + 14
    return goals + servos + 14 + servos * (calls.overhead + registers.block[1])


def check_time(
    calls: PacketCalls, registers: RegisterMap, servos: int, baud_rate: int, rate_hz: float
) -> None:
    """Check that a cycle fits into its period.

    Raises:
        RobotError: The bytes of a cycle alone take more than half of it.
    """
    wire_s = cycle_bytes(calls, registers, servos) * 10 / baud_rate
    if wire_s > 0.5 / rate_hz:
        raise RobotError(
            f"baud_rate: {baud_rate} is too slow for {servos} servos at rate_hz {rate_hz:g}: one cycle takes "
            f"{1000 * wire_s:.1f} ms on the wire, at most {500 / rate_hz:.1f} ms; use a higher baud rate or "
            "a lower rate"
        )
