"""A UR controller in software, for the vendor-independent client `ur-rtde`: a process of its own.

It speaks what that client uses: the dashboard server (port 29999), the upload of programs (30003), and RTDE
version 2 (30004), on an address of the loopback network. It does not run URScript: a program that is uploaded
is taken to be the client's control script, whose registers it then serves as that script does. Written after
the public descriptions of the dashboard server and of RTDE, and what the client expects.

Commands and packets are handled all the time, but the time of the controller, by which its arm moves and its
watchdog counts, passes only when it is told to `step`: the speed of the computer decides nothing.

The process takes a word per line from its standard input, and answers each with a line of JSON; the end of
input ends it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

DASHBOARD_PORT, SCRIPT_PORT, RTDE_PORT = 29999, 30003, 30004
CYCLE_S = 0.004
VERSION = (5, 11, 1, 108318)

STOPPED, PLAYING = 1, 2
NO_COMMAND, SERVO_J, SERVO_STOP, SET_WATCHDOG, STOP_SCRIPT = 0, 11, 16, 35, 255
READY, DONE = 1, 2

PROTECTIVE, EMERGENCY = 1 << 2 | 1 << 10, 1 << 7 | 1 << 10
NORMAL = 1

FORMATS = {"DOUBLE": "d", "INT32": "i", "UINT32": "I", "VECTOR6D": "6d"}
OUTPUTS = {
    "timestamp": "DOUBLE",
    "actual_q": "VECTOR6D",
    "actual_qd": "VECTOR6D",
    "robot_mode": "INT32",
    "runtime_state": "UINT32",
    "robot_status_bits": "UINT32",
    "safety_status_bits": "UINT32",
    **{f"output_int_register_{number}": "INT32" for number in range(48)},
    **{f"output_double_register_{number}": "DOUBLE" for number in range(48)},
}
INPUTS = {
    "external_force_torque": "VECTOR6D",
    **{f"input_int_register_{number}": "INT32" for number in range(48)},
    **{f"input_double_register_{number}": "DOUBLE" for number in range(48)},
}


@dataclass
class Arm:
    """Six joints that follow their target with a first-order lag.

    Attributes:
        q, qd: Where they are, rad, and how fast, rad/s.
        target: Where servoj leads them; None while no servoj runs.
        lookahead_s: Time constant of the lag.
    """

    q: list[float] = field(default_factory=lambda: [0.1, -1.5, 1.4, -1.2, -1.5, 0.2])
    qd: list[float] = field(default_factory=lambda: [0.0] * 6)
    target: list[float] | None = None
    lookahead_s: float = 0.1

    def step(self, dt_s: float) -> None:
        """Move on."""
        goal = self.q if self.target is None else self.target
        part = 1.0 - math.exp(-dt_s / self.lookahead_s)
        moved = [q + part * (to - q) for q, to in zip(self.q, goal, strict=True)]
        self.qd = [(after - before) / dt_s for before, after in zip(self.q, moved, strict=True)]
        self.q = moved


@dataclass
class Controller:
    """What the servers share."""

    cycle_s: float
    arm: Arm = field(default_factory=Arm)
    registers: dict[str, list[float]] = field(default_factory=dict)
    claimed: dict[str, object] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=lambda: {"output_int_register_0": 0})
    answers: dict[str, str] = field(
        default_factory=lambda: {
            "polyscopeversion": "URSoftware 5.11.1.108318 (Nov 30 2021)",
            "get serial number": "20205500001",
            "get robot model": "UR5",
            "is in remote control": "true",
            "robotmode": "Robotmode: RUNNING",
            "safetystatus": "Safetystatus: NORMAL",
            "stop": "Stopped",
        }
    )
    t_s: float = 0.0
    safety: int = NORMAL
    runtime: int = STOPPED
    executing: bool = False
    watchdog_s: float = math.inf
    fed_s: float = 0.0
    said: list[str] = field(default_factory=list)
    servo: list[list[float]] = field(default_factory=list)

    def begin_program(self) -> None:
        """A program was uploaded, and runs."""
        self.runtime, self.executing, self.watchdog_s = PLAYING, False, math.inf
        self.outputs["output_int_register_0"] = READY
        self.arm.target = None

    def end_program(self) -> None:
        """The program ends, and the arm brakes."""
        self.runtime, self.watchdog_s = STOPPED, math.inf
        self.arm.target = None

    def step(self) -> None:
        """A cycle of the controller's time."""
        self.t_s += self.cycle_s
        if self.t_s - self.fed_s > self.watchdog_s:
            self.end_program()
        self.arm.step(self.cycle_s)

    def run_script(self) -> None:
        """One turn of the control script's main loop, if it runs."""
        if self.safety != NORMAL:
            self.end_program()
        if self.runtime != PLAYING:
            return
        command = int(self.registers.get("input_int_register_0", [0])[0])
        if command == SERVO_J:
            numbers = [self.registers[f"input_double_register_{number}"][0] for number in range(11)]
            self.arm.target, self.arm.lookahead_s = numbers[:6], numbers[9]
            if not self.servo or self.servo[-1] != numbers:
                self.servo.append(numbers)
            self.outputs["output_int_register_0"] = READY
        elif command == NO_COMMAND:
            self.executing = False
            self.outputs["output_int_register_0"] = READY
        elif not self.executing:
            self.executing = True
            self._execute(command)

    def _execute(self, command: int) -> None:
        if command == STOP_SCRIPT:
            self.end_program()
            return
        if command == SERVO_STOP:
            self.arm.target = None
        elif command == SET_WATCHDOG:
            self.watchdog_s = 1.0 / self.registers["input_double_register_0"][0]
            self.fed_s = self.t_s
        self.outputs["output_int_register_0"] = DONE

    def value(self, name: str) -> list[float]:
        """An output, as numbers."""
        if name in ("actual_q", "actual_qd"):
            return self.arm.q if name == "actual_q" else self.arm.qd
        known = {
            "timestamp": self.t_s,
            "robot_mode": 7,
            "runtime_state": self.runtime,
            "robot_status_bits": 1 | (2 if self.runtime == PLAYING else 0),
            "safety_status_bits": self.safety,
        }
        return [known.get(name, self.outputs.get(name, 0))]

    def asked(self, line: str) -> str:
        """What the dashboard server answers."""
        self.said.append(line)
        if line == "running":
            return f"Program running: {str(self.runtime == PLAYING).lower()}"
        if line == "stop":
            self.end_program()
        return self.answers.get(line, f"could not understand: '{line}'")


class RtdeSession:
    """One RTDE client."""

    def __init__(
        self, controller: Controller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._controller = controller
        self._reader = reader
        self._writer = writer
        self._inputs: list[list[str]] = []
        self._outputs: list[str] = []
        self._started = False

    async def serve(self) -> None:
        """Answer until it goes."""
        try:
            while True:
                size, kind = struct.unpack(">HB", await self._reader.readexactly(3))
                self._answer(chr(kind), await self._reader.readexactly(size - 3))
        except (asyncio.IncompleteReadError, ConnectionError):
            claimed = self._controller.claimed
            for name in [name for name, owner in claimed.items() if owner is self]:
                del claimed[name]
        finally:
            self._started = False
            self._writer.close()

    def publish(self) -> None:
        """Send the outputs."""
        controller = self._controller
        if not self._started:
            return
        numbers = itertools.chain.from_iterable(controller.value(name) for name in self._outputs)
        form = ">B" + "".join(FORMATS[OUTPUTS[name]] for name in self._outputs)
        values = [
            number if code == "d" else int(number)
            for number, code in zip(numbers, _codes(self._outputs), strict=True)
        ]
        self._send("U", struct.pack(form, 1, *values))

    def _send(self, kind: str, payload: bytes) -> None:
        self._writer.write(struct.pack(">HB", 3 + len(payload), ord(kind)) + payload)

    def _answer(self, kind: str, payload: bytes) -> None:
        if kind == "V":
            self._send("V", bytes([payload == b"\x00\x02"]))
        elif kind == "v":
            self._send("v", struct.pack(">4I", *VERSION))
        elif kind == "O":
            # After the rate, which is what the test makes it.
            self._outputs = _names(payload[8:])
            types = ",".join(OUTPUTS.get(name, "NOT_FOUND") for name in self._outputs)
            self._send("O", b"\x01" + types.encode())
        elif kind == "I":
            self._inputs.append(_names(payload))
            types = ",".join(self._claim(name) for name in self._inputs[-1])
            self._send("I", bytes([len(self._inputs)]) + types.encode())
        elif kind in "SP":
            self._started = kind == "S"
            self._send(kind, b"\x01")
        elif kind == "U":
            self._take(payload)

    def _claim(self, name: str) -> str:
        owner = self._controller.claimed.setdefault(name, self)
        return INPUTS.get(name, "NOT_FOUND") if owner is self else "IN_USE"

    def _take(self, payload: bytes) -> None:
        names = self._inputs[payload[0] - 1]
        numbers = iter(struct.unpack(">" + "".join(FORMATS[INPUTS[name]] for name in names), payload[1:]))
        for name in names:
            count = 6 if INPUTS[name] == "VECTOR6D" else 1
            self._controller.registers[name] = list(itertools.islice(numbers, count))
        if "input_int_register_0" in names:
            self._controller.fed_s = self._controller.t_s


def _names(payload: bytes) -> list[str]:
    return [name for name in payload.decode().split(",") if name]


def _codes(names: list[str]) -> Iterator[str]:
    for name in names:
        kind = OUTPUTS[name]
        yield from "dddddd" if kind == "VECTOR6D" else FORMATS[kind]


async def _serve(address: str) -> None:
    controller = Controller(CYCLE_S)
    sessions: list[RtdeSession] = []

    async def dashboard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Connected: Universal Robots Dashboard Server\n")
        with suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(controller.asked(line.decode().strip().lower()).encode() + b"\n")
        writer.close()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = b""
        with suppress(ConnectionError):
            while some := await reader.read(65536):
                text += some
                if text.startswith(b"def ") and text.endswith(b"\nend\n"):
                    text = b""
                    controller.begin_program()
        writer.close()

    async def rtde(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sessions.append(RtdeSession(controller, reader, writer))
        await sessions[-1].serve()

    for port, serve in ((DASHBOARD_PORT, dashboard), (SCRIPT_PORT, script), (RTDE_PORT, rtde)):
        await asyncio.start_server(serve, address, port)
    words = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    told = loop.create_task(_obey(words, controller, sessions))
    print("ready", flush=True)
    while not told.done():
        controller.run_script()
        for session in sessions:
            session.publish()
        await asyncio.sleep(CYCLE_S)
    told.result()


async def _obey(words: asyncio.StreamReader, controller: Controller, sessions: Sequence[RtdeSession]) -> None:
    while line := (await words.readline()).decode().strip():
        word, _, rest = line.partition(" ")
        answer: object = "ok"
        if word == "step":
            # What was sent before is read before.
            for _ in range(8):
                await asyncio.sleep(0)
            for _ in range(int(rest)):
                controller.run_script()
                controller.step()
            for session in sessions:
                session.publish()
            answer = controller.t_s
        elif word == "answer":
            question, _, answered = rest.partition("=")
            answer = controller.answers[question]
            controller.answers[question] = answered
        elif word == "safety":
            controller.safety = int(rest)
        elif word == "play":
            controller.begin_program()
        elif word == "end":
            controller.end_program()
        elif word == "tell":
            answer = {
                "runtime": controller.runtime,
                "watchdog_s": controller.watchdog_s,
                "servo": controller.servo,
                "said": controller.said,
                "servoing": controller.arm.target is not None,
            }
        else:
            raise ValueError(f"unknown word {line!r}")
        print(json.dumps(answer), flush=True)


class UrDouble:
    """The process, and what it can be told.

    Args:
        address: Where it serves.
        process: Itself.
    """

    def __init__(self, address: str, process: subprocess.Popen[str]) -> None:
        self.address = address
        self._process = process

    def tell(self, line: str) -> object:
        """Tell it a line. Returns its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.stdin.closed:
            raise BrokenPipeError("the controller is gone")
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        if not (answer := self._process.stdout.readline()):
            raise BrokenPipeError("the controller is gone")
        return json.loads(answer)

    def step(self, cycles: int) -> float:
        """Let its time pass. Returns what its time is, s."""
        t_s = self.tell(f"step {cycles}")
        assert isinstance(t_s, float)
        return t_s

    def state(self) -> dict[str, object]:
        """What it is doing."""
        state = self.tell("tell")
        assert isinstance(state, dict)
        return state

    def kill(self) -> None:
        """End it at once, as a cable that is pulled out."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()


@contextmanager
def ur_double(address: str) -> Iterator[UrDouble]:
    """A controller that serves while the context lasts."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__)), address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        double = UrDouble(address, process)
        try:
            yield double
        finally:
            double.kill()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
