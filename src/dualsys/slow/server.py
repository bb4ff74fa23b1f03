"""The System 2 process: observations in, latents out, and always ready to answer.

One event loop carries the sockets; forward passes run one at a time in a thread of their own, so that a
status request never waits for them. Between the two is a slot for each robot that holds its newest
observation: what the model could not keep up with is replaced, never queued. One robot is the usual case and
needs no name; with several, each pass takes as many as its batch holds, see `scheduler`, and each gets its
latents under a topic of its own.

To stand in for a larger model that runs elsewhere, the server can be told to be slow, and says so in its
status: at most `rate_hz` passes start per second, and a latent leaves `delay_ms` after its observation came
in, not before. Where the delay is longer than the period, several latents are under way at once, as over a
long line.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from dualsys.bus.channel import LatestPublisher, LatestSubscriber, SubscriberStatistics
from dualsys.bus.gate import Gate
from dualsys.bus.handshake import PROCESS_ID, answer_hello, uplink_details
from dualsys.bus.readiness import readable
from dualsys.bus.service import ServiceServer, refusal
from dualsys.bus.sockets import ZmqContext, close_context, gate_of, open_context
from dualsys.bus.status import flat
from dualsys.clock import NS_PER_MS, NS_PER_S, Clock, WallClock, period_ns
from dualsys.config import SystemConfig
from dualsys.config_links import SlowEndpoints
from dualsys.messages import Hello, LatentCodec, Observation, Reply, Request, Welcome
from dualsys.slow.admission import Capacity
from dualsys.slow.backend import BatchedSystem2, LanguageModel, System2, batch_sizes
from dualsys.slow.core import SlowStatistics
from dualsys.slow.fleet import ROBOT_NAME, Answer, Arrival, Fleet, RobotStatistics, robot_name, stamped
from dualsys.slow.scheduler import Turn
from dualsys.slow.shell import loop_factory, run_until, sleep_until, stop_on_signals, until_set

ROLE = "system2"

_GUARD_S = 0.02
"""Time between two looks for newcomers; a fraction of what their handshake takes over a long line."""

_PRESENCE_NS = 500 * NS_PER_MS
"""Time between two looks for robots whose connection is gone: each of them is sent something."""

_REFUSALS_NS = 10 * NS_PER_S
"""Time between two lines of the log about who was not let in: a stranger tries as often as it likes."""

_REHEARSALS = 3
"""Passes of a size that are timed before anybody waits for one."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerStatistics:
    """Totals of one server.

    Attributes:
        observations: What came in over the wire, invalid frames included.
        superseded: Observations that a newer one replaced before the model was free.
        foreign: Observations of another session than those of the planners which shook hands.
        published: Latents sent.
        in_flight: Latents computed and not sent yet, because of the emulated delay.
        last_compute_ns: Duration of the last forward pass; 0 before the first.
        core: What became of the observations that the model was free for.
        passes: Forward passes by the size of their batch.
        pass_ms: What 95 of 100 recent passes did not exceed, of the slowest size, ms.
        refused: Handshakes of robots for which there was no room.
        last_refusal: Why the last of them was; empty while there is none.
        robots: Totals of each robot by name; empty where there can be only one.
    """

    observations: SubscriberStatistics
    superseded: int
    foreign: int
    published: int
    in_flight: int
    last_compute_ns: int
    core: SlowStatistics
    passes: Mapping[str, int]
    pass_ms: float
    refused: int
    last_refusal: str
    robots: Mapping[str, RobotStatistics]


class SlowServer:
    """Serves one System 2 to one edge, or to several.

    Args:
        system2: The model, or its language half; see `SlowCore`.
        context: From `bus.sockets.open_context`.
        endpoints: Addresses to bind.
        rate_hz: Most forward passes started per second; None for no limit.
        delay_ms: Least time from receiving an observation to sending its latent.
        clock: Where time comes from; it must run as the event loop's does.
        codec: How latents travel.
        feature_codec: How features travel, where they do.
        robots: How many edges there may be. One of them needs no name, and is served before it has shaken
            hands.
        largest_batch: Most robots in one forward pass.
        wait_ms: How long a pass waits for more robots at most.

    Raises:
        AddressInUseError: Another process owns an address.
        BusError: An address cannot be used.
    """

    def __init__(
        self,
        system2: System2 | LanguageModel,
        context: ZmqContext,
        endpoints: SlowEndpoints,
        *,
        rate_hz: float | None,
        delay_ms: float,
        clock: Clock,
        codec: LatentCodec = "float32",
        feature_codec: LatentCodec = "float16",
        robots: int = 1,
        largest_batch: int = 1,
        wait_ms: float = 0.0,
    ) -> None:
        self._system2 = system2
        self._codec = codec
        self._feature_codec = feature_codec
        self._clock = clock
        self._rate_hz = rate_hz
        self._period_ns = 0 if rate_hz is None else period_ns(rate_hz)
        self._delay_ns = round(delay_ms * NS_PER_MS)
        self._capacity = Capacity(
            robots=robots,
            sizes=batch_sizes(system2, min(largest_batch, robots)),
            wait_ns=round(wait_ms * NS_PER_MS),
            period_ns=self._period_ns,
            delay_ns=self._delay_ns,
        )
        self._fleet = Fleet(system2, self._capacity, codec, feature_codec)
        self._arrived = asyncio.Event()
        self._computed = asyncio.Event()
        # Soonest first. The number keeps latents that are due together in order.
        self._outbox: list[tuple[int, int, Answer]] = []
        self._answers = 0
        self._topic = b""
        self._foreign = 0
        self._last_compute_ns = 0
        settings = "endpoints.slow"
        self._observations = LatestSubscriber(
            context,
            endpoints.observation,
            bind=True,
            setting=f"{settings}.observation",
            types=(Observation,),
            publishers=robots,
        )
        self._latents = LatestPublisher(context, endpoints.latent, bind=True, setting=f"{settings}.latent")
        self._service = ServiceServer(context, endpoints.service, setting=f"{settings}.service")
        self._service.reserve("planner", each=ROBOT_NAME if robots > 1 else "")
        self._gate = gate_of(context)
        self._refusals_told = 0
        self._refusals_due_ns = self._clock.now_ns()

    @property
    def endpoints(self) -> dict[str, str]:
        """Addresses in use, by channel, with real ports."""
        return {
            "observation": self._observations.endpoint,
            "latent": self._latents.endpoint,
            "service": self._service.endpoint,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop. A forward pass that is running is finished, and its latent is dropped.

        Args:
            stop: Set to end.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="system2") as thread:
            if self._capacity.robots > 1:
                # Nobody can be admitted, or refused, without knowing how long a pass takes.
                await asyncio.get_running_loop().run_in_executor(thread, self._rehearse)
            work = {
                "receive": self._receive(),
                "think": self._think(thread),
                "publish": self._publish(),
                "answer": self._answer(),
                "guard": self._guard(),
            }
            await run_until(stop, work)

    def statistics(self) -> ServerStatistics:
        """Return totals since it was made."""
        return ServerStatistics(
            observations=self._observations.statistics(),
            superseded=self._fleet.superseded(),
            foreign=self._foreign,
            published=self._latents.statistics().sent,
            in_flight=len(self._outbox),
            last_compute_ns=self._last_compute_ns,
            core=self._fleet.statistics(),
            passes={str(size): count for size, count in sorted(self._fleet.passes.items())},
            pass_ms=self._fleet.pass_times.longest_ns() / NS_PER_MS,
            refused=self._fleet.refused,
            last_refusal=self._fleet.last_refusal,
            robots=self._fleet.by_robot(),
        )

    def close(self) -> None:
        """Release the addresses."""
        self._observations.close()
        self._latents.close()
        self._service.close()

    def _rehearse(self) -> None:
        """Time passes of the smallest, the largest and some sizes between, before anybody waits for them."""
        if not isinstance(self._system2, BatchedSystem2):
            return
        sizes = self._capacity.sizes
        for size in sorted({1, sizes[len(sizes) // 2], sizes[-1]}):
            self._system2.rehearse(size)
            for _ in range(_REHEARSALS):
                started_ns = self._clock.now_ns()
                self._system2.rehearse(size)
                self._fleet.pass_times.add(size, self._clock.now_ns() - started_ns)

    async def _receive(self) -> None:
        while True:
            await readable(self._observations.socket)
            for observation in self._observations.receive_all():
                if self._fleet.put(observation, self._clock.now_ns()):
                    self._arrived.set()
                else:
                    self._foreign += 1

    async def _think(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            turns = self._fleet.take(self._clock.now_ns())
            if not turns:
                await until_set(self._arrived, self._clock, self._fleet.due_ns())
                continue
            started_ns = self._clock.now_ns()
            answers, compute_ns = await loop.run_in_executor(thread, self._compute, turns)
            if not answers:
                # Refused observations cost no turn: the next ones may be good.
                continue
            self._last_compute_ns = compute_ns
            self._fleet.finish(len(turns), compute_ns)
            now_ns = self._clock.now_ns()
            for answer in answers:
                self._answers += 1
                due_ns = max(now_ns, answer.received_ns + self._delay_ns)
                heapq.heappush(self._outbox, (due_ns, self._answers, stamped(answer, compute_ns)))
            self._computed.set()
            await sleep_until(self._clock, started_ns + self._period_ns)

    def _compute(self, turns: Sequence[Turn[Arrival]]) -> tuple[list[Answer], int]:
        started_ns = self._clock.now_ns()
        answers = self._fleet.compute(turns)
        return answers, self._clock.now_ns() - started_ns

    async def _publish(self) -> None:
        while True:
            due_ns = self._outbox[0][0] if self._outbox else None
            if due_ns is None or due_ns > self._clock.now_ns():
                await until_set(self._computed, self._clock, due_ns)
                continue
            answer = heapq.heappop(self._outbox)[2]
            if not self._fleet.serves(answer):
                continue
            topic = answer.robot.encode() if self._capacity.robots > 1 else self._topic
            sent = msgspec.structs.replace(answer.packet, t_sent_ns=self._clock.now_ns())
            self._latents.send(sent, topic)

    async def _answer(self) -> None:
        while True:
            await readable(self._service.socket)
            self._service.serve(self._on_hello, self._on_request)

    async def _guard(self) -> None:
        """Judge newcomers, and follow the key store even while nobody sends anything; notice who has left."""
        due_ns = self._clock.now_ns()
        while True:
            if self._gate is not None:
                self._gate.serve()
                self._log_refused(self._gate)
            for channel in (self._observations, self._latents, self._service):
                channel.tend()
            if self._capacity.robots > 1 and self._clock.now_ns() >= due_ns:
                due_ns = self._clock.now_ns() + _PRESENCE_NS
                for name in self._service.release_gone("planner"):
                    self._fleet.release(name)
                self._fleet.prune(self._clock.now_ns())
                # Whoever uses the socket may take the sign that a question has come, for which `_answer`
                # waits: so questions are looked for here too.
                self._service.serve(self._on_hello, self._on_request)
            await asyncio.sleep(_GUARD_S)

    def _log_refused(self, gate: Gate) -> None:
        found, now_ns = gate.statistics(), self._clock.now_ns()
        if found.refused == self._refusals_told or now_ns < self._refusals_due_ns:
            return
        count = found.refused - self._refusals_told
        self._refusals_told, self._refusals_due_ns = found.refused, now_ns + _REFUSALS_NS
        _LOG.warning("not let in: %d connections, the last of them %s", count, found.last_refused)

    def _on_hello(self, hello: Hello) -> Welcome | Reply:
        answer = answer_hello(hello, ROLE, self._system2.specs, self._details())
        if isinstance(answer, Welcome) and hello.role == "planner":
            # What it raises is told to whoever asked, as a refusal.
            self._fleet.join(hello.session, hello.details, self._clock.now_ns())
            self._topic = robot_name(hello.details).encode()
        return answer

    def _on_request(self, request: Request) -> Reply:
        verbs: dict[str, Callable[[Request], Reply]] = {"check": self._check, "status": self._status}
        verb = verbs.get(request.verb)
        if verb is None:
            return refusal(f"verb {request.verb!r} is not one of {', '.join(verbs)}")
        return verb(request)

    def _check(self, request: Request) -> Reply:
        """Tell whether an instruction can be understood, before an arm waits for it in vain."""
        instruction = request.arguments.get("instruction")
        if instruction is None:
            return refusal("check: the argument 'instruction' is missing")
        # What it raises is told to whoever asked, as a refusal.
        self._system2.check_instruction(instruction)
        return Reply(ok=True)

    def _status(self, request: Request) -> Reply:
        del request
        totals = flat(self.statistics())
        if self._gate is not None:
            totals |= flat(self._gate.statistics(), "gate")
        return Reply(ok=True, values=self._details() | totals)

    def _details(self) -> dict[str, str]:
        """What this server is, emulation included: a slowed-down model never passes for a slow one."""
        rate = "unlimited" if self._rate_hz is None else f"{self._rate_hz:g}"
        robots, largest = self._capacity.robots, self._capacity.sizes[-1]
        shared = {"robots_at_most": str(robots), "largest_batch": str(largest)}
        return (shared if robots > 1 else {}) | {
            "model": self._system2.name,
            "weights": self._system2.weights,
            "latent_codec": self._codec,
            PROCESS_ID: str(os.getpid()),
            **uplink_details(self._fleet.uplink, self._feature_codec, self._system2.weights),
            "emulated_rate_hz": rate,
            "emulated_delay_ms": f"{self._delay_ns / NS_PER_MS:g}",
        }


def serve(config: SystemConfig) -> None:
    """Run System 2 in this process until SIGTERM or SIGINT. A second signal ends it at once.

    Raises:
        BundleError: The bundle is damaged or does not fit.
        BusError: An address is taken or cannot be used.
    """
    # The runtime is loaded here, so that a server with another backend does not need it.
    from dualsys.slow.backends.onnx import OnnxLanguage, OnnxSystem2

    load = OnnxLanguage if config.slow.uplink == "features" else OnnxSystem2
    system2: System2 | LanguageModel = load(config.slow.bundle, config.slow.threads)
    statistics = run_server(system2, config)
    totals = flat(statistics)
    print(
        "System 2 ended:", ", ".join(f"{name} {total}" for name, total in totals.items() if total), flush=True
    )


def run_server(system2: System2 | LanguageModel, config: SystemConfig) -> ServerStatistics:
    """As `serve`, with a model of the caller's.

    Returns:
        The final totals.
    """
    context = open_context(config.protection())
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_serve_until_signal(system2, config, context))
    finally:
        close_context(context)


async def _serve_until_signal(
    system2: System2 | LanguageModel, config: SystemConfig, context: ZmqContext
) -> ServerStatistics:
    server = SlowServer(
        system2,
        context,
        config.endpoints.slow,
        rate_hz=config.slow.rate_hz,
        delay_ms=config.slow.delay_ms,
        clock=WallClock(),
        codec=config.slow.latent_codec,
        feature_codec=config.slow.feature_codec,
        robots=config.fleet.robots,
        largest_batch=config.fleet.largest_batch,
        wait_ms=config.fleet.wait_ms,
    )
    stop = asyncio.Event()
    stop_on_signals(stop)
    _LOG.info("serving %s (weights %s): %s", system2.name, system2.weights, server.endpoints)
    try:
        await server.run(stop)
    finally:
        statistics = server.statistics()
        _LOG.info("ended: %s", statistics)
        server.close()
    return statistics
