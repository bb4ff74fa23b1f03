from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.codec import to_image
from dualsys.bus.handshake import answer_hello
from dualsys.bus.service import ServiceClient, ServiceServer
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.config import CameraConfig, SystemConfig
from dualsys.config_fast import FastConfig
from dualsys.config_links import Endpoints
from dualsys.errors import BundleError, CameraError
from dualsys.fast.planner.process import run_planner, serve_policy, silence_ns
from dualsys.fast.policies.weak import WithWeak
from dualsys.messages import CameraFrame, Hello, Observation, Plan, Reply, Request, Welcome
from dualsys.robots.kinematics import PANDA

from .conftest import ScriptedPolicy, moving

PATIENCE_NS = 20 * NS_PER_S
EPOCH = 2
POSE = (*PANDA.rest_rad.tolist(), 0.08)
ARM = {"position": POSE, "command": POSE, "epoch": EPOCH}


@pytest.fixture
def config(tmp_path: Path) -> SystemConfig:
    """A system whose addresses are files of this test."""
    owners = {
        "slow": ("observation", "latent", "service"),
        "planner": ("plan", "service"),
        "control": ("state", "service"),
        "robot": ("state", "command", "service", "cameras"),
    }
    addresses = {
        owner: {channel: f"ipc://{tmp_path}/{owner[0]}{channel[:2]}" for channel in channels}
        for owner, channels in owners.items()
    }
    return SystemConfig(endpoints=Endpoints.model_validate(addresses))


class World:
    """Control, System 2, the cameras and an operator, in one thread of their own.

    The operator starts an episode, says something else after the first plans, and ends the planner.
    """

    def __init__(self, config: SystemConfig, bench: Any) -> None:
        self._config, self._bench = config, bench
        self._clock = WallClock()
        self._session = 1
        self.plans: list[Plan] = []
        self.replies: dict[str, Reply] = {}
        self.instructions: list[str] = []
        self.told: dict[str, str] = {}
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._guarded)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        if self.fault is not None:
            raise self.fault

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.fault = error

    def _run(self) -> None:
        context = open_context()
        ends, setting = self._config.endpoints, "test"
        states = LatestPublisher(context, ends.control.state, bind=True, setting=setting)
        control = ServiceServer(context, ends.control.service, setting=setting)
        slow = ServiceServer(context, ends.slow.service, setting=setting)
        latents = LatestPublisher(context, ends.slow.latent, bind=True, setting=setting)
        cameras = LatestPublisher(context, ends.robot.cameras, bind=True, setting=setting)
        observations = LatestSubscriber(
            context, ends.slow.observation, bind=True, setting=setting, types=(Observation,)
        )
        plans = LatestSubscriber(context, ends.planner.plan, bind=False, setting=setting, types=(Plan,))
        operator = threading.Thread(target=self._operate, args=(context,))
        operator.start()
        deadline_ns = self._clock.now_ns() + PATIENCE_NS
        while operator.is_alive() and self._clock.now_ns() < deadline_ns:
            now_ns = self._clock.now_ns()
            control.serve(self._welcome_to_control, self._refuse)
            slow.serve(self._welcome_to_slow, self._understand)
            states.send(self._bench.state(now_ns, session=self._session, **ARM))
            for name, shape in (("wrist", (4, 4, 3)), ("fixed", (6, 8, 3))):
                image = to_image(np.zeros(shape, np.uint8))
                frame = CameraFrame(camera=name, seq=0, t_robot_ns=0, image=image)
                cameras.send(frame, name.encode())
            if (observation := observations.receive()) is not None:
                self.instructions.append(observation.instruction)
                latents.send(self._bench.answer(observation))
            if (plan := plans.receive()) is not None:
                self.plans.append(plan)
            self._clock.sleep_until_ns(now_ns + 4 * NS_PER_MS)
        operator.join()
        close_context(context)

    def _operate(self, context: Any) -> None:
        client = ServiceClient(context, self._config.endpoints.planner.service, "the planner")
        try:
            start = {"episode": "0", "instruction": "pick the red block"}
            self.replies["start_episode"] = client.request("start_episode", 10.0, start)
            self._until(lambda: len(self.plans) > 3)
            self.replies["say"] = client.request("say", 10.0, {"text": "pick the blue block"})
            self._until(lambda: "pick the blue block" in self.instructions)
            self.replies["status"] = client.request("status", 10.0)
        except Exception as error:
            self.fault = error
        finally:
            client.close()
            signal.raise_signal(signal.SIGTERM)

    def _until(self, done: Callable[[], bool]) -> None:
        deadline_ns = self._clock.now_ns() + PATIENCE_NS // 2
        while not done():
            if self._clock.now_ns() > deadline_ns:
                raise TimeoutError("the planner did not do what was expected of it")
            self._clock.sleep_until_ns(self._clock.now_ns() + 5 * NS_PER_MS)

    def _welcome_to_control(self, hello: Hello) -> Welcome | Reply:
        self._session = hello.session
        return answer_hello(hello, "control", None, {"epoch": str(EPOCH)})

    def _welcome_to_slow(self, hello: Hello) -> Welcome | Reply:
        self.told = dict(hello.details)
        return answer_hello(hello, "system2", self._bench.policy.specs, {"weights": "w"})

    @staticmethod
    def _understand(request: Request) -> Reply:
        return Reply(ok=request.verb == "check")

    @staticmethod
    def _refuse(request: Request) -> Reply:
        return Reply(ok=False, text=request.verb)


@pytest.mark.usefixtures("kept_signals")
def test_over_real_sockets_an_episode_starts_is_told_something_else_and_ends(
    config: SystemConfig, make_bench: Callable[..., Any]
) -> None:
    bench = make_bench()
    world = World(config, bench)
    serve_policy(bench.policy, config)
    world.join()
    assert all(reply.ok for reply in world.replies.values())
    assert set(world.replies) == {"start_episode", "say", "status"}
    assert {plan.epoch for plan in world.plans} == {EPOCH}
    assert world.plans[0].session > 0
    sequence = [plan.seq for plan in world.plans]
    assert sequence == sorted(set(sequence))
    status = world.replies["status"].values
    assert status["slow.connected"] == status["control.connected"] == "True"
    assert status["core.unreachable_plans"] == "0"
    assert status["planner.instruction"] == "pick the blue block"


@pytest.mark.usefixtures("kept_signals")
def test_a_weak_policy_sees_what_system_1_sees_and_is_named_to_whoever_shakes_hands(
    config: SystemConfig, make_bench: Callable[..., Any]
) -> None:
    bench, weak = make_bench(), ScriptedPolicy([moving(0.5)], weights="early")
    chosen = {"name": "bid", "options": {"samples": 2, "nearest": 1}}
    fast = FastConfig.model_validate({"weak_bundle": Path("/models/early"), "strategy": chosen})
    world = World(config, bench)
    serve_policy(WithWeak(bench.policy, weak, "there"), config.model_copy(update={"fast": fast}))
    world.join()
    assert world.told["weights"] == "scripted"
    assert world.told["weak_weights"] == "early"
    assert len(weak.conditions) == len(bench.policy.conditions) > 3
    assert world.replies["status"].values["core.abandoned_jobs"] == "0"


def folder_camera(config: SystemConfig, folder: Path, width: int, height: int) -> SystemConfig:
    """The configuration, with a wrist camera that shows a folder of one image."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    (folder / "0.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
    wrist = CameraConfig(driver="files", rate_hz=50.0, options={"path": str(folder)})
    return config.model_copy(update={"cameras": {"wrist": wrist}})


@pytest.mark.usefixtures("kept_signals")
def test_plans_are_made_from_the_frames_of_a_camera_that_the_planner_reads_itself(
    config: SystemConfig, make_bench: Callable[..., Any], tmp_path: Path
) -> None:
    bench = make_bench()
    world = World(config, bench)
    serve_policy(bench.policy, folder_camera(config, tmp_path, 8, 8))
    world.join()
    status = world.replies["status"].values
    assert world.plans
    assert int(status["camera.wrist.accepted"]) > 0
    assert (status["camera.wrist.lost"], status["loop.images_rejected"]) == ("False", "0")
    assert not [thread.name for thread in threading.enumerate() if thread.name == "camera wrist"]


@pytest.mark.usefixtures("kept_signals")
def test_a_camera_whose_frames_do_not_fit_ends_the_planner_with_both_sizes(
    config: SystemConfig, make_bench: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(CameraError, match=r"cameras\.wrist: 8x4 pixels do not fit into 4x4"):
        serve_policy(make_bench().policy, folder_camera(config, tmp_path, 8, 4))
    assert not [thread.name for thread in threading.enumerate() if thread.name == "camera wrist"]


def test_a_missing_bundle_is_told_before_anything_is_opened(
    config: SystemConfig, tmp_path: Path, repository: Path
) -> None:
    nothing, shipped = tmp_path / "nothing", repository / "bundles/tabletop/system1"
    for bundles, told in (
        ({"bundle": nothing}, "nothing/bundle.json: cannot be read"),
        ({"bundle": shipped, "weak_bundle": nothing}, "fast.weak_bundle: .*nothing/bundle.json: cannot be"),
    ):
        fast = config.fast.model_copy(update=bundles)
        with pytest.raises(BundleError, match=told):
            run_planner(config.model_copy(update={"fast": fast}))


def test_silence_is_longer_than_the_greatest_age_of_a_latent(config: SystemConfig) -> None:
    assert silence_ns(config.slow) > config.slow.worst_age_ms * NS_PER_MS
