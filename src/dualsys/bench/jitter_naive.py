"""A control loop as it is often written: `python -m dualsys.bench.jitter_naive RATE_HZ SECONDS BUNDLE`.

Measured to compare with: wall clock, a sleep of what is left of the period, and inference in a thread of the
same process. Prints a line for each tick: how much longer than a period the interval before it was, in ns
(0 if shorter), and how many whole periods that makes; at last a line with the drift against the clock, in ns.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np

from dualsys.bench.jitter_load import think_fast


def main(arguments: list[str]) -> int:
    """Run the loop; returns the exit code."""
    rate_hz, duration_s, bundle = float(arguments[0]), float(arguments[1]), Path(arguments[2])
    period_s = 1 / rate_hz
    done = threading.Event()
    ready = threading.Event()
    thread = threading.Thread(target=think_fast, args=(bundle, done.is_set, ready.set), daemon=True)
    thread.start()
    ready.wait()

    began_s: list[float] = []
    pose, goal = np.zeros(8), np.ones(8)
    end_s = time.time() + duration_s
    while time.time() < end_s:
        begin_s = time.time()
        began_s.append(begin_s)
        pose = pose + 0.01 * np.clip(goal - pose, -1.0, 1.0)
        elapsed_s = time.time() - begin_s
        time.sleep(max(0.0, period_s - elapsed_s))
    done.set()
    thread.join()

    intervals_s = np.diff(began_s)
    for late_s in np.maximum(intervals_s - period_s, 0.0):
        print(round(late_s * 1e9), int(late_s // period_s))
    print(round((began_s[-1] - began_s[0] - (len(began_s) - 1) * period_s) * 1e9))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
