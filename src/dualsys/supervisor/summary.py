"""What a run came to, complete at any moment: the content of `summary.json`, and the closing words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dualsys.clock import NS_PER_S
from dualsys.config import SlowConfig, SystemConfig
from dualsys.fast.planner.demand import REASONS
from dualsys.supervisor.halts import Halts
from dualsys.telemetry.run_folder import Json
from dualsys.telemetry.statistics import success_line, wilson_interval

RunState = Literal["starting", "running", "finished", "interrupted", "failed"]


@dataclass(frozen=True)
class EpisodeResult:
    """One finished episode.

    Attributes:
        success: Whether the task was done.
        reason: What the judge says, or why the episode was broken off.
        judged: The judge gave a verdict; only such episodes count.
    """

    episode: int
    task: str
    seed: int
    instruction: str
    success: bool
    reason: str
    judged: bool
    duration_s: float

    def tree(self) -> dict[str, Json]:
        """For JSON."""
        return {
            "episode": self.episode,
            "task": self.task,
            "seed": self.seed,
            "instruction": self.instruction,
            "success": self.success,
            "judged": self.judged,
            "reason": self.reason,
            "duration_s": round(self.duration_s, 3),
        }


@dataclass
class RunSummary:
    """Everything about one run so far."""

    config: SystemConfig
    started_ns: int
    state: RunState = "starting"
    problem: str = ""
    peers: dict[str, dict[str, str]] = field(default_factory=dict)
    status: dict[str, dict[str, str]] = field(default_factory=dict)
    endings: dict[str, str] = field(default_factory=dict)
    results: list[EpisodeResult] = field(default_factory=list)
    measured: dict[str, Json] = field(default_factory=dict)
    halts: Halts = field(default_factory=Halts)

    @property
    def finished(self) -> int:
        """Episodes with a verdict."""
        return sum(result.judged for result in self.results)

    @property
    def successes(self) -> int:
        """Episodes whose task was done."""
        return sum(result.success for result in self.results if result.judged)

    def called(self, number: int) -> str:
        """An episode by its number, which files and recordings know it by, and how many there are to be."""
        return f"episode {number} ({number + 1} of {self.config.run.episodes})"

    def tree(self, now_ns: int) -> dict[str, Json]:
        """For `summary.json`."""
        low, high = wilson_interval(self.successes, self.finished)
        config = self.config
        return {
            "name": config.name,
            "state": self.state,
            "problem": self.problem,
            "elapsed_s": round((now_ns - self.started_ns) / NS_PER_S, 3),
            "episodes_wanted": config.run.episodes,
            "episodes_finished": self.finished,
            "successes": self.successes,
            "success_interval_95": [round(low, 4), round(high, 4)],
            "system2": {
                "emulation": emulation_line(config.slow),
                "delay_ms": config.slow.delay_ms,
                "rate_hz": config.slow.rate_hz,
                **_uplink(config.slow),
            },
            "line": {"emulation": config.line.words() or None, "seed": config.line.seed},
            "strategy": config.fast.strategy.name,
            "episodes": [
                result.tree() | {"halts": [halt.words for halt in self.halts.of(result.episode)]}
                for result in self.results
            ],
            "halts": [halt.tree(self.started_ns) for halt in self.halts.kept],
            "processes": {"answered": self.peers, "last_status": self.status, "ended": self.endings},
            **self.measured,
        }

    def closing_words(self) -> list[str]:
        """What to tell people at the end."""
        measured = self.measured
        rates = measured.get("rates_hz")
        counters = measured.get("control_counters")
        uncounted = len(self.results) - self.finished
        broken_off = f"; {uncounted} broken off, which do not count" if uncounted else ""
        words = [f"success: {success_line(self.successes, self.finished)}{broken_off}"]
        if isinstance(rates, dict):
            names = {"latent": "System 2", "plan": "planner", "state": "control"}
            words.append(
                "rates: " + ", ".join(f"{names[key]} {rates[key]:g} Hz" for key in names if key in rates)
            )
        if isinstance(counters, dict) and counters:
            shown = ("ticks", "missed", "clamped", "rejected_plans", "starved", "held", "stopped")
            late_us = self.status.get("control", {}).get("late_p99_us")
            told = [f"{name} {counters[name]}" for name in shown if name in counters]
            told += [f"99 % of ticks at most {late_us} us late"] if late_us else []
            words.append("control: " + ", ".join(told))
        words += emulation_lines(self.config)
        if self.config.slow.uplink == "features":
            codec = self.config.slow.feature_codec
            words.append(f"System 2 was sent features ({codec}): no image left the edge")
        planner = self.status.get("planner", {})
        words += refused_images(planner) + given_up(planner)
        words += [line] if (line := uplink_line(planner)) else []
        if self.problem:
            words.append(f"problem: {self.problem}")
        return words


def refused_images(status: dict[str, str]) -> list[str]:
    """A line for each camera of which the planner took no image at all, by its last status: nothing moves."""
    names = [key.split(".")[1] for key in status if key.startswith("camera.") and key.endswith(".accepted")]
    return [
        f"camera {name}: no image was taken; the last fault: {fault}"
        for name in names
        if status[f"camera.{name}.accepted"] == "0" and (fault := status.get(f"camera.{name}.last_fault"))
    ]


def given_up(status: dict[str, str]) -> list[str]:
    """A line where System 1 failed, by the planner's last status: the arm had no new plan meanwhile."""
    count = status.get("core.abandoned_jobs", "0")
    if count == "0":
        return []
    fault = status.get("core.last_fault", "")
    return [f"System 1 failed {count} times, see planner.log; the planner's last fault: {fault}"]


def uplink_line(status: dict[str, str]) -> str:
    """What went up to System 2, by the planner's last status; empty if it was neither adapted nor spared."""
    sent, size = (status.get(f"uplink.{name}", "?") for name in ("sent", "sent_bytes"))
    parts = []
    if status.get("uplink.mode") == "adaptive":
        cuts, silences = (status.get(f"uplink.{name}", "?") for name in ("cuts", "silences"))
        parts.append(f"adapted to the line: {cuts} times less for a queue, {silences} for silence")
    if "demand.asked" in status:
        reasons = {name: status.get(f"demand.reasons.{name}", "0") for name in REASONS}
        told = ", ".join(f"{name} {count}" for name, count in reasons.items() if count != "0")
        parts.append(f"on demand: {status.get('demand.spared', '?')} held back ({told})")
    return f"uplink: {sent} observations, {size} bytes; {'; '.join(parts)}" if parts else ""


def _uplink(slow: SlowConfig) -> dict[str, Json]:
    """What went up, and how."""
    codec = slow.feature_codec if slow.uplink == "features" else slow.image_encoding
    return {"uplink": slow.uplink, "uplink_codec": codec}


def emulation_lines(config: SystemConfig) -> list[str]:
    """Say plainly what of this run is not as it would be by itself: System 2, and the line to it."""
    line = config.line.words()
    return [emulation_line(config.slow), *([line] if line else [])]


def emulation_line(slow: SlowConfig) -> str:
    """Say plainly that System 2 is slower than it would be by itself, or that it is not."""
    if slow.delay_ms == 0 and slow.rate_hz is None:
        return "System 2 runs at its own speed: no delay and no rate limit are emulated"
    if slow.delay_ms == 0:
        return f"System 2 is held back to {slow.rate_hz:g} Hz (slow.rate_hz); no delay is emulated"
    rate = "any rate" if slow.rate_hz is None else f"{slow.rate_hz:g} Hz"
    return (
        f"System 2 is slowed down on purpose, as if a 7B model ran elsewhere: {slow.delay_ms:g} ms at {rate}"
    )
