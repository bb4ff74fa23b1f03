"""A Gymnasium environment as a process, on real sockets: what it is, that it moves, and its cameras."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dualsys.bus.channel import LatestSubscriber
from dualsys.bus.codec import from_image
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.config import SystemConfig
from dualsys.messages import CameraFrame
from dualsys.plugins import Option
from dualsys.robots.gymnasium import GymnasiumRobot
from dualsys.robots.registry import RobotSettings

pytest.importorskip("gymnasium", reason="needs the extra gymnasium")

CLOCK = WallClock()
HERE = Path(__file__).parent
OPTIONS: dict[str, Option] = {
    "environment": "toy_environment:ToyPoint-v0",
    "axes": "x y z gripper_opening",
    "position": "0 1 2",
    "velocity": "3 4 5",
    "scale": "0.05 0.05 0.05",
    "lower": "-0.3 -0.3 0 0",
    "upper": "0.3 0.3 0.3 0.08",
    "speed": "2 2 2 2",
    "acceleration": "10 10 10 10",
    "camera.fixed": "offset=3 | offset=7",
    "camera.wrist": "offset=9",
}
NAMES = {
    "slow": ("observation", "latent", "service"),
    "planner": ("plan", "service"),
    "control": ("state", "service"),
    "robot": ("state", "command", "service", "cameras"),
}


def started(folder: Path, options: dict[str, Option]) -> subprocess.Popen[bytes]:
    """`dualsys sim` on an environment."""
    ends = {
        owner: {name: f"ipc://{folder}/{owner}.{name}" for name in names} for owner, names in NAMES.items()
    }
    robot = {"driver": "gymnasium", "options": options}
    config = SystemConfig.model_validate({"endpoints": ends, "robot": robot, "sim": {"watchdog_ms": 150}})
    path = folder / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dualsys.cli.process", "sim", str(path), str(os.getpid())],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder with the addresses of a running environment."""
    place = tmp_path_factory.mktemp("environment")
    with started(place, OPTIONS) as process:
        yield place
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, (place / "log").read_text()


def until(condition: Callable[[], bool], patience_s: int = 60) -> None:
    deadline_ns = CLOCK.now_ns() + patience_s * NS_PER_S
    while not condition():
        assert CLOCK.now_ns() < deadline_ns
        CLOCK.sleep_until_ns(CLOCK.now_ns() + NS_PER_MS)


def test_the_driver_learns_what_it_is_and_leads_it(folder: Path) -> None:
    ends = (f"ipc://{folder}/robot.{name}" for name in ("state", "command", "service"))
    robot = GymnasiumRobot(RobotSettings(*ends, 60.0, CLOCK, options=OPTIONS))
    robot.connect()
    try:
        _lead(robot)
    finally:
        robot.close()


def _lead(robot: GymnasiumRobot) -> None:
    """Take the robot to a place and stop talking to it."""
    assert (robot.spec.name, robot.spec.rate_hz, robot.spec.units) == ("ToyPoint-v0", 50.0, ("m",) * 4)
    target = robot.read().position
    goal = np.array([-0.1, 0.1, 0.2, 0.02])

    def arrived() -> bool:
        nonlocal target
        position = robot.read().position
        if np.abs(target - position).max() < 0.02:
            target = target + np.clip(goal - target, -0.02, 0.02)
        robot.write(target)
        return bool(np.abs(position - goal).max() < 0.005)

    until(arrived)
    until(lambda: robot.read().status == "watchdog")


def test_frames_of_every_camera_come_from_a_process_of_their_own_and_show_the_episode(folder: Path) -> None:
    context = open_context()
    service = ServiceClient(context, f"ipc://{folder}/robot.service", "the robot")
    address = f"ipc://{folder}/robot.cameras"
    shapes = {"fixed": (8, 24, 3), "wrist": (8, 12, 3)}
    cameras = {
        name: LatestSubscriber(
            context, address, bind=False, setting="test", types=(CameraFrame,), topic=name.encode()
        )
        for name in shapes
    }
    for name, camera in cameras.items():
        frames: list[CameraFrame] = []

        def seen(camera: LatestSubscriber[CameraFrame] = camera, frames: list[CameraFrame] = frames) -> bool:
            frame = camera.receive()
            frames.extend([] if frame is None else [frame])
            return len(frames) > 1

        until(seen)
        assert frames[-1].camera == name
        assert frames[-1].t_robot_ns > frames[0].t_robot_ns
        picture = from_image(frames[-1].image)
        assert picture.shape == shapes[name]
    answer = service.request("reset", 30.0, {"task": "reach", "seed": "8"})
    assert answer.ok
    assert answer.values["seed"] == "8"
    until(lambda: _verdict(service) == "failure")
    service.close()
    close_context(context)


def _verdict(service: ServiceClient) -> str:
    return service.request("verdict", 30.0).values["verdict"]


def test_an_environment_that_does_something_else_every_time_ends_with_an_error(tmp_path: Path) -> None:
    with started(tmp_path, OPTIONS | {"make.drifts": True}) as process:
        assert process.wait(timeout=100) != 0
    assert "went another way" in (tmp_path / "log").read_text()


def test_wrong_options_end_the_process_with_their_names(tmp_path: Path) -> None:
    with started(tmp_path, OPTIONS | {"position": "0 1 9"}) as process:
        assert process.wait(timeout=100) == 2
    assert "no entry 9" in (tmp_path / "log").read_text()
