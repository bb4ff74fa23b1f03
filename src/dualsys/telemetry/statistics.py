"""Small statistics: intervals of success rates, percentiles, running extremes, rates of counters."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dualsys.clock import NS_PER_S

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a success probability; (0, 1) before the first trial.

    Unlike the normal approximation it stays inside [0, 1] and is honest for few trials and near the ends.

    Raises:
        ValueError: Unless 0 <= successes <= trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be from 0 to trials, got {successes} of {trials}")
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / scale
    # At the ends the formula is exactly 0 or 1 but for rounding.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def success_line(successes: int, trials: int) -> str:
    """`7 of 10 (70 %, 95 % interval 40 to 89 %)`."""
    if trials == 0:
        return "0 of 0"
    low, high = wilson_interval(successes, trials)
    return f"{successes} of {trials} ({successes / trials:.0%}, 95 % interval {low * 100:.0f} to {high:.0%})"


def percentiles(samples: ArrayLike, points: Sequence[float] = (50.0, 95.0, 99.0)) -> tuple[float, ...]:
    """Linearly interpolated percentiles; NaN for each point where there are no samples.

    Raises:
        ValueError: If a point is outside 0 to 100, or a sample is not finite.
    """
    values = np.asarray(samples, np.float64).ravel()
    if any(not 0 <= point <= 100 for point in points):
        raise ValueError(f"percentiles must be from 0 to 100, got {tuple(points)}")
    if not np.isfinite(values).all():
        raise ValueError("samples must be finite")
    if values.size == 0:
        return tuple(math.nan for _ in points)
    return tuple(float(value) for value in np.percentile(values, points))


@dataclass
class Streaming:
    """Count, least, mean and greatest of a stream, in constant memory."""

    count: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    mean: float = 0.0

    def add(self, value: float) -> None:
        """Add one sample. Raises ValueError unless it is finite."""
        if not math.isfinite(value):
            raise ValueError(f"sample must be finite, got {value}")
        self.count += 1
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)
        # The running form does not add up large sums, so it keeps its precision over days.
        self.mean += (value - self.mean) / self.count

    def summary(self) -> dict[str, float | int | None]:
        """For `summary.json`; None where there were no samples."""
        empty = self.count == 0
        return {
            "count": self.count,
            "minimum": None if empty else self.minimum,
            "mean": None if empty else self.mean,
            "maximum": None if empty else self.maximum,
        }


class Rate:
    """Events per second of a counter that only grows, over a sliding window.

    Args:
        window_ns: Length of the window, ns.
    """

    def __init__(self, window_ns: int = 2 * NS_PER_S) -> None:
        self._window_ns = window_ns
        self._samples: deque[tuple[int, int]] = deque()

    def update(self, now_ns: int, total: int) -> None:
        """Note the counter's total. A smaller total than before means that the counter started anew."""
        if self._samples and total < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now_ns, total))
        while len(self._samples) > 2 and now_ns - self._samples[1][0] >= self._window_ns:
            self._samples.popleft()

    @property
    def per_second(self) -> float:
        """Rate over the window; 0 with fewer than two samples."""
        if len(self._samples) < 2:
            return 0.0
        (start_ns, first), (end_ns, last) = self._samples[0], self._samples[-1]
        return (last - first) * NS_PER_S / (end_ns - start_ns) if end_ns > start_ns else 0.0
