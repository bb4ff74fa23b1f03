from __future__ import annotations

from collections.abc import Mapping

import pytest

from dualsys.bench.cells import Measured
from dualsys.bench.delay_bars import NEEDED, SMOOTH_TASKS, Verdict, saturated, verdicts
from dualsys.bench.delay_figures import Result
from dualsys.bench.delay_grid import MAIN, SWEEPS, Sweep, points
from dualsys.twin.report import Report, summarise
from dualsys.twin.result import EpisodeResult
from dualsys.twin.scripted import SCRIPTED_ACTION
from dualsys.twin.settings import TwinSettings

EPISODES = 100
ACCELERATION, JUMP = "tool_acceleration_rms_m_s2", "seam_jump_mean_m_s"


def report(task: str, successes: int, **metrics: float) -> Report:
    results = [
        EpisodeResult(
            task=task, seed=seed, phrasing="seen", event=None, min_blocks=3, instruction="", duration_s=3.0,
            success=seed < successes, reason="", time_to_success_s=2.0 if seed < successes else None,
            metrics=metrics, counters={}, trace_sha256="",
        )
        for seed in range(EPISODES)
    ]  # fmt: skip
    return summarise(results, TwinSettings().describe(), {})


def measured(
    task: str,
    successes: Mapping[tuple[str, int], int],
    rough: Mapping[tuple[str, int], tuple[float, float]] | None = None,
) -> list[Result]:
    """Results by strategy and delay; acceleration and jump of those that are named, of others 1 each."""
    found = []
    for (name, delay), count in successes.items():
        (point,) = points(TwinSettings(), SCRIPTED_ACTION, (Sweep("system1", task, (name,), (delay,)),))
        acceleration, jump = (rough or {}).get((name, delay), (1.0, 1.0))
        values = {ACCELERATION: acceleration, JUMP: jump}
        found.append(Result(point, Measured(point.cell, report(task, count, **values))))
    return found


SMOOTH = {(name, delay): 100 for name in ("rtc", "naive_async") for delay in (120, 200, 300)}
ROUGH = {("rtc", delay): (0.4, 0.1) for delay in (120, 200, 300)}


def smoothness(results: list[Result]) -> tuple[Verdict, Verdict]:
    """Acceleration and jump on the static task, for which there are no other bars."""
    acceleration, jump = verdicts(results, ["pick"])
    return acceleration, jump


def robustness(successes: Mapping[tuple[str, int], int]) -> tuple[Verdict, Verdict]:
    """What is kept, and who is beaten."""
    *_, keeps, beats = verdicts(measured("around", successes), ["around"])
    return keeps, beats


def test_the_grid_measures_all_that_the_bars_speak_of() -> None:
    grid = {
        (point.task, point.variant.label, point.delay)
        for point in points(TwinSettings(), SCRIPTED_ACTION)
        if point.varied == "system1"
    }
    assert grid >= NEEDED
    assert {task for task, _, _ in grid} == set(SMOOTH_TASKS)
    for task in ("around", "conveyor", "intercept", "follow"):
        assert {(task, name, delay) for name in MAIN for delay in (0, 200)} <= NEEDED
    for task in SMOOTH_TASKS:
        assert {(task, name, delay) for name in ("rtc", "naive_async") for delay in (120, 300)} <= NEEDED


def test_the_main_strategies_are_run_before_the_others() -> None:
    first = [sweep for sweep in SWEEPS if sweep.varied == "system1" and set(sweep.strategies) <= set(MAIN)]
    assert list(SWEEPS[: len(first)]) == first


def test_roughness_is_halved_only_if_it_is_at_every_delay() -> None:
    acceleration, jump = smoothness(measured("pick", SMOOTH, ROUGH))
    assert (acceleration.status, jump.status) == ("met", "met")
    assert acceleration.found == "at most 0.4 of 1 m/s² at 120 ms (40 %)"
    worse = ROUGH | {("rtc", 200): (0.6, 0.1)}
    acceleration, jump = smoothness(measured("pick", SMOOTH, worse))
    assert (acceleration.status, jump.status) == ("missed", "met")
    assert acceleration.found == "at most 0.6 of 1 m/s² at 200 ms (60 %)"


def test_what_the_experts_have_stands_behind_what_was_found_and_decides_nothing() -> None:
    shown = {**SMOOTH, **{("experts", delay): 100 for delay in (120, 200, 300)}}
    bound = {**ROUGH, **{("experts", delay): (0.8, 0.3) for delay in (120, 200, 300)}}

    alone = smoothness(measured("pick", SMOOTH, ROUGH))
    acceleration, jump = smoothness(measured("pick", shown, bound))

    assert [one.status for one in (acceleration, jump)] == [one.status for one in alone]
    assert acceleration.found == f"{alone[0].found}; `experts` 0.8 (80 %)"
    assert jump.found == f"{alone[1].found}; `experts` 0.3 (30 %)"


def test_a_delay_between_those_that_are_needed_counts_too_and_a_shorter_one_does_not() -> None:
    for delay, status in ((160, "missed"), (80, "met")):
        more = SMOOTH | {("rtc", delay): 100, ("naive_async", delay): 100}
        acceleration, _ = smoothness(measured("pick", more, ROUGH | {("rtc", delay): (0.9, 0.1)}))
        assert acceleration.status == status


def test_a_bar_whose_cells_were_not_all_run_is_not_met_but_can_be_missed() -> None:
    part = {key: count for key, count in SMOOTH.items() if key[1] != 300}
    acceleration, _ = smoothness(measured("pick", part, ROUGH))
    assert acceleration.status == "not measured"
    acceleration, _ = smoothness(measured("pick", part, ROUGH | {("rtc", 120): (0.9, 0.1)}))
    assert acceleration.status == "missed"
    acceleration, _ = verdicts([], ["pick"])
    assert (acceleration.status, acceleration.found) == ("not measured", "")


BASELINES = {("synchronous", 200): 60, ("naive_async", 200): 70, ("temporal_ensemble", 200): 40}


LOST = {("rtc+path", 0): 90, ("rtc+path", 200): 50}
KEPT_AND_LOST = {("rtc_prefix", 0): 98, ("rtc_prefix", 200): 50} | LOST


@pytest.mark.parametrize(
    ("own", "keeps", "beats"),
    [
        ({("rtc", 0): 98, ("rtc", 200): 95} | KEPT_AND_LOST, "met", "met"),
        # It keeps its success, but its interval reaches into that of naive_async.
        ({("rtc", 0): 80, ("rtc", 200): 78} | KEPT_AND_LOST, "met", "missed"),
        # One keeps its success and the other beats all others: neither does both.
        (
            {("rtc", 0): 50, ("rtc", 200): 50, ("rtc_prefix", 0): 100, ("rtc_prefix", 200): 94} | LOST,
            "met",
            "missed",
        ),
        ({("rtc", 0): 98, ("rtc", 200): 90} | KEPT_AND_LOST, "missed", "missed"),
        ({("rtc", 0): 98, ("rtc", 200): 95}, "met", "met"),
        ({("rtc", 0): 98, ("rtc", 200): 50}, "not measured", "not measured"),
        ({("rtc", 200): 99}, "not measured", "not measured"),
    ],
)
def test_one_strategy_has_to_keep_its_success_and_to_beat_the_baselines(
    own: dict[tuple[str, int], int], keeps: str, beats: str
) -> None:
    kept, beaten = robustness(own | BASELINES)
    assert (kept.status, beaten.status) == (keeps, beats)


def test_what_was_found_is_told_with_the_best_of_the_baselines() -> None:
    kept, beaten = robustness({("rtc", 0): 98, ("rtc", 200): 95} | BASELINES)
    assert kept.found == "`rtc` 97 %"
    assert beaten.found == "`rtc` 95 % (89 to 98) against `naive_async` 70 % (60 to 78)"


def test_nobody_beats_baselines_of_which_one_was_not_run() -> None:
    less = {key: count for key, count in BASELINES.items() if key[0] != "synchronous"}
    _, beaten = robustness({("rtc", 0): 98, ("rtc", 200): 98} | less)
    assert beaten.status == "not measured"


def test_that_static_tasks_saturate_is_told_in_numbers() -> None:
    results = measured("pick", {("rtc", 0): 100, ("naive_async", 300): 97}) + measured(
        "around", {("rtc", 0): 50}
    )
    assert saturated(results) == (
        "There is no bar for success on `pick`, for static tasks saturate: the least success of its 2 cells "
        "is 97 % (`pick-naive_async-system1-300ms`)."
    )
    assert saturated(measured("around", {("rtc", 0): 50})) == ""
