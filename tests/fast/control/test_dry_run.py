"""Dry runs: the motions of a tick, without any effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_S
from dualsys.errors import AddressInUseError
from dualsys.fast.control.dry_run import DryRun
from dualsys.fast.control.limiter import SMOOTHINGS, Smoothing
from dualsys.fast.control.limits import Limits
from dualsys.fast.control.modes import Mode
from dualsys.robots.profiles import PROFILES, SIMULATED_PANDA_LIMITS

from .conftest import HOME, PERIOD_NS

MakeDryRun = Callable[..., DryRun]


@pytest.fixture
def make_dry_run() -> Iterator[MakeDryRun]:
    """Makes dry runs in one context, closed afterwards."""
    context, made = open_context(), []

    def make(position: NDArray[np.float64], limits: Limits, smoothing: Smoothing = "limiter") -> DryRun:
        made.append(DryRun(context, position, limits, PERIOD_NS, smoothing))
        return made[-1]

    yield make
    for dry_run in made:
        dry_run.close()
    close_context(context)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("name", ["panda", "ur5e", "so101"])
def test_a_dry_run_follows_its_plan_as_a_tick_does_however_long_it_goes_on(
    make_dry_run: MakeDryRun, name: str, smoothing: Smoothing
) -> None:
    limits = PROFILES[name].limits
    dry_run = make_dry_run(limits.lower, limits, smoothing)
    for tick in range(300):
        dry_run(NS_PER_S + tick * PERIOD_NS)
    dry_run(3 * 24 * 3600 * NS_PER_S)
    assert dry_run.core.mode is Mode.RUNNING
    counts = dry_run.core.statistics()
    assert counts["plans"] == 1
    assert counts["held"] == counts["stopped"] == counts["slowed"] == 0


def test_a_dry_run_reads_and_sends_on_addresses_within_the_process(make_dry_run: MakeDryRun) -> None:
    dry_run = make_dry_run(HOME, SIMULATED_PANDA_LIMITS)
    for tick in range(1, 11):
        dry_run(tick * PERIOD_NS)
    assert dry_run.received == 10
    with pytest.raises(AddressInUseError):
        make_dry_run(HOME, SIMULATED_PANDA_LIMITS)


def test_an_arm_outside_its_limits_is_no_reason_not_to_prepare(make_dry_run: MakeDryRun) -> None:
    outside = np.where(np.arange(8) == 3, SIMULATED_PANDA_LIMITS.upper + 0.01, HOME)
    dry_run = make_dry_run(outside, SIMULATED_PANDA_LIMITS)
    for tick in range(1, 4):
        dry_run(tick * PERIOD_NS)
    assert dry_run.core.mode is Mode.RUNNING
