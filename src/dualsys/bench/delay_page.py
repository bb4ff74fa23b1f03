"""The page of the latency benchmark, for readers who have seen nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from dualsys.bench.cells import Plan
from dualsys.bench.delay_bars import interval, saturated, verdicts
from dualsys.bench.delay_figures import (
    PREDICTED,
    REACTION,
    Result,
    Spread,
    metric,
    success,
    throughput,
    time_to_success,
)
from dualsys.bench.delay_grid import (
    ALTERED,
    EXPERTS,
    JITTER,
    MAIN,
    OTHERS,
    RECORDED_JITTER,
    SYSTEM1_DELAY_MS,
    SYSTEM2_DELAY_MS,
    SYSTEM2_RATE_HZ,
    VARIANTS,
    Unmet,
    Varied,
    by_reason,
)
from dualsys.bench.delay_words import (
    BARS_TEXT,
    COLUMNS,
    INTRODUCTION,
    MEASURES,
    REACTION_TEXT,
    RECORDED_TEXT,
    SMOOTHNESS_TEXT,
    STATIC,
    SYSTEM2_TEXT,
)
from dualsys.bench.document import Block, Code, Heading, Picture, Table, Text
from dualsys.bench.page import noise_text
from dualsys.clock import NS_PER_MS
from dualsys.fast.chunking.strategy import strategy_class
from dualsys.specs import ActionSpec
from dualsys.twin.latency import Latency
from dualsys.twin.report import Report

DASH = "–"
ROWS = (*MAIN, EXPERTS)
"""Of the tables by delay."""

Found: TypeAlias = Result | Unmet


def page(
    results: Sequence[Result],
    unmet: Sequence[Unmet],
    pictures: Mapping[str, Path],
    plan: Plan,
    command: str,
    action: ActionSpec,
    jitter: Latency,
) -> list[Block]:
    """The page.

    Args:
        results: What was measured.
        unmet: What could not be.
        pictures: Paths of the figures by name, as far as they were drawn.
        plan: How it was run.
        command: What was typed.
        action: What a chunk is.
        jitter: The jittery delay of System 1.
    """
    dt_ms = action.step_ns / NS_PER_MS
    origin = RECORDED_TEXT if jitter == RECORDED_JITTER else ""
    blocks: list[Block] = [Heading("Success, smoothness and reaction under latency", 1)]
    blocks += [Text(text) for text in INTRODUCTION]
    blocks.append(
        Text(
            f"A chunk has {action.horizon} actions of {dt_ms:g} ms. Unless a table says otherwise, System 2 "
            f"has a delay of {SYSTEM2_DELAY_MS} ms and starts {SYSTEM2_RATE_HZ:g} times a second. `{JITTER}` "
            f"is a delay that is drawn anew for every plan: {origin}{jitter.describe()}. Error bars "
            "are Wilson 95 % intervals for success, and quartiles over the episodes for everything else."
        )
    )
    everyone: list[Found] = [*results, *unmet]
    blocks += _bars(results, everyone)
    blocks += _system1(everyone, pictures)
    blocks += _smoothness(everyone, pictures)
    blocks += _reactions(results, everyone, pictures, dt_ms)
    blocks += _system2(everyone, pictures)
    blocks += _all_strategies(everyone)
    blocks += _unmet(unmet)
    blocks += _configured(action)
    if results:
        blocks += _everything(results)
    blocks += _how(results, plan, command)
    return blocks


def _bars(results: Sequence[Result], everyone: Sequence[Found]) -> list[Block]:
    """What was to be reached, and whether it was; nothing where only System 2 was varied."""
    told = verdicts(results, _tasks(everyone, "system1"))
    if not told:
        return []
    mark = {"met": "met", "missed": "**missed**", "not measured": "not measured"}
    rows = tuple((f"`{one.task}`", one.bar, one.found or DASH, mark[one.status]) for one in told)
    blocks: list[Block] = [
        Heading("The bars"),
        Text(BARS_TEXT),
        Table(("task", "bar", "found", ""), rows, words=True),
    ]
    if text := saturated(results):
        blocks.append(Text(text))
    return blocks


def _system1(everyone: Sequence[Found], pictures: Mapping[str, Path]) -> list[Block]:
    blocks: list[Block] = []
    if "success" in pictures:
        blocks += [
            Heading("By delay of System 1"),
            Text(STATIC),
            Picture(pictures["success"], "Success, throughput and time to success by delay of System 1"),
        ]
    for task in _tasks(everyone, "system1"):
        blocks += [
            Heading(f"Success on `{task}`", 3),
            _by_delay(everyone, "system1", task, _success),
        ]
    return blocks


def _smoothness(everyone: Sequence[Found], pictures: Mapping[str, Path]) -> list[Block]:
    if "smoothness" not in pictures:
        return []
    blocks: list[Block] = [
        Heading("Smoothness"),
        Text(SMOOTHNESS_TEXT),
        Picture(pictures["smoothness"], "Joins, acceleration, jerk and starved ticks by delay of System 1"),
    ]
    jump, acceleration = metric("seam_jump_mean_m_s"), metric("tool_acceleration_rms_m_s2")
    for task in _tasks(everyone, "system1"):
        blocks += [
            Heading(f"Velocity jump at joins on `{task}`, m/s", 3),
            _by_delay(everyone, "system1", task, lambda report: _middle(jump(report), 3)),
            Heading(f"Acceleration on `{task}`, m/s²", 3),
            _by_delay(everyone, "system1", task, lambda report: _middle(acceleration(report), 2)),
        ]
    return blocks


def _reactions(
    results: Sequence[Result], everyone: Sequence[Found], pictures: Mapping[str, Path], dt_ms: float
) -> list[Block]:
    if "reaction" not in pictures:
        return []
    frame_ms = 1e3 / results[0].point.cell.settings.wrist_rate_hz
    blocks: list[Block] = [
        Heading("Reaction time"),
        Text(REACTION_TEXT.format(dt=dt_ms, frame=frame_ms)),
        Picture(pictures["reaction"], "Mean reaction time, by delay and against the prediction"),
    ]
    tasks = _tasks(everyone, "system1")
    if not tasks:
        return blocks
    blocks.append(
        _by_delay(
            everyone,
            "system1",
            tasks[0],
            lambda report: f"{_middle(REACTION(report), 0)} ({_middle(PREDICTED(report), 0)})",
        )
    )
    blocks.append(Text(f"Mean reaction on `{tasks[0]}`, ms; in brackets what delay and period predict."))
    return blocks


def _system2(everyone: Sequence[Found], pictures: Mapping[str, Path]) -> list[Block]:
    if "system2" not in pictures:
        return []
    blocks: list[Block] = [
        Heading("By delay of System 2"),
        Text(SYSTEM2_TEXT.format(delay=SYSTEM1_DELAY_MS, rate=SYSTEM2_RATE_HZ)),
        Picture(pictures["system2"], "Success, throughput, latent age and reaction by delay of System 2"),
    ]
    for task in _tasks(everyone, "system2"):
        blocks += [
            Heading(f"Success on `{task}`, by delay of System 2", 3),
            _by_delay(everyone, "system2", task, _success),
        ]
    return blocks


def _all_strategies(everyone: Sequence[Found]) -> list[Block]:
    """Every strategy that was to be run at the points where it was not only the main ones."""
    compared = {*OTHERS, *ALTERED}
    wanted = {
        (one.point.task, one.point.delay)
        for one in everyone
        if one.point.varied == "system1" and one.point.variant.label in compared
    }
    blocks: list[Block] = []
    for task, delay in sorted(wanted, key=str):
        rows = []
        for variant in VARIANTS:
            for one in everyone:
                same = (one.point.varied, one.point.task, one.point.delay) == ("system1", task, delay)
                if same and one.point.variant.label == variant.label:
                    rows.append((f"`{variant.label}`", *_outcome(one)))
        head = ("", "success", "a minute", "time", "jump, m/s", "jerk, m/s³", "reaction 1, ms")
        blocks += [
            Heading(f"What was measured on `{task}`, System 1 at {_delay(delay)}"),
            Table(head, tuple(rows)),
        ]
    return blocks


def _success(report: Report) -> str:
    """Success; and for `follow`, which is all or nothing, the part of the time above the block besides."""
    above = metric("fraction")(report) if report.task == "follow" else None
    return interval(success(report)) + ("" if above is None else f", {above[1]:.2f} above")


def _outcome(one: Found) -> tuple[str, ...]:
    if isinstance(one, Unmet):
        return (one.status, *[DASH] * 5)
    report = one.report
    return (
        interval(success(report)),
        f"{throughput(report):.1f}",
        _seconds(report),
        _middle(metric("seam_jump_mean_m_s")(report), 3),
        _middle(metric("tool_jerk_rms_m_s3")(report), 1),
        _middle(REACTION(report), 0),
    )


def _unmet(unmet: Sequence[Unmet]) -> list[Block]:
    if not unmet:
        return []
    rows = tuple(
        (", ".join(f"`{name}`" for name in names), status, why)
        for (status, why), names in by_reason(unmet).items()
    )
    return [
        Heading("What could not be run"),
        Text(
            "*Not offered*: the bundle of System 1 lacks what the strategy needs, or that of System 2 does "
            "not know the words of the task. *Refused*: the chunks are too short for the delay; a strategy "
            "that continues the planned motion needs d <= H - s, with a delay of d actions, s actions "
            "executed between two jobs, and H actions in a chunk."
        ),
        Table(("cells", "", "why"), rows, words=True),
    ]


def _configured(action: ActionSpec) -> list[Block]:
    rows = []
    for variant in VARIANTS:
        options = ", ".join(f"{name} {value}" for name, value in variant.options_for(action).items())
        about = strategy_class(variant.name).about
        origin, cost = (DASH, DASH) if variant.label == EXPERTS else (about.paper, about.cost)
        rows.append((f"`{variant.label}`", origin, variant.configured, options or DASH, cost))
    return [
        Heading("How each strategy is run"),
        Text(
            "As its paper has it, as far as one job at a time allows. d is the delay in actions, s the "
            "actions between the starts of two jobs, H those of a chunk, n the Euler steps of the sampler. "
            "No job starts sooner than one action after the one before. The delay that a strategy plans for "
            "is the largest of the last ten that were measured, rounded up to whole actions; the first job "
            "is told the delay beforehand. The same delay is injected for all of them; the last column "
            "says how many evaluations of the network a chunk takes, which is what the delay would depend "
            "on in an installation."
        ),
        Table(("strategy", "from", "setting", "options", "cost of a chunk"), tuple(rows), words=True),
    ]


def _everything(results: Sequence[Result]) -> list[Block]:
    rows = [(f"`{one.point.cell.name}`", *_line(one.report)) for one in results]
    words = tuple((name, meaning) for name, meaning in COLUMNS)
    return [
        Heading("All cells"),
        Text("Medians over the episodes of a cell, except for success and the successes a minute."),
        Table(("cell", *MEASURES), tuple(rows)),
        Heading("What the columns mean", 3),
        Table(("column", "meaning"), words, words=True),
    ]


def _line(report: Report) -> tuple[str, ...]:
    events = [metric(f"{name}_event_reaction_ms_mean")(report) for name in ("system1", "system2")]
    chunks = report.totals.get("planner.plans", 0)
    late = 100 * report.totals.get("planner.late_chunks", 0) / chunks if chunks else 0.0
    return (
        interval(success(report)),
        f"{throughput(report):.1f}",
        _seconds(report),
        _middle(metric("seam_jump_mean_m_s")(report), 3),
        _middle(metric("seam_gap_max_m", 1e3)(report), 2),
        _middle(metric("seam_apart_mean_m", 1e3)(report), 1),
        _middle(metric("tool_acceleration_rms_m_s2")(report), 2),
        _middle(metric("tool_jerk_rms_m_s3")(report), 1),
        f"{_middle(metric('held_fraction', 100.0)(report), 1)} %",
        str(sum(result.counters.get("control.stopped", 0) > 0 for result in report.results)),
        _middle(REACTION(report), 0),
        _middle(PREDICTED(report), 0),
        _middle(metric("system2_reaction_ms_mean")(report), 0),
        DASH if not any(events) else " / ".join(_middle(one, 0) for one in events),
        _middle(metric("system2_age_in_force_ms_p50")(report), 0),
        f"{late:.0f} %",
    )


def _how(results: Sequence[Result], plan: Plan, command: str) -> list[Block]:
    systems = ", ".join(f"{name} `{value}`" for name, value in plan.source.describe().items())
    versions = results[0].report.versions if results else {}
    counts = {one.point.task: one.report.episodes for one in results if one.report.episodes < plan.episodes}
    less = [f"`{task}` {count}" for task, count in counts.items()]
    fewer = f" ({', '.join(less)}, whose episodes take long)" if less else ""
    close = [
        f"`{one.point.cell.name}` {one.report.episodes}"
        for one in results
        if one.report.episodes > plan.episodes
    ]
    more = (
        f" More where the bars compare what is close: {', '.join(close)}; the numbers were fixed after the "
        "first episodes, which are among them, had shown who does better but not for certain."
        if close
        else ""
    )
    return [
        Heading("How it was measured"),
        Code(command),
        Text(
            f"Each cell: {plan.episodes} episodes{fewer}, seeds from {plan.seed} on, none of which training "
            "has seen; the same seeds in every cell of a task. The same command gives the same "
            "numbers to the bit on the same machine and versions. The numbers of this page are in "
            "`delay.json`; those of every episode are written to `delay-episodes.json` beside the kept ones."
            f"{more}"
        ),
        *(Text(noise_text(one.report.settings)) for one in results[:1]),
        Text(systems + "."),
        Text(", ".join(f"{name} {number}" for name, number in versions.items()) + "."),
    ]


def _by_delay(everyone: Sequence[Found], varied: Varied, task: str, entry: Callable[[Report], str]) -> Table:
    """One line for each of the main strategies and for the experts, one column for each delay."""
    own = [one for one in everyone if (one.point.varied, one.point.task) == (varied, task)]
    own = [one for one in own if one.point.variant.label in ROWS]
    delays = sorted({one.point.delay for one in own}, key=lambda delay: (isinstance(delay, str), delay))
    entries = {
        (one.point.variant.label, one.point.delay): one.status
        if isinstance(one, Unmet)
        else entry(one.report)
        for one in own
    }
    rows = [
        (f"`{name}`", *(entries.get((name, delay), DASH) for delay in delays))
        for name in ROWS
        if any((name, delay) in entries for delay in delays)
    ]
    return Table(("", *(_delay(delay) for delay in delays)), tuple(rows))


def _tasks(everyone: Sequence[Found], varied: Varied) -> list[str]:
    """Tasks of a sweep whose tables have at least one line."""
    return list(
        dict.fromkeys(
            one.point.task
            for one in everyone
            if one.point.varied == varied and one.point.variant.label in MAIN
        )
    )


def _delay(delay: int | str) -> str:
    return delay if isinstance(delay, str) else f"{delay} ms"


def _seconds(report: Report) -> str:
    return f"{_middle(time_to_success(report), 2)} s"


def _middle(spread: Spread | None, digits: int) -> str:
    return DASH if spread is None else f"{spread[1]:.{digits}f}"
