from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from dualsys.bench.cells import Measured, Plan
from dualsys.bench.delay_figures import Result, metric, success, throughput, time_to_success
from dualsys.bench.delay_grid import RECORDED_JITTER, Sweep, Unmet, objection, points
from dualsys.bench.delay_page import page
from dualsys.bench.document import to_markdown
from dualsys.twin.pool import Scripted
from dualsys.twin.report import Report, summarise
from dualsys.twin.result import EpisodeResult
from dualsys.twin.scripted import SCRIPTED_ACTION, ScriptedSystem1
from dualsys.twin.settings import TwinSettings

SWEEPS = (
    Sweep("system1", "pick", ("naive_async", "rtc", "rtc_prefix"), (300, 0)),
    Sweep("system1", "pick", ("bid",), (300,)),
    Sweep("system2", "follow", ("rtc",), (200,)),
)


def episode(seed: int, succeeded: bool, **metrics: float) -> EpisodeResult:
    return EpisodeResult(
        task="pick", seed=seed, phrasing="seen", event=None, min_blocks=3, instruction="pick it",
        success=succeeded, reason="", duration_s=6.0, time_to_success_s=3.0 if succeeded else None,
        metrics={"seam_jump_mean_m_s": 0.05, **metrics}, counters={"control.stopped": int(not succeeded)},
        trace_sha256="",
    )  # fmt: skip


def report(*results: EpisodeResult) -> Report:
    return summarise(results, TwinSettings().describe(), {})


@pytest.fixture
def text(tmp_path: Path) -> str:
    """The page of made-up results: one success in two, but no bundle with a prefix."""
    measured: list[Result] = []
    unmet: list[Unmet] = []
    for point in points(TwinSettings(), SCRIPTED_ACTION, SWEEPS):
        found = objection(point, ScriptedSystem1())
        if found is not None:
            unmet.append(found)
            continue
        results = [episode(1, True, fraction=0.75), episode(2, False, fraction=0.25)]
        results = [replace(one, task=point.task) for one in results]
        measured.append(Result(point, Measured(point.cell, report(*results))))
    pictures = {name: tmp_path / f"{name}.png" for name in ("success", "smoothness", "reaction", "system2")}
    plan = Plan(Scripted(), tmp_path, 2, 1, 1)
    return to_markdown(page(measured, unmet, pictures, plan, "bench it", SCRIPTED_ACTION, RECORDED_JITTER))


def test_successes_a_minute_count_the_time_of_failures(text: str) -> None:
    found = report(episode(1, True), episode(2, False), episode(3, True))

    assert throughput(found) == pytest.approx(60.0 * 2 / 18.0)
    assert "| 50 % (9 to 91) | 5.0 | 3.00 s |" in text


def test_values_come_with_their_intervals() -> None:
    found = report(*(episode(number, number < 3, value=float(number)) for number in range(5)))

    assert success(found) == pytest.approx((23.07, 60.0, 88.24), abs=0.01)
    assert time_to_success(found) == (3.0, 3.0, 3.0)
    assert metric("value", 10.0)(found) == (10.0, 20.0, 30.0)
    assert metric("nothing")(found) is None


def test_delays_stand_in_order_and_what_could_not_be_run_stands_with_the_others(text: str) -> None:
    assert "### Success on `pick`\n\n|  | 0 ms | 300 ms |" in text
    assert "| `rtc_prefix` | not offered | not offered |" in text
    assert (
        "| `pick-rtc_prefix-system1-300ms`, `pick-rtc_prefix-system1-0ms` | not offered | needs prefix"
        in text
    )


def test_the_page_says_that_static_tasks_saturate_and_what_to_read_instead(text: str) -> None:
    assert "Static tasks saturate in success" in text
    assert "smoothness and time to success" in text


def test_the_bars_stand_on_the_page_with_what_was_found(text: str) -> None:
    section = text.split("## The bars")[1].split("\n## ")[0]

    assert "| `pick` | `rtc` halves velocity jump at joins against `naive_async`, at every delay" in section
    assert "at most 0.05 of 0.05 m/s at 300 ms (100 %) | **missed** |" in section
    assert "| `pick` | `rtc` halves commanded acceleration rms" in section
    assert "| – | not measured |" in section
    assert "There is no bar for success on `pick`, for static tasks saturate" in section
    assert "the least success of its 5" in section
    # Only System 2 was varied there.
    assert "`follow`" not in section


def test_the_page_says_that_the_jitter_was_recorded(text: str) -> None:
    assert "`jitter` is a delay that is drawn anew for every plan: recorded live and not scaled" in text
    assert RECORDED_JITTER.describe() in text


def test_the_page_says_which_task_has_fewer_episodes(text: str) -> None:
    assert "Each cell: 2 episodes, seeds from 1 on" in text
    point = points(TwinSettings(), SCRIPTED_ACTION, (Sweep("system1", "follow", ("rtc",), (0,)),))[0]
    one = Result(point, Measured(point.cell, report(episode(1, True))))
    plan = Plan(Scripted(), Path(), 2, 1, 1)
    told = to_markdown(page([one], [], {}, plan, "bench it", SCRIPTED_ACTION, RECORDED_JITTER))
    assert "Each cell: 2 episodes (`follow` 1, whose episodes take long), seeds" in told
    assert "More where the bars compare" not in told


def test_the_page_says_which_cells_have_more_episodes() -> None:
    point = points(TwinSettings(), SCRIPTED_ACTION, (Sweep("system1", "around", ("rtc",), (0,)),))[0]
    one = Result(point, Measured(point.cell, report(*(episode(seed, True) for seed in (1, 2, 3)))))
    plan = Plan(Scripted(), Path(), 2, 1, 1)
    told = to_markdown(page([one], [], {}, plan, "bench it", SCRIPTED_ACTION, RECORDED_JITTER))
    assert "Each cell: 2 episodes, seeds from 1 on" in told
    assert "More where the bars compare what is close: `around-rtc-system1-0ms` 3; the numbers" in told


def test_every_strategy_stands_side_by_side_at_the_delay_that_all_are_run_at(text: str) -> None:
    section = text.split("## What was measured on `pick`, System 1 at 300 ms")[1].split("\n## ")[0]

    for name in ("naive_async", "rtc", "bid"):
        assert f"| `{name}` | 50 % (9 to 91) | 5.0 | 3.00 s | 0.050 |" in section
    assert "| `rtc_prefix` | not offered |" in section


def test_following_is_told_by_its_share_of_the_time_besides(text: str) -> None:
    assert "| `rtc` | 50 % (9 to 91), 0.50 above |" in text


def test_the_page_says_how_each_strategy_is_run_and_where_that_comes_from(text: str) -> None:
    section = text.split("## How each strategy is run")[1]

    assert "| `rtc` | real-time chunking, arXiv:2506.07339 | beta = 5" in section
    assert "execution_horizon 8 | n |" in section
    assert "threshold 0.7 |" in section
    assert "```\nbench it\n```" in section
