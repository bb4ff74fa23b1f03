"""Whether ticks or commands were missing for so long that the arm has come to rest by itself meanwhile."""

from __future__ import annotations

from dualsys.clock import NS_PER_MS
from dualsys.robots.contract import ArmStatus


class GapWatch:
    """Watches for pauses of control, and of what reaches the robot.

    Args:
        hard_ns: Longest pause after which the plan may still be followed, ns.
    """

    def __init__(self, hard_ns: int) -> None:
        self._hard_ns = hard_ns
        self._watchdog_since_ns = -1

    def suspended(self, elapsed_ns: int) -> str:
        """How long control was away, if that is too long.

        Args:
            elapsed_ns: Edge time since the tick before.
        """
        if elapsed_ns <= self._hard_ns:
            return ""
        return f"control was suspended for {elapsed_ns // NS_PER_MS} ms"

    def cut_off(self, now_ns: int, status: ArmStatus) -> str:
        """For how long no command has reached the robot, if that is too long.

        Args:
            now_ns: Edge time.
            status: What the robot says of itself.
        """
        if status != "watchdog":
            self._watchdog_since_ns = -1
            return ""
        if self._watchdog_since_ns < 0:
            self._watchdog_since_ns = now_ns
        silent_ns = now_ns - self._watchdog_since_ns
        if silent_ns <= self._hard_ns:
            return ""
        return f"the robot has received no command for {silent_ns // NS_PER_MS} ms"
