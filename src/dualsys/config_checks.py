"""Checks across the sections of a configuration: what is fine by itself and does not fit together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dualsys.config_faults import fault_at
from dualsys.errors import ConfigError
from dualsys.fast.chunking.strategy import make_strategy, weak_faults

if TYPE_CHECKING:
    from dualsys.config import SystemConfig, WorkspaceConfig
    from dualsys.config_fast import FastConfig


def timing_faults(config: SystemConfig) -> Iterator[str]:
    """Rates, delays and ages that do not fit together."""
    ages, slow, fast, control = config.control.ages, config.slow, config.fast, config.control
    two_ticks_ms = 2000 / control.rate_hz
    plan_ms = fast.delay_ms + 2000 / fast.plan_hz
    control_rate = f"at most control.rate_hz ({control.rate_hz:g} Hz)"
    two_ticks = f"at least two periods of control.rate_hz ({two_ticks_ms:g} ms)"
    if ages.latent_soft_ms <= slow.delay_ms:
        expected = f"more than slow.delay_ms ({slow.delay_ms:g} ms), or the arm is always slowed"
        yield fault_at("control.ages.latent_soft_ms", ages.latent_soft_ms, expected)
    for thing in ("latent", "observation", "plan", "reading"):
        soft_ms, hard_ms = getattr(ages, f"{thing}_soft_ms"), getattr(ages, f"{thing}_hard_ms")
        # A hard age below two ticks is told of further down.
        if two_ticks_ms <= hard_ms <= soft_ms:
            expected = f"more than control.ages.{thing}_soft_ms ({soft_ms:g} ms)"
            yield fault_at(f"control.ages.{thing}_hard_ms", hard_ms, expected)
    if ages.latent_hard_ms <= slow.worst_age_ms:
        reasons = "slow.delay_ms, slow.rate_hz, slow.observation_rate_hz"
        reasons += ", slow.rate_control and slow.on_demand"
        expected = f"more than {slow.worst_age_ms:g} ms, the age that {reasons} lead to while all works"
        yield fault_at("control.ages.latent_hard_ms", ages.latent_hard_ms, expected)
    if ages.plan_hard_ms <= plan_ms:
        expected = f"more than fast.delay_ms and two periods of fast.plan_hz ({plan_ms:g} ms)"
        yield fault_at("control.ages.plan_hard_ms", ages.plan_hard_ms, expected)
    if ages.reading_hard_ms < two_ticks_ms:
        yield fault_at("control.ages.reading_hard_ms", ages.reading_hard_ms, two_ticks)
    if ages.gap_hard_ms < two_ticks_ms:
        yield fault_at("control.ages.gap_hard_ms", ages.gap_hard_ms, two_ticks)
    if config.sim.watchdog_ms < two_ticks_ms:
        yield fault_at("sim.watchdog_ms", config.sim.watchdog_ms, two_ticks)
    if fast.plan_hz > control.rate_hz:
        yield fault_at("fast.plan_hz", fast.plan_hz, control_rate)
    if control.state_rate_hz > control.rate_hz:
        yield fault_at("control.state_rate_hz", control.state_rate_hz, control_rate)
    yield from _uplink_faults(config)
    if slow.rate_hz is not None and slow.rate_hz > slow.observation_rate_hz:
        expected = f"at most slow.observation_rate_hz ({slow.observation_rate_hz:g} Hz)"
        yield fault_at("slow.rate_hz", slow.rate_hz, expected)


def _uplink_faults(config: SystemConfig) -> Iterator[str]:
    """Bounds of the uplink that leave no room, or make the arm slow down."""
    slow, rate, demand = config.slow, config.slow.rate_control, config.slow.on_demand
    soft_ms = config.control.ages.latent_soft_ms
    if rate.mode == "adaptive":
        if rate.least_rate_hz > slow.observation_rate_hz:
            expected = f"at most slow.observation_rate_hz ({slow.observation_rate_hz:g} Hz)"
            yield fault_at("slow.rate_control.least_rate_hz", rate.least_rate_hz, expected)
        if slow.image_encoding == "jpeg" and rate.least_jpeg_quality > slow.jpeg_quality:
            expected = f"at most slow.jpeg_quality ({slow.jpeg_quality})"
            yield fault_at("slow.rate_control.least_jpeg_quality", rate.least_jpeg_quality, expected)
    oldest_ms = slow.answer_ms + 1000 / slow.observation_rate_hz + demand.pause_ms
    if demand.enabled and oldest_ms >= soft_ms:
        most_ms = soft_ms - (oldest_ms - demand.pause_ms)
        expected = (
            f"less than {most_ms:g} ms: with what System 2 takes, a latent would else get older than "
            f"control.ages.latent_soft_ms ({soft_ms:g} ms), and the arm would slow down"
        )
        yield fault_at("slow.on_demand.pause_ms", demand.pause_ms, expected)


def workspace_faults(workspace: WorkspaceConfig) -> Iterator[str]:
    """Bounds that leave no room."""
    for axis in "xyz":
        low_m, high_m = getattr(workspace, f"{axis}_min_m"), getattr(workspace, f"{axis}_max_m")
        if low_m is not None and high_m is not None and high_m <= low_m:
            expected = f"more than control.limits.workspace.{axis}_min_m ({low_m:g} m)"
            yield fault_at(f"control.limits.workspace.{axis}_max_m", high_m, expected)


def strategy_faults(fast: FastConfig) -> Iterator[str]:
    """What is wrong with the options, by the strategy's own judgement; and a weak policy that it ignores."""
    try:
        strategy = make_strategy(fast.strategy.name, **fast.strategy.options)
    except ConfigError as error:
        yield from (f"fast.strategy.options.{fault}" for fault in error.faults)
        return
    if fast.weak_bundle is not None:
        # That one is missing is said later: a policy of one's own may have its weak one inside.
        yield from weak_faults(strategy, fast.strategy.options, fast.weak_bundle)
