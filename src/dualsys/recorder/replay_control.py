"""Feeds the recorded inputs of control to a new control core, and compares what comes out, bit for bit."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from dualsys.errors import DualsysError, RecordingError, RobotError
from dualsys.fast.control.core import Ages, ControlCore, ControlOutput
from dualsys.fast.control.limits import Limits
from dualsys.fast.control.readings import Tolerances
from dualsys.recorder.records import (
    SCHEMA_VERSION,
    ControlBegin,
    ControlPlan,
    ControlRequest,
    ControlTick,
    Numbers,
    Record,
    vector,
)
from dualsys.recorder.verdict import Difference
from dualsys.robots.contract import ArmReading

T = TypeVar("T")


class ControlReplay:
    """Replays the control records of one recording, in their order."""

    def __init__(self) -> None:
        self._core: ControlCore | None = None
        self._reading: ArmReading | None = None
        self._compared = {"ticks": 0, "commands": 0, "plans": 0, "requests": 0}

    def compared(self) -> dict[str, int]:
        """How many decisions of each kind were compared."""
        return dict(self._compared)

    def take(self, record: Record) -> Difference | None:
        """Replay one record; records of others are passed over.

        Returns:
            The first field that comes out differently, or None.

        Raises:
            RecordingError: It cannot be replayed: there is no beginning, or it is of another version.
        """
        if isinstance(record, ControlBegin):
            self._core, self._reading = core_of(record), None
            return None
        if not isinstance(record, ControlTick | ControlPlan | ControlRequest):
            return None
        if self._core is None:
            raise RecordingError(
                "control: the record of its beginning is missing, so nothing can be replayed"
            )
        if isinstance(record, ControlTick):
            return self._tick(self._core, record)
        if isinstance(record, ControlPlan):
            return self._plan(self._core, record)
        return self._request(self._core, record)

    def _tick(self, core: ControlCore, tick: ControlTick) -> Difference | None:
        if tick.fresh or self._reading is None:
            self._reading = ArmReading(
                tick.reading_t_ns,
                vector(tick.position),
                vector(tick.velocity),
                tick.status,  # type: ignore[arg-type]
                tick.detail,
            )
        self._compared["ticks"] += 1
        try:
            output = core.step(tick.t_ns, self._reading, tick.missed)
        except Exception as error:
            failed = str(error) or type(error).__name__
            return self._differs(tick, "failed", tick.failed, failed)
        self._compared["commands"] += output.command is not None
        for name, recorded, replayed in _tick_fields(tick, output):
            if recorded != replayed:
                return self._differs(tick, name, _shown(recorded), _shown(replayed))
        return None

    def _differs(
        self, tick: ControlTick, field: str, recorded: object, replayed: object
    ) -> Difference | None:
        if recorded == replayed:
            return None
        return Difference(f"control tick {tick.tick}", tick.t_ns, field, str(recorded), str(replayed))

    def _plan(self, core: ControlCore, record: ControlPlan) -> Difference | None:
        self._compared["plans"] += 1
        accepted = core.on_plan(record.plan, record.t_ns)
        refusal = "" if accepted else core.last_refusal
        if (accepted, refusal) == (record.accepted, record.refusal):
            return None
        where = f"plan {record.plan.seq} at control"
        recorded, replayed = record.refusal or "followed", refusal or "followed"
        return Difference(where, record.t_ns, "accepted", recorded, replayed)

    def _request(self, core: ControlCore, record: ControlRequest) -> Difference | None:
        self._compared["requests"] += 1
        refusal = ""
        try:
            if record.kind == "stop":
                core.request_stop(record.reason)
            elif record.kind == "new_epoch":
                core.new_epoch()
            elif record.kind == "begin_session":
                core.begin_session(record.session)
            else:
                core.resume(record.t_ns)
        except RobotError as error:
            refusal = str(error)
        if (core.epoch, refusal) == (record.epoch, record.refusal):
            return None
        recorded, replayed = f"epoch {record.epoch} {record.refusal}", f"epoch {core.epoch} {refusal}"
        return Difference(f"request {record.kind!r} to control", record.t_ns, "outcome", recorded, replayed)


def core_of(begin: ControlBegin) -> ControlCore:
    """The control core that was recorded, as it was made.

    Raises:
        RecordingError: The record is of another version, or not possible.
    """
    if begin.schema != SCHEMA_VERSION:
        raise RecordingError(
            f"control: records of version {begin.schema}, this dualsys replays version {SCHEMA_VERSION}: "
            f"use dualsys {begin.versions.get('dualsys', 'of that time')}"
        )
    try:
        limits = {name: vector(values) for name, values in begin.limits.items()}
        return ControlCore(
            Limits(joints=begin.joints, **limits),
            _made(begin.ages, Ages),
            begin.period_ns,
            tolerances=_made(begin.tolerances, Tolerances),
            **begin.settings,  # type: ignore[arg-type]
        )
    except (DualsysError, TypeError) as error:
        # A TypeError: it was made from something that is unknown here, or that has become necessary.
        raise RecordingError(
            f"control: its beginning cannot be replayed: {error}; "
            f"it was recorded by dualsys {begin.versions.get('dualsys', 'of another version')}"
        ) from error


def _made(fields: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise RecordingError(f"control: {kind.__name__}: {error}") from error


def _tick_fields(tick: ControlTick, output: ControlOutput) -> Iterator[tuple[str, object, object]]:
    """Name, recorded and replayed value of everything that a tick decides; vectors as their bits."""
    state, step = output.state, output.step
    setpoint = output.setpoint or ()
    command = () if output.command is None else tuple(output.command.tolist())
    yield "failed", tick.failed, ""
    yield "command", _bits(tick.command), _bits(command)
    yield "setpoint", _bits(tick.setpoint), _bits(setpoint)
    yield "mode", tick.mode, state.mode
    yield "reason", tick.reason, output.reason
    yield "epoch", tick.epoch, state.epoch
    yield "plan_seq", tick.plan_seq, state.plan_seq
    yield "latent_age_ns", tick.latent_age_ns, state.latent_age_ns
    yield "plan_age_ns", tick.plan_age_ns, state.plan_age_ns
    for name in ("clamped_position", "clamped_velocity", "clamped_acceleration"):
        yield name, getattr(tick, name), step is not None and getattr(step, name)


def _bits(values: Numbers) -> bytes:
    return struct.pack(f"<{len(values)}d", *(float(value) for value in values))


def _shown(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    return str(list(struct.unpack(f"<{len(value) // 8}d", value)))
