"""Fixed and adaptive observations on narrow lines: how old latents are, and what goes up.

System 2 is a process of its own, and so is the line, as `dualsys slow` and `dualsys link` start them. The
edge here is all of the planner that sends observations and takes in latents, without System 1 or an arm.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualsys.bench.page import table
from dualsys.bundles import load_manifest
from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import NS_PER_MS, Clock, WallClock, nanoseconds, period_ns, seconds
from dualsys.command_line import read
from dualsys.config import SlowConfig, load_config
from dualsys.config_links import SlowEndpoints
from dualsys.errors import BusError, ConfigError, DualsysError
from dualsys.fast.planner.latents import LatentHistory
from dualsys.fast.planner.observer import Observer
from dualsys.fast.planner.records import PlannerSettings
from dualsys.fast.planner.trips import Trips
from dualsys.fast.planner.uplink import Uplink, rate_bounds
from dualsys.messages import LatentCodec, LatentPacket
from dualsys.specs import SystemSpecs
from dualsys.telemetry.statistics import percentiles

CHANNELS = ("observation", "latent", "service")
MODES = ("fixed", "adaptive")
_SESSION = 7
_SCENES = 24
_FIRST_SEED = 630_000
_WAKE_NS = 5 * NS_PER_MS
_START_S = 120.0
_CARRIED = re.compile(r"(\d+) bytes up")


@dataclass(frozen=True)
class Options:
    """Measure on this machine what adaptive observations do on narrow lines; prints a table."""

    config: Path = Path("configs/tabletop.yaml")
    """YAML of the system."""
    lines: str = "none,0.4,0.2,0.1"
    """Bandwidths of the line in Mbit/s; none is without limit."""
    delay_ms: float = 20.0
    """Time on the line, each way."""
    latent_codec: LatentCodec = "float32"
    """How latents come back, over a line that is as narrow."""
    seconds: float = 30.0
    """Duration of each cell, from the first observation on."""


@dataclass(frozen=True)
class Measured:
    """One line in one mode.

    Attributes:
        line, mode: Which.
        ages_ms: Age of the newest latent, every 5 ms from the first one on.
        seconds: Duration.
        carried_bytes: What was given to the line upwards, everything included.
        latents: How many came.
        qualities: JPEG quality of each observation.
    """

    line: str
    mode: str
    ages_ms: Sequence[float]
    seconds: float
    carried_bytes: int
    latents: int
    qualities: Sequence[int]

    def cells(self) -> list[str]:
        """A row of the table."""
        middle_ms, late_ms = percentiles(self.ages_ms, (50.0, 99.0))
        line = "no limit" if self.line == "none" else f"{self.line} Mbit/s"
        return [
            f"{line}, {self.mode}",
            f"{middle_ms:,.0f} ms",
            f"{late_ms:,.0f} ms",
            f"{self.carried_bytes / self.seconds / 1000:.1f} kB/s",
            f"{len(self.qualities) / self.seconds:.1f} Hz",
            f"{np.median(self.qualities):.0f}",
            f"{self.latents / self.seconds:.1f} Hz",
        ]


@dataclass
class Edge:
    """What the planner does about System 2; call `step` often.

    Args:
        context: From `bus.sockets.open_context`.
        endpoints: Where System 2 is, or the line to it.
        specs: What it was made for.
        slow: How observations are sent.
        images: Scenes that are shown one after the other, uint8 `[height, width, 3]` by camera.
        instruction: What System 2 is told.
        clock: Where time comes from.
    """

    context: ZmqContext
    endpoints: SlowEndpoints
    specs: SystemSpecs
    slow: SlowConfig
    images: Sequence[dict[str, NDArray[np.uint8]]]
    instruction: str
    clock: Clock
    ages_ms: list[float] = field(default_factory=list)
    qualities: list[int] = field(default_factory=list)
    latents: int = 0

    def __post_init__(self) -> None:
        slow = self.slow
        settings = PlannerSettings(
            image_encoding=slow.image_encoding,
            jpeg_quality=slow.jpeg_quality,
            latent_codec=slow.latent_codec,
        )
        bounds = rate_bounds(slow) if slow.rate_control.mode == "adaptive" else None
        period, start_ns = period_ns(slow.observation_rate_hz), self.clock.now_ns()
        self.uplink = Uplink(period, slow.jpeg_quality, start_ns, bounds)
        self._observer = Observer(_SESSION, self.specs.observation, settings)
        self._history = LatentHistory(_SESSION, self.specs.latent, slow.latent_codec)
        self._trips = Trips()
        length = self.specs.observation.proprioception.shape[0]
        self._proprioception = np.zeros(length, np.float32)
        where = "endpoints.slow"
        self._observations = LatestPublisher(
            self.context, self.endpoints.observation, bind=False, setting=f"{where}.observation"
        )
        self._latents = LatestSubscriber(
            self.context, self.endpoints.latent, bind=False, setting=f"{where}.latent", types=(LatentPacket,)
        )

    def step(self) -> None:
        """Take in what has come, note how old it is, and send what is due."""
        now_ns = self.clock.now_ns()
        packet = self._latents.receive()
        if packet is not None:
            self._trips.answered(packet, now_ns)
            self.uplink.answered(packet, now_ns, self._trips.clock_steps)
            self.latents += self._history.offer(packet, 0, self.instruction)
        newest = self._history.newest
        if newest is not None:
            self.ages_ms.append((now_ns - newest.t_capture_ns) / NS_PER_MS)
        if self.uplink.due(now_ns):
            self._send(now_ns)

    def _send(self, captured_ns: int) -> None:
        images = self.images[self._observer.made % len(self.images)]
        quality = self.uplink.jpeg_quality
        observation = self._observer.observe(
            captured_ns, images, self._proprioception, 0, self.instruction, quality
        )
        self._history.expect(observation)
        self._observations.send(observation)
        now_ns = self.clock.now_ns()
        self._trips.sent(observation.seq, now_ns)
        self.uplink.sent(observation, now_ns)
        self.qualities.append(self.slow.jpeg_quality if quality is None else quality)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the table.

    Returns:
        Exit code: 0, or 2 after a fault that was printed.
    """
    options = read(Options, arguments, prog="python -m dualsys.bench uplink")
    head = ["line, mode", "age, median", "age, 99 %", "up", "sent", "quality, median", "latents"]
    print(table(head, []), flush=True)
    try:
        for one in run(options):
            # Each row when it is known: a cell takes a while.
            print(table(one.cells(), []).splitlines()[0], flush=True)
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: Options) -> Iterator[Measured]:
    """Measure every line in both modes.

    Raises:
        ConfigError: A bandwidth or a duration is not allowed.
        BusError: A process did not start.
        MissingExtraError: The simulator, which draws the scenes, is not installed.
    """
    lines = [one.strip() for one in options.lines.split(",") if one.strip()]
    if not options.seconds > 0 or not all(one == "none" or _is_positive(one) for one in lines):
        raise ConfigError("bench", [f"expected seconds > 0 and bandwidths or none, got {options}"])
    images, instruction = scenes()
    for line in lines:
        for mode in MODES:
            yield _measure(options, line, mode, images, instruction)


def scenes() -> tuple[list[dict[str, NDArray[np.uint8]]], str]:
    """What the fixed camera shows of some scenes, and words that fit the first.

    Raises:
        MissingExtraError: The simulator is not installed.
    """
    from dualsys.twin.pool import require_simulator

    require_simulator()
    from dualsys_sim.episode import make_episode
    from dualsys_sim.world import World

    images = []
    with World() as world:
        for seed in range(_FIRST_SEED, _FIRST_SEED + _SCENES):
            world.reset(make_episode("pick", seed))
            images.append({"fixed": world.render("fixed")})
    return images, make_episode("pick", _FIRST_SEED).instruction


def _measure(
    options: Options,
    line: str,
    mode: str,
    images: Sequence[dict[str, NDArray[np.uint8]]],
    instruction: str,
) -> Measured:
    ports = _free_ports(2 * len(CHANNELS))
    far = {f"endpoints.slow.{name}": _address(port) for name, port in zip(CHANNELS, ports, strict=False)}
    near = SlowEndpoints(**{name: _address(port) for name, port in zip(CHANNELS, ports[3:], strict=True)})
    settings = {"slow.image_encoding": "jpeg", "slow.rate_control.mode": mode, **far}
    settings["slow.latent_codec"] = options.latent_codec
    config = load_config(options.config, settings)
    words = [
        str(options.config),
        *(word for name, value in settings.items() for word in (f"--{name}", value)),
    ]
    bandwidth = [] if line == "none" else ["--bandwidth-mbit-s", line]
    conditions = ["--first-port", str(ports[3]), "--delay-ms", str(options.delay_ms), *bandwidth]
    context, clock = open_context(), WallClock()
    with ExitStack() as stack:
        stack.callback(close_context, context)
        stack.enter_context(_process("slow", *words))
        relay = stack.enter_context(_process("link", *words, *conditions))
        with closing(ServiceClient(context, near.service, "System 2")) as service:
            service.request("status", _START_S)
        specs = load_manifest(config.slow.bundle, "system2").specs
        edge = Edge(context, near, specs, config.slow, images, instruction, clock)
        start_ns = now_ns = clock.now_ns()
        while now_ns - start_ns < nanoseconds(options.seconds):
            edge.step()
            clock.sleep_until_ns(now_ns + _WAKE_NS)
            now_ns = clock.now_ns()
        carried = _end(relay)
    took_s = seconds(now_ns - start_ns)
    return Measured(line, mode, edge.ages_ms, took_s, carried, edge.latents, edge.qualities)


@contextmanager
def _process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`dualsys` with these words, ended at the end."""
    command = [sys.executable, "-m", "dualsys", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _end(relay: subprocess.Popen[str]) -> int:
    """End the line, and read what it carried upwards."""
    relay.send_signal(signal.SIGTERM)
    said = relay.communicate(timeout=_START_S)[0]
    found = _CARRIED.search(said)
    if found is None:
        raise BusError(f"the line ended without its totals; it said: {said.strip()!r}")
    return int(found[1])


def _free_ports(count: int) -> list[int]:
    """Ports in a row that were free a moment ago."""
    for first in range(20_000, 60_000, 16):
        with ExitStack() as stack:
            probes = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
            try:
                for number, probe in enumerate(probes):
                    probe.bind(("127.0.0.1", first + number))
            except OSError:
                continue
            return list(range(first, first + count))
    raise BusError("no free ports between 20000 and 60000")


def _address(port: int) -> str:
    return f"tcp://127.0.0.1:{port}"


def _is_positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False
