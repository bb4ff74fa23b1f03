"""The plan benchmark: its comparisons, its bars, its page. The timing itself is not run here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.bench.__main__ import main
from dualsys.bench.first_plan import FirstPlan, peak_bytes
from dualsys.bench.plan import Options, differences, ratios, run
from dualsys.bench.plan_page import BARS, COMPARED, CONDITION, TITLES, Measured, page
from dualsys.bench.timing import Ratio, Runs, timing_of
from dualsys.errors import ConfigError


def runs_of(**each_ns: int) -> dict[str, Runs]:
    """Three equal rounds of every way to make a plan."""
    named = {CONDITION: 100, **{name.replace("_", " "): value for name, value in each_ns.items()}}
    return {name: Runs((value,) * 3, (value,) * 3) for name, value in named.items()}


@pytest.fixture
def measured() -> Measured:
    runs = runs_of(ort_plain=200, ort_guided=450, torch_guided=2000)
    return Measured(
        timings={name: timing_of(one) for name, one in runs.items()},
        ratios=ratios(runs),
        differences={"torch guided": 3e-6},
        skipped={"compiled": "no C++ compiler was found"},
        first_plans={"ONNX Runtime": FirstPlan(0.4, 0.5, 80.0, False)},
        core_share=0.99,
        weights="random",
        versions={"onnxruntime": "1.2"},
    )


def test_a_plan_is_the_context_and_the_chunk() -> None:
    found = ratios(runs_of(ort_plain=200, ort_guided=500))
    assert found["ort guided / ort plain"].median == 2.5
    assert found["plan of ort guided / plan of ort plain"].median == 2.0


def test_what_was_not_run_is_not_compared() -> None:
    assert set(ratios(runs_of(ort_plain=1, ort_bid=8))) == set()
    assert set(ratios(runs_of(ort_plain=1, ort_prefix=2))) == {"ort prefix / ort plain"}


def test_the_ways_that_are_compared_have_a_title() -> None:
    assert {name.removeprefix("plan of ") for pair in COMPARED for name in pair} <= set(TITLES)
    assert {bar.ratio for bar in BARS} <= {f"{slower} / {faster}" for slower, faster in COMPARED}


def test_chunks_of_torch_are_compared_with_those_of_the_runtime() -> None:
    ours, theirs = np.full((4, 2), 2.0), np.full((1, 4, 2), 2.0)
    theirs[0, 1, 1] = 2.5
    chunks = {"ort plain": ours, "torch plain": theirs, "torch compiled plain": ours[None], "ort bid": ours}
    assert differences(chunks) == {"torch plain": 0.25, "torch compiled plain": 0.0}


@pytest.mark.parametrize(
    ("index", "median", "met"), [(0, 3.99, False), (0, 4.0, True), (1, 2.0, True), (1, 2.01, False)]
)
def test_a_bar_is_met_on_its_side(index: int, median: float, met: bool) -> None:
    assert BARS[index].met_by(Ratio(median, median, median)) is met


def test_the_page_says_what_was_found_what_was_missed_and_how_to_repeat_it(measured: Measured) -> None:
    text = page(measured, "python -m dualsys.bench plan --rounds 3")
    assert "```\npython -m dualsys.bench plan --rounds 3\n```" in text
    assert "at least 4 times | 4.44 | met |" in text
    assert "the sampler alone: at most twice as long | 2.25 | **missed** |" in text
    assert "Not run: compiled: no C++ compiler was found." in text
    assert "| ONNX Runtime | 0.40 s | 0.50 s | 80 MB | no |" in text
    assert "was 99 % of the time that passed. The machine was idle otherwise." in text


def test_the_page_says_that_the_machine_was_busy(measured: Measured) -> None:
    text = page(msgspec.structs.replace(measured, core_share=0.5), "command")
    assert "**Other work took part of the core**" in text


def test_the_memory_of_a_process_is_its_own_peak() -> None:
    assert peak_bytes("Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t    50 kB\n") == 50 * 1024


def test_a_wrong_number_of_rounds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="rounds: expected at least 1, got 0"):
        run(replace(Options(), rounds=0), "command")
    assert main(["plan", "--rounds", "-1"]) == 2
    assert "rounds: expected at least 1, got -1" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert main(["plan", "--checkpoint", str(tmp_path / "none.pt")]) == 2
    assert "none.pt: cannot be read: No such file or directory" in capsys.readouterr().err
