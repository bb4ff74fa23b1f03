"""One System 2 process and several robots, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.gate import Protection
from dualsys.bus.handshake import shake_hands
from dualsys.bus.keys import KeyStore
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.config_links import SlowEndpoints
from dualsys.errors import BusError
from dualsys.messages import LatentPacket, Observation, Welcome
from dualsys.slow.backend import System2Input, System2Output
from dualsys.slow.server import SlowServer

Observe = Callable[..., Observation]
DEADLINE_NS = 20 * NS_PER_S


class Sharing:
    """Takes several inputs at once, and notes how many."""

    def __init__(self, one: Any) -> None:
        self._one = one
        self.specs, self.name, self.weights = one.specs, one.name, one.weights
        self.check_instruction, self.encode = one.check_instruction, one.encode
        self.sizes: list[int] = []

    def batch_sizes(self, largest: int) -> tuple[int, ...]:
        return tuple(range(1, largest + 1))

    def encode_batch(self, inputs: Sequence[System2Input]) -> list[System2Output]:
        self.sizes.append(len(inputs))
        return [self._one.encode(one.images, one.proprioception, one.instruction) for one in inputs]

    def rehearse(self, size: int) -> None:
        """Nothing to prepare."""


class Robot:
    """The planner of one robot, as System 2 sees it."""

    def __init__(
        self,
        endpoints: SlowEndpoints,
        observe: Observe,
        name: str,
        session: int,
        protection: Protection | None = None,
    ) -> None:
        self.clock = WallClock()
        self.name, self.session = name, session
        self.observe = observe
        self.context = open_context(protection)
        self.seq = 0
        self.packets: list[LatentPacket] = []
        self.observations = LatestPublisher(self.context, endpoints.observation, bind=False, setting="o")
        self.latents = LatestSubscriber(
            self.context,
            endpoints.latent,
            bind=False,
            setting="l",
            types=(LatentPacket,),
            topic=name.encode(),
        )
        self.service = ServiceClient(self.context, endpoints.service, "System 2")

    def greet(self, specs: Any, **changes: str) -> Welcome:
        told = {"robot_name": self.name, "observation_rate_hz": "50", "latent_soft_ms": "60000"}
        return shake_hands(self.service, "planner", self.session, specs, 10, told | changes)

    def step(self) -> None:
        """Send an observation whose grey tells the robot, and take in what has come."""
        self.seq += 1
        self.observations.send(self.observe(seq=self.seq, session=self.session, grey=self.session))
        if (packet := self.latents.receive()) is not None:
            self.packets.append(packet)

    def status(self) -> Mapping[str, str]:
        reply = self.service.request("status", 10)
        assert reply.ok
        return reply.values

    def close(self) -> None:
        close_context(self.context)


def until(robots: Sequence[Robot], done: Callable[[], Any]) -> Any:
    """Let robots send every few milliseconds until `done` returns something true."""
    clock = WallClock()
    deadline_ns = clock.now_ns() + DEADLINE_NS
    while clock.now_ns() < deadline_ns:
        for robot in robots:
            robot.step()
        if outcome := done():
            return outcome
        clock.sleep_until_ns(clock.now_ns() + 5 * NS_PER_MS)
    raise AssertionError(f"not within 20 s; status: {robots[0].status()}")


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
def sharing(system2: Any) -> Sharing:
    return Sharing(system2)


@pytest.fixture
def serve(sharing: Sharing, endpoints: SlowEndpoints) -> Iterator[Callable[..., SlowServer]]:
    """Start a server of the scripted model; stopped at the end, where its problem surfaces."""
    started: list[tuple[threading.Thread, Callable[[], object], list[BaseException]]] = []

    def start(protection: Protection | None = None, **settings: Any) -> SlowServer:
        context = open_context(protection)
        usual = {"rate_hz": None, "delay_ms": 0.0, "robots": 8, "largest_batch": 4, "wait_ms": 5.0}
        server = SlowServer(sharing, context, endpoints, clock=WallClock(), **(usual | settings))
        ready, problems, stop = threading.Event(), list[BaseException](), asyncio.Event()
        loops: list[asyncio.AbstractEventLoop] = []

        async def run() -> None:
            loops.append(asyncio.get_running_loop())
            ready.set()
            await server.run(stop)

        def work() -> None:
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(run())
            except BaseException as problem:
                problems.append(problem)
            close_context(context)

        thread = threading.Thread(target=work)
        thread.start()
        assert ready.wait(10)
        started.append((thread, lambda: loops[0].call_soon_threadsafe(stop.set), problems))
        return server

    yield start
    for thread, stop, problems in started:
        if thread.is_alive():
            stop()
        thread.join()
        if problems:
            raise problems[0]


@pytest.fixture
def make_robot(endpoints: SlowEndpoints, observe: Observe) -> Iterator[Callable[..., Robot]]:
    made: list[Robot] = []

    def make(name: str, session: int, protection: Protection | None = None) -> Robot:
        made.append(Robot(endpoints, observe, name, session, protection))
        return made[-1]

    yield make
    for robot in made:
        robot.close()


Serve = Callable[..., SlowServer]
MakeRobot = Callable[..., Robot]


def test_every_robot_gets_its_own_latents_and_no_others(
    serve: Serve, make_robot: MakeRobot, sharing: Sharing
) -> None:
    serve()
    robots = [make_robot(f"arm{number}", number) for number in range(1, 7)]
    for robot in robots:
        assert robot.greet(sharing.specs).details["robots_at_most"] == "8"
    until(robots, lambda: all(len(robot.packets) >= 5 for robot in robots))
    for robot in robots:
        assert {packet.session for packet in robot.packets} == {robot.session}
        greys = {float(packet.tensors["tokens"].array()[0, 0]) for packet in robot.packets}
        assert greys == {float(robot.session)}
        seqs = [packet.observation_seq for packet in robot.packets]
        assert seqs == sorted(set(seqs))
    assert max(sharing.sizes) > 1
    assert max(sharing.sizes) <= 4
    status = robots[0].status()
    assert int(status["robots.arm6.processed"]) >= 5
    assert sum(int(count) for name, count in status.items() if name.startswith("passes.")) > 0


def test_a_latent_of_a_robot_that_names_itself_reaches_it_where_it_is_the_only_one(
    serve: Serve, make_robot: MakeRobot, sharing: Sharing
) -> None:
    serve(robots=1)
    robot = make_robot("arm1", 7)
    robot.greet(sharing.specs)
    until([robot], lambda: robot.packets)
    assert "robots_at_most" not in robot.greet(sharing.specs).details


def test_a_name_is_held_by_one_planner_and_free_when_that_is_gone(
    serve: Serve, make_robot: MakeRobot, sharing: Sharing
) -> None:
    serve()
    first, second, other = make_robot("arm1", 1), make_robot("arm1", 2), make_robot("arm2", 3)
    first.greet(sharing.specs)
    other.greet(sharing.specs)
    with pytest.raises(BusError, match=r"another planner of 'arm1' \(session 1\) is connected"):
        second.greet(sharing.specs)
    assert second.service.request("check", 10, {"instruction": "push the red block"}).ok
    first.close()

    def taken_over() -> bool:
        try:
            second.greet(sharing.specs)
        except BusError:
            return False
        return True

    until([other], taken_over)
    until([second, other], lambda: second.packets and other.packets)


def test_a_robot_without_room_is_refused_and_the_others_are_served_on(
    serve: Serve, make_robot: MakeRobot, sharing: Sharing
) -> None:
    serve(robots=2)
    robots = [make_robot(f"arm{number}", number) for number in (1, 2, 3)]
    for robot in robots[:2]:
        robot.greet(sharing.specs)
    with pytest.raises(BusError, match=r"'arm3' would be number 3, and fleet\.robots is 2"):
        robots[2].greet(sharing.specs)
    until(robots, lambda: all(len(robot.packets) >= 3 for robot in robots[:2]))
    # What the third one sends has come too by then, or comes soon.
    until(robots, lambda: int(robots[0].status()["foreign"]) > 0)
    assert robots[2].packets == []
    status = robots[0].status()
    assert status["refused"] == "1"
    assert "'arm3' would be number 3" in status["last_refusal"]


def test_a_robot_that_vanishes_makes_room_for_another(
    serve: Serve, make_robot: MakeRobot, sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualsys.slow.fleet.ABSENT_NS", 50 * NS_PER_MS)
    serve(robots=2)
    gone, stays, waiting = (make_robot(f"arm{number}", number) for number in (1, 2, 3))
    gone.greet(sharing.specs)
    stays.greet(sharing.specs)
    until([gone, stays], lambda: gone.packets and stays.packets)
    gone.close()

    def admitted() -> bool:
        try:
            waiting.greet(sharing.specs)
        except BusError:
            return False
        return True

    until([stays], admitted)
    until([stays, waiting], lambda: waiting.packets)


def test_robots_with_keys_share_a_system_2_and_a_stranger_is_not_let_in_and_logged(
    serve: Serve,
    make_robot: MakeRobot,
    sharing: Sharing,
    endpoints: SlowEndpoints,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = ("cloud", "arm1", "arm2", "stranger")
    stores = {name: KeyStore(folder / name) for name in names}
    keys = {name: store.create(name).public.hex() for name, store in stores.items()}
    for name in ("arm1", "arm2"):
        stores["cloud"].allow(name, keys[name])
    for name in names[1:]:
        stores[name].allow("cloud", keys["cloud"])
    servers = dict.fromkeys(endpoints.model_dump().values(), "cloud")
    serve(Protection(folder / "cloud", servers))
    robots = [
        make_robot(name, number, Protection(folder / name, servers))
        for number, name in enumerate(("arm1", "arm2"), 1)
    ]
    for robot in robots:
        robot.greet(sharing.specs)
    stranger = make_robot("arm3", 3, Protection(folder / "stranger", servers))
    until([*robots, stranger], lambda: all(len(robot.packets) >= 3 for robot in robots))
    until([*robots, stranger], lambda: int(robots[0].status()["gate.refused"]) > 3)
    assert stranger.packets == []
    told = [line for line in caplog.messages if line.startswith("not let in: ")]
    assert 0 < len(told) < int(robots[0].status()["gate.refused"]), "it tries again and again"
    assert told[0].endswith(f": the key {keys['stranger']} is not allowed")
    assert robots[0].status()["foreign"] == "0"


def test_a_message_that_goes_on_and_never_ends_costs_the_robots_a_connection_and_no_system_2(
    serve: Serve, make_robot: MakeRobot, sharing: Sharing, endpoints: SlowEndpoints
) -> None:
    serve()
    robots = [make_robot(f"arm{number}", number) for number in (1, 2)]
    for robot in robots:
        robot.greet(sharing.specs)
    until(robots, lambda: all(robot.packets for robot in robots))
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 32)
    ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB"
    with socket.socket(socket.AF_UNIX) as hostile:
        hostile.settimeout(10)
        hostile.connect(endpoints.observation.removeprefix("ipc://"))
        hostile.sendall(greeting + bytes([4, len(ready)]) + ready)
        # Their greeting, and the beginning of what makes them ready. It comes in pieces, and a socket
        # with a timeout does not wait for all of them (MSG_WAITALL): its file does.
        with hostile.makefile("rb", buffering=65) as answer:
            assert len(answer.read(65)) == 65
        # A part of a topic that nobody asked for, and no other part.
        hostile.sendall(b"\x01\x04zabc")
        until(robots, lambda: robots[0].status()["observations.rejected"] == "1")
    before = [len(robot.packets) for robot in robots]
    until(
        robots,
        lambda: all(len(robot.packets) > one + 2 for robot, one in zip(robots, before, strict=True)),
    )
