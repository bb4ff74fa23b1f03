"""Looks through cameras for a while, and judges what came: does each deliver, and as fast as it says?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dualsys.cameras.contract import CameraSpec
from dualsys.cameras.feed import REASONS, Feed
from dualsys.clock import NS_PER_MS, NS_PER_S, Clock, nanoseconds
from dualsys.doctor.findings import Finding
from dualsys.errors import DualsysError

LOOK_NS: Final = 2 * NS_PER_MS
GOOD_RATE: Final = 0.8
"""Part of the stated rate that a camera must reach."""

LONG_GAP_NS: Final = 200 * NS_PER_MS
LONG_GAP_PERIODS: Final = 4
PLAIN: Final = 2.0
"""Standard deviation of the numbers of a frame, in 0 to 255, below which there is nothing to see in it."""


@dataclass
class Seen:
    """What came of a camera.

    Attributes:
        frames: Good ones.
        first_ns, last_ns: Their stamps; -1 for none.
        longest_gap_ns: Between two stamps.
        contrast: Largest standard deviation of the numbers of one frame.
        statistics: Of the feed.
    """

    frames: int = 0
    first_ns: int = -1
    last_ns: int = -1
    longest_gap_ns: int = 0
    contrast: float = 0.0
    statistics: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def rate_hz(self) -> float:
        """Frames per second between the first and the last; 0 for fewer than two."""
        span_ns = self.last_ns - self.first_ns
        return (self.frames - 1) * NS_PER_S / span_ns if span_ns > 0 else 0.0


def watch(feeds: Mapping[str, Feed], clock: Clock, duration_s: float) -> dict[str, Seen]:
    """Take frames of connected cameras for a while, of all at once.

    Args:
        feeds: By name.
        clock: Where time comes from.
        duration_s: How long.
    """
    seen = {name: Seen() for name in feeds}
    end_ns = clock.now_ns() + nanoseconds(duration_s)
    while (now_ns := clock.now_ns()) < end_ns:
        for name, feed in feeds.items():
            if (frame := feed.read()) is None:
                continue
            one = seen[name]
            if one.frames:
                one.longest_gap_ns = max(one.longest_gap_ns, frame.t_ns - one.last_ns)
            else:
                one.first_ns = frame.t_ns
            one.frames, one.last_ns = one.frames + 1, frame.t_ns
            one.contrast = max(one.contrast, float(frame.image.std()))
        clock.sleep_until_ns(now_ns + LOOK_NS)
    for name, feed in feeds.items():
        seen[name].statistics = feed.statistics()
    return seen


def judge(spec: CameraSpec, seen: Seen) -> list[Finding]:
    """What is to be said about a camera that was looked at."""
    name, statistics = f"camera {spec.name}", seen.statistics
    if statistics.get("lost") == "True" or not seen.frames:
        says = f"no frame: {statistics.get('last_fault') or 'nothing comes'}"
        return [
            Finding(name, "problem", says, "see whether it is plugged in, and whether whoever sends runs")
        ]
    findings = [_rate(name, spec, seen)]
    rejected = {reason: int(statistics.get(reason, 0)) for reason in REASONS}
    if any(rejected.values()):
        told = ", ".join(f"{count} {reason}" for reason, count in rejected.items() if count)
        findings.append(
            Finding(
                name, "warning", f"frames rejected: {told}; the last: {statistics['last_fault']}",
                "ask for the size that it delivers; against old frames, a lower rate or another cable",
            )
        )  # fmt: skip
    if seen.contrast < PLAIN:
        findings.append(
            Finding(name, "warning", "every frame has one colour", "take the cap off, switch the light on")
        )
    return findings


def examine(feeds: Mapping[str, Feed], clock: Clock, duration_s: float) -> list[Finding]:
    """Connect cameras, look at them, judge them, and let them go."""
    findings: list[Finding] = []
    connected: dict[str, Feed] = {}
    try:
        for name, feed in feeds.items():
            try:
                fit = feed.connect()
            except DualsysError as error:
                remedy = (
                    "plug it in, or change cameras in the configuration; `dualsys camera list` names drivers"
                )
                findings.append(Finding(f"camera {name}", "problem", str(error), remedy))
                continue
            connected[name] = feed
            findings.append(
                Finding(f"camera {name}", "ok", f"{feed.camera.spec.describe()}; {fit.describe()}")
            )
        for name, seen in watch(connected, clock, duration_s).items() if connected else ():
            findings += judge(connected[name].camera.spec, seen)
    finally:
        for feed in feeds.values():
            feed.close()
    return findings


def _rate(name: str, spec: CameraSpec, seen: Seen) -> Finding:
    gap_ms = seen.longest_gap_ns / NS_PER_MS
    says = f"{seen.frames} frames, {seen.rate_hz:.1f} per second, never {gap_ms:.0f} ms without"
    allowed_ns = max(LONG_GAP_NS, LONG_GAP_PERIODS * NS_PER_S / spec.rate_hz)
    if seen.rate_hz < GOOD_RATE * spec.rate_hz:
        remedy = (
            f"it states {spec.rate_hz:g}: more light (exposure), MJPG, a port of its own, or a lower rate_hz"
        )
        return Finding(name, "warning", says, remedy)
    if seen.longest_gap_ns > allowed_ns:
        return Finding(name, "warning", says, "end what else runs, or give it a port of its own")
    return Finding(name, "ok", says)
