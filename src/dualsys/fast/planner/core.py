"""The planner without a socket, a clock or a sleep: latents, images and arm state in; plans out.

A plan job is `begin -> compute -> finish`. `compute` is the only slow part and changes nothing; whatever
arrives while it runs is taken in as usual. One job runs at a time.
"""

from __future__ import annotations

from collections import Counter
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dualsys.errors import DualsysError, InstructionError, MessageError, SpecError
from dualsys.fast.chunking.delay import DelayEstimator, played_from_ns, steps_begun
from dualsys.fast.chunking.requests import Plain, RollForward
from dualsys.fast.chunking.strategy import ChunkStrategy, require_suitable
from dualsys.fast.planner.arm import (
    ArmModel,
    ArmView,
    Kinematics,
    proprioception,
    require_tool_actions,
)
from dualsys.fast.planner.correction import Corrector, Seen, require_residual
from dualsys.fast.planner.demand import Situation
from dualsys.fast.planner.frames import FrameHistory
from dualsys.fast.planner.jobs import LACKS, JobMaker
from dualsys.fast.planner.latents import LatentHistory
from dualsys.fast.planner.lookout import step_back_chunk
from dualsys.fast.planner.motion import PlannedMotion, come_to_rest
from dualsys.fast.planner.observer import Observer
from dualsys.fast.planner.plans import PlanWriter
from dualsys.fast.planner.records import PlanJob, PlannerSettings, PlannerStatistics
from dualsys.fast.planner.rest import rest_chunk
from dualsys.fast.planner.sight import Features, Images
from dualsys.fast.planner.track import ActionArray, Chunk, FloatArray, Track, tool_scale_m
from dualsys.fast.policies.guard import PolicyGuard, require_array
from dualsys.fast.policies.policy import ResidualHead, System1, WeakSampler, require_policy
from dualsys.fast.policies.sampling import draw
from dualsys.messages import MAX_TEXT, ControlState, LatentPacket, Observation, Plan
from dualsys.robots.kinematics import TOOL_DOWN


class PlannerCore:
    """The decisions of the planner.

    Args:
        policy: System 1.
        strategy: How chunks join.
        kinematics: Geometry of the arm.
        session: Random number of this run; anything of another session is dropped.
        seed: Seed of all noise. Noise depends on seed, episode and job number only.
        settings: The rest.
        tool_rotation: [3, 3], the constant orientation of the tool in the base frame.

    Raises:
        SpecError: The policy is made for another kind of action, state or latent.
        ConfigError: The policy lacks an attribute or method of `System1`, the strategy or the settings need
            what it does not offer, or the strategy does not suit its chunks or the expected delay.
    """

    def __init__(
        self,
        policy: System1,
        strategy: ChunkStrategy,
        kinematics: Kinematics,
        session: int,
        seed: int,
        settings: PlannerSettings | None = None,
        tool_rotation: NDArray[np.float64] = TOOL_DOWN,
    ) -> None:
        require_policy(policy)
        require_tool_actions(policy)
        self._settings = settings or PlannerSettings()
        expected_steps = steps_begun(self._settings.expected_delay_ns, policy.action.step_ns)
        require_suitable(strategy, policy, expected_steps)
        if "weak" in strategy.needs:
            require_policy(policy, WeakSampler)
        if self._settings.residual:
            require_residual(policy.capabilities, f"System 1 with weights {policy.weights}")
        self._delay = DelayEstimator(policy.action.step_ns, initial_steps=max(1, expected_steps))
        self._policy, self._guard = policy, PolicyGuard(policy)
        self._strategy = strategy
        self._action = policy.action
        self._scale_m = tool_scale_m(policy.action)
        self._arm_model = ArmModel(kinematics, tool_rotation, self._settings.open_m)
        self._motion = PlannedMotion(self._arm_model, self._settings.max_divergence_m)
        self._latents = LatentHistory(
            session, policy.specs.latent, self._settings.latent_codec, policy.latents
        )
        self._observer = Observer(session, policy.specs.observation, self._settings)
        self._plans = PlanWriter(session)
        self._frames = FrameHistory(policy.wrist, self._settings.frame_lag_ns)
        self._jobs = JobMaker(
            self._action,
            strategy,
            self._motion,
            self._latents,
            self._frames,
            self._delay,
            seed,
            self._settings,
        )
        self._corrector: Corrector | None = None
        if self._settings.residual:
            self._corrector = Corrector(cast(ResidualHead, policy), policy.action)
        self._session = session
        self._counts: Counter[str] = Counter()
        self._last_fault = ""
        self._waiting_for = ""

        self._active = False
        self._episode = -1
        self._epoch = 0
        self._instruction = ""
        self._job_number = 0
        self._running: PlanJob | None = None
        self._arm: ArmView | None = None

    @property
    def episode(self) -> int:
        """The present episode; -1 before the first."""
        return self._episode

    @property
    def epoch(self) -> int:
        """The epoch that plans are made for."""
        return self._epoch

    @property
    def instruction(self) -> str:
        """What the robot was told last."""
        return self._instruction

    @property
    def observed_cameras(self) -> tuple[str, ...]:
        """Names of the cameras that System 2 is shown."""
        return tuple(self._policy.specs.observation.cameras)

    def start_episode(self, episode: int, instruction: str, epoch: int | None = None) -> None:
        """Forget all motion, images and latents, and begin anew.

        Args:
            episode: Its number, greater than any before.
            instruction: What the robot is told.
            epoch: The epoch that control has started for it; None leaves it to what control reports.

        Raises:
            SpecError: The episode or epoch runs backwards.
            InstructionError: The instruction is blank or too long.
        """
        if episode <= self._episode:
            raise SpecError(f"episode: expected more than {self._episode}, got {episode}")
        if epoch is not None and epoch < self._epoch:
            raise SpecError(f"epoch: expected at least {self._epoch}, got {epoch}")
        self.instruct(instruction)
        self.end_episode()
        self._episode = episode
        self._epoch = self._epoch if epoch is None else epoch
        self._job_number = 0
        self._jobs.clear()
        self._active = True

    def end_episode(self) -> None:
        """Forget all motion, images and latents, and stay idle until the next episode starts."""
        self._active = False
        self.adopt_epoch(self._epoch)
        self._latents.clear()
        self._frames.clear()

    def instruct(self, text: str) -> None:
        """Tell the robot something else within the episode. It keeps on moving; old latents serve until a new
        one comes.

        Raises:
            InstructionError: The instruction is blank or too long.
        """
        if not text.strip() or len(text) > MAX_TEXT:
            raise InstructionError(f"instruction: expected 1 to {MAX_TEXT} characters, got {text[:80]!r}")
        self._instruction = text

    def on_latent(self, packet: LatentPacket) -> bool:
        """Take in a latent. Returns whether it was accepted; if not, why not is counted."""
        return self._latents.offer(packet, self._episode if self._active else -1, self._instruction)

    def on_state(self, state: ControlState) -> bool:
        """Take in what the arm does. Returns whether it was accepted; if not, that is counted.

        When control has started a new epoch, everything planned before is void.
        """
        try:
            if state.session != self._session:
                raise SpecError(f"control_state.session: expected {self._session}, got {state.session}")
            if self._arm is not None and state.t_ns < self._arm.t_ns:
                raise SpecError(f"control_state.t_ns: expected {self._arm.t_ns} or later, got {state.t_ns}")
            if state.epoch < self._epoch:
                self._counts["states_of_old_epochs"] += 1
                return False
            arm = self._arm_model.read(state)
        except SpecError as error:
            self._reject("states_rejected", error)
            return False
        if state.epoch > self._epoch:
            self.adopt_epoch(state.epoch)
        self._arm = arm
        return True

    def adopt_epoch(self, epoch: int) -> None:
        """Make plans for another epoch of control.

        Everything planned before is void, and so is what is known of the arm.
        """
        self._epoch = epoch
        self._running = None
        self._arm = None
        self._motion.clear()
        self._plans.clear()
        if self._corrector is not None:
            self._corrector.clear()
        self._strategy.reset()

    def on_frame(self, camera: str, image: NDArray[np.uint8], t_ns: int) -> bool:
        """Take in a wrist image. Returns whether it was accepted; if not, that is counted.

        Args:
            camera: `wrist`; other cameras are for `observation`.
            image: uint8 `[height, width, 3]`.
            t_ns: When it arrived.
        """
        try:
            if camera != "wrist":
                raise SpecError(f"camera: expected 'wrist', got {camera!r}")
            self._frames.add(image, t_ns)
        except SpecError as error:
            self._reject("frames_rejected", error)
            return False
        return True

    @property
    def observing(self) -> bool:
        """Whether System 2 is to be shown anything: there is an episode, and the arm has told its state."""
        return self._active and self._arm is not None

    def observation(
        self, now_ns: int, shown: Images | Features, jpeg_quality: int | None = None
    ) -> Observation | None:
        """What System 2 is shown next, or None while there is no episode, no arm state, or no proper image.

        Args:
            now_ns: When the images were taken.
            shown: Camera name to uint8 `[height, width, 3]`, exactly the cameras that System 2 was made for;
                or, with `settings.features`, to the features of these images.
            jpeg_quality: Of images, in place of that of the settings.
        """
        if not self._active or self._arm is None:
            return None
        state = proprioception(self._arm, self._motion.grip(now_ns, self._arm))
        try:
            observation = self._observer.observe(
                now_ns, shown, state, self._episode, self._instruction, jpeg_quality
            )
        except (SpecError, MessageError) as error:
            self._reject("frames_rejected", error)
            return None
        self._latents.expect(observation)
        return observation

    def situation(self, now_ns: int, images: Images) -> Situation | None:
        """What decides whether System 2 is shown these images, or None where `observation` would be.

        Args:
            now_ns: When the images were taken.
            images: Camera name to uint8 `[height, width, 3]`.
        """
        arm, latent = self._arm, self._latents.newest
        if not self._active or arm is None:
            return None
        known = latent is not None and latent.instruction == self._instruction
        return Situation(
            t_capture_ns=now_ns,
            images=images,
            episode=self._episode,
            instruction=self._instruction,
            tool_m=arm.tool_m,
            opening_m=arm.opening_m,
            grip=self._motion.grip(now_ns, arm),
            height_m=float(arm.tool_m[2]) - self._settings.workspace.lower_m[2],
            latent_ns=latent.t_capture_ns if latent is not None and known else None,
        )

    def begin(self, now_ns: int) -> PlanJob | None:
        """Begin a plan job if one is wanted and everything for it is there.

        It needs a latent of this episode, a fresh arm state and a fresh wrist image; what is missing is
        counted. None is also returned while another job runs.
        """
        if not self._active or self._running is not None:
            return None
        inputs = self._jobs.inputs(now_ns, self._arm)
        if isinstance(inputs, str):
            self._counts[f"declined_no_{inputs}"] += 1
            self._waiting_for = LACKS[inputs]
            return None
        self._waiting_for = ""
        track = self._track_from(now_ns, inputs.arm)
        if not self._strategy.wants_plan(now_ns, track):
            return None
        self._running = job = self._jobs.make(
            now_ns, inputs, track, number=self._job_number, episode=self._episode, epoch=self._epoch
        )
        self._job_number += 1
        looking = job.way_back_m is not None
        guided = job.by_system1 and not isinstance(job.request, Plain | RollForward)
        self._counts.update(jobs=1, rest_jobs=job.rest and not looking, look_jobs=looking, guided_jobs=guided)
        return job

    def compute(self, job: PlanJob) -> ActionArray:
        """Ask System 1 for the chunk, float32 `[H, 4]`. Slow; changes nothing that anything else depends on.

        Raises:
            PolicyError: The policy failed, whatever it raised; then `abandon` the job.
        """
        grip = float(job.proprioception[-1])
        if job.way_back_m is not None:
            return step_back_chunk(job.overlap, job.way_back_m, self._scale_m, grip)
        if job.rest:
            return rest_chunk(job.overlap, grip)
        with self._guard.entered():
            features = np.stack([frame.features(self._policy.encode_wrist) for frame in job.frames])
            condition = self._policy.condition(job.tokens, job.latent_age_s, features, job.proprioception)
            return require_array(draw(self._policy, job.request, job.noise, condition))

    def finish(self, job: PlanJob, chunk: ActionArray, now_ns: int) -> Plan | None:
        """Join a computed chunk to the motion.

        Args:
            job: From `begin`.
            chunk: From `compute`.
            now_ns: When the chunk was ready.

        Returns:
            The new plan; None if the job is void, or if the chunk is unusable or wholly over. Each is
            counted, and the last good plan stays.
        """
        arm, planned = self._arm, self._motion.track
        current = job is self._running
        if current:
            self._running = None
        if not current or job.epoch != self._epoch or arm is None or planned is None:
            self._counts["stale_jobs"] += 1
            return None
        delay_ns = now_ns - job.t0_ns
        self._counts["late_chunks"] += self._delay.in_steps(delay_ns) > job.overlap.delay_steps
        if job.by_system1:
            # What is made here in no time neither warms System 1 up nor tells how long it takes.
            self._delay.observe(delay_ns)
        try:
            self._action.chunk.validate(chunk, "chunk")
        except SpecError as error:
            self._reject("chunks_rejected", error)
            return None
        actions = np.clip(chunk, -1.0, 1.0)
        self._counts["clipped_actions"] += int((actions != chunk).sum())
        timed = Chunk(job.grid_ns, self._action.step_ns, actions, self._scale_m)
        track = come_to_rest(planned, arm)
        merged = self._strategy.merge(track, timed, now_ns, self._settings.workspace)
        if merged is track:
            self._counts["expired_chunks"] += 1
            return None
        if self._corrector is not None:
            self._corrector.follow(played_from_ns(job.grid_ns, track.end_ns, now_ns))
        return self._plans.write(job, *self._adopt(merged, now_ns, arm), now_ns)

    def repeat(self, now_ns: int) -> Plan | None:
        """What to send while no job is done and the motion goes on, if anything.

        With a residual head, that is the plan with the step under way corrected, once for each step. Else it
        is the newest plan under a new number, if none was sent for a while: a strategy may play a chunk for
        longer than control waits for a sign of life. Both carry the stamps of the original, so that nothing
        passes for fresher than it is.
        """
        track = self._motion.track
        if track is None or self._waiting_for or now_ns >= track.end_ns:
            return None
        return self._correct(now_ns, track) or self._plans.repeat(now_ns)

    def abandon(self, job: PlanJob, reason: str) -> None:
        """Give up a job whose computation failed. The last good plan stays."""
        if job is self._running:
            self._running = None
        self._counts["abandoned_jobs"] += 1
        self._last_fault = reason

    def statistics(self) -> PlannerStatistics:
        """Totals since the start."""
        return PlannerStatistics(
            **(self._counts | self._latents.counts),
            strategy=dict(self._strategy.statistics()),
            observations=self._observer.made,
            plans=self._plans.written,
            corrected_plans=self._plans.amended,
            repeated_plans=self._plans.repeated,
            delay_steps=self._delay.steps,
            waiting_for=self._waiting_for if self._active else "an episode",
            last_fault=self._last_fault or self._latents.last_fault,
        )

    def _correct(self, now_ns: int, track: Track) -> Plan | None:
        """The plan with the step under way corrected; None if that is not due, or of no use."""
        corrector, arm = self._corrector, self._arm
        if corrector is None or not self._jobs.by_system1 or not corrector.due(now_ns):
            return None
        if arm is None or self._frames.newest is None or self._latents.newest is None:
            return None
        tokens, latent_age_s = self._latents.read(now_ns)
        state = proprioception(arm, self._motion.grip(now_ns, arm))
        try:
            with self._guard.entered():
                wrist = np.stack([one.features(self._policy.encode_wrist) for one in self._frames.pair()])
                seen = Seen(tokens, latent_age_s, wrist, state)
                nudged = corrector.correct(track, now_ns, seen, self._settings.workspace)
        except DualsysError as error:
            self._reject("corrections_rejected", error)
            return None
        return self._plans.amend(*self._adopt(nudged, now_ns, arm), now_ns)

    def _adopt(self, track: Track, now_ns: int, arm: ArmView) -> tuple[NDArray[np.int64], FloatArray]:
        """Make a track the planned motion; returns its knots from now on, as times and set-points."""
        t_ns, setpoints, reachable = self._motion.adopt(track, now_ns, arm)
        self._counts["unreachable_plans"] += not reachable
        return t_ns, setpoints

    def _track_from(self, now_ns: int, arm: ArmView) -> Track:
        """The motion that the next chunk continues."""
        track, start = self._motion.track_from(now_ns, arm)
        if start != "continued":
            self._counts[start] += 1
            self._plans.clear()
        if start == "divergences":
            self._strategy.reset()
        return track

    def _reject(self, counter: str, error: Exception) -> None:
        self._counts[counter] += 1
        self._last_fault = str(error)
