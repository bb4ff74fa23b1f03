"""What the latency benchmark runs: strategies as their papers have them, tasks, delays of both systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from dualsys.bench.cells import Cell
from dualsys.bench.staleness import AGES
from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import ConfigError, InstructionError
from dualsys.fast.chunking.delay import steps_begun
from dualsys.fast.chunking.strategy import StrategyName, default_options, make_strategy, require_offered
from dualsys.fast.planner.correction import require_residual
from dualsys.fast.policies.policy import System1
from dualsys.specs import ActionSpec
from dualsys.twin.evaluate import for_scripted
from dualsys.twin.latency import Constant, Latency, log_normal, parse_latency
from dualsys.twin.pool import require_simulator
from dualsys.twin.settings import Parts, TwinSettings

EXPERTS: Final = "experts"
"""Those whose motion System 1 has learnt, in place of both systems: what is left where nothing is doubted."""


@dataclass(frozen=True)
class Variant:
    """A chunk strategy as this benchmark runs it.

    Attributes:
        name: Of the strategy.
        configured: How, and where that comes from.
        options: Those of its options that are not its defaults.
        plays_half: Its option `execution_horizon` is half of a chunk.
        plan_cpu_s: Processor time of a plan, roughly, for the estimate.
        altered: What is not as the main strategies have it: `residual`, and the residual head of System 1
            corrects single actions besides; `path`, and paths are compared in place of actions, with a mask
            that suits that; `noise`, and System 1 samples from all the noise that it was trained with;
            `experts`, and both systems are the scripted experts.
    """

    name: StrategyName
    configured: str
    options: Mapping[str, object] = field(default_factory=dict)
    plays_half: bool = False
    plan_cpu_s: float = 0.008
    altered: Literal["", "residual", "path", "noise", "experts"] = ""

    @property
    def label(self) -> str:
        """Its name in this benchmark."""
        if self.altered == EXPERTS:
            return EXPERTS
        return f"{self.name}+{self.altered}" if self.altered else self.name

    def options_for(self, action: ActionSpec) -> dict[str, object]:
        """All options, for such chunks."""
        half = {"execution_horizon": max(1, action.horizon // 2)} if self.plays_half else {}
        return default_options(self.name) | half | dict(self.options)


VARIANTS = (
    Variant(
        "synchronous",
        "Plays half of each chunk and rests while the next one is computed: the baseline of the RTC paper, "
        "and how pi0 replans, after 25 of 50 actions.",
        plays_half=True,
    ),
    Variant(
        "naive_async",
        "s = max(d, 1), as in the simulations of the RTC paper: the next job begins when the last one is "
        "done, no sooner than one action later. `latest_overwrite` (LAAS) comes to the same here, so it is "
        "not run again.",
    ),
    Variant(
        "temporal_ensemble",
        "m = 0.01, counted from the oldest prediction, as in ACT. ACT asks for a prediction at every action; "
        "one job at a time allows that up to a delay of one action, and beyond that s = d.",
    ),
    Variant(
        "rtc",
        "beta = 5, mask `exp`, the vector-Jacobian product of the network, s = max(d, 1), d the largest of "
        "the last 10 delays: the setting of the paper's simulations.",
        plan_cpu_s=0.013,
    ),
    Variant(
        "rtc",
        "As `rtc`, with the mask `linear`, and then led along the path to where the planned actions lead, in "
        "the last half of its steps: how the table-top configurations have it.",
        {"pull": "path", "mask": "linear"},
        plan_cpu_s=0.015,
        altered="path",
    ),
    Variant(
        "rtc_prefix",
        "The d actions that will be over are given as a clean prefix; s = max(d, 1), as in the paper.",
    ),
    Variant(
        "naive_async",
        "Not a strategy, but what System 1 has learnt from: the scripted experts act in place of both "
        "systems, under the same delays and with `naive_async`. They know where everything is, though late, "
        "and do not hesitate.",
        plan_cpu_s=0.002,
        altered=EXPERTS,
    ),
    Variant(
        "hard_mask",
        "As `rtc`, guided by the d actions that will be over and no others: a baseline of the RTC paper.",
        plan_cpu_s=0.013,
    ),
    Variant(
        "replacement",
        "The d actions that will be over are put onto the path to the planned ones at every Euler step; "
        "s = max(d, 1).",
        plan_cpu_s=0.012,
    ),
    Variant(
        "bid",
        "16 candidates and the backward loss only, the default of the code of the RTC paper, which itself "
        "reports 32 and a weak policy besides; s = max(d, 1).",
        plan_cpu_s=0.06,
    ),
    Variant(
        "groot_ramp",
        "Frozen for d actions, then a ramp of rate 6 over everything that is planned, after the code of "
        "GR00T N1.7; s = max(d, 1).",
        plan_cpu_s=0.012,
    ),
    Variant(
        "vlash",
        "State rolled forward by d; s = max(d, 1). The paper fine-tunes for states ahead of their images; "
        "weights that are not get the part of it that needs no training.",
    ),
    Variant(
        "queue_aggregate",
        "The next job begins when 0.7 of a chunk is left, as in the SmolVLA paper (LeRobot's default is "
        "0.5); shared actions are 0.3 old and 0.7 new.",
        {"threshold": 0.7},
    ),
    Variant(
        "vote",
        "A committee of the last 8 chunks and a cosine above 0.5; s = max(d, 1).",
    ),
    Variant(
        "naive_async",
        "As `naive_async`, and the residual head of System 1 corrects each action by what is seen when it is "
        "played, after A2C2 (arXiv:2509.23224): the base strategy of that paper.",
        altered="residual",
    ),
    Variant(
        "rtc",
        "As `rtc`, with the residual head besides.",
        plan_cpu_s=0.013,
        altered="residual",
    ),
    Variant("naive_async", "As `naive_async`, from all of the noise.", altered="noise"),
    Variant("rtc", "As `rtc`, from all of the noise.", plan_cpu_s=0.013, altered="noise"),
    Variant("rtc_prefix", "As `rtc_prefix`, from all of the noise.", altered="noise"),
)
MAIN = ("synchronous", "naive_async", "temporal_ensemble", "rtc", "rtc+path", "rtc_prefix")
OTHERS: tuple[StrategyName, ...] = tuple(one.name for one in VARIANTS if one.name not in MAIN)
ALTERED = tuple(one.label for one in VARIANTS if one.altered and one.label not in (*MAIN, EXPERTS))
"""Labels of what is run in a second way besides."""

JITTER = "jitter"
SYSTEM1_DELAYS: tuple[int | str, ...] = (0, 40, 80, 120, 160, 200, 300, JITTER)
"""Delays of System 1, ms; `JITTER` stands for a distribution."""
SYSTEM2_DELAYS_MS = (0, 200, 500, 800)
SYSTEM1_DELAY_MS = 60
SYSTEM2_DELAY_MS = 200
"""What one delay is while the other is varied."""
SYSTEM2_RATE_HZ = 5.0

RECORDED = Path(__file__).with_name("plan_delays.json")
RECORDED_JITTER = parse_latency(str(RECORDED))
"""Recorded on a machine that other programs kept busy, as the file says: half of the delays are above 88 ms,
one in twenty above 265 ms, the longest one longer than a chunk."""
MODELLED_JITTER = log_normal(80 * NS_PER_MS, 0.5, 320 * NS_PER_MS)
"""A model, not a recording: half of the delays are above 80 ms, one in twenty above 180 ms."""

Varied = Literal["system1", "system2"]

TASK_S = {"pick": 2.6, "around": 3.0, "conveyor": 3.2, "intercept": 3.8, "follow": 12.0}
"""Simulated time of an episode, s, roughly, for the estimate."""
SHARES = {"follow": 0.5}
"""Part of the episodes that a task has: an episode of `follow` takes as long as four of the others."""
CLOSE: Mapping[tuple[str, str, int | str], float] = {
    **{("around", label, 200): 15.0 for label in ("synchronous", "rtc_prefix")},
    **{("follow", label, 200): 2.0 for label in ("synchronous", "rtc+path", "rtc_prefix")},
}
"""The same for a task, a strategy and a delay of System 1: cells whose intervals overlapped when they were
first run, on 100 and 50 episodes, although one did better: so many may tell such differences from chance."""
WORLD_CPU_S = 0.13
"""Processor time of a simulated second without plans, roughly, for the estimate."""


@dataclass(frozen=True)
class Sweep:
    """Strategies, by their labels, on a task under several delays of one of the systems."""

    varied: Varied
    task: str
    strategies: tuple[str, ...]
    delays: tuple[int | str, ...]


ENDS = (0, 200)
"""What a strategy loses by a delay of System 1 is what it does at the second, against the first."""
PAIR: tuple[StrategyName, ...] = ("naive_async", "rtc")
"""The strategies whose smoothness is compared."""
LATE = (120, 200, 300)
"""Delays at which their smoothness is compared with that of the experts."""
SECOND_WAYS = tuple(one.label for one in VARIANTS if one.altered == "noise")
"""What is run besides the main strategies where success is at stake and the delay long."""

SWEEPS = (
    Sweep("system1", "around", MAIN, SYSTEM1_DELAYS),
    Sweep("system1", "conveyor", MAIN, ENDS),
    Sweep("system1", "conveyor", PAIR, (120, 300)),
    Sweep("system1", "intercept", MAIN, ENDS),
    Sweep("system1", "intercept", PAIR, (120, 300)),
    Sweep("system1", "follow", MAIN, ENDS),
    Sweep("system1", "follow", PAIR, (120, 300)),
    Sweep("system1", "conveyor", ("rtc+path",), (300,)),
    Sweep("system1", "intercept", ("rtc+path",), (300,)),
    Sweep("system1", "follow", ("rtc+path",), (120, 300)),
    Sweep("system1", "pick", MAIN, ENDS),
    Sweep("system1", "pick", PAIR, (120, 300)),
    Sweep("system1", "around", (EXPERTS,), LATE),
    Sweep("system1", "conveyor", (EXPERTS,), LATE),
    Sweep("system1", "intercept", (EXPERTS,), LATE),
    Sweep("system1", "follow", (EXPERTS,), LATE),
    Sweep("system1", "pick", (EXPERTS,), LATE),
    Sweep("system1", "around", OTHERS, (120,)),
    Sweep("system1", "around", ("naive_async+residual", "rtc+residual"), (120,)),
    Sweep("system1", "around", SECOND_WAYS, (200,)),
    Sweep("system1", "intercept", SECOND_WAYS, (200,)),
    Sweep("system1", "follow", ("naive_async+residual",), (200,)),
    Sweep("system1", "conveyor", ("naive_async+residual",), (300,)),
    Sweep("system2", "conveyor", ("rtc",), SYSTEM2_DELAYS_MS),
    Sweep("system2", "conveyor", ("naive_async",), (0, 800)),
)
SMOKE_SWEEPS = (
    Sweep("system1", "around", ("synchronous", "rtc", "rtc_prefix"), (120,)),
    Sweep("system1", "around", ("rtc",), (JITTER,)),
    Sweep("system2", "conveyor", ("rtc",), (500,)),
)


@dataclass(frozen=True)
class Point:
    """One strategy on one task under one pair of delays.

    Attributes:
        varied: Which system's delay is varied in the sweep that it belongs to.
        task: Name.
        variant: Strategy.
        delay: Of the varied system, in ms, or `JITTER`.
        cell: What is run.
    """

    varied: Varied
    task: str
    variant: Variant
    delay: int | str
    cell: Cell


def points(
    settings: TwinSettings,
    action: ActionSpec,
    sweeps: Sequence[Sweep] = SWEEPS,
    jitter: Latency = RECORDED_JITTER,
) -> list[Point]:
    """Every point of every sweep.

    Args:
        settings: What is the same everywhere.
        action: What a chunk is.
        sweeps: Which.
        jitter: What `JITTER` stands for.
    """
    variants = {one.label: one for one in VARIANTS}
    return [
        _point(settings, action, sweep, variants[name], delay, jitter)
        for sweep in sweeps
        for name in sweep.strategies
        for delay in sweep.delays
    ]


def _point(
    settings: TwinSettings,
    action: ActionSpec,
    sweep: Sweep,
    variant: Variant,
    delay: int | str,
    jitter: Latency,
) -> Point:
    latency = jitter if isinstance(delay, str) else Constant(delay * NS_PER_MS)
    delays: dict[str, Latency] = {
        "system1": Constant(SYSTEM1_DELAY_MS * NS_PER_MS),
        "system2": Constant(SYSTEM2_DELAY_MS * NS_PER_MS),
        sweep.varied: latency,
    }
    own = replace(
        settings,
        strategy=variant.name,
        strategy_options=variant.options_for(action),
        system1_delay=delays["system1"],
        system2_delay=delays["system2"],
        system2_rate_hz=SYSTEM2_RATE_HZ,
        observation_rate_hz=max(SYSTEM2_RATE_HZ, settings.observation_rate_hz),
        # No strategy replans more often than once an action, s >= 1.
        plan_hz=NS_PER_S / action.step_ns,
        ages=replace(AGES, plan_hard_ns=settings.ages.plan_hard_ns),
        latent="true",
        residual=variant.altered == "residual",
        noise_scale=1.0 if variant.altered == "noise" else settings.noise_scale,
    )
    if variant.altered == EXPERTS:
        own = for_scripted(own)
    suffix = "" if isinstance(delay, str) else "ms"
    name = f"{sweep.task}-{variant.label}-{sweep.varied}-{delay}{suffix}"
    share = SHARES.get(sweep.task, 1.0)
    if sweep.varied == "system1":
        share = CLOSE.get((sweep.task, variant.label, delay), share)
    return Point(sweep.varied, sweep.task, variant, delay, Cell(name, sweep.task, own, share=share))


@dataclass(frozen=True)
class Unmet:
    """A point that cannot be run, and why.

    Attributes:
        point: Which.
        status: `not offered` if the bundles lack what the strategy needs or do not know the words of the
            task, `refused` if the delay is too long for the chunks.
        why: In the words of the error.
    """

    point: Point
    status: Literal["not offered", "refused"]
    why: str


def by_reason(unmet: Sequence[Unmet]) -> dict[tuple[str, str], list[str]]:
    """Names of cells by status and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in unmet:
        found.setdefault((one.status, one.why), []).append(one.point.cell.name)
    return found


def objection(point: Point, policy: System1) -> Unmet | None:
    """What keeps a strategy from being run with this policy, if anything."""
    settings = point.cell.settings
    strategy = make_strategy(settings.strategy, **settings.strategy_options)
    try:
        require_offered(strategy, policy.capabilities, "this bundle")
        if settings.residual:
            require_residual(policy.capabilities, "this bundle")
    except ConfigError as error:
        return Unmet(point, "not offered", "; ".join(error.faults))
    try:
        strategy.check(policy.action, steps_begun(settings.system1_delay.expected_ns, policy.action.step_ns))
    except ConfigError as error:
        return Unmet(point, "refused", "; ".join(error.faults))
    return None


def unknown_words(task: str, seeds: Sequence[int], parts: Parts) -> str:
    """What System 2 says to the first instruction of these episodes that it cannot read; empty if it can.

    Raises:
        MissingExtraError: The simulator is not installed.
    """
    require_simulator()
    from dualsys_sim.episode import make_episode

    for seed in seeds:
        episode = make_episode(task, seed)
        parts.explain({episode.instruction: episode.goal})
        try:
            parts.system2.check_instruction(episode.instruction)
        except InstructionError as error:
            return f"System 2: {error}"
    return ""


def estimate_s(chosen: Sequence[Point], episodes: int, workers: int) -> float:
    """Roughly how long the points take on idle processors, s."""
    total_s = 0.0
    for point in chosen:
        settings = point.cell.settings
        period_s = max(1.0 / settings.plan_hz, settings.system1_delay.expected_ns / NS_PER_S)
        per_second = WORLD_CPU_S + point.variant.plan_cpu_s / period_s
        total_s += TASK_S[point.task] * per_second * point.cell.part_of(episodes)
    return total_s / workers
