from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from dualsys.clock import NS_PER_MS
from dualsys.messages import Plan, Tensor
from dualsys.twin.metrics import (
    Meter,
    ages_in_force_ns,
    derivative_rms,
    predicted_reaction_ns,
    reactions_ns,
    velocity_jumps_m_s,
)

TICK_S = 0.004


class Cartesian:
    """An arm whose three joints are the coordinates of its tool."""

    def forward(self, q_rad: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        q = np.asarray(q_rad, dtype=np.float64)
        return q, np.broadcast_to(np.eye(3), (*q.shape, 3))


def ns(*milliseconds: float) -> NDArray[np.int64]:
    return np.array([round(one * NS_PER_MS) for one in milliseconds], dtype=np.int64)


def line(
    speed_m_s: float,
    start_ms: int,
    splice_ms: int,
    *,
    epoch: int = 0,
    delay_ms: int = 60,
    offset_m: float = 0.0,
) -> Plan:
    """A plan along x at one speed for 400 ms."""
    times_ms = np.arange(start_ms, start_ms + 440, 40, dtype=np.int64)
    setpoints = np.zeros((len(times_ms), 4))
    setpoints[:, 0] = offset_m + (times_ms - start_ms) * 1e-3 * speed_m_s
    return Plan(
        session=1, episode=0, epoch=epoch, seq=0, t_ns=Tensor.of(times_ms * NS_PER_MS),
        setpoints=Tensor.of(setpoints), latent_seq=3, t_latent_ns=(splice_ms - 250) * NS_PER_MS,
        t_observation_ns=(splice_ms - delay_ms) * NS_PER_MS, splice_ns=splice_ms * NS_PER_MS,
        delay_ns=delay_ms * NS_PER_MS, delay_steps=2,
    )  # fmt: skip


def meter() -> Meter:
    return Meter(Cartesian(), joints=3, tick_s=TICK_S)


def follow(found: Meter, *plans: Plan) -> None:
    """Every plan is accepted the moment that it takes over."""
    for plan in plans:
        found.on_plan(plan, plan.splice_ns)


def test_a_join_is_measured_by_the_change_of_tool_velocity() -> None:
    found = meter()
    follow(found, line(0.10, 300, 300))
    follow(found, line(0.25, 410, 410))
    follow(found, line(0.25, 500, 500))

    summary = found.summary()
    assert summary["seam_jump_max_m_s"] == pytest.approx(0.15)
    assert summary["seam_jump_mean_m_s"] == pytest.approx(0.075)


def test_a_join_after_the_end_of_a_plan_starts_from_rest() -> None:
    found = meter()
    follow(found, line(0.10, 300, 300))
    follow(found, line(0.25, 900, 900))

    assert found.summary()["seam_jump_max_m_s"] == pytest.approx(0.25)


def test_plans_of_different_epochs_do_not_join() -> None:
    found = meter()
    follow(found, line(0.10, 300, 300))
    follow(found, line(0.25, 410, 410, epoch=1))

    assert "seam_jump_max_m_s" not in found.summary()


def test_latent_age_counts_until_the_plan_is_ready() -> None:
    found = meter()
    follow(found, line(0.1, 300, 300))

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


def test_a_gap_between_the_positions_of_two_plans_at_their_join_is_measured() -> None:
    found = meter()
    follow(found, line(0.10, 300, 300), line(0.10, 400, 400, offset_m=0.01), line(0.10, 500, 500))

    # The second plan begins where the first is; the third begins at the origin, where the second is 20 mm on.
    assert found.summary()["seam_gap_max_m"] == pytest.approx(0.02)
    assert found.summary()["seam_jump_max_m_s"] == pytest.approx(0.0, abs=1e-9)


def test_plans_that_part_after_a_join_without_a_gap_are_apart() -> None:
    found = meter()
    follow(found, line(0.10, 300, 300), line(-0.10, 400, 400, offset_m=0.01))

    summary = found.summary()
    assert summary["seam_gap_max_m"] == pytest.approx(0.0, abs=1e-12)
    assert summary["seam_apart_mean_m"] == pytest.approx(0.2 * 0.20)  # 0.2 m/s apart for 200 ms


def test_a_plan_that_ends_too_soon_is_not_compared_with_the_one_after_it() -> None:
    found = meter()
    follow(found, line(0.10, 300, 300), line(0.10, 600, 600))

    assert "seam_apart_mean_m" not in found.summary()


def test_a_plan_after_the_end_of_another_is_compared_with_where_the_arm_was_led_meanwhile() -> None:
    found = meter()
    found.on_plan(line(0.10, 300, 300), 300 * NS_PER_MS)
    # That plan ends at 40 mm, at 700 ms; the arm brakes beyond, and the next plan starts 1 mm further.
    found.on_tick(np.array([0.049, 0.0, 0.0, 0.0]), "HOLDING")
    found.on_plan(line(0.10, 900, 900, offset_m=0.050), 900 * NS_PER_MS)

    assert found.summary()["seam_gap_max_m"] == pytest.approx(0.001)


def test_a_velocity_jump_is_that_of_the_vectors() -> None:
    tool_m = np.zeros((1, 4, 3))
    tool_m[0, 1] = (0.04 * 0.3, 0.0, 0.0)
    tool_m[0, 3] = (0.0, 0.02 * 0.4, 0.0)

    assert velocity_jumps_m_s(tool_m, np.array([[0.04, 0.02]])) == pytest.approx([0.5])


def test_constant_jerk_is_measured_as_itself() -> None:
    times_s = np.arange(0.0, 2.0, 0.04)
    position_m = np.zeros((len(times_s), 3))
    position_m[:, 0], position_m[:, 1] = 3.0 * times_s**3 / 6.0, 4.0 * times_s**3 / 6.0

    assert derivative_rms(position_m, 0.04, 3) == pytest.approx(5.0)
    assert derivative_rms(position_m[:, :1] * 0.0, 0.04, 2) == 0.0


def test_the_meter_takes_the_jerk_of_the_commanded_tool() -> None:
    found = meter()
    for time_s in np.arange(0.0, 1.0, TICK_S):
        found.on_tick(np.array([6.0 * time_s**3 / 6.0, 0.0, 0.0, 0.0]), "RUNNING")

    assert found.summary()["tool_jerk_rms_m_s3"] == pytest.approx(6.0)


def test_a_reaction_ends_when_a_plan_that_has_seen_the_event_takes_over() -> None:
    in_force, seen = ns(100, 200, 300), ns(30, 130, 230)

    found = reactions_ns(ns(30, 31, 130, 131, 231), in_force, seen) / NS_PER_MS
    assert found[:4].tolist() == [70.0, 169.0, 70.0, 169.0]
    assert np.isnan(found[4])


@given(st.integers(1, 12), st.integers(0, 100))
def test_reactions_of_back_to_back_inference_are_uniform_from_the_delay_to_the_delay_and_a_period(
    delay_steps: int, wait_ms: int
) -> None:
    latency_ms = 40.0 * delay_steps
    period_ms = latency_ms + wait_ms
    seen = ns(*np.arange(60) * period_ms)
    in_force = seen + ns(latency_ms)
    events = ns(*np.arange(0.0, 40 * period_ms, period_ms / 50))

    found = reactions_ns(events, in_force, seen) / NS_PER_MS
    assert found.min() == pytest.approx(latency_ms)
    assert found.max() < latency_ms + period_ms
    assert found.mean() == pytest.approx(latency_ms + period_ms / 2, abs=period_ms / 50)
    assert predicted_reaction_ns(seen, in_force) / NS_PER_MS == pytest.approx(latency_ms + period_ms / 2)


@given(st.lists(st.integers(20, 300), min_size=3, max_size=20))
def test_the_mean_reaction_under_jitter_is_predicted_from_delays_and_periods(delays_ms: list[int]) -> None:
    delays = ns(*delays_ms)
    begun = np.concatenate([ns(0), np.cumsum(delays)[:-1]])  # each job begins when the one before is done
    in_force = begun + delays
    events = np.arange(begun[0] + 1, begun[-1] + 1, NS_PER_MS, dtype=np.int64)

    found = reactions_ns(events, in_force, begun).mean()
    assert found == pytest.approx(predicted_reaction_ns(begun, in_force), abs=0.02 * found + 2 * NS_PER_MS)


def test_what_is_acted_on_ages_until_the_next_plan_takes_over() -> None:
    ages = ages_in_force_ns(ns(0, 50, 100, 150, 199, 200), ns(100, 200), ns(40, 160))

    assert (ages / NS_PER_MS).tolist() == [60.0, 110.0, 159.0, 40.0]


def run_for(found: Meter, duration_ms: int) -> None:
    for _ in range(duration_ms // 4):
        found.on_tick(np.zeros(4), "RUNNING")


def test_the_meter_measures_reactions_to_random_moments_and_to_the_events() -> None:
    found = meter()
    run_for(found, 1200)
    follow(found, *(line(0.1, ms, ms, delay_ms=100) for ms in range(300, 1200, 100)))

    summary = found.summary(events_ns=ns(250, 550, 1090, 5000).tolist())
    assert summary["plan_period_ms_mean"] == pytest.approx(100.0)
    assert summary["system1_reaction_ms_mean"] == pytest.approx(150.0, abs=4.0)
    assert summary["system1_reaction_predicted_ms"] == pytest.approx(150.0)
    assert summary["system1_age_in_force_ms_p50"] == pytest.approx(150.0, abs=4.0)
    # Latents are 250 ms old when a plan takes over.
    assert summary["system2_reaction_ms_mean"] == pytest.approx(300.0, abs=4.0)
    # The first event comes before any plan, the last after the end; nobody has seen the one at 1090 ms.
    assert summary["events"] == 2.0
    assert summary["system1_events_answered"] == 1.0
    assert summary["system1_event_reaction_ms_mean"] == pytest.approx(150.0)  # seen by the plan begun at 600
    assert summary["system2_event_reaction_ms_mean"] == pytest.approx(250.0)  # and its latent


def test_ticks_without_motion_to_play_are_counted() -> None:
    found = meter()
    for mode in ("WAITING", "RUNNING", "HOLDING", "HOLDING", "RUNNING"):
        found.on_tick(None, mode)

    assert found.summary()["starved_ticks"] == 2.0
