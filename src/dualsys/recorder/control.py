"""A control core whose every input is recorded, in the order in which it was taken, with what came of it.

The order matters as much as the values: the state of a core is a function of the sequence of its inputs.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dualsys.bus.channel import LatestSubscriber
from dualsys.bus.service import ServiceServer
from dualsys.clock import NS_PER_S
from dualsys.errors import RobotError
from dualsys.fast.control.core import ControlCore, ControlOutput
from dualsys.fast.control.readings import Tolerances
from dualsys.messages import Plan
from dualsys.recorder.records import (
    SCHEMA_VERSION,
    ControlBegin,
    ControlPlan,
    ControlRequest,
    ControlTick,
    Numbers,
)
from dualsys.recorder.tap import Tap, Watch, faults_of, versions
from dualsys.robots.contract import ArmReading, RobotSpec

if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["stop", "new_epoch", "begin_session", "resume"]

LOOK_NS: Final = NS_PER_S // 10
"""Time between two looks at what was rejected."""


class RecordedControlCore(ControlCore):
    """A control core that hands all that goes in and out to a tap.

    Args:
        tap: Where to.
        spec: The robot that is controlled.
        arguments, settings: As for `ControlCore`.

    Attributes:
        watch: Add channels to it whose faults shall be noted.
    """

    def __init__(self, tap: Tap, spec: RobotSpec, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._tap = tap
        begin = _begin(tap.now_ns(), spec, *arguments, **settings)
        self.watch = Watch(tap, max(1, LOOK_NS // begin.period_ns))
        self._ticks = 0
        self._told: ArmReading | None = None
        self._told_position: Numbers = ()
        self._told_velocity: Numbers = ()
        tap.put(begin)

    def on_plan(self, plan: Plan, now_ns: int | None = None) -> bool:
        """Take in a plan."""
        accepted = super().on_plan(plan, now_ns)
        refusal = "" if accepted else self.last_refusal
        t_ns = self._now_ns if now_ns is None else now_ns
        self._tap.put(ControlPlan(t_ns=t_ns, plan=plan, accepted=accepted, refusal=refusal))
        return accepted

    def step(self, now_ns: int, reading: ArmReading, missed: int = 0) -> ControlOutput:
        """One tick."""
        self._ticks += 1
        try:
            output = super().step(now_ns, reading, missed)
        except Exception as error:
            self._tap.put(self._input(now_ns, reading, missed, str(error) or type(error).__name__))
            raise
        self._tap.put(self._tick(now_ns, reading, missed, output))
        self.watch.look()
        return output

    def request_stop(self, reason: str) -> None:
        """Brake within the limits, then command nothing until `resume`."""
        super().request_stop(reason)
        self._note("stop", self._now_ns, reason=reason)

    def new_epoch(self) -> int:
        """Refuse every plan made so far, for a new episode."""
        try:
            epoch = super().new_epoch()
        except RobotError as error:
            self._note("new_epoch", self._now_ns, refusal=str(error))
            raise
        self._note("new_epoch", self._now_ns)
        return epoch

    def begin_session(self, session: int) -> None:
        """Take plans of this session only from now on."""
        try:
            super().begin_session(session)
        except RobotError as error:
            self._note("begin_session", self._now_ns, session=session, refusal=str(error))
            raise
        self._note("begin_session", self._now_ns, session=session)

    def resume(self, now_ns: int) -> int:
        """Leave a latched hold or a stop."""
        try:
            epoch = super().resume(now_ns)
        except RobotError as error:
            self._note("resume", now_ns, refusal=str(error))
            raise
        self._note("resume", now_ns)
        return epoch

    def _note(self, kind: Kind, t_ns: int, *, reason: str = "", session: int = -1, refusal: str = "") -> None:
        self._tap.put(
            ControlRequest(
                t_ns=t_ns, kind=kind, reason=reason, session=session, epoch=self.epoch, refusal=refusal
            )
        )

    def _input(self, now_ns: int, reading: ArmReading, missed: int, failed: str) -> ControlTick:
        return ControlTick(
            t_ns=now_ns,
            tick=self._ticks,
            missed=missed,
            fresh=reading is not self._told,
            reading_t_ns=reading.t_ns,
            position=numbers(reading.position),
            velocity=numbers(reading.velocity),
            status=reading.status,
            detail=reading.detail,
            failed=failed,
        )

    def _tick(self, now_ns: int, reading: ArmReading, missed: int, output: ControlOutput) -> ControlTick:
        state, step = output.state, output.step
        fresh = reading is not self._told
        if fresh:
            # Control tells a reading that is sent again from one that is equal, and so must a replay.
            self._told = reading
            # What control has accepted is in its state already.
            known = self._reading is reading
            self._told_position = state.position if known else numbers(reading.position)
            self._told_velocity = state.velocity if known else numbers(reading.velocity)
        return ControlTick(
            t_ns=now_ns,
            tick=self._ticks,
            missed=missed,
            fresh=fresh,
            reading_t_ns=reading.t_ns,
            position=self._told_position,
            velocity=self._told_velocity,
            status=reading.status,
            detail=reading.detail,
            setpoint=output.setpoint or (),
            command=() if output.command is None else state.command,
            mode=state.mode,
            reason=output.reason,
            epoch=state.epoch,
            plan_seq=state.plan_seq,
            latent_age_ns=state.latent_age_ns,
            plan_age_ns=state.plan_age_ns,
            clamped_position=step is not None and step.clamped_position,
            clamped_velocity=step is not None and step.clamped_velocity,
            clamped_acceleration=step is not None and step.clamped_acceleration,
        )


def _begin(now_ns: int, spec: RobotSpec, *arguments: Any, **settings: Any) -> ControlBegin:
    """What a core was made from, by name: what cores may learn to take is recorded without further ado."""
    bound = inspect.signature(ControlCore).bind(*arguments, **settings)
    bound.apply_defaults()
    told = dict(bound.arguments)
    limits, ages, tolerances = told.pop("limits"), told.pop("ages"), told.pop("tolerances") or Tolerances()
    vectors = [one.name for one in dataclasses.fields(limits) if one.init and one.name != "joints"]
    return ControlBegin(
        t_ns=now_ns,
        schema=SCHEMA_VERSION,
        robot=spec.name,
        axes=list(spec.axes),
        period_ns=told.pop("period_ns"),
        limits={name: numbers(getattr(limits, name)) for name in vectors},
        joints=limits.joints,
        ages=dataclasses.asdict(ages),
        tolerances=dataclasses.asdict(tolerances),
        settings=told,
        versions=versions(),
    )


def numbers(array: NDArray[np.float64]) -> Numbers:
    """The elements of an array of any shape: a reading of a wrong shape is recorded all the same."""
    return tuple(array.ravel().tolist())


def recorded_core(
    tap: Tap, spec: RobotSpec, plans: LatestSubscriber[Plan], service: ServiceServer
) -> Callable[..., RecordedControlCore]:
    """What makes a recorded core from the arguments of `ControlCore`; it notes faulty plans too."""

    def make(*arguments: Any, **settings: Any) -> RecordedControlCore:
        core = RecordedControlCore(tap, spec, *arguments, **settings)
        core.watch.add("planner.plan", faults_of(plans))
        core.watch.add("control.service", faults_of(service))
        return core

    return make
