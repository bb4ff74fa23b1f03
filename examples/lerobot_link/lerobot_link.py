"""Any robot of LeRobot as a robot of dualsys: a process in LeRobot's environment that speaks the robot link.

It needs LeRobot, pyzmq, msgpack and PyYAML, and nothing of dualsys: the two are installed apart, because what
they depend on cannot be installed together. The link is described in docs/robot-link.md.

    python lerobot_link.py so101.yaml

What LeRobot calls `shoulder_pan.pos`, in degrees or from -100 to 100, is an axis in rad here: the file tells
for each axis which position stands for which value, and how far and how fast it may go. The process has a
watchdog: without set-points it tells the arm to stay where it is, and nothing that it is sent moves the arm
beyond the limits in the file, or by more than `jump_rad` at once.

All of it is one file, so that copying it into that environment is all there is to installing it. It has five
parts, each for itself: the file of the robot (`load_setup`), which set-points the arm follows (`Guard`), the
sockets (`Link`), LeRobot's robot by axes (`Arm`), and the loop that connects them (`run`). Begin with `run`.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
import secrets
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import yaml
import zmq

LINK_VERSION = "1"
NS_PER_S = 1_000_000_000
TOPIC = b"\0"
HEADER_BYTES = 17
MOST_BYTES = 16 * 1024
NO_QUESTION = bytes(8)
PARTS = 3
LONGEST_WATCHDOG_S = 0.2
MOST_DETAIL = 256
LAST_READINGS = 5
LAST_PERIOD_S = 0.01
ENDPOINTS = {
    "state": "tcp://127.0.0.1:7430",
    "command": "tcp://127.0.0.1:7431",
    "service": "tcp://127.0.0.1:7432",
}


class FileError(Exception):
    """The file of the robot has a fault."""


@dataclass(frozen=True)
class Axis:
    """One axis, and the value of LeRobot that it is.

    Attributes:
        name: As dualsys is told.
        key: As LeRobot calls it, in observations and in actions.
        slope, offset: position = slope * value + offset, rad (or m for a gripper opening).
        lower, upper: Smallest and largest position, rad or m.
        velocity, acceleration: Largest, rad/s and rad/s^2, or m/s and m/s^2.
    """

    name: str
    key: str
    slope: float
    offset: float
    lower: float
    upper: float
    velocity: float
    acceleration: float

    def position(self, value: float) -> float:
        """From LeRobot's value."""
        return self.slope * value + self.offset

    def value(self, position: float) -> float:
        """To LeRobot's value."""
        return (position - self.offset) / self.slope


@dataclass(frozen=True)
class Setup:
    """What the file tells.

    Attributes:
        name: Of the robot.
        robot: LeRobot's own configuration of it, with its `type`.
        axes: Joints first, then gripper openings.
        joints: How many of them are joints.
        rate_hz: Readings, and set-points at most, per second.
        watchdog_s: Longest time without a good set-point.
        jump_rad: Farthest that a set-point may be from the one before, or from an arm at rest.
        endpoints: Addresses of state, command and service.
    """

    name: str
    robot: dict[str, Any]
    axes: tuple[Axis, ...]
    joints: int
    rate_hz: float
    watchdog_s: float
    jump_rad: float
    endpoints: tuple[str, str, str]


def load_setup(path: Path) -> Setup:
    """Read the file of a robot.

    Raises:
        FileError: It has a fault; names the field.
    """
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileError(f"{path}: {error}") from error
    known = {"name", "robot", "axes", "rate_hz", "watchdog_s", "jump_rad", "endpoints"}
    tree = _map(tree, "the file", known)
    robot = _map(tree.get("robot"), "robot", None)
    if not isinstance(robot.get("type"), str):
        raise FileError(f"robot.type: got {robot.get('type')!r}, expected a robot of LeRobot")
    entries = tree.get("axes")
    if not isinstance(entries, list) or not entries:
        raise FileError("axes: expected a list of axes")
    pairs = [_axis(entry, f"axes.{number}") for number, entry in enumerate(entries)]
    grippers = [is_gripper for _, is_gripper in pairs]
    if grippers != sorted(grippers):
        raise FileError("axes: expected joints first, then gripper openings")
    for what in ("name", "key"):
        names = [getattr(axis, what) for axis, _ in pairs]
        if len(set(names)) != len(names):
            raise FileError(f"axes: every {what} must be another, got {', '.join(names)}")
    watchdog_s = _number(tree, "watchdog_s", "watchdog_s", 0.15, 0.0)
    if watchdog_s > LONGEST_WATCHDOG_S:
        raise FileError(f"watchdog_s: got {watchdog_s:g}, expected at most {LONGEST_WATCHDOG_S:g}")
    endpoints = ENDPOINTS | _map(tree.get("endpoints", {}), "endpoints", ENDPOINTS)
    for name, endpoint in endpoints.items():
        # There are no keys here: whoever reaches the address moves the arm.
        if not str(endpoint).startswith(("ipc://", "tcp://127.0.0.1:")):
            raise FileError(f"endpoints.{name}: got {endpoint!r}, expected ipc:// or tcp://127.0.0.1:")
    return Setup(
        _word(tree, "name", "name"),
        robot,
        tuple(axis for axis, _ in pairs),
        grippers.count(False),
        _number(tree, "rate_hz", "rate_hz", 30.0, 0.0),
        watchdog_s,
        _number(tree, "jump_rad", "jump_rad", 0.2, 0.0),
        (endpoints["state"], endpoints["command"], endpoints["service"]),
    )


def _axis(entry: Any, where: str) -> tuple[Axis, bool]:
    """An axis, and whether it is a gripper opening."""
    known = {"name", "key", "unit", "values", "positions", "lower", "upper", "velocity", "acceleration"}
    entry = _map(entry, where, known | {"opening"})
    unit = entry.get("unit", "linear")
    if unit == "degrees":
        slope, offset = math.pi / 180.0, 0.0
    elif unit == "radians":
        slope, offset = 1.0, 0.0
    elif unit == "linear":
        low, high = _pair(entry, "values", where)
        first, second = _pair(entry, "positions", where)
        slope = (second - first) / (high - low)
        offset = first - slope * low
    else:
        raise FileError(f"{where}.unit: got {unit!r}, expected degrees, radians or linear")
    if unit != "linear" and {"values", "positions"} & entry.keys():
        raise FileError(f"{where}: `values` and `positions` belong to the unit `linear`, not to {unit}")
    lower = _number(entry, "lower", f"{where}.lower")
    upper = _number(entry, "upper", f"{where}.upper")
    if not lower < upper:
        raise FileError(f"{where}: expected lower below upper, got {lower:g} and {upper:g}")
    axis = Axis(
        _word(entry, "name", f"{where}.name"),
        _word(entry, "key", f"{where}.key"),
        slope,
        offset,
        lower,
        upper,
        _number(entry, "velocity", f"{where}.velocity", above=0.0),
        _number(entry, "acceleration", f"{where}.acceleration", above=0.0),
    )
    return axis, entry.get("opening", False) is True


def _map(tree: Any, where: str, known: Iterable[str] | None) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise FileError(f"{where}: expected a map, got {type(tree).__name__}")
    if known is not None and (unknown := sorted(str(key) for key in tree.keys() - set(known))):
        raise FileError(f"{where}: unknown {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return tree


def _word(tree: dict[str, Any], key: str, where: str) -> str:
    word = tree.get(key)
    if not isinstance(word, str) or word.split() != [word]:
        raise FileError(f"{where}: got {word!r}, expected a name without blanks")
    return word


def _number(
    tree: dict[str, Any], key: str, where: str, default: float | None = None, above: float = -math.inf
) -> float:
    number = tree.get(key, default)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise FileError(f"{where}: got {number!r}, expected a number")
    if not number > above:
        raise FileError(f"{where}: got {number:g}, expected more than {above:g}")
    return float(number)


def _pair(entry: dict[str, Any], key: str, where: str) -> tuple[float, float]:
    pair = entry.get(key)
    if not isinstance(pair, list) or len(pair) != 2:
        raise FileError(f"{where}.{key}: got {pair!r}, expected two numbers")
    first, second = (_number({"": number}, "", f"{where}.{key}") for number in pair)
    if first == second:
        raise FileError(f"{where}.{key}: expected two different numbers, got {first:g} twice")
    return first, second


class Guard:
    """Which set-points the arm follows. No sockets, no clock, no arm.

    Args:
        setup: The arm.
    """

    def __init__(self, setup: Setup) -> None:
        self._axes = setup.axes
        self._joints = setup.joints
        self._jump_rad = setup.jump_rad
        self._watchdog_ns = round(setup.watchdog_s * NS_PER_S)
        self._before: list[float] | None = None
        self._fed_ns = 0
        self.status = "watchdog"
        self.command_seq = -1
        self.refused = 0
        self.last_refusal = ""
        self.detail = ""

    def report(self) -> dict[str, Any]:
        """What a reading tells of it; why it is stopped only if there are words for that."""
        words = {"detail": self.detail} if self.detail else {}
        return {"status": self.status, "command_seq": self.command_seq, **words}

    def take(self, seq: Any, position: Any, here: list[float], now_ns: int) -> list[float] | None:
        """A set-point came. Returns what the arm is to be told, or None if it was refused.

        Args:
            seq: Its number.
            position: [A], rad and m; as it was received.
            here: [A], where the arm is measured.
            now_ns: Time.
        """
        if fault := self._fault(seq, position, here):
            self.refused += 1
            self.last_refusal = fault
            return None
        self._before, self._fed_ns = [float(number) for number in position], now_ns
        self.command_seq, self.status = seq, "ok"
        return self._before

    def rests(self, now_ns: int) -> bool:
        """Whether the arm is to be told now to stay where it is, because set-points stay away."""
        if self.status != "ok" or now_ns - self._fed_ns < self._watchdog_ns:
            return False
        self._before, self.status = None, "watchdog"
        return True

    def stop(self, why: str = "") -> bool:
        """Follow nothing until `recover`. Returns whether the arm is to be told to stay where it is.

        Args:
            why: Words for people, which control gives for its reason.
        """
        moving = self.status == "ok"
        self._before, self.status, self.detail = None, "protective_stop", one_line(why)
        return moving

    def recover(self) -> None:
        """Follow set-points again."""
        if self.status == "protective_stop":
            self.status, self.detail = "watchdog", ""

    def _fault(self, seq: Any, position: Any, here: list[float]) -> str:
        if self.status == "protective_stop":
            return "it is stopped: recover first"
        if not isinstance(seq, int) or isinstance(seq, bool) or seq < 0:
            return "seq is no whole number"
        if not isinstance(position, list) or len(position) != len(self._axes):
            return f"expected {len(self._axes)} numbers"
        before = here if self._before is None else self._before
        for number, (axis, goal) in enumerate(zip(self._axes, position, strict=True)):
            if isinstance(goal, bool) or not isinstance(goal, int | float) or not math.isfinite(goal):
                return f"{axis.name}: expected a finite number"
            # Where an arm is measured just outside, it may be led back.
            if not min(axis.lower, before[number]) <= goal <= max(axis.upper, before[number]):
                return f"{axis.name}: {goal:g} is outside of {axis.lower:g} to {axis.upper:g}"
            if number < self._joints and abs(goal - before[number]) > self._jump_rad:
                return f"{axis.name}: a jump of {goal - before[number]:+.2f} rad"
        return ""


def one_line(text: str) -> str:
    """A text as the link carries it: without control characters, and shortened where it is too long."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())
    line = line.encode("utf-8", "replace").decode("utf-8")
    return line if len(line) <= MOST_DETAIL else line[: MOST_DETAIL - 4].rstrip() + " ..."


class Link:
    """The sockets of the robot link, bound.

    Args:
        setup: The robot.
        answer: Answers a request: verb and reason, if one was given, to (ok, text, values).
    """

    def __init__(self, setup: Setup, answer: Callable[[str, str], tuple[bool, str, dict[str, str]]]) -> None:
        self._setup = setup
        self._answer = answer
        self._context = zmq.Context()
        kinds = (zmq.PUB, zmq.SUB, zmq.ROUTER)
        self._state, self._command, self._service = (
            self._socket(kind, endpoint) for kind, endpoint in zip(kinds, setup.endpoints, strict=True)
        )
        self._publisher = secrets.token_bytes(8)
        self._sent = 0
        self._newest: tuple[bytes, int] = (b"", -1)
        self._control: tuple[bytes, int] | None = None

    def _socket(self, kind: int, endpoint: str) -> Any:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES if kind == zmq.SUB else 1024 * 1024)
        if kind == zmq.ROUTER:
            # No heartbeats here: libzmq may end a process whose queue is full when one is due.
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        else:
            socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1500)
            socket.setsockopt(zmq.CONFLATE, 1)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, TOPIC)
        socket.bind(endpoint)
        return socket

    def publish(self, state: dict[str, Any]) -> None:
        """Send a reading."""
        header = TOPIC + self._publisher + struct.pack(">Q", self._sent)
        self._sent += 1
        self._state.send(header + msgpack.packb({"type": "arm_state", **state}), zmq.NOBLOCK)

    def command(self) -> dict[str, Any] | None:
        """The newest set-point, if one came that is newer than the one before."""
        try:
            frame = self._command.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None
        if len(frame) <= HEADER_BYTES:
            return None
        publisher, number = frame[1:9], struct.unpack(">Q", frame[9:HEADER_BYTES])[0]
        if publisher == self._newest[0] and number <= self._newest[1]:
            return None
        self._newest = (publisher, number)
        message = _unpacked(frame[HEADER_BYTES:])
        return message if message.get("type") == "arm_command" else None

    def serve(self) -> None:
        """Answer what was asked."""
        for _ in range(32):
            try:
                parts = self._service.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(parts) == PARTS and len(parts[1]) == len(NO_QUESTION):
                self._send(parts[0], parts[1], self._reply_to(parts[0], _unpacked(parts[2])))

    def close(self) -> None:
        """Let go of the addresses."""
        self._context.destroy(linger=0)

    def _send(self, identity: bytes, number: bytes, message: dict[str, Any] | None) -> bool:
        """Returns whether whoever asked is still there."""
        body = b"" if message is None else msgpack.packb(message)
        try:
            self._service.send_multipart([identity, number, body], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            return error.errno != zmq.EHOSTUNREACH
        return True

    def _reply_to(self, identity: bytes, message: dict[str, Any]) -> dict[str, Any]:
        kind = message.get("type")
        if kind == "hello":
            return self._welcome(identity, message)
        if kind == "request" and isinstance(message.get("verb"), str):
            told = message.get("arguments")
            reason = told.get("reason") if isinstance(told, dict) else None
            return _reply(*self._answer(message["verb"], reason if isinstance(reason, str) else ""))
        return _reply(False, "expected a hello or a request", {})

    def _welcome(self, identity: bytes, hello: dict[str, Any]) -> dict[str, Any]:
        ours = self.details()
        told = hello.get("details")
        details = told if isinstance(told, dict) else {}
        # What is no number and no text can be nested deeper than anything that goes back.
        protocol, session = hello.get("protocol"), hello.get("session")
        if not isinstance(protocol, int):
            return _reply(False, "protocol is no whole number", {})
        if not all(isinstance(details.get(field, ""), str) for field in ("link", "robot", "axes")):
            return _reply(False, "details are no texts", {})
        for field in ("link", "robot", "axes"):
            if field in details and details[field] != ours[field]:
                values = {
                    "field": field,
                    "ours": details[field],
                    "theirs": ours[field],
                    "remedy": "compare the configuration with the file of the robot",
                }
                return _reply(False, f"{field} differs", values)
        if hello.get("role") == "control" and isinstance(session, int):
            if self._taken_by_another(identity, session):
                return _reply(False, "another control has the robot", {})
            self._control = (identity, session)
        return {"type": "welcome", "protocol": protocol, "role": "robot", "details": ours}

    def _taken_by_another(self, identity: bytes, session: int) -> bool:
        if self._control is None or self._control == (identity, session) or self._control[1] == session:
            return False
        return self._send(self._control[0], NO_QUESTION, None)

    def details(self) -> dict[str, str]:
        """What the robot is."""
        setup = self._setup
        vectors = ("lower", "upper", "velocity", "acceleration")
        return {
            "link": LINK_VERSION,
            "robot": setup.name,
            "axes": " ".join(axis.name for axis in setup.axes),
            "joints": str(setup.joints),
            "rate_hz": repr(setup.rate_hz),
            "rest_s": "0.5",
            **{name: " ".join(repr(getattr(axis, name)) for axis in setup.axes) for name in vectors},
        }


def _reply(ok: bool, text: str, values: dict[str, str]) -> dict[str, Any]:
    return {"type": "reply", "ok": ok, "text": text, "values": values}


def _unpacked(body: bytes) -> dict[str, Any]:
    """A message; empty for what is none."""
    try:
        message = msgpack.unpackb(body, strict_map_key=True)
    # What msgpack raises for bytes of others: of its own, and of Python.
    except (msgpack.UnpackException, ValueError, TypeError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


class Arm:
    """A robot of LeRobot, by axes.

    Args:
        setup: Which.
        robot: LeRobot's object, connected.

    Raises:
        FileError: It has no such keys.
    """

    def __init__(self, setup: Setup, robot: Any) -> None:
        self._axes = setup.axes
        self._robot = robot
        for what, features in (
            ("reads", robot.observation_features),
            ("takes", robot.action_features),
        ):
            for axis in setup.axes:
                if features.get(axis.key) is not float:
                    numbers = ", ".join(key for key, kind in features.items() if kind is float)
                    raise FileError(f"axes: {robot.name} {what} no {axis.key!r}; it {what} {numbers}")
        # LeRobot takes whole actions only: what is no axis stays as it is.
        self._others = [key for key in robot.action_features if key not in {axis.key for axis in setup.axes}]
        self._kept: dict[str, Any] | None = None

    def read(self) -> list[float]:
        """Where it is, [A], rad and m."""
        observation = self._robot.get_observation()
        if self._kept is None:
            self._kept = {key: observation[key] for key in self._others}
        return [axis.position(float(observation[axis.key])) for axis in self._axes]

    def write(self, position: list[float]) -> None:
        """Lead it there."""
        values = {axis.key: axis.value(goal) for axis, goal in zip(self._axes, position, strict=True)}
        self._robot.send_action(values | (self._kept or {}))


def open_robot(tree: dict[str, Any]) -> Any:
    """LeRobot's robot of a configuration, connected. It is not calibrated from here: that moves it by hand.

    Raises:
        FileError: There is no robot of that type, or it is not calibrated.
    """
    import draccus
    import lerobot.robots
    from lerobot.robots import RobotConfig, make_robot_from_config
    from lerobot.utils import import_utils

    # A robot is known once its module is imported; some need packages of their own.
    failed = []
    for found in pkgutil.iter_modules(lerobot.robots.__path__):
        if found.ispkg:
            try:
                importlib.import_module(f"lerobot.robots.{found.name}")
            except ImportError as error:
                failed.append(f"{found.name} ({error})")
    import_utils.register_third_party_plugins()
    kinds = sorted(RobotConfig.get_known_choices())
    if tree["type"] not in kinds:
        raise FileError(
            f"robot.type: got {tree['type']!r}, expected one of {', '.join(kinds)}; not loaded: "
            f"{', '.join(failed) or 'none'}"
        )
    robot = make_robot_from_config(draccus.decode(RobotConfig, tree))
    robot.connect(calibrate=False)
    if not robot.is_calibrated:
        robot.disconnect()
        raise FileError(f"robot: {tree['type']} is not calibrated: run lerobot-calibrate first")
    return robot


def run(setup: Setup, arm: Arm, ended: Callable[[], bool]) -> None:
    """Publish readings and follow set-points until the end, which the last readings tell.

    Raises:
        Exception: Whatever LeRobot raised.
    """
    guard = Guard(setup)
    here = arm.read()
    before, before_ns = here, time.monotonic_ns()
    velocity = [0.0] * len(here)

    def answer(verb: str, reason: str) -> tuple[bool, str, dict[str, str]]:
        if verb == "stop":
            if guard.stop(reason):
                arm.write(here)
        elif verb == "recover":
            guard.recover()
        elif verb != "status":
            return False, f"unknown verb {verb!r}; there are stop, recover, status", {}
        values = {"status": guard.status, "refused": str(guard.refused), "last_refusal": guard.last_refusal}
        return True, guard.status, values

    link = Link(setup, answer)
    period_ns = round(NS_PER_S / setup.rate_hz)
    due_ns, seq = time.monotonic_ns(), 0
    why = "its process has ended"

    def publish() -> None:
        measured = {"seq": seq, "t_robot_ns": before_ns, "position": here, "velocity": velocity}
        link.publish(measured | guard.report())

    try:
        while not ended():
            here, now_ns = arm.read(), time.monotonic_ns()
            span_s = max(now_ns - before_ns, 1) / NS_PER_S
            velocity = [(new - old) / span_s for new, old in zip(here, before, strict=True)]
            before, before_ns = here, now_ns
            message = link.command()
            if message is not None:
                goal = guard.take(message.get("seq"), message.get("position"), here, now_ns)
                if goal is not None:
                    arm.write(goal)
            if guard.rests(now_ns):
                arm.write(here)
            link.serve()
            publish()
            seq += 1
            # A cycle that took too long is skipped, not made up for.
            due_ns = max(due_ns + period_ns, time.monotonic_ns())
            time.sleep(max(0, due_ns - time.monotonic_ns()) / NS_PER_S)
    except Exception as error:
        # A servo that does not answer, a bus that is gone: control is told in LeRobot's words.
        why = f"{type(error).__name__}: {error}"
        raise
    finally:
        moving = guard.stop(why)
        publish()
        try:
            if moving:
                arm.write(here)
        finally:
            # Closing drops what has not gone out yet, and a single reading may be late.
            for _ in range(LAST_READINGS):
                publish()
                time.sleep(LAST_PERIOD_S)
            link.close()


def main(words: list[str]) -> int:
    """The command line. Returns the exit code."""
    if len(words) != 1:
        print("usage: python lerobot_link.py FILE", file=sys.stderr)
        return 2
    ends: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: ends.append(got))
    try:
        setup = load_setup(Path(words[0]))
        robot = open_robot(setup.robot)
        try:
            arm = Arm(setup, robot)
            print(f"{setup.name}: ready at {' '.join(setup.endpoints)}", flush=True)
            run(setup, arm, lambda: bool(ends))
        finally:
            robot.disconnect()
    except FileError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
