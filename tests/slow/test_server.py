"""The System 2 process, in a thread with a scripted model and as a process with a graph."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop
import yaml
import zmq

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.handshake import shake_hands
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.config_links import SlowEndpoints
from dualsys.errors import AddressInUseError, MismatchError
from dualsys.messages import LatentPacket, Observation, Tensor
from dualsys.slow.server import SlowServer
from dualsys.specs import LatentSpec, SystemSpecs, TensorSpec

Observe = Callable[..., Observation]
DEADLINE_NS = 10 * NS_PER_S


class Edge:
    """The other side: a planner that sends observations and receives latents."""

    def __init__(self, endpoints: SlowEndpoints, observe: Observe) -> None:
        self.clock = WallClock()
        self.context = open_context()
        self.observe = observe
        self.seq = 0
        self.packets: list[LatentPacket] = []
        self.observations = LatestPublisher(self.context, endpoints.observation, bind=False, setting="o")
        self.latents = LatestSubscriber(
            self.context, endpoints.latent, bind=False, setting="l", types=(LatentPacket,)
        )
        self.service = ServiceClient(self.context, endpoints.service, "System 2")

    def send(self, **changes: object) -> Observation:
        """Send the next observation."""
        self.seq += 1
        observation = self.observe(seq=self.seq, **changes)
        self.observations.send(observation)
        return observation

    def receive(self) -> LatentPacket | None:
        """Receive a latent if there is one, and keep it."""
        if packet := self.latents.receive():
            self.packets.append(packet)
        return packet

    def status(self) -> dict[str, str]:
        """Ask for the totals."""
        reply = self.service.request("status", 10)
        assert reply.ok
        return reply.values

    def until(self, done: Callable[[], Any], **changes: object) -> Any:
        """Send an observation every few milliseconds until `done` returns something true."""
        deadline_ns = self.clock.now_ns() + DEADLINE_NS
        while self.clock.now_ns() < deadline_ns:
            self.send(**changes)
            if outcome := done():
                return outcome
            self.clock.sleep_until_ns(self.clock.now_ns() + 5 * NS_PER_MS)
        raise AssertionError(f"not within 10 s; status: {self.status()}")

    def close(self) -> None:
        """Disconnect."""
        for part in (self.observations, self.latents, self.service):
            part.close()
        close_context(self.context)


class Served:
    """A server in a thread."""

    def __init__(self, server: SlowServer) -> None:
        self.server = server
        self.problem: BaseException | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()
        self._started.wait()

    def _work(self) -> None:
        async def run() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._started.set()
            await self.server.run(self._stop)

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run())
        except BaseException as problem:
            self.problem = problem

    @property
    def running(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End it, and pass on what went wrong."""
        if self.running:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self.server.close()
        if self.problem is not None:
            raise self.problem


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    context = open_context()
    yield context
    close_context(context)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for ipc addresses."""
    with tempfile.TemporaryDirectory(prefix="dualsys-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def endpoints(folder: Path) -> SlowEndpoints:
    names = ("observation", "latent", "service")
    return SlowEndpoints(**{name: f"ipc://{folder}/{name}" for name in names})


@pytest.fixture
def edge(endpoints: SlowEndpoints, observe: Observe) -> Iterator[Edge]:
    edge = Edge(endpoints, observe)
    yield edge
    edge.close()


@pytest.fixture
def serve(system2: Any, context: ZmqContext, endpoints: SlowEndpoints) -> Iterator[Callable[..., Served]]:
    """Start a server of the scripted model; stopped at the end, where its problem surfaces."""
    running: list[Served] = []

    def start(rate_hz: float | None = None, delay_ms: float = 0) -> Served:
        server = SlowServer(
            system2, context, endpoints, rate_hz=rate_hz, delay_ms=delay_ms, clock=WallClock()
        )
        running.append(Served(server))
        return running[-1]

    yield start
    for served in running:
        served.stop()


Serve = Callable[..., Served]


def test_observations_become_latents(serve: Serve, edge: Edge) -> None:
    served = serve()
    packet = edge.until(edge.receive, grey=50)
    assert packet.tensors["tokens"].array().tolist() == [[50.0] * 4] * 2
    assert packet.session == 7
    assert 0 < packet.observation_seq <= edge.seq
    assert packet.t_capture_ns == 1000 + packet.observation_seq
    assert packet.compute_ns > 0
    served.stop()
    statistics = served.server.statistics()
    assert statistics.core.processed >= statistics.published >= 1
    assert statistics.last_compute_ns > 0


def test_the_handshake_compares_specs_and_names_the_model(serve: Serve, edge: Edge, system2: Any) -> None:
    serve(rate_hz=5, delay_ms=200)
    welcome = shake_hands(edge.service, "planner", 7, system2.specs, 10)
    assert welcome.role == "system2"
    assert welcome.details == {
        "pid": str(os.getpid()),
        "model": "scripted",
        "weights": "abc123",
        "latent_codec": "float32",
        "uplink": "images",
        "emulated_rate_hz": "5",
        "emulated_delay_ms": "200",
    }
    others = SystemSpecs(system2.specs.observation, LatentSpec("route", {"tokens": TensorSpec((1,))}))
    with pytest.raises(MismatchError, match=r"specs\.latent\.kind differs"):
        shake_hands(edge.service, "planner", 7, others, 10)


def test_an_instruction_is_checked_without_an_arm(serve: Serve, edge: Edge) -> None:
    serve()
    assert edge.service.request("check", 10, {"instruction": "Push the red block."}).ok
    refused = edge.service.request("check", 10, {"instruction": "lift the red block"})
    assert not refused.ok
    assert refused.text == "unknown words: lift; known words: block, push, red, the"
    missing = edge.service.request("check", 10)
    assert (missing.ok, missing.text) == (False, "check: the argument 'instruction' is missing")
    unknown = edge.service.request("dance", 10)
    assert (unknown.ok, unknown.text) == (False, "verb 'dance' is not one of check, status")


def test_it_answers_while_the_model_thinks_and_keeps_only_the_newest(
    serve: Serve, edge: Edge, system2: Any
) -> None:
    thinking, release = threading.Event(), threading.Event()

    def think() -> None:
        thinking.set()
        assert release.wait(10)

    system2.before_each = think
    serve()
    edge.until(thinking.is_set)
    # One observation is being thought about, one waits, all others were replaced.
    edge.until(lambda: int(edge.status()["superseded"]) >= 3)
    assert edge.status()["core.processed"] == "0"
    last = edge.send(grey=200)
    release.set()
    edge.until(lambda: (packet := edge.receive()) and packet.observation_seq >= last.seq)


def test_a_latent_leaves_no_earlier_than_its_delay(serve: Serve, edge: Edge) -> None:
    serve(delay_ms=120)
    sent_ns: dict[int, int] = {}

    def received_five() -> bool:
        sent_ns[edge.seq + 1] = edge.clock.now_ns()
        if packet := edge.receive():
            # Sent before it was received by the server, so this is at least the delay on any machine.
            assert edge.clock.now_ns() - sent_ns[packet.observation_seq] >= 120 * NS_PER_MS
        return len(edge.packets) >= 5

    sent_ns[1] = edge.clock.now_ns()
    edge.until(received_five)


def test_several_latents_are_under_way_when_the_delay_is_longer_than_the_period(
    serve: Serve, edge: Edge
) -> None:
    serve(rate_hz=100, delay_ms=400)
    edge.until(lambda: int(edge.status()["in_flight"]) >= 3)
    edge.until(lambda: edge.receive() and len(edge.packets) >= 5)
    seqs = [packet.seq for packet in edge.packets]
    assert seqs == sorted(set(seqs))


def test_passes_start_at_most_at_the_given_rate(serve: Serve, edge: Edge, system2: Any) -> None:
    called_ns: list[int] = []
    system2.before_each = lambda: called_ns.append(edge.clock.now_ns())
    before_ns = edge.clock.now_ns()
    serve(rate_hz=25)
    edge.until(lambda: len(called_ns) > 10)
    assert called_ns[10] - before_ns >= 10 * 40 * NS_PER_MS


def test_bad_observations_are_counted_and_the_next_good_one_is_served(serve: Serve, edge: Edge) -> None:
    served = serve(rate_hz=5)

    def rejected(kind: str) -> Callable[[], bool]:
        return lambda: int(edge.status().get(f"core.rejected.{kind}", 0)) >= 2

    edge.until(rejected("images"), images={})
    edge.until(rejected("proprioception"), proprioception=nan_state())
    edge.until(rejected("instruction"), instruction="paint the red block")
    assert "unknown words: paint; known words: block" in edge.status()["core.last_fault"]
    assert edge.receive() is None
    # Refused observations cost no turn of the model.
    edge.until(edge.receive)
    assert served.running
    assert edge.status()["core.processed"] != "0"


def test_garbage_on_the_wire_is_counted(serve: Serve, edge: Edge, endpoints: SlowEndpoints) -> None:
    serve()
    stranger = edge.context.socket(zmq.PUB)
    stranger.connect(endpoints.observation)

    def spoilt() -> bool:
        stranger.send(b"\0garbage")
        return int(edge.status()["observations.rejected"]) > 0

    edge.until(spoilt)
    edge.until(edge.receive)
    stranger.close()


@pytest.mark.fault_row(31)
def test_connections_that_end_are_counted_in_the_status(
    serve: Serve, edge: Edge, endpoints: SlowEndpoints
) -> None:
    serve()
    assert edge.status()["observations.connections_ended"] == "0"
    stranger = socket.socket(socket.AF_UNIX)
    stranger.connect(endpoints.observation.removeprefix("ipc://"))
    stranger.close()
    edge.until(lambda: edge.status()["observations.connections_ended"] == "1")
    edge.until(edge.receive)


def test_a_new_session_takes_over_and_the_old_one_stays_out(serve: Serve, edge: Edge) -> None:
    serve()
    edge.until(edge.receive)
    edge.until(lambda: (packet := edge.receive()) and packet.session == 8, session=8)
    edge.until(lambda: int(edge.status().get("core.rejected.session", 0)) > 0)
    assert edge.status()["core.session"] == "8"


def test_a_model_that_fails_ends_neither_the_server_nor_its_answers(
    serve: Serve, edge: Edge, system2: Any
) -> None:
    system2.before_each = system2.fail
    served = serve()
    edge.until(lambda: int(edge.status().get("core.rejected.model", 0)) >= 3)
    system2.before_each = lambda: None
    edge.until(edge.receive)
    assert served.running


def test_a_bug_in_the_model_ends_the_server_loudly(serve: Serve, edge: Edge, system2: Any) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    system2.before_each = broken
    served = serve()
    edge.until(lambda: not served.running)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        served.stop()
    served.problem = None


def test_a_taken_address_is_named_with_its_setting(
    serve: Serve, system2: Any, context: ZmqContext, endpoints: SlowEndpoints
) -> None:
    serve()
    with pytest.raises(AddressInUseError, match=r"'endpoints\.slow\.observation'"):
        SlowServer(system2, context, endpoints, rate_hz=None, delay_ms=0, clock=WallClock())


def nan_state() -> Tensor:
    """A state vector of the right shape without a single number in it."""
    return Tensor.of(np.full(9, np.nan, np.float32))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_serves_a_bundle_and_ends_cleanly(
    make_bundle: Callable[..., Path],
    folder: Path,
    endpoints: SlowEndpoints,
    edge: Edge,
    number: signal.Signals,
) -> None:
    settings = {
        "endpoints": {"slow": endpoints.model_dump()},
        "slow": {"bundle": str(make_bundle()), "rate_hz": None, "delay_ms": 0.0},
    }
    (folder / "system.yaml").write_text(yaml.safe_dump(settings))
    code = (
        "from dualsys.config import load_config\n"
        "from dualsys.slow.server import serve\n"
        f"serve(load_config({str(folder / 'system.yaml')!r}))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert shake_hands(edge.service, "planner", 7, None, 30).details["model"] == "tiny"
            packet = edge.until(edge.receive, grey=255)
            assert packet.text.startswith("object at")
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert err == ""
    assert out.startswith("System 2 ended: ")
    assert "core.processed" in out
