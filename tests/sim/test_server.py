"""The simulated robot as a process, on real sockets and in real time."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dualsys.bus.channel import LatestSubscriber
from dualsys.bus.handshake import shake_hands
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.messages import CameraFrame
from dualsys.robots.link import LinkRobot
from dualsys.robots.registry import RobotSettings
from dualsys.robots.simulated import SIMULATED_PANDA, SimulatedRobot

pytest.importorskip("pybullet")

from dualsys_sim.serving import Shutters

CLOCK = WallClock()
SCRIPT = """
import sys
from dualsys.config import SystemConfig
from dualsys_sim.server import serve

names = {
    "slow": ("observation", "latent", "service"),
    "planner": ("plan", "service"),
    "control": ("state", "service"),
    "robot": ("state", "command", "service", "cameras"),
}
ends = {o: {n: f"ipc://{sys.argv[1]}/{o}.{n}" for n in channels} for o, channels in names.items()}
serve(SystemConfig.model_validate({"endpoints": ends}))
"""


@dataclass
class Server:
    """A running simulated robot, and how to reach it."""

    process: subprocess.Popen[bytes]
    context: ZmqContext
    folder: Path

    def end(self, name: str) -> str:
        return f"ipc://{self.folder}/robot.{name}"

    def camera(self, name: str) -> LatestSubscriber[CameraFrame]:
        return LatestSubscriber(
            self.context,
            self.end("cameras"),
            bind=False,
            setting="test",
            types=(CameraFrame,),
            topic=name.encode(),
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One simulated robot for all tests."""
    folder = tmp_path_factory.mktemp("link")
    context = open_context()
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], stdout=subprocess.DEVNULL) as process:
        yield Server(process, context, folder)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    close_context(context)


@pytest.fixture
def client(server: Server) -> Iterator[ServiceClient]:
    """A client of its service."""
    made = ServiceClient(server.context, server.end("service"), "the robot")
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    deadline_ns = CLOCK.now_ns() + 10 * NS_PER_S
    while not condition():
        assert CLOCK.now_ns() < deadline_ns
        CLOCK.sleep_until_ns(CLOCK.now_ns() + NS_PER_MS)


def test_it_says_what_it_is(client: ServiceClient) -> None:
    welcome = shake_hands(client, "supervisor", 0, None, 20.0)
    assert (welcome.role, welcome.details["robot"]) == ("robot", "simulated_panda")
    assert welcome.details["axes"].split()[-1] == "gripper_opening"


def test_any_driver_of_the_link_learns_what_it_is(server: Server) -> None:
    ends = (server.end(name) for name in ("state", "command", "service"))
    robot = LinkRobot(RobotSettings(*ends, 20.0, CLOCK))
    robot.connect()
    spec = robot.spec
    robot.close()
    assert (spec.name, spec.axes) == (SIMULATED_PANDA.name, SIMULATED_PANDA.axes)
    assert (spec.rate_hz, spec.rest_s) == (SIMULATED_PANDA.rate_hz, SIMULATED_PANDA.rest_s)
    for name in ("lower", "upper", "velocity", "acceleration", "jerk"):
        np.testing.assert_array_equal(getattr(spec.limits, name), getattr(SIMULATED_PANDA.limits, name))


def test_the_driver_moves_the_arm(server: Server) -> None:
    robot = SimulatedRobot(
        RobotSettings(server.end("state"), server.end("command"), server.end("service"), 20.0, CLOCK)
    )
    robot.connect()
    start = robot.read().position
    goal = start.copy()
    goal[0] += 0.1

    def taken_over() -> bool:
        robot.write(start)
        return robot.read().status == "ok"

    def arrived() -> bool:
        robot.write(goal)
        return bool(np.abs(robot.read().position[:7] - goal[:7]).max() < 0.01)

    until(taken_over)
    until(arrived)
    assert robot.read().status == "ok"
    until(lambda: robot.read().status == "watchdog")
    robot.close()


def test_both_cameras_send_frames_on_topics_of_their_own(server: Server) -> None:
    cameras = {name: server.camera(name) for name in ("fixed", "wrist")}
    for name, camera in cameras.items():
        frames: list[CameraFrame] = []

        def more(camera: LatestSubscriber[CameraFrame] = camera, frames: list[CameraFrame] = frames) -> bool:
            frame = camera.receive()
            if frame is not None:
                frames.append(frame)
            return len(frames) == 3

        until(more)
        assert {frame.camera for frame in frames} == {name}
        assert frames[2].seq > frames[0].seq
        assert frames[2].t_robot_ns > frames[0].t_robot_ns
        camera.close()


def test_requests_are_carried_out_and_wrong_ones_are_refused(client: ServiceClient) -> None:
    scene = client.request("reset", 20.0, {"task": "touch", "seed": "1"})
    assert scene.ok
    assert client.request("instruction", 5.0).values["instruction"] == scene.values["instruction"]
    assert client.request("verdict", 5.0).values["verdict"] == "running"
    status = client.request("status", 5.0).values
    assert (status["task"], status["seed"], status["verdict"]) == ("touch", "1", "")
    assert client.request("stop", 5.0, {"reason": "test"}).ok
    assert client.request("status", 5.0).values["status"] == "protective_stop"
    assert client.request("status", 5.0).values["stopped"] == "test"
    assert client.request("recover", 5.0).ok
    assert client.request("status", 5.0).values["status"] == "watchdog"
    refused = client.request("reset", 5.0, {"task": "cook"})
    assert not refused.ok
    assert "there are" in refused.text
    assert "fly" in client.request("fly", 5.0).text


def test_simulated_time_goes_on_by_itself(client: ServiceClient) -> None:
    client.request("reset", 20.0, {"task": "free"})
    first = float(client.request("status", 5.0).values["time_s"])
    until(lambda: float(client.request("status", 5.0).values["time_s"]) > first + 0.1)


def test_cameras_are_due_at_their_own_rates_one_at_a_time_and_never_catch_up() -> None:
    shutters = Shutters({"fixed": 10.0, "wrist": 25.0})
    looks = [shutters.due(time_ns) for time_ns in range(0, 2 * NS_PER_S, 4 * NS_PER_MS)]
    assert looks.count("fixed") == pytest.approx(20, abs=1)
    assert looks.count("wrist") == pytest.approx(50, abs=1)
    later = [shutters.due(9 * NS_PER_S + index * 4 * NS_PER_MS) for index in range(5)]
    assert sorted(name for name in later if name) == ["fixed", "wrist"]
