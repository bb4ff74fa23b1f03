"""Control without a socket, a clock or a sleep: arm reading, plans and time in; one limited command out.

Each tick is `judge the reading -> choose the mode -> sample the plan -> limit -> check -> command`. While
SLOWED, time within the plan runs at a part of its pace, so the arm keeps to the path; it is made up for
afterwards. A hold is a braking as fast as the limits allow, then rest at the pose that was commanded last.
"""

from __future__ import annotations

import math

import numpy as np

from dualsys.errors import RobotError, SpecError
from dualsys.fast.control.ages import FOR_EVER_NS, FRESH, Stamps, fresh_until_ns, judge
from dualsys.fast.control.ages import Ages as Ages
from dualsys.fast.control.follower import MALFORMED, REFUSALS, PlanFollower
from dualsys.fast.control.gaps import GapWatch
from dualsys.fast.control.limiter import Smoothing, make_limiter
from dualsys.fast.control.limits import FloatArray, Limits, Step
from dualsys.fast.control.modes import Mode, require_legal
from dualsys.fast.control.output import COUNTERS, Followed, control_state
from dualsys.fast.control.output import ControlOutput as ControlOutput
from dualsys.fast.control.readiness import faults_of_arm, faults_of_data
from dualsys.fast.control.readings import ReadingGuard, RestWatch, Tolerances
from dualsys.fast.control.reference import PlanRefusedError
from dualsys.fast.control.workspace import Workspace
from dualsys.messages import Plan
from dualsys.robots.contract import ArmReading

MAX_REASON = 500

JUST_STARTED = "control has just started: a new episode or `resume` starts the motion"


class ControlCore:
    """The decisions of control.

    Args:
        limits: What the arm may do.
        ages: How old things may get.
        period_ns: Time between two ticks, ns. Commands obey the limits as if none were ever late.
        session: Plans of another session are refused.
        first_epoch: Greater than any epoch of a control before it, so that no plan for that one is taken for
            its own.
        latched: Begin as in a latched hold. Where a control may have been before it, a planner can be in the
            midst of an episode, and must not move the arm unasked.
        slowed_fraction: Pace of the plan while SLOWED, in (0, 1].
        tolerances: How far apart things may be that should be equal.
        smoothing: How commands are led along the plan; see `limiter`.

    Raises:
        SpecError: A number makes no sense.
        MissingExtraError: The package of that smoothing is not installed.
    """

    def __init__(
        self,
        limits: Limits,
        ages: Ages,
        period_ns: int,
        *,
        session: int,
        first_epoch: int = 0,
        latched: bool = False,
        slowed_fraction: float = 0.3,
        tolerances: Tolerances | None = None,
        smoothing: Smoothing = "limiter",
    ) -> None:
        if period_ns <= 0 or not 0 < slowed_fraction <= 1:
            raise SpecError(
                f"expected period_ns > 0 and 0 < slowed_fraction <= 1, got {period_ns} and {slowed_fraction}"
            )
        self._limits = limits
        self._axes = limits.axes
        self._ages = ages
        self._limiter = make_limiter(smoothing, limits, period_ns)
        self._workspace = Workspace.of(limits)
        self._session = session
        self._slowed_fraction = slowed_fraction
        self._tolerances = tolerances or Tolerances()
        self._follower = PlanFollower(limits, session, self._tolerances)
        self._guard = ReadingGuard(limits, self._tolerances, ages.reading_hard_ns)
        self._rest = RestWatch(limits, self._tolerances)
        self._moved = self._tolerances.per_axis(limits, self._tolerances.moved_rad, self._tolerances.moved_m)
        self._counters = dict.fromkeys(COUNTERS, 0) | {f"rejected_{kind}": 0 for kind in REFUSALS}
        self._mode = Mode.WAITING
        self._reason = JUST_STARTED if latched else "waiting for the first plan"
        self._latched = latched
        self._braking = False
        self._epoch = first_epoch
        self._follow_arm = True
        self._adrift = False

        self._now_ns = -1
        self._reading: ArmReading | None = None
        self._reading_fault = "no reading yet"
        self._gaps = GapWatch(ages.gap_hard_ns)
        self._found: FloatArray | None = None
        self._command: FloatArray | None = None
        self._setpoint: tuple[float, ...] | None = None
        self._step: Step | None = None

        self._followed = Followed()
        self._fresh_until_ns = FOR_EVER_NS
        self._malformed = 0
        self.last_refusal = ""

    @property
    def mode(self) -> Mode:
        """What control does."""
        return self._mode

    @property
    def session(self) -> int:
        """Plans of any other session are refused."""
        return self._session

    @property
    def epoch(self) -> int:
        """Plans of any other epoch are refused."""
        return self._epoch

    @property
    def at_rest(self) -> bool:
        """Whether the commands have stopped changing."""
        return self._limiter.at_rest

    def statistics(self) -> dict[str, int]:
        """Named totals since the start."""
        return dict(self._counters)

    def on_plan(self, plan: Plan, now_ns: int | None = None) -> bool:
        """Take in a plan.

        It is refused if it is of another session or epoch, not newer than the one before, malformed, over,
        stamped in the future, leaves the workspace, or starts elsewhere than where the arm is led now. One
        that is far beyond what the arm can do, or the last of several malformed ones in a row, stops control.
        While control is latched or stopped any is refused, but is evidence of a planner.

        Args:
            plan: The plan.
            now_ns: Edge time; that of the last tick by default.

        Returns:
            Whether it will be followed. Why not is in `last_refusal` and in the counters.
        """
        now_ns = self._now_ns if now_ns is None else now_ns
        try:
            reference, moved = self._follower.admit(plan, self._epoch, now_ns)
            self._malformed = 0
            if self._command is None and self._mode is not Mode.STOPPED:
                raise PlanRefusedError("start", "the arm was not yet found at rest within its limits")
            if self._command is None or self._latched or self._mode is Mode.STOPPED:
                raise PlanRefusedError("start", f"no plan is followed while {self._mode}: {self._reason}")
            if self._workspace is not None:
                self._workspace.require_inside(reference.setpoints, self._command)
            following = self._mode in (Mode.RUNNING, Mode.SLOWED)
            self._follower.join(reference, now_ns, self._command, following)
        except PlanRefusedError as error:
            self._counters["rejected_plans"] += 1
            self._counters[f"rejected_{error.kind}"] += 1
            self.last_refusal = str(error)
            self._count_malformed(error)
            return False
        self._counters["plans"] += 1
        self._counters["clamped_setpoints"] += moved
        latent_ns = self._followed.latent_ns
        if plan.latent_seq >= 0:
            latent_ns = max(latent_ns, plan.t_latent_ns)
        self._followed = Followed(plan.seq, now_ns, latent_ns, plan.t_observation_ns)
        self._fresh_until_ns = fresh_until_ns(self._ages, latent_ns, plan.t_observation_ns, now_ns)
        self._follow_arm = False
        if self._mode in (Mode.WAITING, Mode.HOLDING):
            self._enter(Mode.RUNNING, "")
        return True

    def _count_malformed(self, error: PlanRefusedError) -> None:
        self._malformed += error.kind in MALFORMED
        in_a_row = error.kind in MALFORMED and self._malformed >= self._tolerances.malformed
        if error.kind == "gross" or in_a_row:
            what = f"{self._malformed} malformed plans in a row" if in_a_row else "beyond what the arm can do"
            self._stop(f"{what}: {error}", braking=True)

    def step(self, now_ns: int, reading: ArmReading, missed: int = 0) -> ControlOutput:
        """One tick.

        Args:
            now_ns: Edge time of this tick.
            reading: The newest reading of the arm.
            missed: Ticks that were skipped just before this one.
        """
        elapsed_ns = 0 if self._now_ns < 0 else now_ns - self._now_ns
        self._now_ns = now_ns
        self._counters["ticks"] += 1
        self._counters["missed"] += missed
        silence = self._guard.silence(now_ns, reading)
        led = self._mode in (Mode.RUNNING, Mode.SLOWED)
        self._reading_fault = silence or self._guard.fault(now_ns, reading, self._command, led=led)
        if silence and self._mode is Mode.WAITING and self.at_rest:
            self._counters["silent"] += 1  # nothing moves, so nothing has to be stopped
        elif self._reading_fault:
            self._stop(self._reading_fault, braking=False)
        else:
            self._reading = reading
            self._start_where_the_arm_is(reading)
            self._watch_for_gaps(now_ns, elapsed_ns, reading)
        self._watch_ages(now_ns)
        self._setpoint = self._step = None
        command = self._move(now_ns, elapsed_ns)
        state = control_state(
            now_ns,
            self._reading,
            self._command,
            self._followed,
            self._counters,
            axes=self._axes,
            session=self._session,
            epoch=self._epoch,
            mode=self._mode,
            reason=self._reason,
        )
        return ControlOutput(command, self._mode, self._reason, state, self._setpoint, self._step)

    def request_stop(self, reason: str) -> None:
        """Brake within the limits, then command nothing until `resume`."""
        self._stop(reason, braking=True)

    def new_epoch(self) -> int:
        """Refuse every plan made so far, for a new episode: come to rest; the next plan starts the motion.

        This also leaves a hold: starting an episode is as deliberate as `resume`. If the arm is elsewhere
        when it has come to rest, because a reset moved it, commands continue from there.

        Returns:
            The epoch that plans must have from now on.

        Raises:
            RobotError: Control is stopped; only `resume` leads on from there.
        """
        if self._mode is Mode.STOPPED:
            raise RobotError(f"control is stopped ({self._reason}): resume it before starting a new epoch")
        self._restart_epoch("waiting for the first plan of the epoch")
        self._follow_arm = True
        return self._epoch

    def begin_session(self, session: int) -> None:
        """Take plans of this session only from now on; whatever was planned before is void.

        Raises:
            RobotError: The arm is being led along a plan of the present session.
        """
        if session == self._session:
            return
        if self._mode in (Mode.RUNNING, Mode.SLOWED):
            raise RobotError(f"control follows session {self._session}: stop it before another takes over")
        self._session = session
        self._follower = PlanFollower(self._limits, session, self._tolerances)
        if not self._latched and self._mode in (Mode.WAITING, Mode.HOLDING):
            self._restart_epoch("waiting for the first plan of the session")

    def resume(self, now_ns: int) -> int:
        """Leave a latch or a stop. The motion starts with the next plan, made in the new epoch.

        After a stop, in which nothing was commanded, commands begin anew where the joints are measured.

        Returns:
            The epoch that plans must have from now on.

        Raises:
            RobotError: There is nothing to resume, the arm is still braking, its reading is not good, it was
                moved, or no fresh plan from a fresh latent has come in. Lists every reason.
        """
        if not (self._latched or self._mode is Mode.STOPPED):
            raise RobotError(f"nothing to resume: control is {self._mode}")
        if faults := self._faults_of_resuming(now_ns):
            raise RobotError(f"cannot resume: {'; '.join(faults)}")
        self._counters["resumed"] += 1
        self._follow_arm = self._adrift
        if self._mode is Mode.STOPPED:
            self._start_anew()
        self._restart_epoch("resumed; waiting for the first plan of the epoch")
        return self._epoch

    def _faults_of_resuming(self, now_ns: int) -> list[str]:
        faults = [self._reading_fault] if self._reading_fault else []
        if not self.at_rest:
            faults.append("the arm is still braking")
        if self._reading is not None:
            left = self._found if self._mode is Mode.WAITING else self._command
            known = None if self._adrift else left
            arm = faults_of_arm(self._reading, known, self._limits.joints, self._tolerances)
            if not arm and self._mode is Mode.STOPPED and not self._rest.certain:
                arm = ["the readings of the arm do not agree on where it rests yet"]
            faults += arm
        seen_ns = self._follower.seen_plan_ns
        if self._latched and seen_ns < 0:
            since = "control started" if self._mode is Mode.WAITING else "another planner has connected"
            faults.append(f"no plan has come since {since}")
        if self._latched or self._followed.came_ns >= 0:
            # Stopped before it was ever led, there is nothing that could be out of date.
            faults += faults_of_data(now_ns, seen_ns, self._follower.seen_latent_ns, self._ages)
        return faults

    def _restart_epoch(self, reason: str) -> None:
        self._epoch += 1
        self._follower.clear()
        self._followed, self._fresh_until_ns = Followed(), FOR_EVER_NS
        self._malformed = 0
        self._latched = self._braking = self._adrift = False
        if self._mode is Mode.WAITING:
            self._reason = reason
        else:
            self._enter(Mode.WAITING, reason)

    def _start_where_the_arm_is(self, reading: ArmReading) -> None:
        if self._mode in (Mode.RUNNING, Mode.SLOWED):
            return
        self._rest.note(reading, plausible=self._guard.plausible)
        if self._command is None:
            if self._rest.possible:
                self._start_at(reading.position)
                self._found = self._command
            return
        if not (self._follow_arm and self._mode is Mode.WAITING and self.at_rest and self._rest.certain):
            return
        if (np.abs(reading.position - self._command) > self._moved).any():
            self._counters["restarted"] += 1
            self._start_at(reading.position)

    def _start_anew(self) -> None:
        if self._command is None or self._reading is None:
            return
        start, joints = self._reading.position.copy(), self._limits.joints
        if not self._adrift:
            # What a gripper holds keeps it from where it was led to: led to where it is, it would let go.
            start[joints:] = self._command[joints:]
        self._start_at(start)

    def _rest_here(self) -> None:
        if self._command is not None:
            self._limiter.start(self._command)

    def _start_at(self, position: FloatArray) -> None:
        # Joints start where they are measured, even a little outside: a step there would be a lunge.
        start, joints = self._limits.clip(position), self._limits.joints
        start[:joints] = position[:joints]
        self._command = start
        self._limiter.start(start)

    def _watch_for_gaps(self, now_ns: int, elapsed_ns: int, reading: ArmReading) -> None:
        leading = self._mode in (Mode.RUNNING, Mode.SLOWED)
        if suspended := self._gaps.suspended(elapsed_ns):
            # The robot has come to rest by itself meanwhile; the plan went on without the arm.
            self._counters["suspended"] += 1
            self._rest_here()
            if leading:
                self._hold(suspended, latched=True)
        self._counters["robot_watchdog"] += reading.status == "watchdog"
        cut_off = self._gaps.cut_off(now_ns, reading.status)
        if cut_off and leading:
            self._hold(cut_off, latched=True)

    def _watch_ages(self, now_ns: int) -> None:
        if not self._follower.has_plan or self._latched or self._mode is Mode.STOPPED:
            return
        reading_ns = -1 if self._reading is None else self._reading.t_ns
        hold, slow = FRESH
        if now_ns > self._fresh_until_ns or now_ns - reading_ns > self._ages.reading_soft_ns:
            followed = self._followed
            stamps = Stamps(followed.latent_ns, followed.observation_ns, followed.came_ns, reading_ns)
            hold, slow = judge(self._ages, stamps, now_ns)
        if hold:
            self._hold(hold, latched=True)
        elif self._mode is Mode.HOLDING:
            pass
        elif self._follower.is_over(now_ns):
            self._counters["starved"] += 1
            self._hold("the plan is over and no other has come", latched=False)
        elif slow and self._mode is Mode.RUNNING:
            self._counters["slowed"] += 1
            self._enter(Mode.SLOWED, slow)
        elif slow and self._mode is Mode.SLOWED:
            self._reason = slow
        elif self._mode is Mode.SLOWED:
            self._enter(Mode.RUNNING, "")

    def _move(self, now_ns: int, elapsed_ns: int) -> FloatArray | None:
        if self._command is None or (self._mode is Mode.STOPPED and not self._braking):
            return None
        if self._mode in (Mode.RUNNING, Mode.SLOWED):
            pace = self._slowed_fraction if self._mode is Mode.SLOWED else 1.0
            target, rate = self._follower.lead(now_ns, elapsed_ns, pace, self._limiter.ahead_ns)
            step = self._limiter.follow(target, rate)
            self._count_clamps(step)
            self._setpoint, self._step = tuple(target), step
            if self._workspace is not None and self._workspace.is_left(step.position, self._command):
                self._hold("the tool point leaves the workspace", latched=True)
        else:
            step = self._limiter.brake()
        if not all(map(math.isfinite, step.position.tolist())):
            self._stop("a command is not finite", braking=False)
            return None
        self._command = step.position
        if self._braking and self.at_rest:
            self._braking = False
        return step.position

    def _count_clamps(self, step: Step) -> None:
        if step.clamped_position or step.clamped_velocity or step.clamped_acceleration:
            counters = self._counters
            counters["clamped"] += 1
            counters["clamped_position"] += step.clamped_position
            counters["clamped_velocity"] += step.clamped_velocity
            counters["clamped_acceleration"] += step.clamped_acceleration

    def _hold(self, reason: str, *, latched: bool) -> None:
        self._latched = latched
        if self._mode is Mode.HOLDING:
            self._reason = reason
            return
        self._counters["held"] += 1
        self._enter(Mode.HOLDING, reason)

    def _stop(self, reason: str, *, braking: bool) -> None:
        if not braking:
            # From here on the robot brakes by its own means, and comes to rest who knows where.
            self._braking, self._adrift = False, True
            self._rest_here()
        if self._mode is Mode.STOPPED:
            return
        self._counters["stopped"] += 1
        self._latched = False
        self._braking = braking and not self.at_rest
        self._enter(Mode.STOPPED, reason[:MAX_REASON])

    def _enter(self, mode: Mode, reason: str) -> None:
        self._mode = require_legal(self._mode, mode)
        self._reason = reason
