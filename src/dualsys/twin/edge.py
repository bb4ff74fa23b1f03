"""The edge in the twin: planner and control on one schedule, whatever world the arm is in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dualsys.clock import period_ns
from dualsys.fast.chunking.strategy import make_strategy
from dualsys.fast.control.core import ControlCore
from dualsys.fast.control.limits import Limits
from dualsys.fast.control.readings import Tolerances
from dualsys.fast.planner.core import PlannerCore
from dualsys.fast.planner.records import PlanJob, PlannerSettings
from dualsys.fast.planner.track import Box
from dualsys.messages import ControlState, LatentPacket, Plan
from dualsys.robots.geometry import ArmGeometry
from dualsys.twin.schedule import ARRIVE, PLAN, EventSchedule, on_grid_ns
from dualsys.twin.settings import Parts, TwinSettings
from dualsys.twin.trace import Trace


class Edge:
    """Planner and control of one episode: what a plan job decides takes effect when its delay is over.

    Args:
        parts: The two systems.
        settings: Everything about time, and what System 1 gets to know.
        arm: Which arm is led.
        limits: What it can do; commands use the parts of it that the settings allow.
        seed: Of the episode, and so of the planner's noise.
        tick_ns: Control period; jobs begin on its grid.
        delays: What durations of plan jobs are drawn from.
        schedule: When what happens.
        trace: What latents and plans are added to.
        followed: Told of each plan that control follows, and when it came.

    Attributes:
        planner, control: The cores.
        uplink: What the planner sends to System 2.

    Raises:
        ConfigError: System 1 lacks what the strategy or the settings need.
    """

    def __init__(
        self,
        parts: Parts,
        settings: TwinSettings,
        arm: ArmGeometry,
        limits: Limits,
        *,
        seed: int,
        tick_ns: int,
        delays: np.random.Generator,
        schedule: EventSchedule,
        trace: Trace,
        followed: Callable[[Plan, int], None] | None = None,
    ) -> None:
        self._settings, self._tick_ns, self._delays = settings, tick_ns, delays
        self._schedule, self._trace, self._followed = schedule, trace, followed
        self._state: ControlState | None = None
        session = 1 + seed % 2**31
        strategy = make_strategy(settings.strategy, **settings.strategy_options)
        chosen = _planner_settings(parts, settings, arm)
        self.uplink = chosen.uplink
        self.planner = PlannerCore(parts.system1, strategy, arm.kinematics, session, seed, chosen)
        self.control = ControlCore(
            limits.scaled(settings.speed_fraction, settings.acceleration_fraction),
            settings.ages,
            tick_ns,
            session=session,
            slowed_fraction=settings.slowed_fraction,
            tolerances=Tolerances(following_rad=settings.following_rad),
        )

    def note(self, state: ControlState) -> None:
        """Keep the newest state for the planner, as a channel on which the latest value wins would."""
        self._state = state

    def tell_planner(self) -> None:
        """Give the planner what was noted, before it does anything."""
        if self._state is not None:
            self.planner.on_state(self._state)
            self._state = None

    def receive(self, now_ns: int, packet: LatentPacket) -> None:
        """A latent arrives."""
        self._trace.message(now_ns, packet)
        self.planner.on_latent(packet)

    def plan(self, now_ns: int) -> None:
        """Begin a plan job; its chunk is decided now and arrives after its delay. Enters the next one."""
        self.tell_planner()
        job = self.planner.begin(now_ns)
        plan_hz = self._settings.plan_hz
        next_ns = on_grid_ns(now_ns + (period_ns(plan_hz) if plan_hz else self._tick_ns), self._tick_ns)
        if job is None:
            self._schedule.at(next_ns, PLAN, self.plan)
            return
        chunk = self.planner.compute(job)
        ready_ns = now_ns + self._settings.system1_delay.draw_ns(self._delays)
        self._schedule.at(ready_ns, ARRIVE, lambda at_ns: self._finish(at_ns, job, chunk))
        self._schedule.at(max(next_ns, on_grid_ns(ready_ns, self._tick_ns)), PLAN, self.plan)

    def counters(self) -> dict[str, int]:
        """Named totals of control and planner."""
        return {
            **{f"control.{name}": count for name, count in self.control.statistics().items()},
            **{f"planner.{name}": count for name, count in self.planner.statistics().counters().items()},
        }

    def _finish(self, now_ns: int, job: PlanJob, chunk: NDArray[np.float32]) -> None:
        self.tell_planner()
        plan = self.planner.finish(job, chunk, now_ns)
        if plan is None:
            return
        self._trace.message(now_ns, plan)
        if self.control.on_plan(plan, now_ns) and self._followed is not None:
            self._followed(plan, now_ns)


def _planner_settings(parts: Parts, settings: TwinSettings, arm: ArmGeometry) -> PlannerSettings:
    return PlannerSettings(
        workspace=Box(arm.low_m, arm.high_m),
        open_m=arm.open_m,
        expected_delay_ns=settings.system1_delay.expected_ns,
        latent_codec=settings.latent_codec,
        residual=settings.residual,
        noise_scale=settings.noise_scale,
        look_again=settings.look_again,
        features={} if parts.vision is None else parts.vision.features,
        feature_codec=settings.feature_codec,
        image_encoding=settings.image_encoding,
        jpeg_quality=settings.jpeg_quality,
    )
