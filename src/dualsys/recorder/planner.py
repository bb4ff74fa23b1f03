"""A planner core whose every input is recorded, in the order in which it was taken, with what came of it.

Images, features and latents are not: all that they lead to is the chunk that System 1 computes, and that is
recorded. Everything else (the track, the strategy's merge, the set-points) can be computed again from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.bus.channel import LatestSubscriber
from dualsys.bus.service import ServiceServer
from dualsys.cameras.link import LinkCamera
from dualsys.clock import NS_PER_S
from dualsys.errors import DualsysError
from dualsys.fast.chunking.strategy import ChunkStrategy, weak_weights
from dualsys.fast.planner.arm import Kinematics
from dualsys.fast.planner.core import PlannerCore
from dualsys.fast.planner.correction import Corrector
from dualsys.fast.planner.demand import Decision
from dualsys.fast.planner.loop import PlannerLoop, Wiring
from dualsys.fast.planner.rate_control import RateChoice
from dualsys.fast.planner.records import PlanJob, PlannerSettings
from dualsys.fast.planner.sight import Features, Images
from dualsys.fast.planner.track import ActionArray
from dualsys.fast.policies.guard import PolicyGuard, require_array
from dualsys.fast.policies.policy import ResidualHead, System1
from dualsys.messages import ControlState, Image, LatentPacket, Observation, Plan, Tensor
from dualsys.recorder.geometries import name_of
from dualsys.recorder.records import (
    SCHEMA_VERSION,
    PlanHeader,
    PlannerBegin,
    PlannerCall,
    PlannerChunk,
    PlannerDemand,
    PlannerFrame,
    PlannerJob,
    PlannerLatent,
    PlannerObservation,
    PlannerRate,
    PlannerRepeat,
    PlannerState,
)
from dualsys.recorder.tap import Tap, Watch, faults_of

if TYPE_CHECKING:
    from typing import Literal

    Name = Literal["start_episode", "end_episode", "instruct", "adopt_epoch"]

BEGINS_PER_LOOK: Final = 10
_NO_CHUNK: Final = Tensor.of(np.zeros((0, 4), dtype=np.float32))
_NO_RESIDUAL: Final = Tensor.of(np.zeros(0, dtype=np.float32))
_NO_PLAN: Final = PlanHeader(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, "")


class HeardHead:
    """A residual head that is listened to.

    Args:
        head: Says what to add to an action.
        guard: Around the policy that it belongs to.
    """

    def __init__(self, head: ResidualHead, guard: PolicyGuard) -> None:
        self._head = head
        self._guard = guard
        self.residual_heard = _NO_RESIDUAL
        self.failed = ""

    def forget(self) -> None:
        """Nothing was heard."""
        self.residual_heard, self.failed = _NO_RESIDUAL, ""

    def residual(self, *seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """What to add to an action, float32 `[4]`."""
        try:
            with self._guard.entered():
                residual = require_array(self._head.residual(*seen))
        except DualsysError as error:
            self.failed = str(error)
            raise
        self.residual_heard = Tensor.of(residual)
        return residual


class RecordedPlannerCore(PlannerCore):
    """A planner core that hands all that goes in and out to a tap.

    Args:
        tap: Where to.
        options: Of the strategy, for the record.
        policy, strategy, kinematics, session, seed, settings: As for `PlannerCore`.

    Attributes:
        watch: Add channels to it whose faults shall be noted.
    """

    def __init__(
        self,
        tap: Tap,
        options: Mapping[str, object],
        policy: System1,
        strategy: ChunkStrategy,
        kinematics: Kinematics,
        session: int,
        seed: int,
        settings: PlannerSettings | None = None,
    ) -> None:
        self._tap = tap
        self._calls = 0
        self.watch = Watch(tap, BEGINS_PER_LOOK)
        super().__init__(policy, strategy, kinematics, session, seed, settings)
        self._heard: HeardHead | None = None
        if self._corrector is not None:
            self._heard = HeardHead(cast(ResidualHead, policy), self._guard)
            self._corrector = Corrector(self._heard, policy.action)
        tap.put(
            PlannerBegin(
                t_ns=tap.now_ns(),
                schema=SCHEMA_VERSION,
                action=policy.action,
                specs=policy.specs,
                wrist=policy.wrist,
                weights=policy.weights,
                capabilities=sorted(policy.capabilities),
                kinematics=name_of(kinematics),
                strategy=strategy.name,
                options=dict(options),
                session=session,
                seed=seed,
                settings=dataclasses.asdict(settings or PlannerSettings()),
                latents=policy.latents,
                weak_weights=weak_weights(strategy, policy),
            )
        )

    def start_episode(self, episode: int, instruction: str, epoch: int | None = None) -> None:
        """Forget all motion, images and latents, and begin anew."""
        told = {"episode": episode, "instruction": instruction, "epoch": -1 if epoch is None else epoch}
        begin = super().start_episode
        self._call("start_episode", told, lambda: begin(episode, instruction, epoch))

    def end_episode(self) -> None:
        """Forget all motion, images and latents, and stay idle until the next episode starts."""
        self._call("end_episode", {}, super().end_episode)

    def instruct(self, text: str) -> None:
        """Tell the robot something else within the episode."""
        instruct = super().instruct
        self._call("instruct", {"instruction": text}, lambda: instruct(text))

    def adopt_epoch(self, epoch: int) -> None:
        """Make plans for another epoch of control."""
        adopt = super().adopt_epoch
        self._call("adopt_epoch", {"epoch": epoch}, lambda: adopt(epoch))

    def on_latent(self, packet: LatentPacket) -> bool:
        """Take in a latent."""
        before = dict(self._latents.counts)
        accepted = super().on_latent(packet)
        rose = [name for name, count in self._latents.counts.items() if count != before.get(name, 0)]
        self._tap.put(
            PlannerLatent(
                t_ns=self._tap.now_ns(),
                session=packet.session,
                episode=packet.episode,
                seq=packet.seq,
                observation_seq=packet.observation_seq,
                t_capture_ns=packet.t_capture_ns,
                instruction=packet.instruction,
                compute_ns=packet.compute_ns,
                t_received_ns=packet.t_received_ns,
                t_sent_ns=packet.t_sent_ns,
                weights=packet.weights,
                kind=packet.kind,
                tensors={
                    name: f"{tensor.dtype}{list(tensor.shape)}" for name, tensor in packet.tensors.items()
                },
                codec=packet.codec,
                text=packet.text,
                act=packet.act,
                refusal="" if accepted else rose[0],
            )
        )
        return accepted

    def on_state(self, state: ControlState) -> bool:
        """Take in what the arm does."""
        with self._inside_a_call():
            accepted = super().on_state(state)
        told = msgspec.structs.replace(state, counters={})
        self._tap.put(PlannerState(t_ns=self._tap.now_ns(), state=told, accepted=accepted))
        return accepted

    def on_frame(self, camera: str, image: NDArray[np.uint8], t_ns: int) -> bool:
        """Take in a wrist image."""
        accepted = super().on_frame(camera, image, t_ns)
        self._tap.put(PlannerFrame(t_ns=t_ns, camera=camera, shape=list(image.shape), accepted=accepted))
        return accepted

    def observation(
        self, now_ns: int, shown: Images | Features, jpeg_quality: int | None = None
    ) -> Observation | None:
        """What System 2 is shown next."""
        made = super().observation(now_ns, shown, jpeg_quality)
        sent: dict[str, Image | Tensor] = {} if made is None else {**made.images, **made.features}
        self._tap.put(
            PlannerObservation(
                t_ns=now_ns,
                seq=-1 if made is None else made.seq,
                episode=self.episode,
                instruction=self.instruction,
                shapes={name: list(array.shape) for name, array in shown.items()},
                sizes={name: len(part.data) for name, part in sent.items()},
            )
        )
        return made

    def begin(self, now_ns: int) -> PlanJob | None:
        """Begin a plan job."""
        self.watch.look()
        idle = not self._active or self._running is not None
        job = super().begin(now_ns)
        if not idle:
            self._tap.put(self._job_record(now_ns, job))
        return job

    def finish(self, job: PlanJob, chunk: ActionArray, now_ns: int) -> Plan | None:
        """Join a computed chunk to the motion."""
        plan = super().finish(job, chunk, now_ns)
        self._tap.put(
            PlannerChunk(
                t_ns=now_ns,
                number=job.number,
                episode=job.episode,
                chunk=Tensor.of(np.asarray(chunk)),
                failed="",
                plan=header(plan),
            )
        )
        return plan

    def repeat(self, now_ns: int) -> Plan | None:
        """What to send while no job is done and the motion goes on, if anything."""
        residual, failed = _NO_RESIDUAL, ""
        if self._heard is not None:
            self._heard.forget()
        plan = super().repeat(now_ns)
        if self._heard is not None:
            residual, failed = self._heard.residual_heard, self._heard.failed
        if plan is not None or failed or residual is not _NO_RESIDUAL:
            self._tap.put(PlannerRepeat(t_ns=now_ns, residual=residual, failed=failed, plan=header(plan)))
        return plan

    def abandon(self, job: PlanJob, reason: str) -> None:
        """Give up a job whose computation failed."""
        super().abandon(job, reason)
        self._tap.put(
            PlannerChunk(
                t_ns=self._tap.now_ns(),
                number=job.number,
                episode=job.episode,
                chunk=_NO_CHUNK,
                failed=reason,
                plan=_NO_PLAN,
            )
        )

    def _call(self, name: Name, told: Mapping[str, Any], call: Callable[[], None]) -> None:
        """Do as told and note it, unless the core tells itself: that is no input."""
        outermost = self._calls == 0
        refusal = ""
        try:
            with self._inside_a_call():
                call()
        except DualsysError as error:
            refusal = str(error)
            raise
        finally:
            if outermost:
                self._tap.put(PlannerCall(t_ns=self._tap.now_ns(), name=name, refusal=refusal, **told))

    @contextmanager
    def _inside_a_call(self) -> Iterator[None]:
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    def _job_record(self, now_ns: int, job: PlanJob | None) -> PlannerJob:
        return PlannerJob(
            t_ns=now_ns,
            number=-1 if job is None else job.number,
            episode=self.episode,
            epoch=self.epoch,
            waiting_for=self._waiting_for,
            latent_seq=-1 if job is None else job.latent.seq,
            t_observation_ns=-1 if job is None else job.t_observation_ns,
            overlap_steps=-1 if job is None else job.overlap.valid,
            delay_steps=-1 if job is None else job.overlap.delay_steps,
        )


class UplinkJournal:
    """Notes what is decided about observations before there are any.

    Args:
        tap: Where to.
    """

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def rate(self, now_ns: int, choice: RateChoice, queue_ns: int, budget: float) -> None:
        """Note a choice of quality and rate."""
        self._tap.put(
            PlannerRate(
                t_ns=now_ns,
                jpeg_quality=choice.quality,
                rate_hz=NS_PER_S / choice.period_ns,
                reason=choice.reason,
                queue_ns=queue_ns,
                budget_bytes_s=round(budget),
            )
        )

    def demand(self, now_ns: int, decision: Decision) -> None:
        """Note whether System 2 is asked."""
        self._tap.put(
            PlannerDemand(
                t_ns=now_ns,
                asked=decision.ask,
                reason=decision.reason,
                changed_cells=decision.changed_cells,
            )
        )


def header(plan: Plan | None) -> PlanHeader:
    """A plan without its numbers; that of no plan has -1 everywhere."""
    if plan is None:
        return _NO_PLAN
    return PlanHeader(
        session=plan.session,
        episode=plan.episode,
        epoch=plan.epoch,
        seq=plan.seq,
        latent_seq=plan.latent_seq,
        t_latent_ns=plan.t_latent_ns,
        t_observation_ns=plan.t_observation_ns,
        splice_ns=plan.splice_ns,
        delay_ns=plan.delay_ns,
        delay_steps=plan.delay_steps,
        knots=plan.t_ns.shape[0],
        digest=hashlib.sha256(bytes(plan.t_ns.data) + bytes(plan.setpoints.data)).hexdigest(),
    )


def open_core(
    tap: Tap | None,
    options: Mapping[str, object],
    policy: System1,
    strategy: ChunkStrategy,
    kinematics: Kinematics,
    session: int,
    seed: int,
    settings: PlannerSettings | None = None,
) -> PlannerCore:
    """A planner core, recorded where there is a tap. Arguments as for `RecordedPlannerCore`."""
    if tap is None:
        return PlannerCore(policy, strategy, kinematics, session, seed, settings)
    return RecordedPlannerCore(tap, options, policy, strategy, kinematics, session, seed, settings)


def watch_loop(core: PlannerCore, wiring: Wiring, loop: PlannerLoop) -> None:
    """Note what is rejected before it reaches a recorded core."""
    if not isinstance(core, RecordedPlannerCore):
        return
    channels: dict[str, object] = {"slow.latent": wiring.latents, "control.state": wiring.states}
    for name, feed in wiring.cameras.items():
        if isinstance(feed.camera, LinkCamera) and feed.camera.channel is not None:
            channels[f"robot.cameras.{name}"] = feed.camera.channel
    for name, source in channels.items():
        if isinstance(source, LatestSubscriber):
            core.watch.add(name, faults_of(source))
    if isinstance(wiring.service, ServiceServer):
        core.watch.add("planner.service", faults_of(wiring.service))
    core.watch.add(
        "images", lambda: (loop.statistics().images_rejected, "old, or no image of the stated size")
    )
    strangers = "latents of a System 2 that hands were not shaken with"
    core.watch.add("strangers", lambda: (loop.statistics().latents_dropped, strangers))
