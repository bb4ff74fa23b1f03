"""Real-time privileges: asked for, and told what came of it. None of this is a guarantee."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from typing import Final, Literal

from dualsys.errors import RobotError

RealtimeMode = Literal["off", "best_effort", "enforce"]

_MCL_CURRENT_AND_FUTURE: Final = 3


def request_realtime(mode: RealtimeMode, priority: int) -> str:
    """Ask the system to run this process before others and to keep its memory in place.

    Call it before sockets are opened: their threads inherit the scheduling class.

    Args:
        mode: `off` asks for nothing, `enforce` accepts no refusal.
        priority: SCHED_FIFO priority, 1 to 99.

    Returns:
        What was granted and what was not, in words.

    Raises:
        RobotError: With `enforce`, something was not granted. Names it, and what to do.
    """
    if mode == "off":
        return "not asked for"
    refused = [fault for fault in (_ask_for_fifo(priority), _ask_for_locked_memory()) if fault]
    if refused and mode == "enforce":
        raise RobotError(
            f"control.realtime: 'enforce' was asked for, but {'; '.join(refused)}: "
            "grant CAP_SYS_NICE and CAP_IPC_LOCK, or choose 'best_effort'"
        )
    return f"not granted: {'; '.join(refused)}" if refused else f"SCHED_FIFO {priority}, memory locked"


def freeze_memory() -> None:
    """Stop the garbage collector after a last collection. The control loop makes no cycles."""
    gc.collect()
    gc.freeze()
    gc.disable()


def _ask_for_fifo(priority: int) -> str:
    if sys.platform != "linux":
        return f"{sys.platform} has no SCHED_FIFO"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        return f"SCHED_FIFO {priority} was refused ({error.strerror})"
    return ""


def _ask_for_locked_memory() -> str:
    if sys.platform != "linux":
        return f"{sys.platform} cannot lock memory"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT_AND_FUTURE) != 0:
        return f"locking memory was refused ({os.strerror(ctypes.get_errno())})"
    return ""
