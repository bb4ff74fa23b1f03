"""The System 2 process: observations in, latents out, and always ready to answer.

One event loop carries the sockets; the forward pass runs in a thread of its own, so that a status request
never waits for it. Between the two is a slot that holds the newest observation: what the model could not keep
up with is replaced, never queued.

To stand in for a larger model that runs elsewhere, the server can be told to be slow, and says so in its
    status: at most
`rate_hz` passes start per second, and a latent leaves `delay_ms` after its observation came in, not before.
Where the delay is longer than the period, several latents are under way at once, as over a long line.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from dualsys.bus.channel import LatestPublisher, LatestSubscriber, SubscriberStatistics
from dualsys.bus.handshake import answer_hello, uplink_details
from dualsys.bus.readiness import readable
from dualsys.bus.service import ServiceServer, refusal
from dualsys.bus.sockets import ZmqContext, close_context, gate_of, open_context
from dualsys.clock import NS_PER_MS, Clock, WallClock, period_ns, seconds
from dualsys.config import SystemConfig
from dualsys.config_links import SlowEndpoints
from dualsys.errors import DualsysError
from dualsys.messages import Hello, LatentCodec, LatentPacket, Observation, Reply, Request, Welcome, clip_text
from dualsys.slow.backend import LanguageModel, System2
from dualsys.slow.core import SlowCore, SlowStatistics

ROLE = "system2"

_GUARD_S = 0.02
"""Time between two looks for newcomers; a fraction of what their handshake takes over a long line."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arrival:
    """An observation and when it came in."""

    observation: Observation
    received_ns: int


@dataclass(frozen=True)
class ServerStatistics:
    """Totals of one server.

    Attributes:
        observations: What came in over the wire, invalid frames included.
        superseded: Observations that a newer one replaced before the model was free.
        foreign: Observations of another session than that of the planner which shook hands.
        published: Latents sent.
        in_flight: Latents computed and not sent yet, because of the emulated delay.
        last_compute_ns: Duration of the last forward pass; 0 before the first.
        core: What became of the observations that the model was free for.
    """

    observations: SubscriberStatistics
    superseded: int
    foreign: int
    published: int
    in_flight: int
    last_compute_ns: int
    core: SlowStatistics


class SlowServer:
    """Serves one System 2 to one edge.

    Args:
        system2: The model, or its language half; see `SlowCore`.
        context: From `bus.sockets.open_context`.
        endpoints: Addresses to bind.
        rate_hz: Most forward passes started per second; None for no limit.
        delay_ms: Least time from receiving an observation to sending its latent.
        clock: Where time comes from; it must run as the event loop's does.
        codec: How latents travel.
        feature_codec: How features travel, where they do.

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
    ) -> None:
        self._system2 = system2
        self._core = SlowCore(system2, codec, feature_codec)
        self._codec = codec
        self._feature_codec = feature_codec
        self._clock = clock
        self._rate_hz = rate_hz
        self._period_ns = 0 if rate_hz is None else period_ns(rate_hz)
        self._delay_ns = round(delay_ms * NS_PER_MS)
        self._slot: Arrival | None = None
        self._slot_filled = asyncio.Event()
        self._outbox: asyncio.Queue[tuple[int, LatentPacket]] = asyncio.Queue()
        self._in_flight = 0
        self._superseded = 0
        self._foreign = 0
        self._last_compute_ns = 0
        settings = "endpoints.slow"
        self._observations = LatestSubscriber(
            context,
            endpoints.observation,
            bind=True,
            setting=f"{settings}.observation",
            types=(Observation,),
        )
        self._latents = LatestPublisher(context, endpoints.latent, bind=True, setting=f"{settings}.latent")
        self._service = ServiceServer(context, endpoints.service, setting=f"{settings}.service")
        self._service.reserve("planner")
        self._gate = gate_of(context)

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
            tasks = [
                asyncio.create_task(self._receive(), name="receive"),
                asyncio.create_task(self._think(thread), name="think"),
                asyncio.create_task(self._publish(), name="publish"),
                asyncio.create_task(self._answer(), name="answer"),
                asyncio.create_task(self._guard(), name="guard"),
            ]
            stopped = asyncio.create_task(_until(stop), name="stop")
            try:
                done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*tasks, stopped):
                    task.cancel()
                await asyncio.wait([*tasks, stopped])
            for task in done - {stopped}:
                # None of them ends by itself: this raises what ended it.
                task.result()

    def statistics(self) -> ServerStatistics:
        """Return totals since it was made."""
        return ServerStatistics(
            observations=self._observations.statistics(),
            superseded=self._superseded,
            foreign=self._foreign,
            published=self._latents.statistics().sent,
            in_flight=self._in_flight,
            last_compute_ns=self._last_compute_ns,
            core=self._core.statistics(),
        )

    def close(self) -> None:
        """Release the addresses."""
        self._observations.close()
        self._latents.close()
        self._service.close()

    async def _receive(self) -> None:
        while True:
            await readable(self._observations.socket)
            observation = self._observations.receive()
            if observation is None:
                continue
            if self._service.holder("planner") not in (None, observation.session):
                self._foreign += 1
                continue
            self._superseded += self._slot is not None
            self._slot = Arrival(observation, self._clock.now_ns())
            self._slot_filled.set()

    async def _think(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._slot_filled.wait()
            arrival, self._slot = self._slot, None
            self._slot_filled.clear()
            if arrival is None:
                continue
            started_ns = self._clock.now_ns()
            packet = await loop.run_in_executor(thread, self._compute, arrival.observation)
            if packet is None:
                # A refused observation costs no turn: the next one may be good.
                continue
            due_ns = max(self._clock.now_ns(), arrival.received_ns + self._delay_ns)
            packet = msgspec.structs.replace(packet, t_received_ns=arrival.received_ns)
            self._in_flight += 1
            self._outbox.put_nowait((due_ns, packet))
            await self._sleep_until(started_ns + self._period_ns)

    def _compute(self, observation: Observation) -> LatentPacket | None:
        started_ns = self._clock.now_ns()
        try:
            packet = self._core.process(observation)
        except DualsysError:
            # Counted, kept and logged by the core.
            return None
        self._last_compute_ns = self._clock.now_ns() - started_ns
        return msgspec.structs.replace(packet, compute_ns=self._last_compute_ns)

    async def _publish(self) -> None:
        while True:
            # Due times never decrease, because both terms of their maximum do not: first in is first out.
            due_ns, packet = await self._outbox.get()
            await self._sleep_until(due_ns)
            self._in_flight -= 1
            self._latents.send(msgspec.structs.replace(packet, t_sent_ns=self._clock.now_ns()))

    async def _answer(self) -> None:
        while True:
            await readable(self._service.socket)
            self._service.serve(self._on_hello, self._on_request)

    async def _guard(self) -> None:
        """Judge newcomers, and follow the key store even while nobody sends anything."""
        if self._gate is None:
            await asyncio.Event().wait()
        while self._gate is not None:
            self._gate.serve()
            for channel in (self._observations, self._latents, self._service):
                channel.tend()
            await asyncio.sleep(_GUARD_S)

    async def _sleep_until(self, deadline_ns: int) -> None:
        while (remaining_ns := deadline_ns - self._clock.now_ns()) > 0:
            await asyncio.sleep(seconds(remaining_ns))

    def _on_hello(self, hello: Hello) -> Welcome | Reply:
        return answer_hello(hello, ROLE, self._system2.specs, self._details())

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
        totals = _flat(dataclasses.asdict(self.statistics()))
        if self._gate is not None:
            totals |= _flat(dataclasses.asdict(self._gate.statistics()), "gate.")
        return Reply(ok=True, values=self._details() | totals)

    def _details(self) -> dict[str, str]:
        """What this server is, emulation included: a slowed-down model never passes for a slow one."""
        rate = "unlimited" if self._rate_hz is None else f"{self._rate_hz:g}"
        return {
            "model": self._system2.name,
            "weights": self._system2.weights,
            "latent_codec": self._codec,
            **uplink_details(self._core.uplink, self._feature_codec, self._system2.weights),
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
    totals = _flat(dataclasses.asdict(statistics))
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
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve_until_signal(system2, config, context))
    finally:
        close_context(context)


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


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
    )
    stop = asyncio.Event()
    _stop_on_signals(stop)
    _LOG.info("serving %s (weights %s): %s", system2.name, system2.weights, server.endpoints)
    try:
        await server.run(stop)
    finally:
        statistics = server.statistics()
        _LOG.info("ended: %s", statistics)
        server.close()
    return statistics


def _stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; the next one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        # Only a process that this server owns sends it signals.
        return
    loop = asyncio.get_running_loop()
    watched = (signal.SIGTERM, signal.SIGINT)

    def on_signal() -> None:
        stop.set()
        for number in watched:
            loop.remove_signal_handler(number)

    for number in watched:
        loop.add_signal_handler(number, on_signal)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    # Loaded here: whoever only wants the types of this module needs no event loop.
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Name and text of every leaf, such as `core.rejected.images`."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = clip_text(str(value))
    return flat
