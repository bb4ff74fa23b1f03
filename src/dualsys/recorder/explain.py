"""Tells in words why the arm did what it did at one moment."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from dualsys.clock import NS_PER_MS, NS_PER_S, nanoseconds
from dualsys.errors import RecordingError
from dualsys.recorder.reading import RecordingReader
from dualsys.recorder.records import (
    ControlBegin,
    ControlPlan,
    ControlRequest,
    ControlTick,
    Event,
    Lost,
    ModeChange,
    PlannerBegin,
    PlannerCall,
    PlannerChunk,
    PlannerLatent,
    PlannerObservation,
    Question,
    Record,
    Rejected,
    vector,
)

K = TypeVar("K")
V = TypeVar("V")

RECENT_NS = 2 * NS_PER_S
"""How far back events are told."""

_REMEMBERED = 4096
_TOLD = 12
_AT = re.compile(r"(-?\d+(?:\.\d*)?|\.\d+)\s*(s|ns)?")


@dataclass
class _Story:
    """All that matters of the records up to the moment."""

    begin: ControlBegin | None = None
    planner: PlannerBegin | None = None
    tick: ControlTick | None = None
    before: ControlTick | None = None
    mode: ModeChange | None = None
    episode: PlannerCall | None = None
    plans: dict[tuple[int, int], ControlPlan] = field(default_factory=dict)
    chunks: dict[tuple[int, int], PlannerChunk] = field(default_factory=dict)
    latents: dict[int, PlannerLatent] = field(default_factory=dict)
    observations: dict[int, PlannerObservation] = field(default_factory=dict)
    recent: deque[Record] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def take(self, record: Record) -> None:
        """Remember a record, as long as it can matter."""
        match record:
            case ControlTick():
                self.before, self.tick = self.tick, record
            case ControlPlan(plan=plan):
                _remember(self.plans, (plan.session, plan.seq), record)
                if not record.accepted:
                    self.recent.append(record)
            case PlannerChunk():
                _remember(self.chunks, (record.plan.session, record.plan.seq), record)
            case PlannerLatent():
                _remember(self.latents, record.seq, record)
                if record.refusal:
                    self.recent.append(record)
            case PlannerObservation():
                _remember(self.observations, record.seq, record)
            case ControlBegin():
                self.begin = record
            case PlannerBegin():
                self.planner = record
            case PlannerCall():
                self.episode = record if record.name == "start_episode" else self.episode
                self.recent.append(record)
            case ModeChange():
                self.mode = record
                self.recent.append(record)
            case ControlRequest() | Rejected() | Lost():
                self.recent.append(record)
            case Event(kind=kind) if kind != "mode":
                self.recent.append(record)
            case Question(verb=verb) if verb != "status":
                self.recent.append(record)


def _remember(known: dict[K, V], key: K, value: V) -> None:
    known[key] = value
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]


def moment(text: str, start_ns: int) -> int:
    """The edge time, ns, that a text names.

    Args:
        text: Seconds from the start, such as `12.5` or `12.5s`, or edge time, such as `98765432100ns`.
        start_ns: Time of the first record.

    Raises:
        RecordingError: It is neither.
    """
    match = _AT.fullmatch(text.strip())
    if match is None or (match[2] == "ns" and "." in match[1]):
        raise RecordingError(
            f"--at: got {text!r}, expected seconds such as 12.5, or edge time such as 987654321ns"
        )
    return int(match[1]) if match[2] == "ns" else start_ns + nanoseconds(float(match[1]))


def explain(path: Path, at: str) -> list[str]:
    """Why the arm did what it did.

    Args:
        path: The recording, or the run folder that it lies in.
        at: When; see `moment`.

    Returns:
        Lines for people.

    Raises:
        RecordingError: It cannot be read, or has no control tick by then.
    """
    reader = RecordingReader(path)
    story, start_ns, at_ns, last_ns = _Story(), -1, -1, -1
    for _, record in reader:
        if start_ns < 0:
            start_ns = record.t_ns
            at_ns = moment(at, start_ns)
        last_ns = max(last_ns, record.t_ns)
        # Processes are interleaved only roughly: what one of them sent late may still belong to the moment.
        # Where there is nothing to tell, the whole of it is read, to say what it covers.
        if record.t_ns > at_ns + NS_PER_S and story.tick is not None:
            break
        if record.t_ns <= at_ns:
            story.take(record)
    if story.tick is None or at_ns > last_ns:
        why = "nothing was controlled yet" if story.tick is None else "it was over by then"
        span_s = (last_ns - start_ns) / NS_PER_S
        raise RecordingError(f"{reader.path}: at {at}: {why}; the recording covers 0 to {span_s:.3f} s")
    return list(_lines(story, story.tick, at_ns, start_ns))


def _lines(story: _Story, tick: ControlTick, at_ns: int, start_ns: int) -> Iterator[str]:
    yield (
        f"{_after(at_ns, start_ns)} ({at_ns} ns): control tick {tick.tick}, "
        f"{_ms(at_ns - tick.t_ns)} before that moment"
    )
    yield from _what(story, tick)
    yield from _mode(story, tick, at_ns)
    yield from _plan(story, tick)
    yield from _limits(story, tick)
    yield from _reading(tick)
    yield from _recent(story, at_ns, start_ns)


def _recent(story: _Story, at_ns: int, start_ns: int) -> Iterator[str]:
    """What happened shortly before, in the order of time; the same again is counted, not told."""
    told: list[tuple[int, str, int]] = []
    for record in sorted(story.recent, key=lambda one: one.t_ns):
        if record.t_ns <= at_ns - RECENT_NS:
            continue
        text = _event(record)
        if told and told[-1][1] == text:
            told[-1] = (told[-1][0], text, told[-1][2] + 1)
        else:
            told.append((record.t_ns, text, 1))
    if told:
        yield f"the last {RECENT_NS // NS_PER_S} s:"
    if len(told) > _TOLD:
        yield f"  ({len(told) - _TOLD} earlier ones left out)"
    for t_ns, text, times in told[-_TOLD:]:
        again = f" ({times} times)" if times > 1 else ""
        yield f"  {_after(t_ns, start_ns)} {text}{again}"


def _what(story: _Story, tick: ControlTick) -> Iterator[str]:
    if tick.failed:
        yield f"the tick failed: {tick.failed}; the robot was stopped"
    elif not tick.command:
        yield "nothing was commanded: the robot stops by its own means"
    else:
        named = zip(_axes(story, tick), tick.command, strict=False)
        values = " ".join(f"{name} {float(value):.4f}" for name, value in named)
        yield f"commanded: {values}"


def _mode(story: _Story, tick: ControlTick, at_ns: int) -> Iterator[str]:
    since = "" if story.mode is None else f", for {_ms(at_ns - story.mode.t_ns)}"
    why = tick.reason or "a fresh plan is being followed"
    yield f"mode {tick.mode}{since}: {why}"
    if story.episode is not None:
        episode = story.episode
        yield f"episode {episode.episode}, told at its start: “{episode.instruction}”"


def _plan(story: _Story, tick: ControlTick) -> Iterator[str]:
    if tick.plan_seq < 0:
        yield "no plan is followed"
        return
    found = [record for (_, seq), record in story.plans.items() if seq == tick.plan_seq and record.accepted]
    if not found:
        yield f"plan {tick.plan_seq}: taken {_ms(tick.plan_age_ns)} ago; its record is missing"
        return
    taken = found[-1]
    plan = taken.plan
    times = plan.t_ns.array()
    left_ns = int(times[-1]) - tick.t_ns
    state = f"{_ms(left_ns)} of it are left" if left_ns > 0 else f"it has been over for {_ms(-left_ns)}"
    yield (
        f"plan {plan.seq}: taken {_ms(tick.plan_age_ns)} ago, {len(times)} knots, {state}; "
        f"made from what the arm and the wrist camera showed {_ms(tick.t_ns - plan.t_observation_ns)} ago"
    )
    chunk = story.chunks.get((plan.session, plan.seq))
    strategy = "" if story.planner is None else f" by strategy {story.planner.strategy}"
    job = "" if chunk is None else f": job {chunk.number} of episode {chunk.episode}{strategy}"
    ahead_ns = plan.splice_ns - tick.t_ns
    joined = f"takes over in {_ms(ahead_ns)}" if ahead_ns > 0 else f"took over {_ms(-ahead_ns)} ago"
    yield (
        f"  it took {_ms(plan.delay_ns)} to make, {plan.delay_steps} steps were expected{job}; "
        f"it {joined} from the motion before it"
    )
    yield from _latent(story, tick, plan.latent_seq, plan.t_latent_ns)


def _latent(story: _Story, tick: ControlTick, seq: int, t_latent_ns: int) -> Iterator[str]:
    if seq < 0:
        yield "  it came from no latent"
        return
    age = _ms(tick.t_ns - t_latent_ns)
    newest = (
        f"; the newest behind any plan is {_ms(tick.latent_age_ns)} old" if tick.latent_age_ns >= 0 else ""
    )
    latent = story.latents.get(seq)
    if latent is None:
        yield f"latent {seq}: of images {age} old{newest}; its record is missing"
        return
    says = f", which says “{latent.text}”" if latent.text else ""
    yield (
        f"latent {seq}: of images {age} old{newest}; computed in {_ms(latent.compute_ns)} by weights "
        f"{latent.weights} for “{latent.instruction}”{says}; it arrived {_ms(tick.t_ns - latent.t_ns)} ago"
    )
    observation = story.observations.get(latent.observation_seq)
    if observation is None:
        yield f"observation {latent.observation_seq}: its record is missing"
        return
    sizes = ", ".join(f"{name} {size} bytes" for name, size in observation.sizes.items())
    # An image has three axes, the features of one have two.
    features = any(len(shape) == 2 for shape in observation.shapes.values())
    yield (
        f"observation {observation.seq}: {_ms(tick.t_ns - observation.t_ns)} ago, episode "
        f"{observation.episode}, {'features of ' if features else ''}cameras: {sizes}"
    )


def _limits(story: _Story, tick: ControlTick) -> Iterator[str]:
    """Which limits touched the command, and on which axes."""
    if not tick.setpoint:
        return
    names = _axes(story, tick)
    kinds = [kind for kind in ("position", "velocity", "acceleration") if getattr(tick, f"clamped_{kind}")]
    apart = np.abs(vector(tick.setpoint) - vector(tick.command))
    worst = int(apart.argmax())
    distance = f"at most {apart[worst]:.2g} off the plan ({names[worst]})"
    if not kinds:
        yield f"limits: none touched; the command is {distance}"
        return
    yield f"limits: {' and '.join(kinds)} touched; the command is {distance}"
    begin, before = story.begin, story.before
    if begin is None:
        return
    dt_s = begin.period_ns / NS_PER_S
    setpoint = vector(tick.setpoint)
    lower, upper = vector(begin.limits["lower"]), vector(begin.limits["upper"])
    for axis, name in enumerate(names):
        if tick.clamped_position and not lower[axis] <= setpoint[axis] <= upper[axis]:
            allowed = f"{lower[axis]:g} to {upper[axis]:g}"
            yield f"  {name}: the plan says {setpoint[axis]:.4f}, allowed is {allowed}"
        if before is None or not before.command:
            continue
        wanted = (setpoint[axis] - float(before.command[axis])) / dt_s
        fastest = float(begin.limits["velocity"][axis])
        if tick.clamped_velocity and abs(wanted) > fastest:
            yield f"  {name}: the plan is {abs(wanted):.3g} per s away, at most {fastest:g} per s is allowed"


def _reading(tick: ControlTick) -> Iterator[str]:
    age = _ms(tick.t_ns - tick.reading_t_ns)
    again = "" if tick.fresh else ", the same as at the tick before"
    missed = f"; {tick.missed} ticks were skipped just before" if tick.missed else ""
    why = f" ({tick.detail})" if tick.detail else ""
    yield f"reading of the arm: {age} old{again}, the robot says {tick.status}{why}{missed}"


def _event(record: Record) -> str:
    match record:
        case ModeChange():
            change = f"still {record.mode}" if record.before == record.mode else f"mode {record.mode}"
            return change + (f": {record.reason}" if record.reason else "")
        case ControlPlan():
            return f"a plan was refused by control: {record.refusal}"
        case PlannerLatent():
            return f"a latent was refused by the planner: {record.refusal}"
        case ControlRequest():
            outcome = f"refused: {record.refusal}" if record.refusal else f"epoch {record.epoch}"
            return (
                f"control was told {record.kind}{f' ({record.reason})' if record.reason else ''}: {outcome}"
            )
        case PlannerCall():
            told = f" “{record.instruction}”" if record.instruction else ""
            epoch = f", epoch {record.epoch}" if record.epoch >= 0 else ""
            return f"the planner was told {record.name}{told}{epoch}"
        case Question():
            who = f" by {record.caller}" if record.caller else ""
            return f"{record.process} was asked {record.verb or 'nonsense'}{who}: " + (
                record.text or ("yes" if record.ok else "no")
            )
        case Rejected():
            where, total = f"{record.process} from {record.channel}", f"{record.total} so far"
            return f"rejected by {where} ({total}): {record.fault}"
        case Lost():
            return f"{record.count} records of {record.source} were lost"
        case Event():
            details = ", ".join(f"{name} {value}" for name, value in record.details.items())
            return f"{record.kind}: {details}"
    raise TypeError(f"not an event: {type(record).__name__}")


def _axes(story: _Story, tick: ControlTick) -> list[str]:
    if story.begin is not None:
        return story.begin.axes
    return [f"axis {axis}" for axis in range(len(tick.position))]


def _after(t_ns: int, start_ns: int) -> str:
    return f"{(t_ns - start_ns) / NS_PER_S:.3f} s"


def _ms(duration_ns: int) -> str:
    return f"{duration_ns / NS_PER_MS:.1f} ms"
