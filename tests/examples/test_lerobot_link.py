"""The example that makes any robot of LeRobot a robot of dualsys."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
import zmq

from dualsys.bus.codec import decode, encode
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.errors import BusError, MismatchError
from dualsys.messages import ArmState, Request, clip_detail
from dualsys.robots.kit import Bench, RobotContract
from dualsys.robots.kit.judging import Check
from dualsys.robots.kit.reading_checks import calls_do_not_wait, readings_in_time
from dualsys.robots.link import LinkRobot, spec_from
from dualsys.robots.registry import RobotSettings

from .lerobot_stand_in import write_plugin, write_stand_in

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "lerobot_link"
CLOCK = WallClock()


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lerobot_link", FOLDER / "lerobot_link.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lerobot_link"] = module
    spec.loader.exec_module(module)
    return module


link = loaded()


def tree(folder: Path | str = "/tmp", **changes: object) -> dict[str, Any]:
    """The file of the scripted robot."""
    made: dict[str, Any] = {
        "name": "scripted",
        "robot": {"type": "scripted"},
        "rate_hz": 100,
        "watchdog_s": 0.2,
        "axes": [
            {"name": "base", "key": "base.pos", "unit": "degrees", "lower": -2.0, "upper": 2.0},
            {
                "name": "elbow",
                "key": "elbow.pos",
                "unit": "linear",
                "values": [-100, 100],
                # It turns the other way.
                "positions": [1.5, -1.5],
                "lower": -1.5,
                "upper": 1.5,
            },
            {
                "name": "gripper",
                "key": "gripper.pos",
                "values": [0, 100],
                "positions": [0.0, 0.08],
                "opening": True,
                "lower": 0.0,
                "upper": 0.08,
            },
        ],
        "endpoints": {name: f"ipc://{folder}/{name}" for name in ("state", "command", "service")},
    }
    for axis in made["axes"]:
        axis.update(velocity=1.0, acceleration=10.0)
    return {**made, **changes}


def setup_of(tmp_path: Path, made: dict[str, Any]) -> Any:
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(made), "utf-8")
    return link.load_setup(path)


def test_the_example_for_an_so_101_can_be_read() -> None:
    setup = link.load_setup(FOLDER / "so101.yaml")
    assert len(setup.axes) == setup.joints == 6
    gripper = setup.axes[-1]
    assert gripper.position(0) == pytest.approx(-0.17)
    assert gripper.position(100) == pytest.approx(1.75)
    assert setup.axes[0].position(90) == pytest.approx(math.pi / 2)


def test_values_of_lerobot_are_positions_and_back(tmp_path: Path) -> None:
    base, elbow, gripper = setup_of(tmp_path, tree()).axes
    assert base.position(180.0) == pytest.approx(math.pi)
    assert elbow.position(-100.0) == pytest.approx(1.5)
    assert elbow.position(50.0) == pytest.approx(-0.75)
    assert gripper.position(25.0) == pytest.approx(0.02)
    for axis in (base, elbow, gripper):
        assert axis.value(axis.position(12.5)) == pytest.approx(12.5)


def test_what_a_robot_tells_makes_sense_to_the_driver(tmp_path: Path) -> None:
    setup = setup_of(tmp_path, tree(tmp_path))
    made = link.Link(setup, lambda verb, reason: (True, verb + reason, {}))
    try:
        spec = spec_from(made.details())
    finally:
        made.close()
    assert spec.axes == ("base", "elbow", "gripper")
    assert spec.limits.joints == 2
    assert spec.limits.upper.tolist() == [2.0, 1.5, 0.08]


def nested(levels: int) -> object:
    made: object = 1
    for _ in range(levels):
        made = [made]
    return made


@pytest.mark.parametrize(
    "hello",
    [
        {"role": "operator", "protocol": nested(1020)},
        {"role": "operator", "protocol": 6, "details": {"robot": nested(1020)}},
    ],
    ids=["protocol", "name"],
)
def test_a_hello_that_makes_no_sense_is_refused_and_ends_nothing(
    tmp_path: Path, hello: dict[str, Any]
) -> None:
    # What can be unpacked can be nested deeper than what can be told as text, or be packed again.
    hello = link._unpacked(link.msgpack.packb({"type": "hello", **hello}))
    assert hello
    made = link.Link(setup_of(tmp_path, tree(tmp_path)), lambda verb, reason: (True, verb + reason, {}))
    try:
        answer = link.msgpack.packb(made._reply_to(b"somebody", hello))
    finally:
        made.close()
    assert link.msgpack.unpackb(answer)["ok"] is False


def changed(axis: int, **changes: object) -> dict[str, Any]:
    made = tree()
    made["axes"][axis].update(changes)
    return made


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (tree(rate=3), "unknown rate; there are axes, endpoints"),
        (tree(robot={}), "robot.type: got None"),
        (tree(axes=[]), "axes: expected a list"),
        (tree(watchdog_s=0.3), "watchdog_s: got 0.3, expected at most 0.2"),
        (tree(rate_hz=0), "rate_hz: got 0, expected more than 0"),
        (tree(rate_hz=math.nan), "rate_hz: got nan"),
        (tree(endpoints={"state": "tcp://0.0.0.0:7430"}), "endpoints.state: got 'tcp://0.0.0.0:7430'"),
        (changed(0, unit="grad"), "axes.0.unit: got 'grad', expected degrees, radians or linear"),
        (changed(0, values=[0, 1]), "axes.0: `values` and `positions` belong to the unit `linear`"),
        (changed(1, values=[5, 5]), "axes.1.values: expected two different numbers"),
        (changed(1, positions=[0]), "axes.1.positions: got \\[0\\], expected two numbers"),
        (changed(1, lower=2.0), "axes.1: expected lower below upper"),
        (changed(1, velocity=0), "axes.1.velocity: got 0, expected more than 0"),
        (changed(1, key="base.pos"), "axes: every key must be another"),
        (changed(0, opening=True), "axes: expected joints first"),
        (changed(0, name="the base"), "axes.0.name: got 'the base', expected a name without blanks"),
    ],
)
def test_a_fault_of_the_file_is_named(tmp_path: Path, made: dict[str, Any], told: str) -> None:
    with pytest.raises(link.FileError, match=told):
        setup_of(tmp_path, made)


HERE = [0.3, 0.4, 0.04]


@pytest.fixture
def guard(tmp_path: Path) -> Any:
    """Of the scripted robot: set-points every 200 ms at least, and no jumps of more than 0.2 rad."""
    return link.Guard(setup_of(tmp_path, tree()))


@pytest.mark.parametrize(
    ("position", "told"),
    [
        ([0.3, 0.4], "expected 3 numbers"),
        ("abc", "expected 3 numbers"),
        ([0.3, math.nan, 0.04], "elbow: expected a finite number"),
        ([0.3, math.inf, 0.04], "elbow: expected a finite number"),
        ([0.3, "0.4", 0.04], "elbow: expected a finite number"),
        ([0.3, True, 0.04], "elbow: expected a finite number"),
        ([0.51, 0.4, 0.04], "base: a jump of \\+0.21 rad"),
        ([0.3, 0.4, 0.09], "gripper: 0.09 is outside of 0 to 0.08"),
    ],
)
def test_what_is_no_good_set_point_is_refused_and_does_not_feed_the_watchdog(
    guard: Any, position: object, told: str
) -> None:
    assert guard.take(0, list(HERE), HERE, 0) == HERE
    assert guard.take(1, position, HERE, 10) is None
    assert re.fullmatch(told, guard.last_refusal)
    assert (guard.refused, guard.command_seq, guard.status) == (1, 0, "ok")
    assert guard.rests(200 * NS_PER_MS)


def test_jumps_are_measured_from_the_set_point_before_and_after_a_rest_from_the_arm(guard: Any) -> None:
    assert guard.take(0, [0.45, 0.4, 0.04], HERE, 0) is not None
    # From where the arm is, this would be too far.
    assert guard.take(1, [0.6, 0.4, 0.04], HERE, 0) is not None
    assert guard.rests(200 * NS_PER_MS)
    assert guard.take(2, [0.6, 0.4, 0.04], HERE, 0) is None
    assert guard.take(3, [0.4, 0.4, 0.04], HERE, 0) is not None


def test_silence_is_told_once(guard: Any) -> None:
    assert not guard.rests(10**12)
    guard.take(0, HERE, HERE, 0)
    assert not guard.rests(199 * NS_PER_MS)
    assert guard.rests(200 * NS_PER_MS)
    assert guard.status == "watchdog"
    assert not guard.rests(201 * NS_PER_MS)


def test_a_stop_lasts_until_recover(guard: Any) -> None:
    guard.take(0, HERE, HERE, 0)
    assert guard.stop()
    assert not guard.stop("the door\n is open")
    assert guard.take(1, HERE, HERE, 0) is None
    stopped = {"status": "protective_stop", "command_seq": 0}
    assert guard.report() == stopped | {"detail": "the door is open"}
    guard.recover()
    assert guard.report() == {"status": "watchdog", "command_seq": 0}
    assert guard.take(2, HERE, HERE, 0) == HERE


@pytest.mark.parametrize(
    "words", ["ok", "\u00e9" * 300, "a " * 200, "a\0b\x1b[2J\x7f\u0085c", "\udcff not Unicode"]
)
def test_words_travel_as_every_edge_reads_them(words: str) -> None:
    sent = link.one_line(words)
    assert sent == clip_detail(words)
    state = ArmState(seq=0, t_robot_ns=0, position=(), velocity=(), status="ok", command_seq=-1, detail=sent)
    assert decode(encode(state), ArmState) == state


def test_an_arm_that_is_measured_outside_may_be_led_back(guard: Any) -> None:
    outside = [2.05, 0.4, 0.04]
    assert guard.take(0, outside, outside, 0) == outside
    assert guard.take(1, [2.02, 0.4, 0.04], outside, 0) is not None
    assert guard.take(2, [2.04, 0.4, 0.04], outside, 0) is None


@dataclass
class Running:
    """The example, as a process."""

    process: subprocess.Popen[str]
    settings: RobotSettings


def start(folder: Path, **changes: object) -> Running:
    """Start it with the scripted robot, in LeRobot's environment if it is there."""
    packages = folder / "packages"
    packages.mkdir()
    if find_spec("lerobot") is None:
        write_stand_in(packages)
    write_plugin(packages)
    made = tree(folder, **changes)
    (folder / "robot.yaml").write_text(yaml.safe_dump(made), "utf-8")
    process = subprocess.Popen(
        [sys.executable, str(FOLDER / "lerobot_link.py"), str(folder / "robot.yaml")],
        env={**os.environ, "PYTHONPATH": str(packages), "HF_LEROBOT_HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Running(process, RobotSettings(*made["endpoints"].values(), 20.0, CLOCK))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The example, which must end well when it is asked to."""
    made = start(tmp_path_factory.mktemp("link"))
    assert made.process.stdout is not None
    assert "ready" in made.process.stdout.readline()
    yield made
    made.process.terminate()
    _, told = made.process.communicate(timeout=20)
    assert made.process.returncode == 0, told


class TestContract(RobotContract):
    """The conformance kit on the example."""

    bench: Bench

    @classmethod
    def make_bench(cls) -> Bench:
        return cls.bench

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _serve(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        folder = tmp_path_factory.mktemp("kit")
        made = start(folder)
        nowhere = RobotSettings(*(f"ipc://{folder}/nobody{number}" for number in range(3)), 0.5, CLOCK)
        cls.bench = Bench(
            partial(LinkRobot, made.settings),
            CLOCK,
            may_move=True,
            drop=made.process.kill,
            absent=partial(LinkRobot, nowhere),
        )
        yield
        made.process.kill()
        made.process.communicate(timeout=20)

    def require(self, check: Check) -> None:
        if check in (readings_in_time, calls_do_not_wait):
            pytest.skip("depends on what else the computer does")
        super().require(check)


def test_requests_are_answered_and_a_stop_is_shown(running: Running) -> None:
    context = open_context()
    robot = LinkRobot(running.settings)
    try:
        client = ServiceClient(context, running.settings.service_endpoint, "the example")
        assert client.ask(Request("stop", {"reason": "the door is open"}), 10.0).text == "protective_stop"
        robot.connect()
        reading = robot.read()
        assert (reading.status, reading.detail) == ("protective_stop", "the door is open")
        assert client.ask(Request("recover"), 10.0).text == "watchdog"
        assert not client.ask(Request("dance"), 10.0).ok
    finally:
        robot.close()
        close_context(context)


def test_why_lerobot_failed_is_told_before_the_process_ends(tmp_path: Path) -> None:
    made = start(tmp_path, robot={"type": "scripted", "reads": 300})
    robot = LinkRobot(made.settings)
    try:
        robot.connect()
        deadline_ns = CLOCK.now_ns() + 60 * NS_PER_S
        while robot.read().status != "protective_stop":
            assert CLOCK.now_ns() < deadline_ns
            robot.wait_cycle(deadline_ns)
        assert robot.read().detail == "ConnectionError: no answer from elbow, id 2"
    finally:
        robot.close()
        _, said = made.process.communicate(timeout=60)
    assert made.process.returncode != 0
    assert "no answer from elbow" in said


def test_a_second_control_and_another_robot_are_refused(running: Running) -> None:
    first, second = LinkRobot(running.settings), LinkRobot(running.settings)
    other = RobotSettings(
        running.settings.state_endpoint,
        running.settings.command_endpoint,
        running.settings.service_endpoint,
        10.0,
        CLOCK,
        options={"robot": "another"},
    )
    try:
        first.connect()
        with pytest.raises(BusError, match="another control has the robot"):
            second.connect()
        with pytest.raises(MismatchError, match="robot differs"):
            LinkRobot(other).connect()
        first.close()
    finally:
        first.close()
        second.close()


def test_bytes_that_are_no_message_do_nothing(running: Running) -> None:
    context = zmq.Context()
    try:
        sockets = {kind: context.socket(kind) for kind in (zmq.PUB, zmq.DEALER)}
        sockets[zmq.PUB].connect(running.settings.command_endpoint)
        sockets[zmq.DEALER].connect(running.settings.service_endpoint)
        for body in (b"", b"\0", b"\0" * 17 + b"\xc1", b"\0" * 17 + b"\x91" * 3000, b"\0" * 25):
            sockets[zmq.PUB].send(body)
            sockets[zmq.DEALER].send_multipart([bytes(8), body])
            sockets[zmq.DEALER].send_multipart([body])
        assert sockets[zmq.DEALER].poll(10_000)
    finally:
        context.destroy(linger=0)
    robot = LinkRobot(running.settings)
    robot.connect()
    assert robot.read().status == "watchdog"
    robot.close()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"robot": {"type": "toaster"}}, "robot.type: got 'toaster', expected one of .*scripted"),
        ({"robot": {"type": "scripted", "calibrated": False}}, "not calibrated: run lerobot-calibrate"),
        ({"axes": changed(0, key="hip.pos")["axes"]}, "scripted reads no 'hip.pos'; it reads base.pos"),
    ],
)
def test_a_robot_that_does_not_fit_the_file_is_told_at_once(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    made = start(tmp_path, **changes)
    _, said = made.process.communicate(timeout=60)
    assert made.process.returncode == 1
    assert re.search(told, said), said
