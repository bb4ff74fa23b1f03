"""Success under latency: a task, many seeds, one configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dualsys.clock import NS_PER_MS
from dualsys.config import SystemConfig
from dualsys.errors import ConfigError, InstructionError
from dualsys.fast.chunking.strategy import default_options, make_strategy, weak_faults
from dualsys.fast.control.core import Ages
from dualsys.fast.planner.demand import demand_bounds
from dualsys.robots.registry import driver_named
from dualsys.robots.tabletop import TABLE_PANDA, TabletopArm, arm_with
from dualsys.twin.latency import Constant, Latency
from dualsys.twin.pool import Bundles, EpisodePool, Job, Scripted, Source, require_simulator
from dualsys.twin.report import Report, summarise
from dualsys.twin.result import EpisodeResult
from dualsys.twin.settings import SYSTEM1_DELAY, LatentMode, TwinSettings

if TYPE_CHECKING:
    from dualsys_sim.episode import Event, Phrasing

FIRST_SEED = 10_000_000
"""Seed of the first episode unless told otherwise: far from every seed that training data is made of."""


def evaluate(
    config: SystemConfig,
    task: str,
    *,
    episodes: int = 20,
    seed: int = FIRST_SEED,
    workers: int = 2,
    system2_delay: Latency | None = None,
    system2_rate_hz: float | None = None,
    system1_delay: Latency = SYSTEM1_DELAY,
    plan_hz: float | None = None,
    strategy: str | None = None,
    strategy_options: Mapping[str, object] | None = None,
    phrasing: Phrasing = "seen",
    event: Event | None = None,
    latent: LatentMode = "true",
    scripted: bool = False,
    show_progress: bool = True,
) -> Report:
    """Run a task on the digital twin and sum up. The same arguments give the same report, to the bit.

    Args:
        config: The system; what is None below is taken from it, and so is the arm at the table.
        task: Name of the task.
        episodes: How many to run.
        seed: Of the first episode; each next one adds 1.
        workers: Processes. The results do not depend on it.
        system2_delay: From the capture of an observation to the arrival of its latent.
        system2_rate_hz: Passes of System 2 per second, at most.
        system1_delay: Duration of a plan job.
        plan_hz: Plan jobs per second, at most; 0 plans back to back.
        strategy: Name of the chunk strategy.
        strategy_options: Its keyword arguments; by default those of the configuration, if it is the same
            strategy.
        phrasing: `unseen` takes wordings that are kept from training.
        event: `moved`, `changed`, `absent`, or None.
        latent: What System 1 is given in place of the latent.
        scripted: Run the scripted pair, which knows the truth, in place of the networks: `for_scripted`.
        show_progress: Draw a progress bar.

    Raises:
        MissingExtraError: The simulator is not installed.
        InstructionError: No such task.
        ConfigError: A value is not allowed, or the event does not suit the task.
        BundleError: A bundle cannot be loaded.
    """
    require_simulator()
    settings = settings_of(
        config,
        system2_delay=system2_delay,
        system2_rate_hz=system2_rate_hz,
        system1_delay=system1_delay,
        plan_hz=plan_hz,
        strategy=strategy,
        strategy_options=strategy_options,
        latent=latent,
    )
    if scripted:
        settings = for_scripted(settings)
    require_runnable(task, episodes, seed, phrasing, event, latent)
    jobs = [Job(task, number, settings, phrasing, event) for number in range(seed, seed + episodes)]
    source, arm = source_of(config, scripted), arm_at_table(config)
    with EpisodePool(source, min(workers, episodes), arm) as pool:
        results = collect(pool, jobs, task if show_progress else None)
    # Only where it changes anything, as with the settings: results of the Panda keep their digests.
    told = {} if arm is TABLE_PANDA else {"arm": arm.name}
    return summarise(results, told | settings.describe(), source.describe())


def for_scripted(settings: TwinSettings) -> TwinSettings:
    """Settings for the scripted pair.

    It writes numbers into images, which therefore travel as they are; and the strategy has its defaults, for
    options are chosen for a network, and need what only a network offers.
    """
    return replace(settings, image_encoding="raw", strategy_options=default_options(settings.strategy))


def collect(pool: EpisodePool, jobs: list[Job], title: str | None = None) -> list[EpisodeResult]:
    """Run all jobs and return their results in order; with a title, under a progress bar."""
    results: dict[int, EpisodeResult] = {}
    if title is None:
        results.update(pool.run(jobs))
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            row = bar.add_task(title, total=len(jobs))
            for index, result in pool.run(jobs):
                results[index] = result
                successes = sum(one.success for one in results.values())
                bar.update(row, advance=1, description=f"{title}: {successes} of {len(results)} succeeded")
    return [results[index] for index in range(len(jobs))]


def settings_of(
    config: SystemConfig,
    *,
    system2_delay: Latency | None = None,
    system2_rate_hz: float | None = None,
    system1_delay: Latency = SYSTEM1_DELAY,
    plan_hz: float | None = None,
    strategy: str | None = None,
    strategy_options: Mapping[str, object] | None = None,
    latent: LatentMode = "true",
) -> TwinSettings:
    """The twin's settings for a configuration; see `evaluate`. Raises ConfigError for values not allowed."""
    slow, control = config.slow, config.control
    name = strategy or config.fast.strategy.name
    if strategy_options is None:
        same = name == config.fast.strategy.name
        strategy_options = config.fast.strategy.options if same else {}
    chosen = make_strategy(name, **strategy_options)
    if faults := list(weak_faults(chosen, strategy_options, config.fast.weak_bundle)):
        raise ConfigError("twin", faults)
    return TwinSettings(
        strategy=name,
        strategy_options=default_options(name) | dict(strategy_options),
        system2_rate_hz=system2_rate_hz or slow.rate_hz or slow.observation_rate_hz,
        system2_delay=system2_delay or Constant(round(slow.delay_ms * NS_PER_MS)),
        observation_rate_hz=max(slow.observation_rate_hz, system2_rate_hz or 0.0),
        wrist_rate_hz=config.sim.camera_wrist_hz,
        plan_hz=config.fast.plan_hz if plan_hz is None else plan_hz,
        system1_delay=system1_delay,
        ages=Ages.from_ms(control.ages.model_dump()),
        slowed_fraction=control.limits.slowed_fraction,
        following_rad=control.limits.following_rad,
        speed_fraction=control.limits.speed_fraction,
        acceleration_fraction=control.limits.acceleration_fraction,
        latent=latent,
        latent_codec=slow.latent_codec,
        residual=config.fast.strategy.residual,
        noise_scale=config.fast.noise_scale,
        look_again=config.fast.look_again,
        demand=demand_bounds(slow) if slow.on_demand.enabled else None,
        uplink=slow.uplink,
        feature_codec=slow.feature_codec,
        image_encoding=slow.image_encoding,
        jpeg_quality=slow.jpeg_quality,
        line=config.line.schedule(),
        line_seed=config.line.seed,
    )


def source_of(config: SystemConfig, scripted: bool) -> Source:
    """The two systems of a configuration, or the scripted pair."""
    fast, slow = config.fast, config.slow
    if not scripted:
        return Bundles(fast.bundle, slow.bundle, slow.uplink, fast.weak_bundle)
    if fast.weak_bundle is not None:
        fault = f"got {str(fast.weak_bundle)!r}, expected null: the scripted pair has no weak policy"
        raise ConfigError("twin", [f"fast.weak_bundle: {fault}; leave out --scripted, or set it to null"])
    if slow.uplink == "features":
        fault = "slow.uplink: got 'features', expected 'images': the scripted pair has no vision tower"
        raise ConfigError("twin", [fault])
    return Scripted()


def arm_at_table(config: SystemConfig) -> TabletopArm:
    """The arm that a configuration puts at the simulated table; the Panda where its robot is elsewhere.

    Raises:
        ConfigError: The options of the robot name no arm.
    """
    return arm_with(driver_named(config.robot.driver).geometry(config.robot.options))


def require_runnable(
    task: str, episodes: int, seed: int, phrasing: Phrasing, event: Event | None, latent: LatentMode
) -> None:
    """Return if such episodes can be run.

    Raises:
        InstructionError: No such task.
        ConfigError: A value is not allowed, or the event does not suit the task.
    """
    from dualsys_sim.episode import make_episode
    from dualsys_sim.tasks import all_tasks

    if task not in all_tasks():
        raise InstructionError(f"no task {task!r}; there are {', '.join(all_tasks())}")
    faults = []
    if episodes < 1:
        faults.append(f"episodes: expected at least 1, got {episodes}")
    if seed < 0:
        faults.append(f"seed: expected 0 or more, got {seed}")
    if latent == "other" and event is not None:
        faults.append(f"event: expected none with the latent of other words, got {event!r}")
    if not faults:
        try:
            make_episode(task, seed, phrasing, event)
        except ValueError as error:
            faults.append(f"event: {error}")
    if faults:
        raise ConfigError("twin", faults)
