"""Delay bookkeeping: how many actions of a new chunk are over before it is there, and whether it can be used.

The planned motion is a function of time, so an action is *consumed* when its time has begun while there was
motion to play. Source of the rules: Algorithm 1 of K. Black, M. Y. Galliker, S. Levine, "Real-Time Execution
of Action Chunking Flow Policies", arXiv:2506.07339: d is the largest of the last b observed delays, at least
s_min actions are executed for each inference, and a chunk of H is feasible while d <= H - s.
"""

from __future__ import annotations

from collections import deque

from dualsys.errors import ConfigError

WINDOW = 10
"""Number of past delays that count, b of Algorithm 1."""


class DelayEstimator:
    """Largest delay of the last few jobs, in whole action steps.

    The first sample is left out: it contains the warm-up of the model (allocation, first use of every kernel)
    and would poison the maximum for a whole window.

    Args:
        step_ns: Duration of one action, ns.
        window: Number of past delays that count.
        initial_steps: The answer before there is a sample.
    """

    def __init__(self, step_ns: int, window: int = WINDOW, initial_steps: int = 1) -> None:
        if step_ns < 1 or window < 1 or initial_steps < 0:
            raise ValueError(
                f"step_ns {step_ns} and window {window} must be >= 1, initial_steps {initial_steps} >= 0"
            )
        self._step_ns = step_ns
        self._initial_steps = initial_steps
        self._steps: deque[int] = deque(maxlen=window)
        self._warm = False

    @property
    def steps(self) -> int:
        """The delay to plan for, in action steps."""
        return max(self._steps, default=self._initial_steps)

    def in_steps(self, delay_ns: int) -> int:
        """A delay in whole action steps, rounded up: a step that has begun is lost to the new chunk."""
        return steps_begun(delay_ns, self._step_ns)

    def observe(self, delay_ns: int) -> None:
        """Take in the measured delay of one job. Raises ValueError on a negative one."""
        if delay_ns < 0:
            raise ValueError(f"delay_ns must not be negative, got {delay_ns}")
        if self._warm:
            self._steps.append(self.in_steps(delay_ns))
        self._warm = True


def steps_begun(elapsed_ns: int, step_ns: int) -> int:
    """Action steps that have begun a time after the first one did, a running one included."""
    return -(-elapsed_ns // step_ns)


def consumed_ns(grid_ns: int, motion_end_ns: int, now_ns: int) -> int:
    """How much of a chunk's time was spent on the motion before it, ns.

    Where that motion had ended, the arm stood still: nothing was consumed, and nothing of the chunk is
    skipped for it.

    Args:
        grid_ns: Start of the chunk's grid.
        motion_end_ns: End of the motion that was played meanwhile.
        now_ns: When the chunk is there.
    """
    return max(0, min(motion_end_ns, now_ns) - grid_ns)


def played_from_ns(grid_ns: int, motion_end_ns: int, now_ns: int) -> int:
    """Start of a chunk's grid as it is played: later than it was by what was not consumed.

    So the action that is played now is the first one that was not consumed, whatever the delay was expected
    to be. Arguments as for `consumed_ns`.
    """
    return max(grid_ns, now_ns - consumed_ns(grid_ns, motion_end_ns, now_ns))


def require_usable(name: str, horizon: int, execution_horizon: int, delay_steps: int) -> None:
    """Raise ConfigError unless something of a chunk is left when it is there, and when the next job starts.

    Args:
        name: Of the strategy, for the message.
        horizon: Actions per chunk, H.
        execution_horizon: s_min, actions executed between the starts of two jobs at least.
        delay_steps: Expected delay d, in action steps.
    """
    if execution_horizon >= horizon:
        fault = f"execution_horizon: expected less than the horizon {horizon}, got {execution_horizon}"
        raise ConfigError(name, [fault])
    if delay_steps >= horizon:
        fault = (
            f"infeasible: a chunk has a horizon of {horizon} actions and is expected after {delay_steps}, "
            "when all of them are over; shorten the delay, or choose synchronous"
        )
        raise ConfigError(name, [fault])


def require_feasible(name: str, horizon: int, execution_horizon: int, delay_steps: int) -> None:
    """Raise ConfigError unless chunks last until the next one is there, d <= H - s.

    s is what is executed between the starts of two jobs: at least the execution horizon, and never less than
    the delay, because one job runs at a time. Arguments as for `require_usable`.
    """
    require_usable(name, horizon, execution_horizon, delay_steps)
    left = horizon - max(execution_horizon, delay_steps)
    if delay_steps > left:
        # No fewer actions are executed than the delay has: asking for fewer helps only where these would do.
        other = "lower execution_horizon" if 2 * delay_steps <= horizon else "choose synchronous"
        fault = (
            f"infeasible: with horizon {horizon}, execution_horizon {execution_horizon} and an expected "
            f"delay of {delay_steps} actions, a chunk has {left} actions left when the next job starts, and "
            f"{delay_steps} are played before that is done; shorten the delay or {other}"
        )
        raise ConfigError(name, [fault])
