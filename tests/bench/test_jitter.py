"""The jitter benchmark: what it runs, how it judges, and what it writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dualsys.bench import jitter, jitter_page
from dualsys.bench.jitter import Cell, LoopName, Options, build_c_loop, cells_of, gate, measure, read_lines
from dualsys.errors import ConfigError, RobotError
from dualsys.fast.control.rehearsal import Rehearsed

ROOT = Path(__file__).resolve().parents[2]


def cell(loop: LoopName, p99_us: float, missed: int = 0, *, rate_hz: float = 500.0) -> Cell:
    """A cell under all loads, of 30,000 ticks."""
    late_us = {"p50": p99_us / 2, "p99": p99_us, "p999": 2 * p99_us, "max": 3 * p99_us}
    return Cell(rate_hz, "all", loop, 60.0, Rehearsed(30_000 - missed, missed, min(missed, 1), late_us))


def test_all_combinations_are_run_and_a_load_is_begun_only_once() -> None:
    cells = cells_of(Options())
    assert len({one.name for one in cells}) == len(cells) == 4 * 4 * 7
    longer = {one.name for one in cells if one.seconds == 60.0}
    assert longer == {f"500hz-all-{loop}" for loop in ("control_fifo", "c_awake", "c_fifo")}, "the bar's"
    assert {one.seconds for one in cells} == {10.0, 60.0}
    loads = [one.load for one in cells]
    assert [load for load, before in zip(loads, [None, *loads], strict=False) if load != before] == list(
        jitter.LOADS
    )


@pytest.mark.parametrize(
    "options",
    [
        Options(rates="100,5000"),
        Options(rates="fast"),
        Options(loads="idle,party"),
        Options(loops="rust"),
        Options(seconds=0.0),
        Options(gate_seconds=1e6),
    ],
)
def test_an_option_that_is_not_allowed_is_named(options: Options) -> None:
    with pytest.raises(ConfigError, match=r"--(rates|loads|loops|seconds|gate-seconds): got"):
        cells_of(options)


@pytest.mark.parametrize(
    ("cells", "passed"),
    [
        ([cell("control_fifo", 60.0), cell("c_fifo", 40.0)], True),
        ([cell("control_fifo", 60.1), cell("c_fifo", 40.0)], False),
        ([cell("control_fifo", 40.0, missed=3), cell("c_fifo", 40.0)], True),
        ([cell("control_fifo", 40.0, missed=4), cell("c_fifo", 40.0)], False),
        ([cell("control_fifo", 60.0)], None),
        ([cell("control", 40.0), cell("c_fifo", 40.0)], None),
        ([cell("control_fifo", 60.0), cell("c_fifo", 40.0, rate_hz=100.0)], None),
    ],
)
def test_the_gate_is_one_miss_in_ten_thousand_and_one_and_a_half_times_the_lateness_of_c(
    cells: list[Cell], passed: bool | None
) -> None:
    assert gate(cells).passed is passed


def test_the_gate_tells_what_the_machine_takes_from_a_loop_that_is_awake() -> None:
    cells = [cell("control_fifo", 60.0, missed=4), cell("c_fifo", 40.0, missed=5)]
    told = gate([*cells, cell("c_awake", 1.0, missed=6)])
    assert told.says == (
        f"{gate(cells).says}; one in C that is awake and only reads the clock missed 6 of 30000"
    )


def test_lines_of_a_reference_loop_are_summed_up_by_the_rules_of_the_control_loop() -> None:
    found = read_lines("1000 7\n2000 0\n9000 2\n")
    assert (found.ticks, found.missed, found.longest_miss) == (3, 2, 2)
    assert found.late_us["max"] == 9.0
    with pytest.raises(RobotError, match="two whole numbers"):
        read_lines("Segmentation fault (core dumped)\n")


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("cpu  10 0 5 900 3 0 1 7 0 0\ncpu0 10 0 5 900 3 0 1 2 0 0\n", 7000 / os.sysconf("SC_CLK_TCK")),
        ("cpu  10 0 5 900 3 0 1\n", None),
        ("cpu  10 0 5 900 3 0 1 many 0 0\n", None),
        ("intr 1 2 3 4 5 6 7 8 9\n", None),
        ("", None),
    ],
)
def test_what_the_host_has_stolen_is_read_from_the_kernel_or_unknown(
    text: str, expected_ms: float | None, tmp_path: Path
) -> None:
    statistics = tmp_path / "stat"
    assert jitter.stolen_ms(statistics) is None, "there is no such file everywhere"
    statistics.write_text(text, encoding="ascii")
    assert jitter.stolen_ms(statistics) == expected_ms


def test_without_a_compiler_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    program, reason = build_c_loop(tmp_path)
    assert program is None
    assert "no C compiler was found" in reason


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("asleep_percent", ["100", "10", "0"])
def test_the_c_loop_keeps_its_grid_and_refuses_nonsense(tmp_path: Path, asleep_percent: str) -> None:
    program, fault = build_c_loop(tmp_path)
    assert program is not None, fault
    arguments = ["5000000", "200000000", "0", asleep_percent]
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    ticks = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert all(late_ns >= 0 and missed >= 0 for late_ns, missed in ticks)
    periods = len(ticks) + sum(missed for _, missed in ticks)
    assert 39 <= periods <= 39 + ticks[-1][1] + 2, "every period is a tick or a missed one"
    for nonsense in (["0", "1", "0", "100"], ["5000000", "200000000", "0", "101"], arguments[:3]):
        assert subprocess.run([program, *nonsense], capture_output=True, check=False).returncode == 2


def test_each_loop_is_measured_under_a_load_of_real_processes(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [Cell(100.0, "hogs", loop, 0.3) for loop in ("control", "c", "naive")]
    for measured in measure(cells, ROOT / "configs/tabletop.yaml"):
        if measured.result is None:
            assert measured.loop == "c"
            assert "compiler" in measured.note
            continue
        assert measured.result.ticks >= 1
        assert ("drifts by" in measured.note) == (measured.loop == "naive")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["system1", "system2"])
def test_the_models_of_the_load_compute_until_they_are_ended(kind: str) -> None:
    bundle = ROOT / "bundles/tabletop" / kind
    code = (
        "import sys; from pathlib import Path; from dualsys.bench.jitter_load import LOADS\n"
        "calls = iter([False, False, True]); said = []\n"
        f"LOADS[{kind!r}](Path(sys.argv[1]), lambda: next(calls), lambda: said.append('begun'))\n"
        "assert said == ['begun'] and list(calls) == []"
    )
    subprocess.run([sys.executable, "-c", code, str(bundle)], check=True, timeout=110)


def test_page_numbers_and_figure_tell_every_cell_and_what_could_not_be_measured(tmp_path: Path) -> None:
    refused = Cell(500.0, "all", "control_fifo", 60.0, note="SCHED_FIFO 50 was refused")
    stolen = replace(cell("control", 80.0, missed=2), stolen_ms=30.0)
    cells = [refused, stolen, cell("c_fifo", 40.0), cell("naive", 900.0)]
    text, numbers, figure = jitter_page.write_page(
        tmp_path, cells, gate(cells), "python -m dualsys.bench jitter"
    )
    page = text.read_text("utf-8")
    assert "| control loop | 40 | 80 | 160 | 240 | 2 of 30000 | 1 | 30 |" in page
    assert "| naive Python | 450 | 900 | 1,800 | 2,700 | 0 of 30000 | 0 | unknown |" in page
    assert "control loop, SCHED_FIFO: SCHED_FIFO 50 was refused" in page
    assert "## 4 CPU hogs, planner and System 2 at work" in page
    assert "gate: not measured" in page
    tree = json.loads(numbers.read_text("utf-8"))
    assert [one["measured"] for one in tree["cells"]] == [False, True, True, True]
    assert tree["cells"][1]["late_us"]["p999"] == 160.0
    assert "kernel" in tree["machine"]
    assert figure.stat().st_size > 1000


def test_the_page_tells_ticks_that_overran_from_those_that_were_woken_too_late() -> None:
    judged = cell("control_fifo", 80.0)
    assert jitter_page.work([judged]) == ""
    for longest_us, says in ((1_900.0, "none overran"), (2_100.0, "some overran")):
        times = {"p50": 90.0, "p99": 300.0, "p999": 400.0, "max": longest_us}
        assert judged.result is not None
        told = replace(judged, result=replace(judged.result, work_us=times))
        assert says in jitter_page.work([told])
        assert jitter_page.tree(told)["work_us"] == times
