"""What paces observations."""

from __future__ import annotations

from dualsys.clock import NS_PER_MS
from dualsys.config import RateControlConfig, SlowConfig
from dualsys.fast.planner.demand import demand_bounds
from dualsys.fast.planner.rate_control import RateChoice
from dualsys.fast.planner.uplink import Uplink, observation_bytes, rate_bounds
from dualsys.messages import Image, Observation, Tensor

from .conftest import answer
from .line_double import BOUNDS

PERIOD_NS = 100 * NS_PER_MS


class Notes:
    """A journal."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, str]] = []

    def rate(self, now_ns: int, choice: RateChoice, queue_ns: int, budget: float) -> None:
        del now_ns, queue_ns, budget
        self.taken.append((choice.quality, choice.reason))


def observation(seq: int, size: int = 4000) -> Observation:
    return Observation(
        session=77,
        episode=0,
        seq=seq,
        t_capture_ns=0,
        images={"fixed": Image("jpeg", 128, 96, bytes(size))},
        proprioception=Tensor("float32", (9,), bytes(36)),
        instruction="go",
    )


def test_a_fixed_uplink_keeps_its_phase_and_its_quality() -> None:
    uplink = Uplink(PERIOD_NS, 90, start_ns=0)
    due_ms = [t_ms for t_ms in range(0, 1000, 5) if uplink.due(t_ms * NS_PER_MS)]
    assert due_ms == list(range(0, 1000, 100))
    uplink.sent(observation(0), 0)
    uplink.answered(answer(observation(0)), NS_PER_MS, 0)
    assert uplink.jpeg_quality is None
    statistics = uplink.statistics()
    assert (statistics.mode, statistics.rate_hz, statistics.jpeg_quality, statistics.reason) == (
        "fixed",
        10.0,
        90,
        "",
    )
    assert (statistics.sent, statistics.sent_bytes) == (1, observation_bytes(observation(0)))
    assert 4000 < statistics.sent_bytes < 4500


def test_an_adaptive_uplink_starts_small_and_tells_why_it_changes() -> None:
    notes = Notes()
    uplink = Uplink(PERIOD_NS, 90, 0, BOUNDS, notes)
    seq = 0
    for t_ms in range(0, 6000, 5):
        now_ns = t_ms * NS_PER_MS
        if uplink.due(now_ns):
            assert uplink.jpeg_quality is not None
            sent = observation(seq, 1000 + 30 * uplink.jpeg_quality)
            uplink.sent(sent, now_ns)
            uplink.answered(answer(sent, t_received_ns=now_ns), now_ns + NS_PER_MS, 0)
            seq += 1
    assert notes.taken[0] == (40, "start")
    assert notes.taken[-1] == (90, "steady")
    assert all(before != after for before, after in zip(notes.taken, notes.taken[1:], strict=False))
    assert uplink.statistics().rate_hz == 10.0


def test_an_answer_without_a_stamp_counts_by_the_whole_way() -> None:
    uplink = Uplink(PERIOD_NS, 90, 0, BOUNDS)
    assert uplink.due(0)
    uplink.sent(observation(0), 0)
    for t_ms in range(5, 5000, 5):
        uplink.due(t_ms * NS_PER_MS)
    assert uplink.statistics().silences == 1
    uplink.sent(observation(1), 5000 * NS_PER_MS)
    uplink.answered(answer(observation(1)), 5010 * NS_PER_MS, 0)
    uplink.due(6000 * NS_PER_MS)
    assert uplink.statistics().reason != "silence"


def test_the_bounds_are_those_of_the_configuration() -> None:
    control = RateControlConfig(mode="adaptive", least_rate_hz=2.0, least_jpeg_quality=30, queue_ms=80.0)
    jpeg = rate_bounds(SlowConfig(image_encoding="jpeg", jpeg_quality=85, rate_control=control))
    assert (jpeg.least_rate_hz, jpeg.most_rate_hz) == (2.0, 10.0)
    assert (jpeg.least_quality, jpeg.most_quality) == (30, 85)
    assert (jpeg.queue_ns, jpeg.answer_ns) == (80 * NS_PER_MS, 600 * NS_PER_MS)
    raw = rate_bounds(SlowConfig(image_encoding="raw", rate_control=control))
    assert raw.least_quality == raw.most_quality
    assert demand_bounds(SlowConfig()).pause_ns == 400 * NS_PER_MS
