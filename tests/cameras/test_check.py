"""Looking through a camera, and judging what came."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.cameras.check import Seen, examine, judge
from dualsys.cameras.contract import CameraSpec, Frame
from dualsys.cameras.feed import REASONS, Feed
from dualsys.clock import NS_PER_MS, NS_PER_S, VirtualClock
from dualsys.errors import CameraError

from .scripted import ScriptedCamera

SPEC = CameraSpec("wrist", 8, 6, 25.0)


class LiveCamera(ScriptedCamera):
    """Has a new frame every period of a rate, for some time."""

    def __init__(
        self, clock: VirtualClock, rate_hz: float, until_ns: int = 2**62, plain: bool = False
    ) -> None:
        super().__init__(SPEC)
        self._clock, self._period_ns = clock, round(NS_PER_S / rate_hz)
        self._until_ns, self._due_ns = until_ns, clock.now_ns()
        self._image = np.zeros(SPEC.shape, np.uint8)
        self._image[:2] = 0 if plain else 200

    def read(self) -> Frame | None:
        now_ns = self._clock.now_ns()
        if now_ns > self._until_ns:
            raise CameraError("unplugged")
        if now_ns < self._due_ns:
            return None
        self._due_ns += self._period_ns
        return Frame(now_ns, self._image)


def levels(camera: ScriptedCamera, clock: VirtualClock, **wanted: tuple[int, int]) -> list[tuple[str, str]]:
    found = examine({"wrist": Feed(camera, clock, **wanted)}, clock, 2.0)
    assert camera.closed
    return [(one.level, one.says) for one in found]


def test_one_that_delivers_is_told_with_its_rate_and_what_becomes_of_its_frames(clock: VirtualClock) -> None:
    told = levels(LiveCamera(clock, 25.0), clock, wanted=(3, 4))
    assert told == [
        ("ok", "8x6 rgb8 at 25 Hz; 8x6, resized to 4x3"),
        ("ok", "50 frames, 25.0 per second, never 40 ms without"),
    ]


def test_one_that_is_too_slow_shows_one_colour_or_goes_is_told(clock: VirtualClock) -> None:
    slow = levels(LiveCamera(clock, 10.0, plain=True), clock)
    assert slow[1] == ("warning", "20 frames, 10.0 per second, never 100 ms without")
    assert slow[2] == ("warning", "every frame has one colour")
    gone = levels(LiveCamera(clock, 25.0, until_ns=clock.now_ns() + NS_PER_S), clock)
    assert gone[1] == ("problem", "no frame: unplugged")


def test_one_that_does_not_fit_or_sends_nothing_is_a_problem(clock: VirtualClock) -> None:
    assert levels(ScriptedCamera(SPEC), clock)[1] == ("problem", "no frame: nothing comes")
    ((level, says),) = levels(ScriptedCamera(SPEC), clock, wanted=(4, 4))
    assert (level, "8x6 pixels do not fit into 4x4" in says) == ("problem", True)


@pytest.mark.parametrize("reason", REASONS)
def test_rejected_frames_are_told_by_their_reason(reason: str) -> None:
    statistics: dict[str, str | int] = {reason: 3, "last_fault": "why"}
    seen = Seen(50, 0, 2 * NS_PER_S, 40 * NS_PER_MS, 50.0, statistics)
    found = judge(SPEC, seen)
    assert [one.level for one in found] == ["ok", "warning"]
    assert found[1].says == f"frames rejected: 3 {reason}; the last: why"


def test_a_long_gap_is_told() -> None:
    seen = Seen(50, 0, 2 * NS_PER_S, 201 * NS_PER_MS, 50.0, {})
    assert [one.level for one in judge(SPEC, seen)] == ["warning"]
