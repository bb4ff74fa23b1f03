"""What it costs to move an observation up and a latent down: dualsys beside other ways to do so, live.

Two processes for each line: this one takes the time, the other answers. Every line moves the same latents of
1 KB, 64 KB and 1 MB and the demo's observation with its real image. In every round each line has its turn for
each payload, in an order that changes, so that whatever else happens to the machine happens to all alike;
what is compared are the medians of turns of one round. `message` is the way down from a made message handed
over to be sent to the message in the other process's hands; `one way` is that with making the message of
arrays and arrays of the message; `round trip` begins with the arrays of the observation.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dualsys.bench.bus_codecs import CodecRow, codec_rows, demo_images, shipped_latents
from dualsys.bench.bus_ours import OursNear, frame_of, observation, packet
from dualsys.bench.bus_payloads import CAMERA, NAMES, Addresses, Exchanged, Line, Near, Stamps, latents
from dualsys.bench.bus_raw import RawNear
from dualsys.bench.bus_typed import TypedNear
from dualsys.bus.codec import encode
from dualsys.bus.keys import KeyStore
from dualsys.clock import NS_PER_MS, Clock, WallClock
from dualsys.command_line import read
from dualsys.config import load_config
from dualsys.errors import BusError, ConfigError, DualsysError
from dualsys.telemetry.extras import optional

LINES: Final = (
    *(Line(one, link) for link in ("ipc", "tcp", "ipc+curve", "tcp+curve") for one in ("raw", "ours")),
    Line("typed", "ipc"),
    Line("typed", "tcp"),
    Line("websocket", "tcp"),
    Line("grpc", "tcp"),
)
LATENT, DEMO = "64 KB", "observation"
"""The payloads that are judged."""

FLOOR_RATIO, PEER_RATIO = 1.15, 3.0
"""Bars: a 64 KB latent, at most that many times raw pyzmq; the demo's round trip, at least that
many times below the others."""

WARM_UP: Final = 20
_PACKAGES = {"websocket": ("websockets", "msgpack"), "grpc": ("grpc",)}
"""What the contenders need that is not always installed."""


@dataclass(frozen=True)
class Options:
    """Measure the bus of dualsys beside plain pyzmq, a websocket and gRPC, and write a page about it.

    The machine should do nothing else meanwhile. It needs the extras `bench` and `sim`.
    """

    config: Path = Path("configs/tabletop.yaml")
    """YAML of the system whose System 2 makes the latents for the comparison of codecs."""
    rounds: int = 30
    """How often every line has its turn with every payload."""
    exchanges: int = 20
    """Exchanges of a turn."""
    pause_ms: float = 10.0
    """Pause before each exchange, as in a live system, whose processes sleep in between; 0: none."""
    lines: str = ",".join(line.name for line in LINES)
    """Which lines, such as `raw tcp,ours tcp`."""
    payloads: str = ",".join(NAMES)
    """Which payloads."""
    scenes: int = 24
    """Scenes whose latents the codecs are compared on; 0: no comparison."""
    seed: int = 0
    """Of the orders."""
    output: Path = Path("docs/benchmarks")
    """Where the page, the numbers and the figure go."""


@dataclass
class Cell:
    """One payload on one line.

    Attributes:
        line, payload: Which.
        up_bytes, down_bytes: Size of the messages, without what the transport adds.
        turns: Of each round, one after the other: durations of its exchanges in ns, `[exchanges, 3]`: round
            trip, one way, message.
    """

    line: Line
    payload: str
    up_bytes: int
    down_bytes: int
    turns: list[NDArray[np.int64]] = field(default_factory=list)

    def quantile_us(self, column: int, quantile: float) -> float:
        """A quantile over all exchanges, us."""
        return float(np.quantile(np.concatenate(self.turns)[:, column], quantile)) / 1000

    def medians_us(self, column: int) -> NDArray[np.float64]:
        """The median of each turn, us."""
        return np.array([np.median(turn[:, column]) for turn in self.turns]) / 1000


ROUND_TRIP, ONE_WAY, MESSAGE = 0, 1, 2
"""Columns of a turn."""


@dataclass(frozen=True)
class Bar:
    """One comparison with a bar.

    Attributes:
        says: What is compared, and the bar.
        ratio: Median over the rounds; None if it was not measured.
        low, high: Quartiles over the rounds.
        met: Whether the bar is met; None if it was not measured.
    """

    says: str
    ratio: float | None
    low: float
    high: float
    met: bool | None


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark.

    Returns:
        Exit code: 0, 1 if a bar is missed, 2 after a fault.
    """
    from dualsys.bench import bus_page

    options = read(Options, arguments, prog="python -m dualsys.bench bus")
    command = shlex.join(["python", "-m", "dualsys.bench", "bus", *arguments])
    try:
        chosen = chosen_lines(options)
        images = demo_images(1)
        cells = measure(options, *chosen, images[0])
        rows: list[CodecRow] = []
        if options.scenes:
            config = load_config(options.config)
            rows = codec_rows(shipped_latents(config.slow.bundle, options.scenes), images[0])
        judged = bars(cells)
        for bar in judged:
            print(bus_page.verdict(bar))
        for path in bus_page.write_page(options.output, cells, rows, judged, options, command):
            print(path)
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if any(bar.met is False for bar in judged) else 0


def chosen_lines(options: Options) -> tuple[list[Line], list[str]]:
    """Lines and payloads that the options ask for.

    Raises:
        ConfigError: One does not exist, or a number is out of range.
    """
    faults: list[str] = []
    known = {line.name: line for line in LINES}

    def pick(option: str, text: str, names: Sequence[str]) -> list[str]:
        wanted = [name.strip() for name in text.split(",") if name.strip()]
        faults.extend(
            f"{option}: got {one!r}, expected {', '.join(names)}" for one in wanted if one not in names
        )
        return [name for name in names if name in wanted]

    lines = pick("--lines", options.lines, list(known))
    payloads = pick("--payloads", options.payloads, NAMES)
    for option, value, most in (
        ("--rounds", options.rounds, 10_000),
        ("--exchanges", options.exchanges, 10_000),
    ):
        if not 1 <= value <= most:
            faults.append(f"{option}: got {value}, expected 1 to {most}")
    if not 0 <= options.pause_ms <= 1000:
        faults.append(f"--pause-ms: got {options.pause_ms:g}, expected 0 to 1000")
    if not 0 <= options.scenes <= 10_000:
        faults.append(f"--scenes: got {options.scenes}, expected 0 to 10000")
    if faults:
        raise ConfigError("bench bus", faults)
    return [known[name] for name in lines], payloads


def measure(
    options: Options,
    lines: Sequence[Line],
    payloads: Sequence[str],
    image: NDArray[np.uint8],
    clock: Clock | None = None,
) -> list[Cell]:
    """Run all lines, each with its far end in a process of its own, and return what was measured.

    Args:
        options: How often.
        lines, payloads: Which.
        image: What the demo's observation shows, uint8 [height, width, 3].
        clock: Where time comes from; the far ends use the wall clock.

    Raises:
        BusError: A far end fails, or does not answer.
        MissingExtraError: A package of a contender is not installed.
    """
    clock = clock or WallClock()
    for line in lines:
        for package in _PACKAGES.get(line.contender, ()):
            optional(package, "the bus benchmark", "bench")
    images = {CAMERA: image}
    cells = [
        Cell(line, payload, *_sizes(line.contender, payload, images))
        for line in lines
        for payload in payloads
    ]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="dualsys-")))
        homes = make_homes(folder)
        ends = {line: stack.enter_context(_line(line, folder, homes, images)) for line in lines}
        rng = np.random.default_rng(options.seed)
        order = list(cells)
        pause_ns = round(options.pause_ms * NS_PER_MS)
        for turn in range(-1, options.rounds):
            rng.shuffle(order)
            for cell in order:
                near, stamp = ends[cell.line]
                shown = images if cell.payload == DEMO else {}
                number = NAMES.index(cell.payload)
                count = WARM_UP if turn < 0 else options.exchanges
                exchanged = [_exchange(near, stamp, number, shown, clock, pause_ns) for _ in range(count)]
                if turn >= 0:
                    cell.turns.append(durations(exchanged))
    return cells


def durations(exchanged: Sequence[Exchanged]) -> NDArray[np.int64]:
    """Round trip, one way and message of each exchange, ns, [exchanges, 3]."""
    return np.array(
        [
            (one.ended_ns - one.begun_ns, one.ended_ns - one.answered_ns, one.received_ns - one.sent_ns)
            for one in exchanged
        ],
        dtype=np.int64,
    )


def ratio(
    cells: Sequence[Cell], top: str, bottom: str, payload: str, column: int
) -> tuple[float, float, float] | None:
    """What one line takes over what another takes: median over the rounds, and quartiles.

    Args:
        cells: What was measured.
        top, bottom: Names of the lines.
        payload, column: What is compared.

    Returns:
        Lower quartile, median, upper quartile; None if one of them was not measured.
    """
    found = {(cell.line.name, cell.payload): cell for cell in cells}
    above, below = found.get((top, payload)), found.get((bottom, payload))
    if above is None or below is None:
        return None
    quotients = above.medians_us(column) / below.medians_us(column)
    low, middle, high = (float(one) for one in np.quantile(quotients, (0.25, 0.5, 0.75)))
    return low, middle, high


def bars(cells: Sequence[Cell]) -> list[Bar]:
    """Compare with the bars, round by round."""

    def bar(says: str, top: str, bottom: str, payload: str, column: int, limit: float, most: bool) -> Bar:
        spread = ratio(cells, top, bottom, payload, column)
        if spread is None:
            return Bar(says, None, 0.0, 0.0, None)
        low, middle, high = spread
        return Bar(says, middle, low, high, middle <= limit if most else middle >= limit)

    floor = f"{LATENT} latent, {{}}, ours to raw pyzmq, {{}}: at most {FLOOR_RATIO:g}"
    peer = f"the demo's observation up and latent down, {{}} to ours tcp: at least {PEER_RATIO:g}"
    return [
        *(
            bar(floor.format(what, link), f"ours {link}", f"raw {link}", LATENT, column, FLOOR_RATIO, True)
            for what, column in (("message", MESSAGE), ("one way", ONE_WAY))
            for link in ("ipc", "tcp")
        ),
        *(
            bar(peer.format(other), f"{other} tcp", "ours tcp", DEMO, ROUND_TRIP, PEER_RATIO, False)
            for other in ("websocket", "grpc")
        ),
    ]


def make_homes(folder: Path) -> Path:
    """Key stores of two machines that allow each other; returns the folder that has both."""
    homes = folder / "homes"
    stores = {name: KeyStore(homes / name) for name in ("cloud", "edge")}
    keys = {name: store.create(name) for name, store in stores.items()}
    for name, store in stores.items():
        for other, key in keys.items():
            if other != name:
                store.allow(other, key.public.hex())
    return homes


def start_far(line: Line, addresses: Addresses) -> subprocess.Popen[bytes]:
    """Start the far end of a line; it ends when this process does."""
    words = [
        line.contender,
        line.link,
        addresses.up,
        addresses.down,
        str(addresses.homes),
        str(addresses.stamp),
    ]
    command = [sys.executable, "-m", "dualsys.bench.bus_far", *words, str(os.getpid())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


@contextmanager
def _line(
    line: Line, folder: Path, homes: Path, images: Mapping[str, NDArray[np.uint8]]
) -> Iterator[tuple[Near, Stamps]]:
    """Both ends of a line."""
    name = f"{line.contender}-{line.link}"
    stamp = folder / f"{name}.stamp"
    Stamps.create(stamp)
    addresses = Addresses(*_addresses(line, folder / name), homes, stamp)
    far = start_far(line, addresses)
    try:
        # It prints a line when it listens; it prints none if it failed.
        if far.stdout is None or not far.stdout.readline():
            raise BusError(f"the far end of {line.name} failed with code {far.wait()}")
        near = _near(line, addresses, images)
        try:
            with Stamps(stamp) as reading:
                yield near, reading
        finally:
            near.close()
    finally:
        far.kill()
        far.wait()
        if far.stdout is not None:
            far.stdout.close()


def _near(line: Line, addresses: Addresses, images: Mapping[str, NDArray[np.uint8]]) -> Near:
    if line.contender == "ours":
        return OursNear(line, addresses)
    if line.contender == "raw":
        return RawNear(line, addresses, images)
    if line.contender == "typed":
        return TypedNear(line, addresses)
    if line.contender == "websocket":
        from dualsys.bench.bus_websocket import WebsocketNear

        return WebsocketNear(addresses)
    from dualsys.bench.bus_pickle_grpc import GrpcNear

    return GrpcNear(addresses)


def _addresses(line: Line, path: Path) -> tuple[str, str]:
    if line.link.startswith("ipc"):
        return f"ipc://{path}-up", f"ipc://{path}-down"
    with socket.socket() as first, socket.socket() as second:
        ports = []
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    prefix = {"websocket": "ws://", "grpc": ""}.get(line.contender, "tcp://")
    return f"{prefix}127.0.0.1:{ports[0]}", f"{prefix}127.0.0.1:{ports[1]}"


def _sizes(contender: str, payload: str, images: Mapping[str, NDArray[np.uint8]]) -> tuple[int, int]:
    """Bytes of the question and of the answer, without what the transport adds."""
    number = NAMES.index(payload)
    shown, latent = images if payload == DEMO else {}, latents()[number]
    if contender == "websocket":
        from dualsys.bench import bus_websocket

        return len(bus_websocket.pack(bus_websocket.question(number, shown))), len(
            bus_websocket.pack({"latent": latent})
        )
    if contender == "grpc":
        from dualsys.bench import bus_pickle_grpc

        return len(bus_pickle_grpc.question(number, shown)), bus_pickle_grpc.answer_bytes(latent)
    asked = observation(number, 1, shown)
    if contender == "typed":
        return len(encode(asked)), len(encode(packet(asked, latent)))
    return len(frame_of(asked)), len(frame_of(packet(asked, latent)))


def _exchange(
    near: Near,
    stamp: Stamps,
    number: int,
    images: Mapping[str, NDArray[np.uint8]],
    clock: Clock,
    pause_ns: int,
) -> Exchanged:
    if pause_ns:
        clock.sleep_until_ns(clock.now_ns() + pause_ns)
    begun_ns = clock.now_ns()
    near.exchange(number, images)
    ended_ns = clock.now_ns()
    return Exchanged(begun_ns, *stamp.read_ns(), near.received_ns, ended_ns)
