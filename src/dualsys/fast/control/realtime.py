"""Real-time privileges: asked for one by one, and told what came of each. None of this is a guarantee."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from dataclasses import dataclass
from typing import Final, Literal

from dualsys.clock import nanoseconds
from dualsys.errors import RobotError

RealtimeMode = Literal["off", "best_effort", "enforce"]

_MCL_CURRENT_AND_FUTURE: Final = 3


@dataclass(frozen=True)
class Grant:
    """One privilege that was asked for.

    Attributes:
        name: `scheduler`, `memory`, `cpu` or `collector`.
        ok: Whether it was granted.
        reason: What was granted, or why it was not.
    """

    name: str
    ok: bool
    reason: str

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'refused'}: {self.reason}"


@dataclass(frozen=True)
class Realtime:
    """All that was asked for; nothing where real time is off."""

    grants: tuple[Grant, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was refused."""
        return all(grant.ok for grant in self.grants)

    @property
    def before_others(self) -> bool:
        """Whether this process is run before those that take turns."""
        return any(grant.ok for grant in self.grants if grant.name == "scheduler")

    def __str__(self) -> str:
        if not self.grants:
            return "not asked for"
        granted = [grant.reason for grant in self.grants if grant.ok]
        refused = [grant.reason for grant in self.grants if not grant.ok]
        parts = [", ".join(granted), f"not granted: {'; '.join(refused)}" if refused else ""]
        return "; ".join(part for part in parts if part)

    def values(self) -> dict[str, str]:
        """Each grant under a name such as `realtime.scheduler`, for a status."""
        return {f"realtime.{grant.name}": str(grant) for grant in self.grants}


def request_realtime(mode: RealtimeMode, priority: int, cpu: int | None = None) -> Realtime:
    """Ask the system to run this process before others and to keep its memory in place.

    Call it before sockets are opened: their threads inherit scheduling class and CPU.

    Args:
        mode: `off` asks for nothing, `enforce` accepts no refusal.
        priority: SCHED_FIFO priority, 1 to 99.
        cpu: The only CPU to run on, from 0; None for any.

    Raises:
        RobotError: With `enforce`, something was not granted. Names it, and what to do.
    """
    if mode == "off":
        return Realtime()
    asked = [_ask_for_fifo(priority), _ask_for_locked_memory()]
    if cpu is not None:
        asked.append(_ask_for_cpu(cpu))
    realtime = Realtime(tuple(asked))
    if mode == "enforce" and not realtime.ok:
        refused = "; ".join(grant.reason for grant in asked if not grant.ok)
        raise RobotError(
            f"control.realtime: 'enforce' was asked for, but {refused}: grant CAP_SYS_NICE and CAP_IPC_LOCK "
            "or the limits rtprio and memlock (`dualsys doctor` shows how), or choose 'best_effort'"
        )
    return realtime


def preparation_ns(prepare_ms: float, realtime: Realtime) -> int:
    """How long before each deadline to prepare a tick, ns: none where this process takes turns with others.

    There each moment awake is paid for with its place in the queue: beside programs that use every CPU, far
    more ticks would be missed than without a preparation (docs/control.md has the figures).

    Args:
        prepare_ms: What the configuration allows.
        realtime: What the system has granted.
    """
    return nanoseconds(prepare_ms * 1e-3) if realtime.before_others else 0


def freeze_memory(mode: RealtimeMode, realtime: Realtime) -> Realtime:
    """Stop the garbage collector after a last collection, unless real time is off. The loop makes no cycles.

    Call it when everything is set up and the loop is about to run.
    """
    if mode == "off":
        return realtime
    gc.collect()
    gc.freeze()
    gc.disable()
    return Realtime((*realtime.grants, Grant("collector", True, "garbage collector off")))


def _ask_for_fifo(priority: int) -> Grant:
    if sys.platform != "linux":
        return Grant("scheduler", False, f"{sys.platform} has no SCHED_FIFO")
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        return Grant("scheduler", False, f"SCHED_FIFO {priority} was refused ({error.strerror})")
    return Grant("scheduler", True, f"SCHED_FIFO {priority}")


def _ask_for_locked_memory() -> Grant:
    if sys.platform != "linux":
        return Grant("memory", False, f"{sys.platform} cannot lock memory")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT_AND_FUTURE) != 0:
        return Grant("memory", False, f"locking memory was refused ({os.strerror(ctypes.get_errno())})")
    return Grant("memory", True, "memory locked")


def _ask_for_cpu(cpu: int) -> Grant:
    if sys.platform != "linux":
        return Grant("cpu", False, f"{sys.platform} cannot bind a process to a CPU")
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        return Grant("cpu", False, f"CPU {cpu} was refused ({error.strerror})")
    return Grant("cpu", True, f"CPU {cpu} only")
