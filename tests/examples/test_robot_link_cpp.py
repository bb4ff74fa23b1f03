"""The example of a robot in C++ is built from a distribution, keeps the contract, and believes nobody."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zmq

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.codec import encode
from dualsys.bus.order import header
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.errors import BusError, MismatchError
from dualsys.fast.control.core import Ages, ControlCore
from dualsys.fast.control.modes import Mode
from dualsys.messages import ArmCommand, ArmState, Hello, Welcome
from dualsys.robots.kit import Bench, RobotContract
from dualsys.robots.kit.judging import Check
from dualsys.robots.kit.reading_checks import readings_in_time
from dualsys.robots.link import LinkRobot, spec_from
from dualsys.robots.registry import RobotSettings

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "robot_link_cpp"
CLOCK = WallClock()


def missing() -> str:
    """What it takes to build the example and is not there; empty if all is."""
    tools = [name for name in ("cmake", "c++", "pkg-config") if shutil.which(name) is None]
    if tools:
        return f"no {', '.join(tools)}"
    found = subprocess.run(["pkg-config", "--exists", "libzmq >= 4.3.3"], check=False, timeout=10)
    if found.returncode:
        return "no headers of libzmq 4.3.3 or newer (libzmq3-dev)"
    includes = "#include <zmq_addon.hpp>\n#define MSGPACK_NO_BOOST\n#include <msgpack.hpp>\n"
    command = ["c++", "-std=c++17", "-E", "-x", "c++", "-", "-o", os.devnull]
    found = subprocess.run(command, input=includes, capture_output=True, text=True, check=False, timeout=60)
    return "no headers of cppzmq and msgpack-c (cppzmq-dev, libmsgpack-cxx-dev)" if found.returncode else ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=f"the example cannot be built: {missing()}")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built."""
    folder = tmp_path_factory.mktemp("toy_arm")
    source = ["-S", str(SOURCE), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Debug"]
    for words in (source, ["--build", str(folder)]):
        done = subprocess.run(["cmake", *words], capture_output=True, text=True, timeout=110, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "toy_arm"


@dataclass
class Toy:
    """A running example, and how to reach it."""

    process: subprocess.Popen[str]
    settings: RobotSettings


def start(program: Path, folder: Path) -> Toy:
    ends = [f"ipc://{folder}/{name}" for name in ("state", "command", "service")]
    return Toy(subprocess.Popen([str(program), *ends], text=True), RobotSettings(*ends, 5.0, CLOCK))


@pytest.fixture
def toy(program: Path, tmp_path: Path) -> Iterator[Toy]:
    """One example for each test, which must end well when it is asked to."""
    made = start(program, tmp_path)
    yield made
    made.process.send_signal(signal.SIGTERM)
    assert made.process.wait(timeout=10) == 0


@pytest.fixture
def robot(toy: Toy) -> Iterator[LinkRobot]:
    """A driver, connected to it."""
    made = LinkRobot(toy.settings)
    made.connect()
    yield made
    made.close()


@pytest.fixture
def client(toy: Toy) -> Iterator[ServiceClient]:
    """A client of its service, and nothing more."""
    context = open_context()
    yield ServiceClient(context, toy.settings.service_endpoint, "the toy")
    close_context(context)


class TestContract(RobotContract):
    """The conformance kit on the example."""

    bench: Bench

    @classmethod
    def make_bench(cls) -> Bench:
        return cls.bench

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        folder = tmp_path_factory.mktemp("link")
        toy = start(program, folder)
        nowhere = RobotSettings(*(f"ipc://{folder}/nobody{number}" for number in range(3)), 0.5, CLOCK)
        cls.bench = Bench(
            partial(LinkRobot, toy.settings),
            CLOCK,
            may_move=True,
            drop=toy.process.kill,
            absent=partial(LinkRobot, nowhere),
        )
        yield
        toy.process.kill()
        toy.process.wait(timeout=10)

    def require(self, check: Check) -> None:
        if check is readings_in_time:
            pytest.skip("a loaded computer looks late; the robot's own numbers decide below")
        super().require(check)


def until(condition: Callable[[], bool]) -> None:
    deadline_ns = CLOCK.now_ns() + 10 * NS_PER_S
    while not condition():
        assert CLOCK.now_ns() < deadline_ns
        CLOCK.sleep_until_ns(CLOCK.now_ns() + 2 * NS_PER_MS)


def lead(robot: LinkRobot, by: float) -> None:
    """Send set-points that lead the first joint on in small steps, until it has gone so far."""
    start = robot.read().position
    way = 0.0

    def there() -> bool:
        nonlocal way
        reading = robot.read()
        # What was not followed, because this process was kept waiting, is led on from where the arm rests.
        way = reading.position[0] - start[0] if reading.status == "watchdog" else way
        way = min(way + 0.002, by) if by > 0 else max(way - 0.002, by)
        robot.write(start + np.array([way, 0.0, 0.0]))
        return reading.status == "ok" and abs(reading.position[0] - start[0] - by) < 0.005

    until(there)


def rests(robot: LinkRobot) -> None:
    """Wait until it stands still, and see that it does so for a while."""
    until(lambda: not robot.read().velocity.any())
    rest = robot.read()
    until(lambda: robot.read().t_ns - rest.t_ns >= 50 * NS_PER_MS)
    np.testing.assert_array_equal(robot.read().position, rest.position)


def test_it_tells_what_it_is_whatever_the_version_of_other_messages(client: ServiceClient) -> None:
    welcome = client.ask(Hello(protocol=12345, role="operator", session=0), 5.0)
    assert isinstance(welcome, Welcome)
    assert (welcome.protocol, welcome.role) == (12345, "robot")
    spec = spec_from(welcome.details)
    assert (spec.name, spec.axes, spec.units) == (
        "toy_arm",
        ("shoulder", "elbow", "gripper_opening"),
        ("rad", "rad", "m"),
    )


@pytest.fixture
def states(toy: Toy) -> Iterator[LatestSubscriber[ArmState]]:
    """Its readings, as they come."""
    context = open_context()
    endpoint = toy.settings.state_endpoint
    made = LatestSubscriber(context, endpoint, bind=False, setting="test", types=(ArmState,))
    yield made
    made.close()
    close_context(context)


def test_it_sends_one_reading_per_cycle_of_its_own_clock_and_makes_up_for_none(
    states: LatestSubscriber[ArmState],
) -> None:
    # Whatever else the computer does: n cycles take n periods at least, apart from two that a delay may join.
    seen: list[ArmState] = []

    def enough() -> bool:
        seen.extend(state for state in [states.receive()] if state is not None)
        return len(seen) >= 50

    until(enough)
    numbers = np.array([state.seq for state in seen])
    stamps_ns = np.array([state.t_robot_ns for state in seen])
    assert (np.diff(numbers) > 0).all()
    assert (np.diff(stamps_ns) > 0).all()
    later = np.tril_indices(len(seen), -1)
    cycles = (numbers[:, None] - numbers)[later]
    elapsed_ns = (stamps_ns[:, None] - stamps_ns)[later]
    assert (elapsed_ns >= (cycles - 2) * NS_PER_MS).all()


def test_another_robot_than_expected_is_named(toy: Toy) -> None:
    options = {"robot": "ur5e"}
    with pytest.raises(MismatchError, match="robot differs: ours 'ur5e', theirs 'toy_arm'"):
        LinkRobot(RobotSettings(*vars_of(toy.settings), 5.0, CLOCK, options=options)).connect()


def vars_of(settings: RobotSettings) -> tuple[str, str, str]:
    return settings.state_endpoint, settings.command_endpoint, settings.service_endpoint


@pytest.mark.usefixtures("robot")
def test_there_can_be_only_one_control(toy: Toy) -> None:
    with pytest.raises(BusError, match="another control is connected"):
        LinkRobot(toy.settings).connect()


def test_its_watchdog_brings_it_to_rest_and_it_goes_on_from_there(robot: LinkRobot) -> None:
    for by in (0.05, -0.05):
        lead(robot, by)
        until(lambda: robot.read().status == "watchdog")
        rests(robot)


def test_a_stop_latches_until_it_is_recovered(robot: LinkRobot, client: ServiceClient) -> None:
    lead(robot, 0.05)
    assert client.request("stop", 5.0).ok
    until(lambda: robot.read().status == "protective_stop")
    rest = robot.read().position
    for step in range(50):
        robot.write(rest + np.array([0.001 * step, 0.0, 0.0]))
        CLOCK.sleep_until_ns(CLOCK.now_ns() + 2 * NS_PER_MS)
        assert robot.read().status == "protective_stop"
    np.testing.assert_allclose(robot.read().position, rest, atol=0.02)
    assert client.request("recover", 5.0).ok
    lead(robot, 0.05)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("the door is open", "the door is open"),
        ("T\u00fcr\n\x1b[2J", "T??r??[2J"),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 252 + " ..."),
        ("", ""),
    ],
)
def test_why_it_was_stopped_is_told_as_the_edge_reads_it(
    robot: LinkRobot, client: ServiceClient, reason: str, told: str
) -> None:
    assert client.request("stop", 5.0, {"reason": reason}).ok
    until(lambda: robot.read().status == "protective_stop")
    assert robot.read().detail == told
    assert client.request("recover", 5.0).ok
    until(lambda: robot.read().status == "watchdog")
    assert robot.read().detail == ""


def test_an_arm_that_stops_by_itself_gives_control_its_reason(toy: Toy, robot: LinkRobot) -> None:
    lead(robot, 0.05)
    core = ControlCore(robot.spec.limits, Ages(), 2 * NS_PER_MS, session=1)
    toy.process.send_signal(signal.SIGUSR1)

    def stopped() -> bool:
        return core.step(CLOCK.now_ns(), robot.read()).state.reason.startswith("the robot reports")

    until(stopped)
    output = core.step(CLOCK.now_ns(), robot.read())
    assert (output.mode, output.state.reason) == (
        Mode.STOPPED,
        "the robot reports protective_stop: shoulder: pushed with 31 N m, at most 20",
    )


@pytest.mark.parametrize(
    ("position", "fault"),
    [
        ((0.4, -0.7), "another length"),
        ((0.4, -0.7, 0.02, 0.0), "another length"),
        ((9.0, -0.7, 0.02), "outside"),
        ((float("nan"), -0.7, 0.02), "outside"),
        ((0.4, float("-inf"), 0.02), "outside"),
        ((1.4, -0.7, 0.02), "jumps"),
    ],
)
def test_a_bad_command_moves_nothing_and_is_told(
    toy: Toy, client: ServiceClient, position: tuple[float, ...], fault: str
) -> None:
    context = open_context()
    commands = LatestPublisher(context, toy.settings.command_endpoint, bind=False, setting="test")
    deadline_ns = CLOCK.now_ns() + 5 * NS_PER_S
    told = ""
    while not told and CLOCK.now_ns() < deadline_ns:
        commands.send(ArmCommand(seq=1, position=position))
        told = client.request("status", 5.0).values["last_fault"]
    close_context(context)
    assert fault in told
    assert client.request("status", 5.0).values["status"] == "watchdog"


def test_nonsense_neither_ends_it_nor_moves_it(toy: Toy, client: ServiceClient) -> None:
    rng = np.random.default_rng(1)
    good = [
        b"\0" + header(7, 1) + encode(ArmCommand(seq=1, position=(0.4, -0.7, 0.02))),
        encode(Hello(protocol=3, role="control", session=1, details={"link": "1"})),
    ]
    deep = b"\x91" * 10_000
    bad = [b"", b"\0", deep, b"\0" + bytes(16) + deep, b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"]
    for frame in good:
        bad += [frame[:cut] for cut in range(len(frame))]
        for _ in range(200):
            changed = bytearray(frame)
            changed[rng.integers(len(frame))] = rng.integers(256)
            bad.append(bytes(changed))
    context = open_context()
    service, commands = context.socket(zmq.DEALER), context.socket(zmq.PUB)
    service.connect(toy.settings.service_endpoint)
    commands.connect(toy.settings.command_endpoint)
    for frame in bad:
        commands.send(frame)
        service.send_multipart([bytes(8), frame])
        service.send_multipart([frame])
    assert client.request("status", 5.0).ok
    refused = client.request("fly", 5.0)
    assert (refused.ok, refused.text) == (False, "unknown request; there are stop, recover, status")
    close_context(context)
    assert toy.process.poll() is None
