"""Commands that ruckig has smoothed, within a workspace, are reproduced from a recording bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.fast.control.ages import Ages
from dualsys.fast.control.limiter import SMOOTHINGS, Smoothing
from dualsys.messages import Plan, Tensor
from dualsys.recorder.control import RecordedControlCore
from dualsys.recorder.replay import replay
from dualsys.recorder.topics import Envelope
from dualsys.robots.contract import ArmReading
from dualsys.robots.simulated import SIMULATED_PANDA

from .conftest import ListTap

HOME = np.array([0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08])


def plan_of(seq: int, now_ns: int, start: NDArray[np.float64], rate: float) -> Plan:
    """A plan of constant rate from where the arm is, in knots of 40 ms."""
    steps = 40 * np.arange(17, dtype=np.int64)
    return Plan(
        session=7, episode=0, epoch=0, seq=seq, t_ns=Tensor.of(now_ns + steps * NS_PER_MS),
        setpoints=Tensor.of(start + steps[:, None] * 1e-3 * rate * np.linspace(1.0, -0.4, 8)),
        latent_seq=seq, t_latent_ns=now_ns, t_observation_ns=now_ns, splice_ns=now_ns, delay_ns=0,
        delay_steps=0,
    )  # fmt: skip


@pytest.mark.fault_row(50)
@pytest.mark.parametrize("period_ms", [1, 4])
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_a_recording_of_either_smoothing_is_reproduced(
    smoothing: Smoothing, period_ms: int, save: Callable[[list[Envelope]], Path]
) -> None:
    tap = ListTap()
    box = np.array([[-np.inf, -np.inf, 0.0], [0.9, 0.5, np.inf]])
    limits = changed(SIMULATED_PANDA.limits, workspace=box)
    period_ns = period_ms * NS_PER_MS
    core = RecordedControlCore(
        tap, SIMULATED_PANDA, limits, Ages(), period_ns, session=7, smoothing=smoothing
    )
    now_ns, arm = 10 * NS_PER_S, HOME
    for tick in range(240):
        now_ns += period_ns
        output = core.step(now_ns, ArmReading(now_ns, arm, np.zeros(8)))
        assert output.command is not None
        arm = output.command.copy()
        if tick in (5, 90):
            core.on_plan(plan_of(tick, now_ns, arm, 0.3 if tick == 5 else -0.2), now_ns)
    verdict = replay(save(tap.envelopes))
    assert verdict.reproduced, verdict.lines()
    assert verdict.parts[0].compared == {"ticks": 240, "commands": 240, "plans": 2, "requests": 0}
