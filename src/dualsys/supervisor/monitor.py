"""Listens to every channel of a running system: measures rates and ages, and hands all to the recorder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.channel import LatestSubscriber
from dualsys.bus.codec import from_image
from dualsys.bus.sockets import ZmqContext
from dualsys.clock import NS_PER_MS, NS_PER_S, period_ns
from dualsys.config import SystemConfig
from dualsys.errors import MessageError
from dualsys.messages import CameraFrame, ControlState, LatentPacket, Plan
from dualsys.telemetry.recorder import Recorder
from dualsys.telemetry.run_folder import Json
from dualsys.telemetry.statistics import Rate, Streaming

CAMERAS: tuple[str, ...] = ("fixed", "wrist")


def speed_jump(before: Plan, after: Plan) -> float | None:
    """Greatest change of a joint speed where a plan leaves the one before it, rad/s.

    Returns:
        None unless `after` directly follows `before` in the same epoch, and both cover the splice.
    """
    if after.seq != before.seq + 1 or after.epoch != before.epoch:
        return None
    left, right = _joint_speeds(before, after.splice_ns), _joint_speeds(after, after.splice_ns)
    if left is None or right is None or left.shape != right.shape:
        return None
    jump = float(np.abs(right - left).max(initial=0.0))
    return jump if np.isfinite(jump) else None


def _joint_speeds(plan: Plan, t_ns: int) -> NDArray[np.float64] | None:
    """Speed of each joint from a time on, rad/s; zero once the plan is over; None if it has none."""
    times, setpoints = plan.t_ns.array().astype(np.int64), plan.setpoints.array().astype(np.float64)
    if times.ndim != 1 or setpoints.ndim != 2 or len(times) != len(setpoints) or len(times) < 2:
        return None
    left = int(np.searchsorted(times, t_ns, side="right")) - 1
    if left < 0:
        return None
    if left == len(times) - 1:
        return np.zeros(setpoints.shape[1] - 1)
    span_s = float(times[left + 1] - times[left]) / NS_PER_S
    return (setpoints[left + 1, :-1] - setpoints[left, :-1]) / span_s


@dataclass
class Flow:
    """How often something is sent, from its sequence numbers: what was replaced on the way counts too."""

    rate: Rate = field(default_factory=Rate)
    total: int = 0
    first_ns: int = -1
    last_ns: int = -1
    _last_seq: int = -1

    def seen(self, now_ns: int, seq: int) -> None:
        """Note that number `seq` is there. A smaller one than before means that the sender started anew."""
        self.total += seq - self._last_seq if 0 <= self._last_seq < seq else int(seq != self._last_seq)
        self._last_seq = seq
        self.first_ns = now_ns if self.first_ns < 0 else self.first_ns
        self.last_ns = now_ns
        self.rate.update(now_ns, self.total)

    @property
    def mean_per_second(self) -> float:
        """Rate from the first to the last; 0 with fewer than two."""
        elapsed_ns = self.last_ns - self.first_ns
        return (self.total - 1) * NS_PER_S / elapsed_ns if elapsed_ns > 0 else 0.0

    def per_second(self, now_ns: int) -> float:
        """Rate over the last two seconds; 0 once nothing came for as long."""
        return self.rate.per_second if now_ns - self.last_ns < 2 * NS_PER_S else 0.0


class Monitor:
    """Subscribes to all channels.

    Args:
        context: From `bus.sockets.open_context`.
        config: Where the channels are.
        recorder: Where everything goes.

    Attributes:
        state, latent, plan: Newest of each.
        flows: How often `state`, `latent`, `plan` and each camera arrive.
        latent_age_ms, plan_delay_ms, join_rad_s: What was measured so far.
    """

    def __init__(self, context: ZmqContext, config: SystemConfig, recorder: Recorder) -> None:
        ends = config.endpoints
        self._recorder = recorder
        self._states = _subscribe(context, ends.control.state, "endpoints.control.state", ControlState)
        self._latents = _subscribe(
            context, ends.slow.latent, "endpoints.slow.latent", LatentPacket, config.robot.name.encode()
        )
        self._plans = _subscribe(context, ends.planner.plan, "endpoints.planner.plan", Plan)
        self._cameras = {
            name: _subscribe(
                context, ends.robot.cameras, "endpoints.robot.cameras", CameraFrame, name.encode()
            )
            for name in CAMERAS
        }
        self._frame_period_ns = period_ns(config.run.video_hz)
        self._frame_due_ns = dict.fromkeys(CAMERAS, 0)
        self.flows = {name: Flow() for name in ("state", "latent", "plan", *CAMERAS)}
        self.state: ControlState | None = None
        self.latent: LatentPacket | None = None
        self.plan: Plan | None = None
        self.last_join_rad_s: float | None = None
        self.latent_age_ms, self.plan_delay_ms, self.join_rad_s = Streaming(), Streaming(), Streaming()
        self.bad_images = 0

    def poll(self, now_ns: int) -> None:
        """Take in what has arrived. Never blocks."""
        if (state := self._states.receive()) is not None:
            self.state = state
            self.flows["state"].seen(now_ns, state.seq)
            if state.latent_age_ns >= 0 and state.mode in ("RUNNING", "SLOWED"):
                self.latent_age_ms.add(state.latent_age_ns / NS_PER_MS)
            self._recorder.tick(state)
        if (latent := self._latents.receive()) is not None:
            self.latent = latent
            self.flows["latent"].seen(now_ns, latent.seq)
            self._recorder.latent(now_ns, latent)
        if (plan := self._plans.receive()) is not None:
            self._take_plan(now_ns, plan)
        for name, camera in self._cameras.items():
            if (frame := camera.receive()) is not None:
                self.flows[name].seen(now_ns, frame.seq)
                self._take_frame(now_ns, name, frame)

    def summary(self) -> dict[str, Json]:
        """What was measured, for `summary.json`."""
        channels: dict[str, Any] = {
            "control.state": self._states,
            "slow.latent": self._latents,
            "planner.plan": self._plans,
            **{f"robot.cameras.{name}": camera for name, camera in self._cameras.items()},
        }
        rejected = {name: channel.statistics().rejected for name, channel in channels.items()}
        return {
            "rates_hz": {name: round(flow.mean_per_second, 2) for name, flow in self.flows.items()},
            "latent_age_ms": self.latent_age_ms.summary(),
            "plan_delay_ms": self.plan_delay_ms.summary(),
            "join_rad_s": self.join_rad_s.summary(),
            "control_counters": {} if self.state is None else dict(self.state.counters),
            "messages_rejected": rejected,
            "images_rejected": self.bad_images,
        }

    def close(self) -> None:
        """Disconnect from all channels."""
        for channel in (self._states, self._latents, self._plans, *self._cameras.values()):
            channel.close()

    def _take_plan(self, now_ns: int, plan: Plan) -> None:
        before, self.plan = self.plan, plan
        self.flows["plan"].seen(now_ns, plan.seq)
        self.plan_delay_ms.add(plan.delay_ns / NS_PER_MS)
        join_rad_s = None if before is None else speed_jump(before, plan)
        if join_rad_s is not None:
            self.last_join_rad_s = join_rad_s
            self.join_rad_s.add(join_rad_s)
        self._recorder.plan(now_ns, plan, join_rad_s)

    def _take_frame(self, now_ns: int, name: str, frame: CameraFrame) -> None:
        if now_ns < self._frame_due_ns[name]:
            return
        self._frame_due_ns[name] = max(self._frame_due_ns[name] + self._frame_period_ns, now_ns)
        try:
            image = from_image(frame.image)
        except MessageError:
            self.bad_images += 1
            return
        self._recorder.frame(now_ns, name, image)


def _subscribe(context: ZmqContext, endpoint: str, setting: str, kind: type[Any], topic: bytes = b"") -> Any:
    return LatestSubscriber(context, endpoint, bind=False, setting=setting, types=(kind,), topic=topic)
