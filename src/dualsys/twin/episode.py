"""One episode under a virtual clock: the cores that run live, the simulated world, a discrete-event schedule.

While a system computes, the world moves on: what it computes is decided by what it saw when it began, and
takes effect when its delay is over.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS, nanoseconds, period_ns, seconds
from dualsys.errors import ConfigError, RobotError
from dualsys.fast.control.modes import Mode
from dualsys.fast.planner.demand import Demand
from dualsys.messages import LatentPacket, UplinkMode
from dualsys.robots.contract import ArmReading
from dualsys.slow.core import SlowCore
from dualsys.twin.edge import Edge
from dualsys.twin.interventions import (
    DONOR_SEED_OFFSET,
    Think,
    donated_latent,
    latent_for,
    other_words,
    retold,
    true_latent,
    zeroed_latent,
)
from dualsys.twin.line import SlowLine
from dualsys.twin.metrics import Meter
from dualsys.twin.result import EpisodeResult
from dualsys.twin.schedule import ARRIVE, CONTROL, LOOK, MOVE, PLAN, SAY, EventSchedule, on_grid_ns
from dualsys.twin.settings import Parts, TwinSettings
from dualsys.twin.trace import Trace

if TYPE_CHECKING:
    from dualsys_sim.episode import Episode, Event, Phrasing
    from dualsys_sim.state import Snapshot
    from dualsys_sim.task import Verdict
    from dualsys_sim.world import World

TICK_NS = 4 * NS_PER_MS
"""The world, and control with it, advance in steps of this length."""

GRACE_NS = 2_000 * NS_PER_MS
"""The referee ends an episode at its time limit; the schedule stops this much later at the latest."""


def run_episode(
    parts: Parts,
    world: World,
    episode: Episode,
    settings: TwinSettings,
    *,
    phrasing: Phrasing = "seen",
    event: Event | None = None,
    min_blocks: int = 3,
) -> EpisodeResult:
    """Run one episode from its reset to its verdict.

    The same arguments give the same result, to the bit.

    Args:
        parts: The two systems.
        world: Reset by this call; its arm is the one that is led.
        episode: What to run; everything random is drawn from its seed.
        settings: Everything about time, and what System 1 gets to know.
        phrasing: How the episode's words were drawn; for the report, and for other words of the same kind.
        event: What happens on the way; for the report, and for another episode of the same kind.
        min_blocks: Least number of blocks that the episode was drawn with; for the same.

    Raises:
        InstructionError: With the latent of other words: the scene has one possible target only.
    """
    from dualsys_sim.episode import make_episode

    judged = episode
    think: Think = true_latent
    if settings.latent == "zeroed":
        think = zeroed_latent
    elif settings.latent == "other":
        words, goal = other_words(episode, phrasing)
        judged, think = retold(episode, words, goal), latent_for(words)
    elif settings.latent == "shuffled":
        donor = make_episode(episode.task, episode.seed + DONOR_SEED_OFFSET, phrasing, event, min_blocks)
        think = donated_latent(_Run(parts, world, donor, donor, settings, true_latent).first_packet())
    return _Run(parts, world, episode, judged, settings, think).result(phrasing, event, min_blocks)


def _require_uplink(wanted: UplinkMode, slow: UplinkMode, planner: UplinkMode) -> None:
    if not wanted == slow == planner:
        raise ConfigError(
            "twin",
            [
                f"uplink: got {wanted!r}, but System 2 reads {slow} and the planner sends {planner}; load "
                "the systems with the same uplink"
            ],
        )


class _Run:
    """The state of one episode: the cores, the schedule, and what is measured."""

    def __init__(
        self,
        parts: Parts,
        world: World,
        said: Episode,
        judged: Episode,
        settings: TwinSettings,
        think: Think,
    ) -> None:
        from dualsys_sim.referee import Referee

        self._parts, self._world, self._said, self._judged = parts, world, said, judged
        self._settings, self._think = settings, think
        arm = world.arm
        self._slow = SlowCore(parts.system2, settings.latent_codec, settings.feature_codec)
        self._referee = Referee(judged)
        self._schedule, self._trace = EventSchedule(), Trace()
        self._meter = Meter(arm.chain, arm.spec.limits.joints, seconds(TICK_NS))
        system1_delays, self._system2_delays = (
            np.random.default_rng([said.seed, zlib.crc32(name.encode())]) for name in ("system1", "system2")
        )
        self._edge = Edge(
            parts,
            settings,
            arm.geometry,
            arm.spec.limits,
            seed=said.seed,
            tick_ns=TICK_NS,
            delays=system1_delays,
            schedule=self._schedule,
            trace=self._trace,
            followed=self._meter.on_plan,
        )
        _require_uplink(settings.uplink, self._slow.uplink, self._edge.uplink)
        self._planner, self._control = self._edge.planner, self._edge.control
        self._demand = None if settings.demand is None else Demand(settings.demand)
        steady_ns = period_ns(settings.observation_rate_hz) if settings.demand is None else None
        self._line = SlowLine(settings.line, steady_ns, f"{settings.line_seed} {said.seed}")
        self._command: NDArray[np.float64] | None = None
        self._packet: LatentPacket | None = None
        self._verdict: Verdict | None = None
        self._stopped = ""
        self._event_happened = False
        self._event_s = 0.0
        if said.hand is not None:
            self._event_s = said.hand.time_s
        elif said.change is not None:
            self._event_s = said.change.time_s
        self._reset()

    def _reset(self) -> None:
        self._world.reset(self._said)
        goals = {self._said.instruction: self._said.goal, self._judged.instruction: self._judged.goal}
        if (change := self._said.change) is not None:
            goals[change.instruction] = change.goal
            self._schedule.at(on_grid_ns(nanoseconds(change.time_s), TICK_NS), SAY, self._say)
        self._parts.explain(goals)
        self._planner.start_episode(0, self._said.instruction)
        self._trace.event(0, "reset", self._said.instruction)
        self._schedule.at(0, MOVE, self._move)
        self._schedule.at(0, LOOK, self._look_at_wrist)
        self._schedule.at(0, PLAN, self._edge.plan)
        self._observations = self._times_of_observations()
        if self._demand is None:
            self._await_observation()
        else:
            demand = self._demand
            self._schedule.at(0, LOOK, lambda now_ns: self._offer(now_ns, demand, 0))

    def first_packet(self) -> LatentPacket:
        """Run until System 2 has made its first latent; the robot does not get to move."""
        until_ns = 0
        while self._packet is None:
            self._schedule.run(until_ns)
            until_ns += TICK_NS
        return self._packet

    def result(self, phrasing: str, event: str | None, min_blocks: int) -> EpisodeResult:
        """Run to the verdict and sum up."""
        self._schedule.run(nanoseconds(self._judged.timeout_s) + GRACE_NS)
        if self._verdict is None:
            raise RobotError(f"the referee of task {self._said.task!r} gave no verdict by the time limit")
        verdict, counters = self._verdict, self._counters()
        # Nobody resumes here: what the judge calls a timeout may only be what the stop led to.
        reason = "; ".join(words for words in (self._stopped, verdict.reason) if words)
        self._trace.event(self._schedule.now_ns, "verdict", f"{verdict.success} {reason}")
        timed = verdict.success and self._event_happened
        return EpisodeResult(
            task=self._said.task,
            seed=self._said.seed,
            phrasing=phrasing,
            event=event,
            min_blocks=min_blocks,
            instruction=self._said.instruction,
            success=verdict.success,
            reason=reason,
            duration_s=self._world.time_s,
            time_to_success_s=self._world.time_s - self._event_s if timed else None,
            metrics={
                **self._meter.summary(self._events_ns()),
                **verdict.metrics,
                "event_happened": float(self._event_happened),
            },
            counters=counters,
            trace_sha256=self._trace.hexdigest(),
        )

    def _events_ns(self) -> list[int]:
        """When something changed that the arm had to learn of: a belt's speed, a push, a hand, new words."""
        said = self._said
        times_s = [] if said.belt is None else list(said.belt.change_s)
        times_s += [] if said.glide is None else [said.glide.time_s]
        times_s += [self._event_s] if (said.hand or said.change) and math.isfinite(self._event_s) else []
        return [nanoseconds(time_s) for time_s in times_s]

    def _counters(self) -> dict[str, int]:
        return {
            **self._edge.counters(),
            **self._demand_counters(),
            **{f"line.{name}": count for name, count in self._line.counters().items()},
        }

    def _demand_counters(self) -> dict[str, int]:
        """How often System 2 was asked for which reason; nothing where it is always asked."""
        if self._demand is None:
            return {}
        return {f"demand.{name}": count for name, count in self._demand.statistics().reasons.items()}

    def _move(self, now_ns: int) -> None:
        """Let the world catch up with the present under the last command, and judge what has become of it."""
        if now_ns > 0:
            self._world.step(self._posture() if self._command is None else self._command)
        snapshot = self._world.snapshot()
        self._watch_for_event(snapshot)
        self._verdict = self._referee.update(snapshot)
        if self._verdict is not None:
            self._schedule.stop()
            return
        self._schedule.at(now_ns, CONTROL, self._act)
        self._schedule.at(now_ns + TICK_NS, MOVE, self._move)

    def _watch_for_event(self, snapshot: Snapshot) -> None:
        """Note whether the event comes in time: before the end, and before the gripper has the object."""
        from dualsys_sim.judging import held

        if self._event_happened or snapshot.time_s < self._event_s:
            return
        hand = self._said.hand
        missed = hand is not None and held(snapshot, hand.index)
        self._event_happened = not missed
        self._event_s = math.inf if missed else self._event_s

    def _posture(self) -> NDArray[np.float64]:
        arm = self._world.measure()
        return np.append(arm.q_rad, arm.width_m)

    def _act(self, now_ns: int) -> None:
        """One tick of control."""
        arm = self._world.measure()
        reading = ArmReading(
            now_ns, np.append(arm.q_rad, arm.width_m), np.append(arm.dq_rad_s, arm.width_speed_m_s)
        )
        output = self._control.step(now_ns, reading)
        if output.command is not None:
            self._command = output.command
        if output.mode is Mode.STOPPED:
            self._stopped = f"control stopped: {output.reason}"
        self._trace.command(now_ns, output.command)
        self._meter.on_tick(output.command, output.mode)
        self._edge.note(output.state)
        repeated = self._planner.repeat(now_ns)
        if repeated is not None:
            self._trace.message(now_ns, repeated)
            self._control.on_plan(repeated, now_ns)

    def _say(self, now_ns: int) -> None:
        change = self._said.change
        if change is not None:
            self._trace.event(now_ns, "say", change.instruction)
            self._planner.instruct(change.instruction)

    def _look_at_wrist(self, now_ns: int) -> None:
        self._planner.on_frame("wrist", self._parts.camera(self._world, "wrist"), now_ns)
        due_ns = now_ns + period_ns(self._settings.wrist_rate_hz)
        self._schedule.at(on_grid_ns(due_ns, TICK_NS), LOOK, self._look_at_wrist)

    def _times_of_observations(self) -> Iterator[tuple[int, int]]:
        """When the observations that System 2 reads are captured, and when it starts on each, ns.

        It starts on its own period, on the newest observation there is; one that it never sees is not taken.
        """
        every_ns, start_ns = period_ns(self._settings.observation_rate_hz), 0
        last_ns = -1
        while True:
            captured_ns = on_grid_ns(start_ns // every_ns * every_ns, TICK_NS)
            if captured_ns > last_ns:
                yield captured_ns, max(captured_ns, start_ns)
                last_ns = captured_ns
            start_ns += period_ns(self._settings.system2_rate_hz)

    def _await_observation(self) -> None:
        captured_ns, started_ns = next(self._observations)
        self._schedule.at(captured_ns, LOOK, lambda now_ns: self._observe(now_ns, started_ns))

    def _observe(self, now_ns: int, started_ns: int) -> None:
        """Show System 2 the scene; what it makes of it arrives after its delay."""
        self._edge.tell_planner()
        self._show(now_ns, started_ns, self._images())
        self._await_observation()

    def _offer(self, now_ns: int, demand: Demand, free_ns: int) -> None:
        """At each observation, once System 2 is free: decide whether it is shown the scene, and show it."""
        settings = self._settings
        due_ns = on_grid_ns(now_ns + period_ns(settings.observation_rate_hz), TICK_NS)
        if now_ns >= free_ns:
            self._edge.tell_planner()
            images = self._images()
            situation = self._planner.situation(now_ns, images)
            if situation is None:
                raise RobotError("nothing can be decided about System 2: no episode, or no arm state")
            if demand.judge(situation).ask:
                self._show(now_ns, now_ns, images)
                free_ns = now_ns + period_ns(settings.system2_rate_hz)
        self._schedule.at(due_ns, LOOK, lambda at_ns: self._offer(at_ns, demand, free_ns))

    def _images(self) -> dict[str, NDArray[np.uint8]]:
        """What System 2 would be shown."""
        cameras = self._parts.system2.specs.observation.cameras
        return {name: self._parts.camera(self._world, name) for name in cameras}

    def _show(self, now_ns: int, started_ns: int, images: dict[str, NDArray[np.uint8]]) -> None:
        vision = self._parts.vision
        shown = images if vision is None else vision.encode(images)
        observation = self._planner.observation(now_ns, shown)
        if observation is None:
            raise RobotError(f"no observation could be made: {self._planner.statistics().last_fault}")
        shown_ns = self._line.up(now_ns, observation)
        if shown_ns is None:
            return
        packet = self._packet = self._think(self._slow, observation)
        delay_ns = self._settings.system2_delay.draw_ns(self._system2_delays)
        self._schedule.at(
            max(started_ns, shown_ns + delay_ns), ARRIVE, lambda at_ns: self._answer(at_ns, packet)
        )

    def _answer(self, now_ns: int, packet: LatentPacket) -> None:
        """A latent takes its way down."""
        arrival_ns = self._line.down(now_ns, packet)
        if arrival_ns == now_ns:
            self._edge.receive(now_ns, packet)
        elif arrival_ns is not None:
            self._schedule.at(arrival_ns, ARRIVE, lambda at_ns: self._edge.receive(at_ns, packet))
