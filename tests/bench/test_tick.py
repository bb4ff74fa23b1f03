"""The cost of a control tick is measured on ticks that follow a plan."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.bench.tick import STAGES, TickCost, main, measure
from dualsys.bench.tick_page import write_page
from dualsys.fast.control.limiter import SMOOTHINGS, Smoothing


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_every_stage_of_a_tick_is_timed(smoothing: Smoothing) -> None:
    cost = measure(40, 500.0, smoothing)
    assert cost.stage_us.shape == (40, len(STAGES))
    assert (np.median(cost.stage_us[:, [1, 3, 4, 5]], axis=0) > 0).all()
    assert not cost.stage_us[:, STAGES.index("prepare")].any()
    assert min(cost.calls) > 10
    text = "\n".join(cost.lines())
    assert all(word in text for word in ("read to write", "plan, when there is one", "p99", "blocks kept"))


def test_what_is_prepared_is_timed_by_itself_and_takes_the_plan_in() -> None:
    cost = measure(40, 250.0, prepare_ms=0.4)
    assert (cost.stage_us[:, STAGES.index("prepare")] > 0).all()
    assert "before the deadline" in cost.rows()
    assert "plan, when there is one" not in cost.rows()


def test_the_page_says_for_each_rate_whether_the_bar_is_met(tmp_path: Path) -> None:
    stages = np.full((10, len(STAGES)), 40.0)
    slow = TickCost(250.0, 0.0, stages, 0.0, (60.0, 90.0))
    costs = [slow, TickCost(250.0, 0.4, stages / 2, 0.0, (60.0, 90.0))]
    page, numbers = write_page(tmp_path, costs, 10, "limiter")
    text = page.read_text(encoding="utf-8")
    assert "250 Hz, not prepared: p50 160 µs, MISSED" in text
    assert "250 Hz, prepared: p50 80 µs, met" in text
    assert [cost["prepare_ms"] for cost in msgspec.json.decode(numbers.read_bytes())["costs"]] == [0.0, 0.4]


def test_what_cannot_be_measured_is_refused_by_name() -> None:
    with pytest.raises(
        SystemExit, match=r"--rates: got 5, .*; --prepare-ms: got 3, expected 0 to 0\.5; --ticks"
    ):
        main(ticks=0, rates=(5.0,), prepare_ms=3.0)
