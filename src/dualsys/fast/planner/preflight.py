"""Whether the planner can do what is asked of it with its bundles, said before any process is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualsys.bundles import MANIFEST, VISION, Manifest, half_file, load_manifest
from dualsys.clock import NS_PER_MS
from dualsys.errors import BundleError, ConfigError
from dualsys.fast.chunking.delay import steps_begun
from dualsys.fast.chunking.strategy import default_options, make_strategy, require_offered, weak_faults
from dualsys.fast.planner.correction import require_residual
from dualsys.fast.policies.offer import offered_by, with_weak
from dualsys.fast.policies.weak import weak_manifest

if TYPE_CHECKING:
    from dualsys.config import SlowConfig
    from dualsys.config_fast import FastConfig

DELAY, NAME, OPTIONS = "fast.delay_ms", "fast.strategy.name", "fast.strategy.options"
LEAST = "execution_horizon"


def require_runnable(fast: FastConfig) -> Manifest:
    """Return if System 1 has what the strategy needs, and chunks that are long enough for the delay.

    Args:
        fast: Settings of System 1.

    Returns:
        The manifest of that bundle.

    Raises:
        BundleError: The bundle is missing, damaged or of another role, or does not say what its chunks are;
            or that of the weak policy is, or is of another kind.
        ConfigError: It does not suit; names the settings with their values, the bundle and what to do.
    """
    manifest = load_manifest(fast.bundle, "system1")
    source, offered = fast.bundle / MANIFEST, offered_by(manifest)
    if manifest.action is None:
        raise BundleError(f"{source}: action: missing; export the bundle again")
    action, chosen = manifest.action, fast.strategy
    strategy = make_strategy(chosen.name, **chosen.options)
    who, faults = f"the bundle {fast.bundle}", list(weak_faults(strategy, chosen.options, fast.weak_bundle))
    if fast.weak_bundle is not None:
        weak_manifest(fast.weak_bundle, manifest)
    if "weak" in strategy.needs:
        # Whether there is one was said already.
        offered = with_weak(offered)
    try:
        require_offered(strategy, offered, who)
    except ConfigError as error:
        faults += [f"{NAME}: {chosen.name!r} {fault}" for fault in error.faults]
    if chosen.residual:
        try:
            require_residual(offered, who)
        except ConfigError as error:
            faults += error.faults
    try:
        strategy.check(action, steps_begun(round(fast.delay_ms * NS_PER_MS), action.step_ns))
    except ConfigError as error:
        options = {**default_options(chosen.name), **chosen.options}
        given = [f"{OPTIONS}.{LEAST} {options[LEAST]}"] if LEAST in options else []
        settings = ", ".join([f"{NAME} {chosen.name!r}", *given, f"{DELAY} {fast.delay_ms:g}"])
        step_ms = action.step_ns / NS_PER_MS
        chunks = f"the chunks of {source} have {action.horizon} actions of {step_ms:g} ms"
        faults += [f"{settings}: {fault} ({chunks})" for fault in error.faults]
    if faults:
        raise ConfigError("strategy and bundle", faults)
    return manifest


def require_tower(slow: SlowConfig) -> None:
    """Return if the vision tower of System 2 is here, where the planner is to run it.

    Where images go up, no bundle of System 2 is looked for: the machine next to the arm needs none.

    Args:
        slow: Settings of System 2.

    Raises:
        BundleError: The bundle is missing, damaged or of another role, or has no halves.
    """
    if slow.uplink != "features":
        return
    try:
        half_file(slow.bundle, load_manifest(slow.bundle, "system2"), VISION)
    except BundleError as error:
        raise BundleError(f"slow.bundle: {error}") from error
