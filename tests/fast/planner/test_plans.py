from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.fast.planner.plans import REPEAT_NS, PlanWriter
from dualsys.fast.planner.records import PlanJob
from dualsys.messages import Plan

T0 = 10**9


@pytest.fixture
def job(bench: Any) -> PlanJob:
    made: PlanJob = bench.begin(T0)
    return made


@pytest.fixture
def write(job: PlanJob) -> Callable[[PlanWriter, int], Plan]:
    """Writes a plan that is ready at some time."""

    def written(writer: PlanWriter, now_ns: int) -> Plan:
        return writer.write(job, np.array([now_ns, now_ns + 1]), np.zeros((2, 8)), now_ns)

    return written


def test_a_plan_carries_the_stamps_of_its_job(write: Callable[[PlanWriter, int], Plan], job: PlanJob) -> None:
    plan = write(PlanWriter(9), T0 + 7)
    assert (plan.session, plan.seq, plan.splice_ns, plan.delay_ns) == (9, 0, T0 + 7, 7)
    assert (plan.t_observation_ns, plan.t_latent_ns) == (job.t_observation_ns, job.latent.t_capture_ns)


def test_a_repetition_differs_in_its_number_only(write: Callable[[PlanWriter, int], Plan]) -> None:
    writer = PlanWriter(9)
    plan = write(writer, T0)
    again = writer.repeat(T0 + REPEAT_NS)
    assert again == msgspec.structs.replace(plan, seq=1)
    assert write(writer, T0 + REPEAT_NS).seq == 2
    assert (writer.written, writer.repeated) == (2, 1)


def test_repetitions_keep_their_distance(write: Callable[[PlanWriter, int], Plan]) -> None:
    writer = PlanWriter(9)
    assert writer.repeat(T0) is None
    write(writer, T0)
    times_ns = range(T0, T0 + 4 * REPEAT_NS, REPEAT_NS // 4)
    assert sum(writer.repeat(now_ns) is not None for now_ns in times_ns) == 3


def test_a_plan_that_is_void_is_not_repeated(write: Callable[[PlanWriter, int], Plan]) -> None:
    writer = PlanWriter(9)
    write(writer, T0)
    writer.clear()
    assert writer.repeat(T0 + REPEAT_NS) is None
