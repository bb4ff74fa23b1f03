"""A recorded control core decides as a plain one, and its record leads to the same decisions, bit for bit."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import RecordingError, RobotError
from dualsys.fast.control.core import Ages, ControlCore, ControlOutput
from dualsys.fast.control.limits import Limits
from dualsys.fast.control.modes import Mode
from dualsys.fast.control.readings import Tolerances
from dualsys.messages import Plan, Tensor
from dualsys.recorder.control import RecordedControlCore
from dualsys.recorder.records import (
    ControlBegin,
    ControlPlan,
    ControlRequest,
    ControlTick,
    Rejected,
    vector,
)
from dualsys.recorder.replay import replay
from dualsys.recorder.replay_control import core_of
from dualsys.recorder.topics import Envelope
from dualsys.robots.contract import ArmReading
from dualsys.robots.simulated import SIMULATED_PANDA

from .conftest import ListTap, write_recording

PERIOD_NS = 4 * NS_PER_MS
SESSION = 7
HOME = np.array([0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785, 0.08])
Save = Callable[[list[Envelope]], Path]


class Rig:
    """A core, recorded or plain, under a script of what happens to it."""

    def __init__(self, tap: ListTap | None, **settings: object) -> None:
        made = {"limits": SIMULATED_PANDA.limits, "ages": Ages(), "period_ns": PERIOD_NS, "session": SESSION}
        made |= settings
        self.core: ControlCore = (
            ControlCore(**made) if tap is None else RecordedControlCore(tap, SIMULATED_PANDA, **made)  # type: ignore[arg-type]
        )
        self.now_ns = 10 * NS_PER_S
        self.arm = HOME.copy()
        self.reading = ArmReading(self.now_ns, self.arm, np.zeros(8))
        self.seq = 0
        self.outputs: list[ControlOutput] = []

    def tick(self, kind: str = "", count: int = 1) -> None:
        for _ in range(count):
            self.now_ns += PERIOD_NS * (120 if kind == "gap" else 1)
            position, velocity = self.arm.copy(), np.zeros(8)
            if kind == "nan":
                position[3] = math.nan
            elif kind == "infinite":
                velocity[2] = -math.inf
            elif kind == "moved":
                position[1] += 0.3
            elif kind == "short":
                position = position[:5]
            status = {"watchdog": "watchdog", "estop": "emergency_stop"}.get(kind, "ok")
            if kind != "again":
                t_ns = self.now_ns - (NS_PER_S if kind == "silent" else 0)
                why = "somebody pressed the button" if kind == "estop" else ""
                self.reading = ArmReading(t_ns, position, velocity, status, why)  # type: ignore[arg-type]
            output = self.core.step(self.now_ns, self.reading, 119 if kind == "gap" else 0)
            self.outputs.append(output)
            if output.command is not None:
                self.arm = output.command.copy()

    def plan(self, rate: float, offset: float, latent_age_ms: int, duration_ms: int, fault: str) -> None:
        self.seq += 1
        steps = np.arange(0, duration_ms + 1, 40, dtype=np.int64)
        setpoints = self.arm + offset + steps[:, None] * 1e-3 * rate * np.linspace(1.0, -0.4, 8)
        if fault == "nan":
            setpoints[-1, -1] = math.nan
        times: NDArray[np.generic] = self.now_ns + steps * NS_PER_MS
        if fault == "times":
            times = times[::-1].copy()
        if fault == "dtype":
            setpoints = setpoints.astype(np.float32)  # type: ignore[assignment]
        plan = Plan(
            session=SESSION + (fault == "session"), episode=0, epoch=self.core.epoch + (fault == "epoch"),
            seq=self.seq - 2 * (fault == "seq"), t_ns=Tensor.of(times), setpoints=Tensor.of(setpoints),
            latent_seq=self.seq, t_latent_ns=max(0, self.now_ns - latent_age_ms * NS_PER_MS),
            t_observation_ns=self.now_ns, splice_ns=self.now_ns, delay_ns=0, delay_steps=1,
        )  # fmt: skip
        self.core.on_plan(plan, self.now_ns)

    def ask(self, what: str) -> None:
        try:
            if what == "stop":
                self.core.request_stop("an operator asked for a stop")
            elif what == "resume":
                self.core.resume(self.now_ns)
            elif what == "new_epoch":
                self.core.new_epoch()
            else:
                self.core.begin_session(SESSION + (what == "other_session"))
        except RobotError:
            return


KINDS = ("", "", "", "again", "nan", "infinite", "moved", "short", "watchdog", "estop", "silent", "gap")
FAULTS = ("", "", "", "", "nan", "times", "dtype", "session", "epoch", "seq")
ASKED = ("stop", "resume", "new_epoch", "session", "other_session")

ticks = st.tuples(st.just("tick"), st.sampled_from(KINDS), st.integers(1, 40))
plans = st.tuples(
    st.just("plan"), st.floats(-3, 3), st.floats(-0.2, 0.2), st.integers(-300, 2500),
    st.sampled_from((40, 200, 640, 2000)), st.sampled_from(FAULTS),
)  # fmt: skip
asked = st.tuples(st.just("ask"), st.sampled_from(ASKED))
scripts = st.lists(st.one_of(ticks, plans, asked), min_size=1, max_size=30)


def run(script: list[tuple[object, ...]], tap: ListTap | None, **settings_: object) -> Rig:
    rig = Rig(tap, **settings_)
    rig.tick()
    for name, *arguments in script:
        getattr(rig, str(name))(*arguments)
    return rig


def driving(save: Save, **settings_: object) -> tuple[ListTap, Path]:
    """A recording in which a plan is followed, slowed, and held."""
    tap = ListTap()
    run([("plan", 0.5, 0.0, 900, 2000, ""), ("tick", "", 400)], tap, **settings_)
    return tap, save(tap.envelopes)


@pytest.mark.fault_row(50)
@settings(max_examples=30)
@given(script=scripts)
def test_whatever_happens_a_replay_decides_the_same_bit_for_bit(
    script: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tap = ListTap()
    recorded, plain = run(script, tap), run(script, None)
    for one, other in zip(recorded.outputs, plain.outputs, strict=True):
        assert one.state == other.state
        assert (one.command is None) == (other.command is None)
        assert one.command is None or one.command.tobytes() == other.command.tobytes()  # type: ignore[union-attr]
    path = write_recording(tmp_path_factory.getbasetemp() / "control.mcap", tap.envelopes)
    verdict = replay(path)
    assert verdict.reproduced, verdict.lines()
    assert verdict.parts[0].compared["ticks"] == len(recorded.outputs)


def test_a_recording_of_a_drive_goes_through_the_modes_and_is_reproduced(save: Save) -> None:
    tap, path = driving(save)
    modes = {tick.mode for tick in tap.records(ControlTick) if isinstance(tick, ControlTick)}
    assert modes >= {Mode.RUNNING, Mode.SLOWED, Mode.HOLDING}
    verdict = replay(path)
    assert verdict.reproduced
    assert verdict.lines()[0].startswith("control: bit for bit the same: 401 ticks, 401 commands, 1 plans")


def test_smoothed_commands_are_reproduced_too(save: Save) -> None:
    limits = dataclasses.replace(SIMULATED_PANDA.limits, jerk=np.full(8, 40.0))
    tap, path = driving(save, limits=limits, smoothing="ruckig", slowed_fraction=0.5)
    (begin,) = tap.records(ControlBegin)
    assert isinstance(begin, ControlBegin)
    assert begin.settings["smoothing"] == "ruckig"
    verdict = replay(path)
    assert verdict.reproduced, verdict.lines()
    assert verdict.parts[0].compared["commands"] == 401


def test_what_a_robot_says_about_its_stop_is_recorded_and_reproduced(save: Save) -> None:
    tap = ListTap()
    rig = run([("tick", "", 3), ("tick", "estop", 2)], tap)
    assert rig.outputs[-1].reason == "the robot reports emergency_stop: somebody pressed the button"
    last = tap.records(ControlTick)[-1]
    assert isinstance(last, ControlTick)
    assert (last.status, last.detail) == ("emergency_stop", "somebody pressed the button")
    verdict = replay(save(tap.envelopes))
    assert verdict.reproduced, verdict.lines()


def test_a_command_that_differs_in_its_last_bit_is_named(save: Save) -> None:
    tap, _ = driving(save)
    for index, envelope in enumerate(tap.envelopes):
        record = envelope.record
        if isinstance(record, ControlTick) and record.tick == 60:
            first, *rest = (float(value) for value in record.command)
            forged = msgspec.structs.replace(record, command=(math.nextafter(first, 9.0), *rest))
            tap.envelopes[index] = msgspec.structs.replace(envelope, record=forged)
    verdict = replay(save(tap.envelopes))
    assert not verdict.reproduced
    assert verdict.parts[0].difference is not None
    assert verdict.parts[0].difference.where == "control tick 60"
    assert "the first difference is control tick 60" in verdict.lines()[0]
    assert "command: recorded [" in verdict.lines()[0]


@pytest.mark.parametrize("kind", [ControlPlan, ControlRequest])
def test_an_outcome_that_was_changed_is_named(save: Save, kind: type[ControlPlan | ControlRequest]) -> None:
    tap = ListTap()
    run([("plan", 0.5, 0.0, 0, 640, "epoch"), ("ask", "resume"), ("tick", "", 5)], tap)
    for index, envelope in enumerate(tap.envelopes):
        if isinstance(envelope.record, kind):
            forged = msgspec.structs.replace(envelope.record, refusal="because")
            tap.envelopes[index] = msgspec.structs.replace(envelope, record=forged)
    (line,) = [line for line in replay(save(tap.envelopes)).lines() if line.startswith("control")]
    assert "because" in line


def test_records_that_were_lost_end_the_replay_and_are_told(save: Save) -> None:
    tap, _ = driving(save)
    verdict = replay(save(tap.envelopes[:100] + tap.envelopes[130:]))
    assert not verdict.reproduced
    assert "30 records from number 100 on were lost" in verdict.lines()[0]
    assert verdict.parts[0].compared["ticks"] == 98


def test_a_recording_without_its_beginning_cannot_be_replayed(save: Save) -> None:
    tap, _ = driving(save)
    path = save([msgspec.structs.replace(one, number=k) for k, one in enumerate(tap.envelopes[1:])])
    with pytest.raises(RecordingError, match="its beginning is missing"):
        replay(path)


def test_an_error_within_a_tick_is_recorded_with_its_input_and_comes_again(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    tap = ListTap()
    rig = Rig(tap)
    rig.tick(count=3)
    monkeypatch.setattr(ControlCore, "_watch_ages", fail)
    with pytest.raises(ZeroDivisionError):
        rig.tick()
    path = save(tap.envelopes)
    assert replay(path).parts[0].difference is not None, "the bug is there from the first tick on"
    monkeypatch.undo()
    difference = replay(path).parts[0].difference
    assert difference is not None
    assert (difference.where, difference.field) == ("control tick 4", "failed")
    assert difference.recorded == "a bug"


def test_a_beginning_that_is_not_understood_is_refused(save: Save) -> None:
    tap, _ = driving(save)
    begin = tap.envelopes[0].record
    assert isinstance(begin, ControlBegin)
    unknown = {**begin.settings, "mood": "good"}
    for changes in ({"settings": unknown}, {"limits": {}}, {"ages": {"plan_hard_ns": -1}}):
        forged = msgspec.structs.replace(begin, **changes)
        path = save([msgspec.structs.replace(tap.envelopes[0], record=forged), *tap.envelopes[1:]])
        with pytest.raises(RecordingError, match=r"^control: "):
            replay(path)


def test_everything_that_a_control_core_is_made_from_is_recorded() -> None:
    tap = ListTap()
    limits = dataclasses.replace(SIMULATED_PANDA.limits, velocity=SIMULATED_PANDA.limits.velocity * 0.5)
    ages, tolerances = Ages(plan_hard_ns=7), Tolerances(start_rad=0.3)
    told = {"session": 3, "slowed_fraction": 0.25, "tolerances": tolerances}
    RecordedControlCore(tap, SIMULATED_PANDA, limits, ages, PERIOD_NS, **told)
    (begin,) = tap.records(ControlBegin)
    assert isinstance(begin, ControlBegin)
    recorded = {"limits", "ages", "tolerances", "period_ns", *begin.settings}
    assert recorded == set(inspect.signature(ControlCore).parameters)
    vectors = {one.name for one in dataclasses.fields(limits) if one.init} - {"joints"}
    assert set(begin.limits) == vectors
    again = ListTap()
    made = {name: vector(values) for name, values in begin.limits.items()}
    RecordedControlCore(
        again, SIMULATED_PANDA, Limits(joints=begin.joints, **made), Ages(**begin.ages), begin.period_ns,
        tolerances=Tolerances(**begin.tolerances), **begin.settings,
    )  # fmt: skip
    assert again.records(ControlBegin) == [begin]
    core_of(begin)


def test_every_input_of_a_control_core_is_recorded() -> None:
    # Whoever gives the core another input has to record it, or replays are no longer exact.
    queries = {"mode", "session", "epoch", "at_rest", "statistics"}
    inputs = {name for name in vars(ControlCore) if not name.startswith("_")} - queries
    assert inputs == {name for name in vars(RecordedControlCore) if not name.startswith("_")}


@pytest.mark.parametrize("rate_hz", [50, 250, 1000])
def test_what_is_rejected_is_noted_ten_times_a_second_at_any_rate(rate_hz: int) -> None:
    tap, total = ListTap(), 0
    rig = Rig(tap, period_ns=NS_PER_S // rate_hz)
    assert isinstance(rig.core, RecordedControlCore)

    def faults() -> tuple[int, str]:
        nonlocal total
        total += 1
        return total, "not a plan"

    rig.core.watch.add("planner.plan", faults)
    total = 0
    rig.tick(count=rate_hz)
    assert len(tap.records(Rejected)) == 10
