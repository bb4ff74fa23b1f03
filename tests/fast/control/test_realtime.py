"""Real-time privileges: a refusal is told, and accepted only where that was allowed."""

from __future__ import annotations

import errno
import gc
import os

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
    monkeypatch.setattr(realtime, "_ask_for_locked_memory", lambda: "locking memory was refused (EPERM)")


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
    monkeypatch.setattr(realtime, "_ask_for_locked_memory", lambda: "")
    return asked


def test_off_asks_for_nothing(grant: list[int]) -> None:
    assert realtime.request_realtime("off", 50) == "not asked for"
    assert grant == []


def test_what_was_granted_is_told(grant: list[int]) -> None:
    assert realtime.request_realtime("enforce", 42) == "SCHED_FIFO 42, memory locked"
    assert grant == [42]


@pytest.mark.usefixtures("refuse")
def test_best_effort_runs_without_and_says_so() -> None:
    assert "SCHED_FIFO 50 was refused" in realtime.request_realtime("best_effort", 50)


@pytest.mark.usefixtures("refuse")
def test_enforce_accepts_no_refusal_and_says_what_to_do() -> None:
    with pytest.raises(RobotError, match=r"SCHED_FIFO 50 was refused.*locking memory.*CAP_SYS_NICE"):
        realtime.request_realtime("enforce", 50)


def test_a_system_without_real_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime.sys, "platform", "darwin")
    assert "darwin has no SCHED_FIFO" in realtime.request_realtime("best_effort", 50)


def test_the_garbage_collector_is_stopped() -> None:
    try:
        realtime.freeze_memory()
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
