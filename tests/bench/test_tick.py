"""The cost of a control tick is measured on ticks that follow a plan."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.bench.tick import STAGES, measure
from dualsys.fast.control.limiter import SMOOTHINGS, Smoothing


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_every_stage_of_a_tick_is_timed(smoothing: Smoothing) -> None:
    cost = measure(40, 500.0, smoothing)
    assert cost.stage_us.shape == (40, len(STAGES))
    assert (np.median(cost.stage_us[:, [0, 2, 3, 4]], axis=0) > 0).all()
    text = "\n".join(cost.lines())
    assert all(word in text for word in ("read to write", "plan, when there is one", "p99", "blocks kept"))
