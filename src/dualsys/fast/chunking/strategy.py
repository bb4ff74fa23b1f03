"""What a chunk strategy is, and how one is chosen by name.

A strategy decides three things and nothing else: when a new plan is wanted, what System 1 is asked for, and
how its chunk joins the motion that is already planned. The track does the arithmetic of the join.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast, get_args, get_origin, get_type_hints

import numpy as np

from dualsys.errors import ConfigError
from dualsys.fast.chunking.requests import Request
from dualsys.fast.planner.track import ActionArray, Box, Chunk, Track
from dualsys.fast.policies.policy import CAPABILITIES, Capability, System1, WeakSampler
from dualsys.specs import ActionSpec

StrategyName = Literal[
    "synchronous",
    "naive_async",
    "temporal_ensemble",
    "vote",
    "rtc",
    "hard_mask",
    "replacement",
    "rtc_prefix",
    "bid",
    "queue_aggregate",
    "latest_overwrite",
    "vlash",
    "groot_ramp",
]
"""Names of the strategies. Each is defined in the file of that name in this folder, and nowhere else."""

STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)


@dataclass(frozen=True)
class About:
    """What people choose a strategy by.

    Attributes:
        summary: What it does, in a few words.
        paper: Where it comes from.
        needs: What System 1 has to offer, beyond plain samples; empty: nothing.
        cost: Evaluations of the network for a chunk of n Euler steps.
    """

    summary: str
    paper: str
    needs: str
    cost: str


@dataclass(frozen=True)
class Overlap:
    """The motion that is already planned, on the grid of the chunk to come.

    Attributes:
        previous: float32 `[H, 4]` normalised actions; meaningful for the first `valid` steps only.
        valid: Leading steps that the track still covers as a whole.
        delay_steps: Steps that will have begun on the old motion before the new chunk is ready, d.
    """

    previous: ActionArray
    valid: int
    delay_steps: int

    def held(self, steps: int) -> ActionArray:
        """The first `steps` >= 1 actions, the last of them repeated to the end, float32 `[H, 4]`.

        What follows is not planned and must get weight zero; a real action there cannot mislead anyone.
        """
        kept = np.minimum(np.arange(len(self.previous)), steps - 1)
        filled: ActionArray = self.previous[kept]
        return filled


class ChunkStrategy(Protocol):
    """Decides when to plan and how chunks join. Holds no clock; one instance serves one planner."""

    about: ClassVar[About]

    @property
    def name(self) -> str:
        """The name in `STRATEGIES`."""
        ...

    @property
    def needs(self) -> frozenset[Capability]:
        """What System 1 must offer."""
        ...

    def check(self, action: ActionSpec, delay_steps: int) -> None:
        """Raise ConfigError if the options do not suit these chunks and an expected delay, in actions."""
        ...

    def wants_plan(self, now_ns: int, track: Track) -> bool:
        """Whether a plan job should start now."""
        ...

    def request(self, overlap: Overlap) -> Request:
        """What System 1 is asked for."""
        ...

    def merge(self, track: Track, chunk: Chunk, now_ns: int, workspace: Box) -> Track:
        """Join a finished chunk. Returns the very same track if nothing of the chunk can be used any more."""
        ...

    def reset(self) -> None:
        """Forget all motion, for a new episode. Counters stay."""
        ...

    def statistics(self) -> Mapping[str, int]:
        """Named totals of what this strategy could not do as asked."""
        ...


def strategy_class(name: str) -> type[ChunkStrategy]:
    """The class of a strategy. Raises ConfigError for an unknown name; lists the known ones."""
    if name not in STRATEGIES:
        raise ConfigError("chunk strategy", [f"name: {name!r} is not one of {', '.join(STRATEGIES)}"])
    # A file imports the types above, so it is imported when it is asked for.
    module = import_module(f"dualsys.fast.chunking.{name}")
    found: type[ChunkStrategy] = module.STRATEGY
    return found


def default_options(name: str) -> dict[str, object]:
    """The options of a strategy and their defaults."""
    parameters = inspect.signature(strategy_class(name)).parameters.values()
    return {one.name: one.default for one in parameters}


def make_strategy(name: str, /, **options: object) -> ChunkStrategy:
    """Build a strategy.

    Args:
        name: One of `STRATEGIES`.
        options: Keyword arguments of that strategy's class.

    Raises:
        ConfigError: An unknown name or option (lists the known ones), or a value that is not allowed.
    """
    found = strategy_class(name)
    known = default_options(name)
    hints = get_type_hints(found.__init__)
    faults, fitting = [], {}
    for option, value in options.items():
        if option not in known:
            faults.append(f"{option}: {name} has no such option, it has {', '.join(known) or 'none'}")
        elif not _fits(value, hints[option]):
            faults.append(f"{option}: expected {_in_words(hints[option])}, got {value!r}")
        else:
            fitting[option] = value
    factory: Any = found
    try:
        made: ChunkStrategy = factory(**fitting)
    except ConfigError as error:
        raise ConfigError(name, [*faults, *error.faults]) from None
    if faults:
        raise ConfigError(name, faults)
    return made


def require_suitable(strategy: ChunkStrategy, policy: System1, delay_steps: int) -> None:
    """Return if a strategy can be run with a policy.

    Args:
        strategy: Chosen.
        policy: System 1.
        delay_steps: Expected delay of a plan, in actions.

    Raises:
        ConfigError: The policy lacks what the strategy needs, which is named together with the strategies
            that it does support; or its chunks do not suit.
    """
    require_offered(strategy, policy.capabilities, f"System 1 with weights {policy.weights}")
    strategy.check(policy.action, delay_steps)


def require_offered(strategy: ChunkStrategy, offered: frozenset[Capability], who: str) -> None:
    """Raise ConfigError unless everything that the strategy needs is offered by `who`."""
    missing = strategy.needs - offered
    if not missing:
        return
    if "weak" in missing:
        remedy = _WEAK_REMEDY
    else:
        supported = ", ".join(name for name in STRATEGIES if make_strategy(name).needs <= offered)
        remedy = f"export a bundle that has it, or choose one of {supported}"
    fault = f"needs {_listed(missing)} of System 1; {who} offers {_listed(offered)}; {remedy}"
    raise ConfigError(f"chunk strategy {strategy.name}", [fault])


_WEAK_REMEDY = (
    "set fast.weak_bundle to the folder of a weaker System 1 of the same kind, or "
    "fast.strategy.options.nearest to 0"
)


def weak_faults(
    strategy: ChunkStrategy, options: Mapping[str, object], weak_bundle: Path | None
) -> Iterator[str]:
    """What is wrong with a weak policy beside System 1, or with none, where `strategy` is chosen.

    Args:
        strategy: Chosen.
        options: Those of it that were given.
        weak_bundle: The setting `fast.weak_bundle`.
    """
    wanted = "weak" in strategy.needs
    if wanted and weak_bundle is None:
        yield (
            f"fast.strategy.options.nearest: got {options.get('nearest')}, expected 0 while fast.weak_bundle "
            f"is null: {strategy.name!r} compares with samples of a weak policy; {_WEAK_REMEDY}"
        )
    elif not wanted and weak_bundle is not None:
        nearest = {**default_options(strategy.name), **options}.get("nearest")
        chosen = "" if nearest is None else f" with nearest {nearest}"
        yield (
            f"fast.weak_bundle: got {str(weak_bundle)!r}, expected null: {strategy.name!r}{chosen} draws "
            "nothing from a weak policy; set it to null, or fast.strategy.name to 'bid' and "
            "fast.strategy.options.nearest above 0"
        )


def weak_weights(strategy: ChunkStrategy, policy: System1) -> str:
    """Short hash of the weights of the weak policy that a strategy draws from; empty without one."""
    return cast(WeakSampler, policy).weak_weights if "weak" in strategy.needs else ""


def _listed(capabilities: frozenset[Capability]) -> str:
    return ", ".join(one for one in CAPABILITIES if one in capabilities) or "nothing"


def _fits(value: object, hint: object) -> bool:
    """Whether a value is of the type of an option; an int passes for a float, a bool for a bool only."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    kinds = tuple(_alternatives(hint))
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return abs(value) < 2**63
    return isinstance(value, kinds)


def _alternatives(hint: object) -> Iterator[type]:
    yield from get_args(hint) or (hint,)


_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text", type(None): "null"}


def _in_words(hint: object) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    return " or ".join(_WORDS[one] for one in _alternatives(hint))
