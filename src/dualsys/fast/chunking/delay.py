"""How many action steps pass between the start of a plan job and the moment its plan is ready."""

from __future__ import annotations

from collections import deque

WINDOW = 10
"""Number of past delays that count, b of Algorithm 1 in arXiv:2506.07339."""


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
        return -(-delay_ns // self._step_ns)

    def observe(self, delay_ns: int) -> None:
        """Take in the measured delay of one job. Raises ValueError on a negative one."""
        if delay_ns < 0:
            raise ValueError(f"delay_ns must not be negative, got {delay_ns}")
        if self._warm:
            self._steps.append(self.in_steps(delay_ns))
        self._warm = True
