"""Real-time privileges: a refusal is told, and accepted only where that was allowed."""

from __future__ import annotations

import errno
import gc
import os
import sys

import pytest

from dualsys.errors import RobotError
from dualsys.fast.control import realtime


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that grants nothing."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(realtime.sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_setscheduler", refused, raising=False)
    refusal = realtime.Grant("memory", False, "locking memory was refused (EPERM)")
    monkeypatch.setattr(realtime, "_ask_for_locked_memory", lambda: refusal)


@pytest.fixture
def grant(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A system that grants everything; the priorities that were asked for."""
    asked: list[int] = []
    monkeypatch.setattr(realtime.sys, "platform", "linux")
    monkeypatch.setattr(
        os,
        "sched_setscheduler",
        lambda _pid, _class, param: asked.append(param.sched_priority),
        raising=False,
    )
    granted = realtime.Grant("memory", True, "memory locked")
    monkeypatch.setattr(realtime, "_ask_for_locked_memory", lambda: granted)
    return asked


def test_off_asks_for_nothing(grant: list[int]) -> None:
    assert str(realtime.request_realtime("off", 50)) == "not asked for"
    assert grant == []


def test_what_was_granted_is_told(grant: list[int]) -> None:
    report = realtime.request_realtime("enforce", 42)
    assert str(report) == "SCHED_FIFO 42, memory locked"
    assert [(grant.name, grant.ok) for grant in report.grants] == [("scheduler", True), ("memory", True)]
    assert grant == [42]


@pytest.mark.parametrize(
    ("grants", "expected_ns"),
    [
        ((realtime.Grant("scheduler", True, "SCHED_FIFO 50"),), 400_000),
        ((realtime.Grant("memory", True, ""), realtime.Grant("scheduler", False, "")), 0),
        ((realtime.Grant("memory", True, "memory locked"),), 0),
        ((), 0),
    ],
)
def test_ticks_are_prepared_only_where_control_runs_before_others(
    grants: tuple[realtime.Grant, ...], expected_ns: int
) -> None:
    report = realtime.Realtime(grants)
    assert realtime.preparation_ns(0.4, report) == expected_ns
    assert realtime.preparation_ns(0.0, report) == 0


@pytest.mark.fault_row(41)
@pytest.mark.usefixtures("refuse")
def test_best_effort_runs_without_and_says_so() -> None:
    report = realtime.request_realtime("best_effort", 50)
    assert not report.ok
    assert report.values()["realtime.scheduler"].startswith("refused: SCHED_FIFO 50 was refused")


@pytest.mark.fault_row(41)
@pytest.mark.usefixtures("refuse")
def test_enforce_accepts_no_refusal_and_says_what_to_do() -> None:
    with pytest.raises(RobotError, match=r"SCHED_FIFO 50 was refused.*locking memory.*CAP_SYS_NICE"):
        realtime.request_realtime("enforce", 50)


def test_a_system_without_real_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime.sys, "platform", "darwin")
    report = realtime.request_realtime("best_effort", 50, cpu=0)
    for words in ("darwin has no SCHED_FIFO", "darwin cannot lock memory", "darwin cannot bind a process"):
        assert words in str(report)


def test_the_only_cpu_is_bound_and_told(grant: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, cpus: bound.append(cpus), raising=False)
    assert str(realtime.request_realtime("enforce", 42, cpu=1)) == "SCHED_FIFO 42, memory locked, CPU 1 only"
    assert bound == [{1}]
    assert grant == [42]


@pytest.mark.skipif(sys.platform != "linux", reason="CPUs are bound on Linux only")
@pytest.mark.usefixtures("grant")
def test_a_cpu_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RobotError, match=r"CPU 1023 was refused"):
        realtime.request_realtime("enforce", 50, cpu=1023)


def test_the_garbage_collector_is_stopped() -> None:
    try:
        report = realtime.freeze_memory("best_effort", realtime.Realtime())
        assert not gc.isenabled()
        assert report.values() == {"realtime.collector": "ok: garbage collector off"}
    finally:
        gc.enable()
        gc.unfreeze()


def test_the_garbage_collector_runs_on_where_real_time_is_off() -> None:
    report = realtime.freeze_memory("off", realtime.Realtime())
    assert gc.isenabled()
    assert report.grants == ()
