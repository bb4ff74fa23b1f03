"""No child outlives its parent, however the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

from dualsys.clock import NS_PER_S, WallClock

_PR_SET_PDEATHSIG = 1


def die_with(parent_pid: int) -> None:
    """Have this process end (SIGTERM) as soon as its parent does.

    On Linux the kernel sees to it. Elsewhere a thread looks once a second.

    Args:
        parent_pid: The parent, as it knows itself: it may have ended before this call.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    else:
        threading.Thread(target=_watch, args=(parent_pid,), name="lifeline", daemon=True).start()
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGTERM)


def _watch(parent_pid: int) -> None:
    clock = WallClock()
    while os.getppid() == parent_pid:
        clock.sleep_until_ns(clock.now_ns() + NS_PER_S)
    os.kill(os.getpid(), signal.SIGTERM)
