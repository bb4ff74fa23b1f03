"""Latency models: how long an arrow of the system takes, drawn from an injected generator.

As text: `200ms` is constant, `200ms~40ms` is uniform within 40 ms either side of 200 ms, and a path ending in
`.json` names measured samples, drawn with replacement: `{"unit": "ms", "samples": [181.2, 176.0]}`,
beside which `"about"` may say where they come from. `python -m dualsys.bench plan-delays` makes such a file
of a recorded run.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Literal, Protocol

import msgspec
import numpy as np

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import ConfigError

_UNITS_NS = {"ns": 1, "us": 1_000, "ms": NS_PER_MS, "s": NS_PER_S}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|s)")
_EXPECTED = "expected a duration such as '200ms', a jitter such as '200ms~40ms', or a .json file of samples"
MAX_DELAY_NS = 60 * NS_PER_S
"""A delay beyond a minute is taken for a slip of the unit."""


class Latency(Protocol):
    """A distribution of delays."""

    @property
    def expected_ns(self) -> int:
        """The delay in the middle of all, ns."""
        ...

    def draw_ns(self, rng: np.random.Generator) -> int:
        """One delay, ns, >= 0."""
        ...

    def describe(self) -> str:
        """The model in words, for reports."""
        ...


@dataclass(frozen=True)
class Constant:
    """Always the same delay, ns."""

    delay_ns: int

    def __post_init__(self) -> None:
        _check(self.delay_ns, "delay_ns")

    @property
    def expected_ns(self) -> int:
        """The delay."""
        return self.delay_ns

    def draw_ns(self, rng: np.random.Generator) -> int:
        """The delay; draws nothing."""
        del rng
        return self.delay_ns

    def describe(self) -> str:
        """For example `200 ms`."""
        return f"{self.delay_ns / NS_PER_MS:g} ms"


@dataclass(frozen=True)
class Jitter:
    """Uniform within `spread_ns` either side of `middle_ns`."""

    middle_ns: int
    spread_ns: int

    def __post_init__(self) -> None:
        _check(self.middle_ns, "middle_ns")
        if not 0 <= self.spread_ns <= self.middle_ns:
            raise ValueError(f"spread_ns: expected 0 to middle_ns {self.middle_ns}, got {self.spread_ns}")

    @property
    def expected_ns(self) -> int:
        """The middle."""
        return self.middle_ns

    def draw_ns(self, rng: np.random.Generator) -> int:
        """One draw."""
        low_ns, high_ns = self.middle_ns - self.spread_ns, self.middle_ns + self.spread_ns
        return int(rng.integers(low_ns, high_ns, endpoint=True))

    def describe(self) -> str:
        """For example `200 ms +- 40 ms`."""
        return f"{self.middle_ns / NS_PER_MS:g} ms +- {self.spread_ns / NS_PER_MS:g} ms"


@dataclass(frozen=True)
class Empirical:
    """Measured delays, ns, drawn with replacement."""

    samples_ns: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.samples_ns:
            raise ValueError("samples_ns is empty: record at least one delay")
        for sample_ns in self.samples_ns:
            _check(sample_ns, "samples_ns")

    @property
    def expected_ns(self) -> int:
        """The median."""
        return sorted(self.samples_ns)[len(self.samples_ns) // 2]

    def draw_ns(self, rng: np.random.Generator) -> int:
        """One of the samples."""
        return self.samples_ns[int(rng.integers(len(self.samples_ns)))]

    def describe(self) -> str:
        """Count, median and largest of the samples, and a short hash of all of them."""
        ordered = sorted(self.samples_ns)
        median, largest = (round(one / NS_PER_MS, 1) for one in (ordered[len(ordered) // 2], ordered[-1]))
        digest = hashlib.sha256(repr(ordered).encode()).hexdigest()[:8]
        return f"{len(ordered)} samples, median {median:g} ms, at most {largest:g} ms, {digest}"


def log_normal(median_ns: int, sigma: float, largest_ns: int, count: int = 100) -> Empirical:
    """Evenly spaced quantiles of a log-normal delay: mostly near the median, with a long tail above.

    Args:
        median_ns: Its median, ns.
        sigma: Standard deviation of the logarithm.
        largest_ns: Longer delays are cut to this, ns.
        count: How many quantiles.

    Raises:
        ValueError: Unless 0 < median_ns <= largest_ns, sigma >= 0 and count >= 1.
    """
    if not (0 < median_ns <= largest_ns and sigma >= 0 and count >= 1):
        got = f"median_ns {median_ns}, largest_ns {largest_ns}, sigma {sigma} and count {count}"
        raise ValueError(f"expected 0 < median_ns <= largest_ns, sigma >= 0 and count >= 1, got {got}")
    normal = NormalDist()
    steps = ((number + 0.5) / count for number in range(count))
    delays_ns = (round(median_ns * math.exp(sigma * normal.inv_cdf(step))) for step in steps)
    return Empirical(tuple(min(delay_ns, largest_ns) for delay_ns in delays_ns))


class SampleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of measured delays.

    Attributes:
        unit: Of the samples.
        samples: The delays.
        about: Where they come from, for people.
    """

    unit: Literal["ns", "us", "ms", "s"]
    samples: Annotated[list[float], msgspec.Meta(min_length=1, max_length=1_000_000)]
    about: str = ""


def parse_latency(text: str, setting: str = "latency") -> Latency:
    """Read a latency model from text.

    Args:
        text: `200ms`, `0.2s`, `200ms~40ms`, or the path of a `.json` file of samples.
        setting: Name of the setting, for the error.

    Raises:
        ConfigError: The text or the file is not one of these, or a delay is negative or longer than a minute.
    """
    text = text.strip()
    try:
        if text.endswith(".json"):
            return _load_samples(Path(text))
        parts = [_parse_duration_ns(part) for part in text.split("~")]
        if len(parts) == 1:
            return Constant(parts[0])
        if len(parts) == 2:
            return Jitter(parts[0], parts[1])
        raise ValueError(_EXPECTED)
    except (ValueError, OverflowError, OSError, msgspec.MsgspecError) as error:
        raise ConfigError(setting, [f"{text!r}: {error}"]) from error


def _load_samples(path: Path) -> Empirical:
    file = msgspec.json.decode(path.read_bytes(), type=SampleFile)
    factor = _UNITS_NS[file.unit]
    if not all(math.isfinite(sample) for sample in file.samples):
        raise ValueError("samples: expected finite numbers")
    return Empirical(tuple(round(sample * factor) for sample in file.samples))


def _parse_duration_ns(text: str) -> int:
    if text.strip() == "0":
        return 0
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(_EXPECTED)
    return round(float(match[1]) * _UNITS_NS[match[2]])


def _check(delay_ns: int, name: str) -> None:
    if not 0 <= delay_ns <= MAX_DELAY_NS:
        raise ValueError(f"{name}: expected 0 to {MAX_DELAY_NS // NS_PER_S} s, got {delay_ns / NS_PER_S:g} s")
