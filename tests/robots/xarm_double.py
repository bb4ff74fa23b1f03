"""An xArm controller in software, for the maker's own SDK: the requests that it makes over TCP.

Each is a Modbus-TCP header with the maker's own protocol number, a function code, and data; the answer has
the same header, a byte of state, and data. Written after what the SDK sends and expects.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import exp

CYCLE_S = 0.004
REPORT_PORT = 30001

GET_VERSION, GET_ROBOT_SN, MOTION_ENABLE, SET_STATE, GET_STATE, GET_COMMANDS = 1, 2, 11, 12, 13, 14
GET_ERROR, CLEAN_ERROR, CLEAN_WARNING, SET_MODE, SERVO_J, GET_JOINTS = 15, 16, 17, 19, 29, 42

HAS_ERROR, HAS_WARNING, NOT_READY = 0x40, 0x20, 0x10
INVALID = 0x08

SLEEPING, STOPPED = 2, 4
SERVO_MODE = 1


@dataclass
class XarmDouble:
    """The controller, and its arm, whose joints follow set-points with a first-order lag.

    Attributes:
        axes: Number of joints.
        kind: Type of the arm, as the controller tells it.
        asked: Function codes of the requests so far.
        mute: Whether it answers nothing.
    """

    axes: int = 6
    kind: int = 6
    q: list[float] = field(default_factory=lambda: [0.1, -0.3, -0.8, 0.2, 0.9, 0.0, 0.0])
    qd: list[float] = field(default_factory=lambda: [0.0] * 7)
    target: list[float] | None = None
    state: int = STOPPED
    mode: int = 0
    enabled: bool = False
    error: int = 0
    asked: list[int] = field(default_factory=list)
    servo: list[list[float]] = field(default_factory=list)
    mute: bool = False

    def fail(self, error: int) -> None:
        """An error: the arm stops."""
        self.error, self.state, self.target = error, STOPPED, None

    def step(self, cycles: int) -> None:
        """Let time pass."""
        part = 1.0 - exp(-CYCLE_S / 0.02)
        for _ in range(cycles):
            goal = self.q if self.target is None else self.target
            moved = [q + part * (to - q) for q, to in zip(self.q, goal, strict=True)]
            self.qd = [(after - before) / CYCLE_S for before, after in zip(self.q, moved, strict=True)]
            self.q = moved

    def answer(self, code: int, data: bytes) -> bytes:
        """The answer to a request: a byte of state, and data."""
        self.asked.append(code)
        known: dict[int, Callable[[bytes], bytes]] = {
            GET_VERSION: lambda _: self._version(),
            MOTION_ENABLE: self._enable,
            SET_STATE: self._set_state,
            GET_STATE: lambda _: bytes([self.state]),
            GET_COMMANDS: lambda _: b"\0\0",
            GET_ERROR: lambda _: bytes([self.error, 0]),
            SET_MODE: self._set_mode,
            SERVO_J: self._servo_j,
            GET_JOINTS: self._joints,
        }
        given = known[code](data) if code in known else b""
        bits = HAS_ERROR * bool(self.error) | NOT_READY * (self.state == STOPPED)
        return bytes([bits | INVALID * (code not in known)]) + given

    def report(self) -> bytes:
        """What is told all the time: state, mode, and numbers that the driver does not look at."""
        enabled = 0xFF * self.enabled
        numbers = struct.pack("<20f", *self.q, *[0.0] * 13)
        told = bytes([self.state | self.mode << 4, 0, 0]) + numbers + bytes([enabled, enabled, self.error, 0])
        rest = struct.pack("<10f", *[0.0] * 10) + bytes([3, 3]) + struct.pack("<3f", 0.0, 0.0, -1.0)
        return struct.pack(">I", 4 + len(told) + len(rest)) + told + rest

    def _version(self) -> bytes:
        return f"{self.axes},{self.kind},XI130412345678,AC130412345678,v2.3.0".encode().ljust(64, b"\0")

    def _enable(self, data: bytes) -> bytes:
        self.enabled = bool(data[1])
        return b""

    def _set_state(self, data: bytes) -> bytes:
        if data[0] == STOPPED:
            self.state, self.target = STOPPED, None
        elif self.enabled and not self.error:
            self.state = SLEEPING
        return b""

    def _set_mode(self, data: bytes) -> bytes:
        # A change of the mode stops the arm.
        self.mode, self.state, self.target = data[0], STOPPED, None
        return b""

    def _servo_j(self, data: bytes) -> bytes:
        if self.state != STOPPED and self.mode == SERVO_MODE:
            numbers = list(struct.unpack("<10f", data))
            self.servo.append(numbers)
            self.target = numbers[:7]
        return b""

    def _joints(self, data: bytes) -> bytes:
        numbers = [self.q, self.qd, [0.0] * 7][: data[0] & 0x0F]
        return struct.pack(f"<{7 * len(numbers)}f", *(value for part in numbers for value in part))


class XarmServer:
    """The sockets of a controller.

    Args:
        double: Who answers.
        control, report: Where clients come in, with requests and for reports.
    """

    def __init__(self, double: XarmDouble, control: socket.socket, report: socket.socket) -> None:
        self.double = double
        self._listeners = (control, report)
        self._links: list[socket.socket] = []
        self._ended = threading.Event()
        self.address: str
        self.control_port: int
        self.address, self.control_port = control.getsockname()
        self._threads = [
            threading.Thread(target=self._accept, args=(listener, serve), daemon=True)
            for listener, serve in ((control, self._answer), (report, self._report))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Cut every connection, and accept none."""
        self._ended.set()
        for link in [*self._listeners, *self._links]:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        for thread in self._threads:
            thread.join()

    def _accept(self, listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        clients = []
        with suppress(OSError):
            while True:
                link, _ = listener.accept()
                link.settimeout(None)
                self._links.append(link)
                clients.append(threading.Thread(target=serve, args=(link,), daemon=True))
                clients[-1].start()
        for client in clients:
            client.join()

    def _report(self, link: socket.socket) -> None:
        with suppress(OSError):
            while not self._ended.wait(0.02):
                link.sendall(self.double.report())

    def _answer(self, link: socket.socket) -> None:
        with suppress(OSError), link.makefile("rb") as stream:
            while len(header := stream.read(7)) == 7:
                number, protocol, length, code = struct.unpack(">HHHB", header)
                data = stream.read(length - 1)
                if self.double.mute:
                    continue
                answer = self.double.answer(code, data)
                link.sendall(struct.pack(">HHHB", number, protocol, len(answer) + 1, code) + answer)


@contextmanager
def xarm_server(double: XarmDouble, address: str) -> Iterator[XarmServer]:
    """A controller at an address, while the context lasts. Its control port, 502, is for administrators only:
    another one is in its place."""
    with (
        socket.create_server((address, 0)) as control,
        socket.create_server((address, REPORT_PORT)) as report,
    ):
        control.settimeout(None)
        report.settimeout(None)
        server = XarmServer(double, control, report)
        try:
            yield server
        finally:
            server.close()
