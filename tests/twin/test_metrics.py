from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from dualsys.clock import NS_PER_MS
from dualsys.messages import Plan, Tensor
from dualsys.twin.metrics import Meter

TICK_S = 0.004


class Cartesian:
    """An arm whose three joints are the coordinates of its tool."""

    def forward(self, q_rad: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        q = np.asarray(q_rad, dtype=np.float64)
        return q, np.broadcast_to(np.eye(3), (*q.shape, 3))


def line(speed_m_s: float, start_ms: int, splice_ms: int, *, epoch: int = 0, delay_ms: int = 60) -> Plan:
    """A plan along x at one speed for 400 ms."""
    times_ms = np.arange(start_ms, start_ms + 440, 40, dtype=np.int64)
    setpoints = np.zeros((len(times_ms), 4))
    setpoints[:, 0] = (times_ms - start_ms) * 1e-3 * speed_m_s
    return Plan(
        session=1, episode=0, epoch=epoch, seq=0, t_ns=Tensor.of(times_ms * NS_PER_MS),
        setpoints=Tensor.of(setpoints), latent_seq=3, t_latent_ns=(splice_ms - 250) * NS_PER_MS,
        t_observation_ns=(splice_ms - delay_ms) * NS_PER_MS, splice_ns=splice_ms * NS_PER_MS,
        delay_ns=delay_ms * NS_PER_MS, delay_steps=2,
    )  # fmt: skip


def meter() -> Meter:
    return Meter(Cartesian(), joints=3, tick_s=TICK_S)


def test_a_join_is_measured_by_the_change_of_tool_velocity() -> None:
    found = meter()
    found.on_plan(line(0.10, 300, 300))
    found.on_plan(line(0.25, 410, 410))
    found.on_plan(line(0.25, 500, 500))

    summary = found.summary()
    assert summary["seam_jump_max_m_s"] == pytest.approx(0.15)
    assert summary["seam_jump_mean_m_s"] == pytest.approx(0.075)


def test_a_join_after_the_end_of_a_plan_starts_from_rest() -> None:
    found = meter()
    found.on_plan(line(0.10, 300, 300))
    found.on_plan(line(0.25, 900, 900))

    assert found.summary()["seam_jump_max_m_s"] == pytest.approx(0.25)


def test_plans_of_different_epochs_do_not_join() -> None:
    found = meter()
    found.on_plan(line(0.10, 300, 300))
    found.on_plan(line(0.25, 410, 410, epoch=1))

    assert "seam_jump_max_m_s" not in found.summary()


def test_latent_age_counts_until_the_plan_is_ready() -> None:
    found = meter()
    found.on_plan(line(0.1, 300, 300))

    summary = found.summary()
    assert summary["latent_age_ms_p50"] == pytest.approx(250.0)
    assert summary["plan_delay_ms_p95"] == pytest.approx(60.0)


def test_constant_acceleration_is_measured_as_itself() -> None:
    found = meter()
    for time_s in np.arange(0.0, 1.0, TICK_S):
        found.on_tick(np.array([0.5 * 2.0 * time_s**2, 0.0, 0.0, 0.0]), "RUNNING")

    summary = found.summary()
    assert summary["tool_acceleration_rms_m_s2"] == pytest.approx(2.0, rel=1e-6)
    assert summary["joint_acceleration_rms_rad_s2"] == pytest.approx(2.0 / np.sqrt(3), rel=1e-6)


def test_ticks_are_counted_by_mode() -> None:
    found = meter()
    for mode in ("WAITING", "RUNNING", "RUNNING", "HOLDING"):
        found.on_tick(None, mode)

    summary = found.summary()
    assert (summary["waiting_fraction"], summary["held_fraction"]) == (0.25, 0.25)


def test_nothing_measured_is_left_out() -> None:
    assert "plan_delay_ms_p50" not in meter().summary()
    assert "tool_acceleration_rms_m_s2" not in meter().summary()
