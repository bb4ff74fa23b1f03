"""What crosses the line to System 2: the planner, System 2 and every byte between them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.codec import decode, to_image
from dualsys.bus.handshake import answer_hello
from dualsys.bus.service import ServiceClient, ServiceServer
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.config import SlowConfig, SystemConfig
from dualsys.config_links import Endpoints, SlowEndpoints
from dualsys.errors import BundleError, ConfigError, MismatchError
from dualsys.fast.planner.process import run_planner, serve_policy
from dualsys.fast.policies.vision import OnnxVision
from dualsys.messages import (
    CameraFrame,
    Hello,
    LatentCodec,
    Observation,
    Plan,
    Reply,
    Request,
    UplinkMode,
    Welcome,
)
from dualsys.robots.kinematics import PANDA
from dualsys.slow.backends.onnx import OnnxLanguage, OnnxSystem2
from dualsys.slow.server import SlowServer

MakeBundle = Callable[..., Path]
CHANNELS = ("observation", "latent", "service")
POSE = (*PANDA.rest_rad.tolist(), 0.08)
IMAGE = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
PATIENCE_NS = 20 * NS_PER_S


class Wiretap:
    """Relays the addresses of System 2, and keeps all that the edge sends, by channel and connection."""

    def __init__(self, near: dict[str, Path], far: dict[str, Path]) -> None:
        self.up: dict[str, list[bytearray]] = {name: [] for name in CHANNELS}
        self._near, self._far = near, far
        self._relays: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        servers = []
        for name in CHANNELS:

            def accepted(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name
            ) -> None:
                self._relays.add(asyncio.create_task(self._relay(reader, writer, name)))

            servers.append(await asyncio.start_unix_server(accepted, self._near[name]))
        self._ready.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        # On a busy machine the end of a connection may not have come yet. What is left open here is closed by
        # the collector of garbage, with a warning that fails whichever test runs then.
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        kept = bytearray()
        self.up[name].append(kept)
        writers = [writer]
        # A connection that breaks ends like one that is closed.
        with suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_unix_connection(self._far[name])
            writers.append(far_writer)
            await asyncio.gather(
                self._carry(reader, far_writer, kept), self._carry(far_reader, writer, bytearray())
            )
        for one in writers:
            one.close()
            with suppress(OSError):
                await one.wait_closed()

    @staticmethod
    async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
        while data := await reader.read(65536):
            kept += data
            writer.write(data)
            await writer.drain()
        writer.close()


def zmtp_messages(stream: bytes) -> Iterator[bytes]:
    """The message frames of a connection (ZMTP 3, without encryption): what follows the greeting."""
    at = 64
    while at + 2 <= len(stream):
        flags, long = stream[at], stream[at] & 2
        head = 9 if long else 2
        size = int.from_bytes(stream[at + 1 : at + head], "big")
        if at + head + size > len(stream):
            return
        if not flags & 4:
            yield stream[at + head : at + head + size]
        at += head + size


class Surroundings:
    """Control, the cameras and an operator; System 2 and the planner are real."""

    def __init__(self, config: SystemConfig, bench: Any) -> None:
        self._ends, self._bench, self._clock = config.endpoints, bench, WallClock()
        self._session = 1
        self.status: dict[str, str] = {}
        self.plans = 0
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        if self.fault is not None:
            raise self.fault

    def _run(self) -> None:
        context = open_context()
        ends, setting = self._ends, "test"
        states = LatestPublisher(context, ends.control.state, bind=True, setting=setting)
        control = ServiceServer(context, ends.control.service, setting=setting)
        cameras = LatestPublisher(context, ends.robot.cameras, bind=True, setting=setting)
        plans = LatestSubscriber(context, ends.planner.plan, bind=False, setting=setting, types=(Plan,))
        operator = threading.Thread(target=self._operate, args=(context,))
        operator.start()
        deadline_ns = self._clock.now_ns() + PATIENCE_NS
        while operator.is_alive() and self._clock.now_ns() < deadline_ns:
            now_ns = self._clock.now_ns()
            control.serve(self._welcome, lambda _: Reply(ok=False))
            arm = {"position": POSE, "command": POSE, "epoch": 0}
            states.send(self._bench.state(now_ns, session=self._session, **arm))
            for name, image in (("wrist", np.zeros((4, 4, 3), np.uint8)), ("fixed", IMAGE)):
                frame = CameraFrame(camera=name, seq=0, t_robot_ns=0, image=to_image(image))
                cameras.send(frame, name.encode())
            self.plans += plans.receive() is not None
            self._clock.sleep_until_ns(now_ns + 4 * NS_PER_MS)
        operator.join()
        close_context(context)

    def _operate(self, context: Any) -> None:
        client = ServiceClient(context, self._ends.planner.service, "the planner")
        try:
            start = {"episode": "0", "instruction": "push the red block"}
            assert client.request("start_episode", 10.0, start).ok
            deadline_ns = self._clock.now_ns() + PATIENCE_NS // 2
            while self.plans < 3 or int(self.status.get("core.latents_accepted", "0")) < 3:
                assert self._clock.now_ns() < deadline_ns, f"no plans or latents: {self.status}"
                self.status = client.request("status", 10.0).values
                self._clock.sleep_until_ns(self._clock.now_ns() + 20 * NS_PER_MS)
        except Exception as error:
            self.fault = error
        finally:
            client.close()
            signal.raise_signal(signal.SIGTERM)

    def _welcome(self, hello: Hello | Request) -> Welcome | Reply:
        assert isinstance(hello, Hello)
        self._session = hello.session
        return answer_hello(hello, "control", None, {"epoch": "0"})


class System2Thread:
    """A System 2 server in a thread."""

    def __init__(
        self,
        model: OnnxSystem2 | OnnxLanguage,
        endpoints: SlowEndpoints,
        feature_codec: LatentCodec = "float16",
    ) -> None:
        self._context = open_context()
        self.server = SlowServer(
            model,
            self._context,
            endpoints,
            rate_hz=None,
            delay_ms=0,
            clock=WallClock(),
            feature_codec=feature_codec,
        )
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(10)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self.server.run(self._stop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self.server.close()
        close_context(self._context)


def system(folder: Path, uplink: UplinkMode, bundle: Path, slow: str = "s") -> SystemConfig:
    """A system whose addresses are files of this test; the edge knows those of System 2 as `slow`."""
    owners = {
        "slow": CHANNELS,
        "planner": ("plan", "service"),
        "control": ("state", "service"),
        "robot": ("state", "command", "service", "cameras"),
    }
    addresses = {
        owner: {
            channel: f"ipc://{folder}/{slow if owner == 'slow' else owner[0]}{channel[:2]}"
            for channel in channels
        }
        for owner, channels in owners.items()
    }
    config = SystemConfig(endpoints=Endpoints.model_validate(addresses))
    return config.model_copy(update={"slow": SlowConfig(uplink=uplink, bundle=bundle)})


@pytest.mark.usefixtures("kept_signals")
@pytest.mark.parametrize("uplink", ["images", "features"])
def test_in_features_mode_no_byte_of_an_image_crosses_the_line(
    split_bundle: MakeBundle, make_bench: Callable[..., Any], tmp_path: Path, uplink: UplinkMode
) -> None:
    bundle, bench = split_bundle(), make_bench()
    config, far = system(tmp_path, uplink, bundle), system(tmp_path, uplink, bundle, "far")
    paths = [
        {name: Path(getattr(one.endpoints.slow, name).removeprefix("ipc://")) for name in CHANNELS}
        for one in (config, far)
    ]
    model = OnnxLanguage(bundle) if uplink == "features" else OnnxSystem2(bundle)
    system2 = System2Thread(model, far.endpoints.slow)
    tap = Wiretap(*paths)
    surroundings = Surroundings(config, bench)
    try:
        serve_policy(bench.policy, config, OnnxVision(bundle) if uplink == "features" else None)
    finally:
        surroundings.join()
        tap.close()
        system2.close()
    assert system2.server.statistics().core.rejected == {}
    assert (int(surroundings.status["sight.encoded"]) >= 3) is (uplink == "features")
    # Every byte that the edge sent, on all channels: no row of pixels is among them, but for images.
    rows = [row.tobytes() for row in IMAGE]
    sent = [bytes(stream) for streams in tap.up.values() for stream in streams]
    assert sum(map(len, sent)) > 1000
    assert any(row in stream for row in rows for stream in sent) is (uplink == "images")
    # Every message of the channel that carries observations, as System 2 would read it.
    frames = [frame for stream in tap.up["observation"] for frame in zmtp_messages(bytes(stream))]
    observations = [decode(frame[frame.index(0) + 17 :], Observation) for frame in frames]
    assert len(observations) >= 3
    for observation in observations:
        if uplink == "images":
            assert observation.images["fixed"].data == IMAGE.tobytes()
            assert observation.features == {}
        else:
            assert observation.images == {}
            tensor = observation.features["fixed"]
            assert (tensor.dtype, tensor.shape) == ("float16", (12, 12))
            np.testing.assert_allclose(tensor.array(), IMAGE.reshape(12, 12) / 255, atol=5e-4)


@pytest.mark.usefixtures("kept_signals")
@pytest.mark.parametrize(
    ("edge", "cloud", "fault"),
    [
        ("features", "images", r"uplink differs: ours 'features', theirs 'images'; .*set slow\.uplink"),
        ("images", "features", r"uplink differs: ours 'images', theirs 'features'; .*set slow\.uplink"),
        ("features", "int8", r"feature_codec differs: ours 'float16', theirs 'int8'; .*slow\.feature_codec"),
        (
            "features",
            "other",
            r"split_weights differs: ours '\w{16}', theirs '\w{16}'; .*same System 2 bundle",
        ),
    ],
)
def test_two_sides_that_mean_different_things_are_refused_at_the_handshake_with_both_values(
    split_bundle: MakeBundle,
    make_bench: Callable[..., Any],
    tmp_path: Path,
    edge: UplinkMode,
    cloud: str,
    fault: str,
) -> None:
    bundle = split_bundle()
    config = system(tmp_path, edge, bundle)
    other = split_bundle("other", without=("system2.onnx",)) if cloud == "other" else bundle
    model = OnnxSystem2(bundle) if cloud == "images" else OnnxLanguage(other)
    codec: LatentCodec = "int8" if cloud == "int8" else "float16"
    system2 = System2Thread(model, config.endpoints.slow, codec)
    try:
        vision = OnnxVision(bundle) if edge == "features" else None
        with pytest.raises(MismatchError, match=fault):
            serve_policy(make_bench().policy, config, vision)
    finally:
        system2.close()


def test_a_planner_is_given_a_vision_tower_where_features_travel_and_only_there(
    split_bundle: MakeBundle, make_bench: Callable[..., Any], tmp_path: Path
) -> None:
    bundle, policy = split_bundle(), make_bench().policy
    with pytest.raises(ConfigError, match=r"slow\.uplink: got 'features' and a vision tower: none"):
        serve_policy(policy, system(tmp_path, "features", bundle))
    with pytest.raises(ConfigError, match=r"slow\.uplink: got 'images' and a vision tower: one of weights"):
        serve_policy(policy, system(tmp_path, "images", bundle), OnnxVision(bundle))


def test_a_tower_that_sees_something_else_than_system1_was_trained_for_is_refused(
    split_bundle: MakeBundle, make_bench: Callable[..., Any], tmp_path: Path
) -> None:
    bundle, policy = split_bundle(), make_bench().policy
    cameras = {"fixed": policy.specs.observation.cameras["fixed"], "wrist": policy.wrist}
    observation = msgspec.structs.replace(policy.specs.observation, cameras=cameras)
    policy.specs = msgspec.structs.replace(policy.specs, observation=observation)
    with pytest.raises(MismatchError, match=r"specs\.observation\.cameras\.wrist"):
        serve_policy(policy, system(tmp_path, "features", bundle), OnnxVision(bundle))


def test_the_planner_says_what_to_do_about_a_bundle_without_halves(
    split_bundle: MakeBundle, tmp_path: Path
) -> None:
    old = split_bundle(without=("vision.onnx", "language.onnx"))
    with pytest.raises(BundleError, match=r"cannot be split.*dualsys export.*set slow\.uplink to images"):
        run_planner(system(tmp_path, "features", old))
