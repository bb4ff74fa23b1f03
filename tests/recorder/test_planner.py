"""A recorded planner core plans as a plain one, and its record leads to the same plans, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.bus.latent_codec import CODECS, encode_latent
from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import InstructionError, PolicyError, RecordingError
from dualsys.fast.chunking.strategy import STRATEGIES, StrategyName, make_strategy
from dualsys.fast.planner.arm import Kinematics
from dualsys.fast.planner.core import PlannerCore
from dualsys.fast.planner.demand import Decision
from dualsys.fast.planner.rate_control import RateChoice
from dualsys.fast.planner.records import PlannerSettings
from dualsys.fast.planner.sight import Features, Images
from dualsys.fast.policies.policy import CAPABILITIES, Capability
from dualsys.messages import ControlState, LatentCodec, Plan, Tensor
from dualsys.recorder.geometries import KINEMATICS
from dualsys.recorder.planner import RecordedPlannerCore, UplinkJournal, open_core
from dualsys.recorder.reading import RecordingReader
from dualsys.recorder.records import (
    PlanHeader,
    PlannerBegin,
    PlannerCall,
    PlannerChunk,
    PlannerDemand,
    PlannerJob,
    PlannerLatent,
    PlannerObservation,
    PlannerRate,
    PlannerRepeat,
)
from dualsys.recorder.replay_planner import PlannerReplay
from dualsys.recorder.topics import Envelope
from dualsys.recorder.verdict import Difference
from dualsys.robots.kinematics import PANDA, Chain, transform
from dualsys.robots.tabletop import ARMS as TABLE_ARMS
from dualsys.specs import TensorSpec

from ..fast.planner.conftest import (
    FIXED,
    SESSION,
    START_M,
    GantryKinematics,
    ScriptedPolicy,
    answer,
    state,
)
from .conftest import ListTap

Save = Callable[[list[Envelope]], Path]
GANTRY = GantryKinematics()
ARMS: dict[str, Kinematics] = {**KINEMATICS, type(GANTRY).__name__: GANTRY}
WAKE_NS = 5 * NS_PER_MS


class Restless(ScriptedPolicy):
    """Another chunk each time."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(5)

    def residual(self, *_: NDArray[np.float32]) -> NDArray[np.float32]:
        residual = self.rng.uniform(-0.3, 0.3, 4).astype(np.float32)
        if residual[0] > 0.25:
            raise PolicyError("the head failed")
        return residual

    def next(self) -> NDArray[np.float32]:
        chunk = self.rng.uniform(-0.6, 0.6, self.action.chunk.shape).astype(np.float32)
        chunk[:, 3] = np.sign(chunk[:, 3])
        return chunk


def at_start(arm: Kinematics) -> NDArray[np.float64]:
    """The first pose, with an open gripper."""
    return np.array([*START_M, 0.1, 0.2, 0.3, 0.4, 0.08] if arm is GANTRY else [*arm.rest_rad, 0.08])


def drive(
    core: PlannerCore,
    policy: Restless,
    arm: Kinematics = GANTRY,
    codec: LatentCodec = "float32",
    shown: Images | Features = FIXED,
) -> list[Plan]:
    """An episode with all that can happen to a planner: delays, a lost chunk, new words, a new epoch."""
    plans: list[Plan] = []
    now_ns, start_ns, position, plan = NS_PER_S, NS_PER_S, at_start(arm), None
    core.start_episode(0, "pick the red block", 0)
    with pytest.raises(InstructionError):
        core.instruct(" ")
    while now_ns < start_ns + 800 * NS_PER_MS:
        turn = (now_ns - start_ns) // WAKE_NS
        if plan is not None:
            times, rows = plan.t_ns.array().astype(np.float64), plan.setpoints.array()
            position = np.array([np.interp(now_ns, times, rows[:, axis]) for axis in range(len(position))])
        epoch = 1 if turn > 110 else 0
        pose = tuple(position.tolist())
        rest = (0.0,) * len(pose)
        core.on_state(state(now_ns, position=pose, velocity=rest, command=pose, epoch=epoch))
        if turn % 8 == 0:
            core.on_frame("wrist", np.full((4, 4, 3), turn % 200, np.uint8), now_ns)
        if turn % 20 == 0:
            observation = core.observation(now_ns, shown)
            if observation is not None:
                parts = encode_latent({"tokens": np.full((8, 128), 0.5, np.float32)}, codec)
                core.on_latent(answer(observation, tensors=parts, codec=codec))
                core.on_latent(answer(observation, tensors=parts, codec=codec))
        if turn == 60:
            core.instruct("pick the blue block")
        now_ns += WAKE_NS
        if turn % 4:
            continue
        job = core.begin(now_ns)
        if job is not None and turn == 40:
            core.abandon(job, "the network failed")
        elif job is not None:
            chunk = policy.next()
            if turn == 80:
                chunk[3, 1] = np.nan
            made = core.finish(job, chunk, now_ns + (turn % 7) * 9 * NS_PER_MS)
            plans += [] if made is None else [made]
            plan = made or plan
        else:
            made = core.repeat(now_ns)
            plans += [] if made is None else [made]
    core.end_episode()
    return plans


def recorded(
    name: StrategyName = "rtc",
    *offered: Capability,
    arm: Kinematics = GANTRY,
    codec: LatentCodec = "float32",
    sent: LatentCodec | None = None,
    latents: int = 2,
) -> tuple[ListTap, list[Plan]]:
    tap, policy = ListTap("planner"), Restless()
    policy.latents = latents
    policy.capabilities = frozenset(set(CAPABILITIES) - {"residual"} | set(offered))
    settings = PlannerSettings(latent_codec=codec, residual="residual" in offered)
    core = open_core(tap, {}, policy, make_strategy(name), arm, SESSION, 3, settings)
    return tap, drive(core, policy, arm, sent or codec)


def outcome(path: Path) -> tuple[Difference | None, dict[str, int]]:
    one = PlannerReplay(ARMS)
    for _, record in RecordingReader(path):
        difference = one.take(record)
        if difference is not None:
            return difference, one.compared()
    return None, one.compared()


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_is_replayed_to_the_same_plans_bit_for_bit(save: Save, name: StrategyName) -> None:
    tap, plans = recorded(name)
    difference, compared = outcome(save(tap.envelopes))
    assert difference is None
    assert compared["plans"] == len(plans) > 1
    assert compared["inputs"] > 150


def test_the_kinematics_of_the_arm_are_replayed_bit_for_bit(save: Save) -> None:
    tap, plans = recorded(arm=PANDA)
    difference, compared = outcome(save(tap.envelopes))
    assert difference is None
    assert compared["plans"] == len(plans) > 5


def test_a_recording_tells_how_many_latents_are_read(save: Save) -> None:
    tap, plans = recorded(latents=4)
    begin = tap.envelopes[0].record
    assert isinstance(begin, PlannerBegin)
    assert begin.latents == 4
    difference, compared = outcome(save(tap.envelopes))
    assert difference is None
    assert compared["plans"] == len(plans) > 5


@pytest.mark.parametrize("name", ["iiwa14", "xarm6"])
def test_a_recording_tells_which_arm_was_led_and_is_replayed_with_it(save: Save, name: str) -> None:
    tap, plans = recorded(arm=TABLE_ARMS[name].chain)
    begin = tap.envelopes[0].record
    assert isinstance(begin, PlannerBegin)
    assert begin.kinematics == name
    difference, compared = outcome(save(tap.envelopes))
    assert difference is None
    assert compared["plans"] == len(plans) > 5


def test_an_arm_of_the_same_class_as_the_panda_is_not_replayed_as_the_panda(save: Save) -> None:
    tap, _ = recorded(arm=PANDA)
    begin = tap.envelopes[0].record
    assert isinstance(begin, PlannerBegin)
    assert begin.kinematics == "Chain", "as in every recording before there were other arms"
    longer = PANDA.tool_frame @ transform((0.0, 0.0, 0.01))
    tap, _ = recorded(arm=Chain(PANDA.joint_frames, longer, PANDA.lower_rad, PANDA.upper_rad, PANDA.rest_rad))
    with pytest.raises(RecordingError, match="kinematics 'another Chain' is not one of Chain"):
        outcome(save(tap.envelopes))


def test_a_planner_that_sends_features_is_replayed_and_its_record_says_so(save: Save) -> None:
    tap, policy = ListTap("planner"), Restless()
    policy.capabilities = frozenset(set(CAPABILITIES) - {"residual"})
    settings = PlannerSettings(features={"fixed": TensorSpec((3, 4))}, feature_codec="int8")
    core = open_core(tap, {}, policy, make_strategy("rtc"), GANTRY, SESSION, 3, settings)
    plans = drive(core, policy, shown={"fixed": np.ones((3, 4), np.float32)})
    (begin,) = (one for one in tap.records(PlannerBegin) if isinstance(one, PlannerBegin))
    assert (begin.settings["features"]["fixed"]["shape"], begin.settings["feature_codec"]) == ([3, 4], "int8")
    observations = [one for one in tap.records(PlannerObservation) if isinstance(one, PlannerObservation)]
    assert {tuple(one.shapes["fixed"]) for one in observations} == {(3, 4)}
    assert observations[0].sizes == {"fixed": 12, "fixed.scale": 12}
    difference, compared = outcome(save(tap.envelopes))
    assert difference is None
    assert compared["plans"] == len(plans) > 1


@pytest.mark.parametrize("codec", CODECS)
def test_a_planner_is_replayed_whatever_codec_its_latents_come_in(save: Save, codec: LatentCodec) -> None:
    tap, plans = recorded(codec=codec)
    assert {one.codec for one in tap.records(PlannerLatent) if isinstance(one, PlannerLatent)} == {codec}
    difference, compared = outcome(save(tap.envelopes))
    assert difference is None
    assert compared["plans"] == len(plans) > 1


def test_latents_of_another_codec_are_refused_in_the_replay_too(save: Save) -> None:
    tap, plans = recorded(codec="bfloat16", sent="int8")
    assert plans == []
    latents = [one for one in tap.records(PlannerLatent) if isinstance(one, PlannerLatent)]
    assert {one.refusal for one in latents} == {"latents_rejected"}
    assert outcome(save(tap.envelopes))[0] is None


def test_what_a_residual_head_adds_is_recorded_and_replayed(save: Save) -> None:
    tap, plans = recorded("synchronous", "residual")
    repeats = [one for one in tap.records(PlannerRepeat) if isinstance(one, PlannerRepeat)]
    assert {bool(one.failed) for one in repeats} == {True, False}
    assert sum(one.residual.shape == (4,) for one in repeats) > 5
    difference, compared = outcome(save(tap.envelopes))
    assert difference is None
    assert compared["plans"] == len(plans)
    other = next(k for k, one in enumerate(repeats) if one.residual.shape == (4,) and one.plan.seq >= 0)
    changed = Tensor.of(repeats[other].residual.array() + np.float32(1e-3))
    difference, _ = outcome(save(forge(tap, PlannerRepeat, other, residual=changed)))
    assert difference is not None
    assert difference.where == "a plan between two jobs"


class Tripping(Restless):
    """With a head that now and then trips, in one of two ways."""

    def residual(self, *_: NDArray[np.float32]) -> NDArray[np.float32]:
        residual = self.rng.uniform(-0.3, 0.3, 4).astype(np.float32)
        if residual[0] > 0.2:
            raise ValueError("no such row")
        return residual if residual[0] > -0.2 else cast(Any, None)


def test_a_head_of_somebody_s_own_that_trips_is_recorded_and_replayed(save: Save) -> None:
    tap, policy = ListTap("planner"), Tripping()
    policy.capabilities = frozenset(CAPABILITIES)
    settings = PlannerSettings(residual=True)
    core = open_core(tap, {}, policy, make_strategy("synchronous"), GANTRY, SESSION, 3, settings)
    plans = drive(core, policy)
    repeats = [one for one in tap.records(PlannerRepeat) if isinstance(one, PlannerRepeat)]
    failed = {one.failed for one in repeats if one.failed}
    name = f"System 1 policy {__name__}.Tripping failed: "
    assert failed == {
        name + "ValueError: no such row",
        name + "TypeError: expected a NumPy array, got builtins.NoneType",
    }
    assert core.statistics().corrections_rejected == sum(bool(one.failed) for one in repeats)
    difference, compared = outcome(save(tap.envelopes))
    assert difference is None
    assert compared["plans"] == len(plans)


def test_a_recording_from_before_corrections_could_be_switched_off_is_replayed(save: Save) -> None:
    tap, plans = recorded("synchronous", "residual")
    (begin,) = (one for one in tap.records(PlannerBegin) if isinstance(one, PlannerBegin))
    earlier = {name: value for name, value in begin.settings.items() if name != "residual"}
    difference, compared = outcome(save(forge(tap, PlannerBegin, 0, settings=earlier)))
    assert difference is None
    assert compared["plans"] == len(plans)


def test_a_head_that_is_not_asked_for_is_not_listened_to(save: Save) -> None:
    tap, policy = ListTap("planner"), Restless()
    policy.capabilities = frozenset(CAPABILITIES)
    core = open_core(tap, {}, policy, make_strategy("synchronous"), GANTRY, SESSION, 3, PlannerSettings())
    drive(core, policy)
    repeats = [one for one in tap.records(PlannerRepeat) if isinstance(one, PlannerRepeat)]
    assert all(one.residual.shape == (0,) and not one.failed for one in repeats)
    assert outcome(save(tap.envelopes))[0] is None


class Paired(Restless):
    """With a weak policy inside."""

    weak_weights = "early"

    def sample_weak(self, *_: object) -> NDArray[np.float32]:
        raise AssertionError("nothing is computed here")


def recorded_with_weak(nearest: int) -> tuple[ListTap, list[Plan]]:
    tap, policy, options = ListTap("planner"), Paired(), {"samples": 4, "nearest": nearest}
    policy.capabilities = frozenset({"sampler", "weak"})
    core = open_core(tap, options, policy, make_strategy("bid", **options), GANTRY, SESSION, 3)
    return tap, drive(core, policy)


@pytest.mark.parametrize(("nearest", "named"), [(2, "early"), (0, "")])
def test_the_weak_policy_that_is_drawn_from_is_in_the_record_which_is_replayed(
    save: Save, nearest: int, named: str
) -> None:
    tap, plans = recorded_with_weak(nearest)
    begin = tap.envelopes[0].record
    assert isinstance(begin, PlannerBegin)
    assert (begin.weights, begin.weak_weights) == ("scripted", named)
    difference, compared = outcome(save(tap.envelopes))
    assert difference is None
    assert compared["plans"] == len(plans) > 1


@pytest.mark.parametrize(
    ("nearest", "other", "expected"),
    [(2, "", "got '', expected a hash"), (0, "late", "got 'late', expected none")],
)
def test_a_record_whose_weak_policy_does_not_fit_its_strategy_is_not_replayed(
    save: Save, nearest: int, other: str, expected: str
) -> None:
    tap, _ = recorded_with_weak(nearest)
    with pytest.raises(RecordingError, match=f"weak_weights: {expected} with strategy bid and options"):
        outcome(save(forge(tap, PlannerBegin, 0, weak_weights=other)))


def test_a_recorded_planner_plans_as_a_plain_one() -> None:
    tap, plans = recorded()
    policy = Restless()
    policy.capabilities = frozenset(set(CAPABILITIES) - {"residual"})
    plain = open_core(None, {}, policy, make_strategy("rtc"), GANTRY, SESSION, 3)
    assert type(plain) is PlannerCore
    assert [msgspec.msgpack.encode(plan) for plan in drive(plain, policy)] == [
        msgspec.msgpack.encode(plan) for plan in plans
    ]
    assert tap.records(PlannerBegin)


def test_what_the_core_tells_itself_is_not_recorded_as_an_input() -> None:
    tap, _ = recorded()
    calls = [record for record in tap.records(PlannerCall) if isinstance(record, PlannerCall)]
    assert [call.name for call in calls] == ["start_episode", "instruct", "instruct", "end_episode"]
    assert "expected 1 to" in calls[1].refusal


def test_refused_latents_are_recorded_with_their_reason() -> None:
    tap, _ = recorded()
    refusals = {one.refusal for one in tap.records(PlannerLatent) if isinstance(one, PlannerLatent)}
    assert refusals >= {"", "latents_not_newer"}


def forge(tap: ListTap, kind: type[Any], number: int, **changes: object) -> list[Envelope]:
    """The envelopes with one record changed."""
    found = [index for index, one in enumerate(tap.envelopes) if isinstance(one.record, kind)]
    index = found[number]
    record = msgspec.structs.replace(tap.envelopes[index].record, **changes)
    tap.envelopes[index] = msgspec.structs.replace(tap.envelopes[index], record=record)
    return tap.envelopes


def test_a_chunk_that_was_changed_in_one_bit_is_named(save: Save) -> None:
    tap, _ = recorded()
    chunks = [one for one in tap.records(PlannerChunk) if isinstance(one, PlannerChunk)]
    changed = chunks[2].chunk.array().copy()
    changed[-1, 0] = np.nextafter(changed[-1, 0], np.float32(9))
    difference, _ = outcome(save(forge(tap, PlannerChunk, 2, chunk=Tensor.of(changed))))
    assert difference is not None
    assert difference.where == f"the chunk of job {chunks[2].number} of episode 0"
    assert difference.field == "plan digest"


def test_a_job_that_was_changed_is_named(save: Save) -> None:
    tap, _ = recorded()
    difference, _ = outcome(save(forge(tap, PlannerJob, 5, overlap_steps=99)))
    assert difference is not None
    assert (difference.field, difference.recorded) == ("overlap_steps", "99")


def test_a_recording_without_its_beginning_cannot_be_replayed(save: Save) -> None:
    tap, _ = recorded()
    with pytest.raises(RecordingError, match="its beginning is missing"):
        outcome(save(tap.envelopes[1:]))


def test_unknown_kinematics_are_named(save: Save) -> None:
    tap, _ = recorded()
    with pytest.raises(RecordingError, match="kinematics 'Delta' is not one of"):
        outcome(save(forge(tap, PlannerBegin, 0, kinematics="Delta")))


def test_every_input_of_a_planner_core_is_recorded() -> None:
    # Whoever gives the core another input has to record it, or replays are no longer exact. `compute` reads
    # weights and changes nothing; what it returns is recorded by `finish`.
    queries = {"episode", "epoch", "instruction", "observed_cameras", "observing", "situation"}
    queries |= {"statistics", "compute"}
    inputs = {name for name in vars(PlannerCore) if not name.startswith("_")} - queries
    assert inputs == {name for name in vars(RecordedPlannerCore) if not name.startswith("_")}


def test_a_header_tells_all_of_a_plan_but_its_numbers() -> None:
    known = set(PlanHeader.__struct_fields__) - {"knots", "digest"}
    assert known == set(Plan.__struct_fields__) - {"t_ns", "setpoints"}
    assert "counters" in ControlState.__struct_fields__


def test_what_is_decided_about_observations_is_recorded_and_left_alone_by_the_replay(save: Save) -> None:
    tap, _ = recorded()
    journal = UplinkJournal(tap)
    journal.rate(NS_PER_S, RateChoice(65, 125 * NS_PER_MS, "queue"), 130 * NS_PER_MS, 21_400.4)
    journal.demand(NS_PER_S, Decision(False, "still", 1))
    (rate,), (demand,) = tap.records(PlannerRate), tap.records(PlannerDemand)
    assert isinstance(rate, PlannerRate)
    assert isinstance(demand, PlannerDemand)
    assert (rate.jpeg_quality, rate.rate_hz, rate.reason) == (65, 8.0, "queue")
    assert (rate.queue_ns, rate.budget_bytes_s) == (130 * NS_PER_MS, 21_400)
    assert (demand.asked, demand.reason, demand.changed_cells) == (False, "still", 1)
    assert outcome(save(tap.envelopes))[0] is None
