"""Rules of what a run comes to."""

from __future__ import annotations

import json

from dualsys.clock import NS_PER_S
from dualsys.config import SlowConfig, SystemConfig
from dualsys.supervisor.summary import EpisodeResult, RunSummary, emulation_line


def result(number: int, *, success: bool, judged: bool = True) -> EpisodeResult:
    """One episode."""
    return EpisodeResult(number, "pick", number, "pick up the cube", success, "", judged, 2.5)


def test_the_summary_is_complete_at_any_moment() -> None:
    tree = RunSummary(SystemConfig(), 0).tree(NS_PER_S)
    assert (tree["state"], tree["elapsed_s"], tree["episodes_finished"]) == ("starting", 1.0, 0)
    assert tree["success_interval_95"] == [0.0, 1.0]
    json.dumps(tree, allow_nan=False)


def test_an_episode_without_a_verdict_is_told_but_is_no_trial() -> None:
    summary = RunSummary(SystemConfig(), 0)
    summary.results = [
        result(0, success=True),
        result(1, success=False),
        result(2, success=False, judged=False),
    ]
    assert (summary.successes, summary.finished) == (1, 2)
    assert len(summary.tree(0)["episodes"]) == 3  # type: ignore[arg-type]
    assert summary.closing_words()[0].startswith("success: 1 of 2")
    assert summary.closing_words()[0].endswith("; 1 broken off, which do not count")


def test_the_closing_words_tell_rates_misses_and_the_problem() -> None:
    summary = RunSummary(SystemConfig(), 0, problem="System 2 is gone")
    summary.measured = {
        "rates_hz": {"latent": 4.97, "plan": 49.5, "state": 250.0, "fixed": 15.0},
        "control_counters": {"ticks": 1000, "missed": 2, "held": 0},
    }
    summary.status = {"control": {"late_p99_us": "76"}}
    words = "\n".join(summary.closing_words())
    assert "rates: System 2 4.97 Hz, planner 49.5 Hz, control 250 Hz" in words
    assert "control: ticks 1000, missed 2, held 0, 99 % of ticks at most 76 us late" in words
    assert "problem: System 2 is gone" in words


def test_a_camera_whose_images_were_all_refused_is_told_with_the_reason() -> None:
    summary = RunSummary(SystemConfig(), 0)
    fault = "cameras.wrist: expected 16x16 rgb8 at 5 Hz, got uint8[48, 48, 3]"
    summary.status = {
        "planner": {
            "camera.fixed.accepted": "28", "camera.fixed.last_fault": "one was old",
            "camera.wrist.accepted": "0", "camera.wrist.last_fault": fault,
        }
    }  # fmt: skip
    told = [words for words in summary.closing_words() if words.startswith("camera")]
    assert told == [f"camera wrist: no image was taken; the last fault: {fault}"]


def test_a_system_1_that_failed_is_told_with_the_reason() -> None:
    summary = RunSummary(SystemConfig(), 0)
    fault = "System 1 policy mine.Policy failed: IndexError: list index out of range"
    summary.status = {"planner": {"core.abandoned_jobs": "0", "core.last_fault": fault}}
    assert not any(fault in words for words in summary.closing_words())
    summary.status = {"planner": {"core.abandoned_jobs": "630", "core.last_fault": fault}}
    told = f"System 1 failed 630 times, see planner.log; the planner's last fault: {fault}"
    assert told in summary.closing_words()


def test_it_is_told_what_system2_was_sent() -> None:
    slow = SlowConfig(uplink="features", feature_codec="int8")
    summary = RunSummary(SystemConfig().model_copy(update={"slow": slow}), 0)
    told = summary.tree(0)["system2"]
    assert isinstance(told, dict)
    assert (told["uplink"], told["uplink_codec"]) == ("features", "int8")
    assert "System 2 was sent features (int8): no image left the edge" in summary.closing_words()
    plain = RunSummary(SystemConfig(), 0).tree(0)["system2"]
    assert isinstance(plain, dict)
    assert (plain["uplink"], plain["uplink_codec"]) == ("images", "raw")


def test_an_emulated_system2_is_never_passed_off_as_a_real_one() -> None:
    assert "slowed down on purpose" in emulation_line(SlowConfig())
    assert "200 ms at 5 Hz" in emulation_line(SlowConfig())
    assert "100 ms at any rate" in emulation_line(SlowConfig(delay_ms=100, rate_hz=None))
    held_back = emulation_line(SlowConfig(delay_ms=0, rate_hz=5))
    assert held_back == "System 2 is held back to 5 Hz (slow.rate_hz); no delay is emulated"
    assert "its own speed" in emulation_line(SlowConfig(delay_ms=0, rate_hz=None))


def test_the_closing_words_tell_what_went_up_where_that_changes_by_itself() -> None:
    summary = RunSummary(SystemConfig(), 0)
    summary.status = {"planner": {"uplink.mode": "fixed", "uplink.sent": "90", "uplink.sent_bytes": "5000"}}
    assert not any(words.startswith("uplink") for words in summary.closing_words())
    summary.status["planner"] |= {"uplink.mode": "adaptive", "uplink.cuts": "2", "uplink.silences": "0"}
    summary.status["planner"] |= {"demand.asked": "90", "demand.spared": "40", "demand.reasons.age": "88"}
    assert summary.closing_words()[-1] == (
        "uplink: 90 observations, 5000 bytes; adapted to the line: 2 times less for a queue, 0 for silence; "
        "on demand: 40 held back (age 88)"
    )


def test_an_episode_is_called_by_the_number_that_files_know_it_by() -> None:
    config = SystemConfig.model_validate({"name": "a", "run": {"episodes": 3}})
    assert RunSummary(config, 0).called(0) == "episode 0 (1 of 3)"
