"""The benchmark of the uplink, and adaptive observations over real sockets and a narrow line."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.bench.uplink import CHANNELS, Edge, Measured, Options, run
from dualsys.bus.link_model import Conditions, Schedule
from dualsys.bus.link_proxy import LinkProxy
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_S, WallClock
from dualsys.config import RateControlConfig, SlowConfig
from dualsys.config_links import SlowEndpoints
from dualsys.errors import ConfigError
from dualsys.slow.backend import System2Output
from dualsys.slow.server import SlowServer
from dualsys.specs import LatentSpec, ObservationSpec, SystemSpecs, TensorSpec

SPECS = SystemSpecs(
    ObservationSpec({"fixed": TensorSpec((96, 128, 3), "uint8")}, TensorSpec((9,))),
    LatentSpec("latent_sequence", {"tokens": TensorSpec((8, 128))}),
)
PATIENCE_NS = 40 * NS_PER_S
NARROW_MBIT_S = 0.15


class Zeros:
    """A System 2 that costs nothing."""

    specs = SPECS
    name = "zeros"
    weights = "w"

    def check_instruction(self, text: str) -> None:
        del text

    def encode(
        self, images: Mapping[str, NDArray[np.uint8]], proprioception: NDArray[np.float32], instruction: str
    ) -> System2Output:
        del images, proprioception, instruction
        return System2Output({"tokens": np.zeros((8, 128), np.float32)})


def grainy(seed: int) -> dict[str, NDArray[np.uint8]]:
    """An image whose JPEG is large and depends on the quality."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return {"fixed": coarse.repeat(4, axis=0).repeat(4, axis=1)}


async def over_a_line(conditions: Conditions, slow: SlowConfig, done: Any) -> Edge:
    """Run an edge against a System 2 behind a line until `done(edge)`, or for as long as patience lasts."""
    context, clock, stop = open_context(), WallClock(), asyncio.Event()
    # Any free ports: a configuration could not say that.
    ends = SlowEndpoints.model_construct(**dict.fromkeys(CHANNELS, "tcp://127.0.0.1:*"))
    server = SlowServer(Zeros(), context, ends, rate_hz=slow.rate_hz, delay_ms=slow.delay_ms, clock=clock)
    serving = asyncio.create_task(server.run(stop))
    routes = {("127.0.0.1", 0): ("127.0.0.1", int(server.endpoints["observation"].rsplit(":", 1)[1]))}
    up = LinkProxy(routes, Schedule([conditions]), clock)
    ((host, port),) = await up.open()
    near = SlowEndpoints(**{**server.endpoints, "observation": f"tcp://{host}:{port}"})
    edge = Edge(context, near, SPECS, slow, [grainy(seed) for seed in range(4)], "go", clock)
    deadline_ns = clock.now_ns() + PATIENCE_NS
    while not done(edge) and clock.now_ns() < deadline_ns:
        edge.step()
        await asyncio.sleep(0.005)
    stop.set()
    await serving
    await up.close()
    server.close()
    close_context(context)
    return edge


@pytest.mark.fault_row(27)
def test_on_a_narrow_line_of_real_sockets_less_is_sent_and_latents_come() -> None:
    slow = SlowConfig(
        rate_hz=10.0,
        delay_ms=0.0,
        image_encoding="jpeg",
        rate_control=RateControlConfig(mode="adaptive", least_jpeg_quality=20),
    )
    line = Conditions(delay_ms=5, bandwidth_mbit_s=NARROW_MBIT_S)

    def adapted(edge: Edge) -> bool:
        return edge.uplink.statistics().cuts > 0 and edge.latents >= 20

    edge = asyncio.run(over_a_line(line, slow, adapted))
    statistics = edge.uplink.statistics()
    assert statistics.cuts > 0
    assert edge.latents >= 20
    assert min(edge.qualities) == 20
    assert statistics.budget_bytes_s < 10 * statistics.sent_bytes / statistics.sent


def test_a_row_tells_ages_bytes_and_what_was_sent() -> None:
    measured = Measured("0.2", "adaptive", [100.0, 200.0, 300.0], 10.0, 250_000, 45, [90, 50, 50] * 30)
    assert measured.cells() == [
        "0.2 Mbit/s, adaptive",
        "200 ms",
        "298 ms",
        "25.0 kB/s",
        "9.0 Hz",
        "50",
        "4.5 Hz",
    ]
    assert Measured("none", "fixed", [1.0], 1.0, 0, 0, [90]).cells()[0] == "no limit, fixed"


@pytest.mark.parametrize("options", [Options(lines="wide"), Options(lines="-1"), Options(seconds=0.0)])
def test_lines_and_durations_out_of_range_are_refused(options: Options) -> None:
    with pytest.raises(ConfigError, match="bandwidths"):
        list(run(options))
