"""Rules of what is measured from outside."""

from __future__ import annotations

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.messages import Plan, Tensor
from dualsys.supervisor.monitor import Flow, speed_jump


def plan(seq: int, times_ns: list[int], joint: list[float], splice_ns: int = 0, epoch: int = 0) -> Plan:
    """A plan that moves the first joint."""
    setpoints = np.zeros((len(times_ns), 8))
    setpoints[:, 0] = joint
    return Plan(
        session=0,
        episode=0,
        epoch=epoch,
        seq=seq,
        t_ns=Tensor.of(np.array(times_ns, np.int64)),
        setpoints=Tensor.of(setpoints),
        latent_seq=-1,
        t_latent_ns=-1,
        t_observation_ns=0,
        splice_ns=splice_ns,
        delay_ns=0,
        delay_steps=0,
    )


TIMES_NS = [0, 100 * NS_PER_MS, 200 * NS_PER_MS, 300 * NS_PER_MS]
STEADY = plan(0, TIMES_NS, [0.0, 0.1, 0.2, 0.3])


def test_the_speed_jump_is_that_between_two_plans_at_the_splice() -> None:
    faster = plan(1, [150 * NS_PER_MS, 250 * NS_PER_MS], [0.15, 0.45], splice_ns=150 * NS_PER_MS)
    assert speed_jump(STEADY, faster) == pytest.approx(2.0)
    alike = plan(1, [150 * NS_PER_MS, 250 * NS_PER_MS], [0.15, 0.25], splice_ns=150 * NS_PER_MS)
    assert speed_jump(STEADY, alike) == pytest.approx(0.0)


def test_a_plan_that_follows_one_that_is_over_starts_from_rest() -> None:
    late = plan(1, [400 * NS_PER_MS, 500 * NS_PER_MS], [0.3, 0.4], splice_ns=400 * NS_PER_MS)
    assert speed_jump(STEADY, late) == pytest.approx(1.0)


def test_there_is_no_jump_between_plans_that_do_not_follow_each_other() -> None:
    times_ns = [150 * NS_PER_MS, 250 * NS_PER_MS]
    assert speed_jump(STEADY, plan(2, times_ns, [0.0, 1.0], splice_ns=times_ns[0])) is None, (
        "one was not seen"
    )
    assert speed_jump(STEADY, plan(1, times_ns, [0.0, 1.0], splice_ns=times_ns[0], epoch=1)) is None
    assert speed_jump(STEADY, plan(1, times_ns, [0.0, 1.0], splice_ns=0)) is None, (
        "it starts after the splice"
    )
    assert speed_jump(STEADY, plan(1, [0], [0.0], splice_ns=0)) is None


def test_what_a_newer_message_replaced_still_counts_towards_the_rate() -> None:
    flow = Flow()
    for index in range(41):
        flow.seen(index * NS_PER_S // 10, index * 5)
    assert flow.per_second(4 * NS_PER_S) == pytest.approx(50)
    assert flow.mean_per_second == pytest.approx(50)


def test_a_sender_that_falls_silent_has_no_rate() -> None:
    flow = Flow()
    flow.seen(0, 0)
    flow.seen(NS_PER_S, 10)
    assert flow.per_second(NS_PER_S) == pytest.approx(10)
    assert flow.per_second(4 * NS_PER_S) == 0


def test_a_sender_that_starts_anew_keeps_counting_upwards() -> None:
    flow = Flow()
    for index, seq in enumerate([100, 101, 102, 0, 1, 2]):
        flow.seen(index * NS_PER_S, seq)
    assert flow.total == 6
