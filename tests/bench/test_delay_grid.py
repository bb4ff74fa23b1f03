from __future__ import annotations

import dataclasses

import pytest
from msgspec.structs import replace

from dualsys.bench.delay_bars import NEEDED, SMOOTH_DELAYS_MS, SMOOTH_TASKS
from dualsys.bench.delay_grid import (
    ALTERED,
    CLOSE,
    EXPERTS,
    JITTER,
    MAIN,
    OTHERS,
    RECORDED_JITTER,
    SMOKE_SWEEPS,
    SWEEPS,
    SYSTEM1_DELAYS,
    SYSTEM2_DELAYS_MS,
    Point,
    Sweep,
    by_reason,
    estimate_s,
    objection,
    points,
    unknown_words,
)
from dualsys.clock import NS_PER_MS
from dualsys.errors import InstructionError
from dualsys.fast.chunking.strategy import STRATEGIES, make_strategy
from dualsys.fast.policies.policy import Capability
from dualsys.specs import ActionSpec
from dualsys.twin.evaluate import for_scripted
from dualsys.twin.latency import Constant
from dualsys.twin.scripted import SCRIPTED_ACTION, ScriptedSystem1, ScriptedSystem2
from dualsys.twin.settings import Parts, TwinSettings

SETTINGS = TwinSettings()


class Offering(ScriptedSystem1):
    """A System 1 of given capabilities and chunks."""

    def __init__(self, *capabilities: Capability, horizon: int = 16) -> None:
        self.capabilities = frozenset(capabilities)
        self.action = replace(SCRIPTED_ACTION, horizon=horizon)


def one(sweep: Sweep, action: ActionSpec = SCRIPTED_ACTION) -> Point:
    (point,) = points(SETTINGS, action, (sweep,))
    return point


def test_every_cell_has_a_name_of_its_own() -> None:
    for sweeps in (SWEEPS, SMOKE_SWEEPS):
        names = [point.cell.name for point in points(SETTINGS, SCRIPTED_ACTION, sweeps)]
        assert len(set(names)) == len(names)


def test_the_main_strategies_meet_every_delay_on_the_multimodal_task() -> None:
    found = {
        (point.variant.label, point.delay)
        for point in points(SETTINGS, SCRIPTED_ACTION)
        if (point.varied, point.task) == ("system1", "around")
    }

    assert found >= {(name, delay) for name in MAIN for delay in SYSTEM1_DELAYS}
    assert {0, 40, 80, 120, 160, 200, 300, JITTER} == set(SYSTEM1_DELAYS)


def test_every_strategy_is_run_or_is_the_same_as_one_that_is() -> None:
    assert {*MAIN, *OTHERS, "latest_overwrite"} - {"rtc+path"} == set(STRATEGIES)
    names = {point.variant.name for point in points(SETTINGS, SCRIPTED_ACTION)}
    assert names == {*MAIN, *OTHERS} - {"rtc+path"}


def test_one_delay_is_varied_and_the_other_stays() -> None:
    for point in points(SETTINGS, SCRIPTED_ACTION):
        settings = point.cell.settings
        if point.varied == "system2":
            assert settings.system1_delay == Constant(60 * NS_PER_MS)
            assert settings.system2_delay == Constant(int(point.delay) * NS_PER_MS)
        else:
            assert settings.system2_delay == Constant(200 * NS_PER_MS)
            expected = RECORDED_JITTER if point.delay == JITTER else Constant(int(point.delay) * NS_PER_MS)
            assert settings.system1_delay == expected
    varied = {point.delay for point in points(SETTINGS, SCRIPTED_ACTION) if point.varied == "system2"}
    assert varied == set(SYSTEM2_DELAYS_MS)


def test_no_strategy_replans_more_than_once_an_action() -> None:
    for point in points(SETTINGS, SCRIPTED_ACTION):
        assert point.cell.settings.plan_hz * SCRIPTED_ACTION.step_ns == pytest.approx(1e9)


def test_synchronous_plays_half_of_a_chunk_whatever_its_length() -> None:
    for horizon, half in ((16, 8), (50, 25), (1, 1)):
        action = replace(SCRIPTED_ACTION, horizon=horizon)
        point = one(Sweep("system1", "pick", ("synchronous",), (0,)), action)
        assert point.cell.settings.strategy_options == {"execution_horizon": half}


def test_the_options_of_every_variant_are_allowed() -> None:
    for point in points(SETTINGS, SCRIPTED_ACTION):
        made = make_strategy(point.cell.settings.strategy, **point.cell.settings.strategy_options)
        assert made.name == point.variant.name


def test_what_a_bundle_lacks_is_not_offered_and_named() -> None:
    point = one(Sweep("system1", "around", ("rtc_prefix",), (120,)))

    found = objection(point, Offering("sampler", "guided"))
    assert found is not None
    assert found.status == "not offered"
    assert "prefix" in found.why
    assert "this bundle offers sampler, guided" in found.why
    assert objection(point, Offering("sampler", "prefix")) is None


def test_a_correction_is_run_beside_the_same_strategy_without_it_and_only_where_there_is_a_head() -> None:
    (corrected,) = points(SETTINGS, SCRIPTED_ACTION, (Sweep("system1", "around", ("rtc+residual",), (300,)),))
    (plain,) = points(SETTINGS, SCRIPTED_ACTION, (Sweep("system1", "around", ("rtc",), (300,)),))
    assert corrected.cell.settings == dataclasses.replace(plain.cell.settings, residual=True)
    assert corrected.cell.name == "around-rtc+residual-system1-300ms"
    found = objection(corrected, Offering("sampler", "guided"))
    assert found is not None
    assert found.status == "not offered"
    assert "this bundle has no residual head" in found.why
    assert objection(corrected, Offering("sampler", "guided", "residual")) is None
    labels = {point.variant.label for point in points(SETTINGS, SCRIPTED_ACTION)}
    assert labels == {*MAIN, EXPERTS, *OTHERS, *ALTERED}


def test_the_experts_act_under_the_same_delays_wherever_smoothness_is_compared() -> None:
    shown = {(one.task, one.delay): one for one in points(SETTINGS, SCRIPTED_ACTION)
             if one.variant.label == EXPERTS}  # fmt: skip
    assert shown.keys() == {(task, delay) for task in SMOOTH_TASKS for delay in SMOOTH_DELAYS_MS}
    for (task, delay), point in shown.items():
        plain = one(Sweep("system1", task, ("naive_async",), (delay,)))
        assert point.cell == dataclasses.replace(
            plain.cell,
            name=f"{task}-experts-system1-{delay}ms",
            settings=for_scripted(plain.cell.settings),
        )


def test_what_fails_for_one_reason_is_told_once() -> None:
    found = [
        unmet
        for point in points(
            SETTINGS, SCRIPTED_ACTION, (Sweep("system1", "pick", ("rtc_prefix", "rtc"), (0, 40)),)
        )
        if (unmet := objection(point, Offering("sampler"))) is not None
    ]

    told = by_reason(found)
    assert [len(names) for names in told.values()] == [2, 2]
    assert {status for status, _ in told} == {"not offered"}


def test_a_delay_that_is_too_long_for_the_chunks_is_refused_with_the_numbers() -> None:
    offering = Offering("sampler", "guided", horizon=8)
    refused = one(Sweep("system1", "around", ("rtc",), (200,)), offering.action)
    allowed = one(Sweep("system1", "around", ("rtc",), (160,)), offering.action)

    found = objection(refused, offering)
    assert found is not None
    assert found.status == "refused"
    assert "horizon 8" in found.why
    assert "delay of 5 actions" in found.why
    # d <= H - s with s = d: 4 actions fit twice into 8, 5 do not.
    assert objection(allowed, offering) is None


def test_synchronous_waits_for_any_delay() -> None:
    offering = Offering("sampler", horizon=2)

    assert (
        objection(one(Sweep("system1", "pick", ("synchronous",), (300,)), offering.action), offering) is None
    )


class Reading(ScriptedSystem2):
    """A System 2 that does not know the word belt."""

    def check_instruction(self, text: str) -> None:
        super().check_instruction(text)
        if "belt" in text:
            raise InstructionError(f"{text!r}: unknown words: belt")


def test_a_task_whose_words_system_2_cannot_read_is_named_before_anything_runs() -> None:
    system2 = Reading()
    parts = Parts(system2, ScriptedSystem1(), explain=system2.explain)

    assert "unknown words: belt" in unknown_words("conveyor", range(20), parts)
    assert unknown_words("pick", range(3), parts) == ""


def test_a_task_of_long_episodes_has_half_as_many_of_them() -> None:
    found = points(SETTINGS, SCRIPTED_ACTION)
    shares = {point.task: point.cell.share for point in found if point.cell.share <= 1.0}
    assert shares == {"around": 1.0, "conveyor": 1.0, "intercept": 1.0, "pick": 1.0, "follow": 0.5}
    follow = one(Sweep("system1", "follow", ("rtc",), (0,)))
    whole = dataclasses.replace(follow, cell=dataclasses.replace(follow.cell, share=1.0))
    assert estimate_s([follow], 100, 2) == pytest.approx(0.5 * estimate_s([whole], 100, 2))


def test_what_is_close_where_the_bars_compare_has_more_episodes() -> None:
    found = {(one.task, one.variant.label, one.delay): one.cell for one in points(SETTINGS, SCRIPTED_ACTION)}
    more = {key for key, cell in found.items() if cell.share > 1.0}
    assert more == CLOSE.keys() <= NEEDED
    assert found["around", "rtc_prefix", 200].part_of(100) == 1500
    both = [Sweep("system2", "around", ("rtc_prefix",), (200,)), Sweep("system1", "around", ("rtc",), (200,))]
    assert [one(sweep).cell.share for sweep in both] == [1.0, 1.0]


def test_the_estimate_grows_with_episodes_and_shrinks_with_workers() -> None:
    found = points(SETTINGS, SCRIPTED_ACTION)

    assert estimate_s(found, 100, 2) == pytest.approx(50 * estimate_s(found, 2, 2))
    assert estimate_s(found, 100, 1) == pytest.approx(2 * estimate_s(found, 100, 2))
    # The full size is made for about two hours on two cores, the smoke test for less than two minutes.
    assert 3600 < estimate_s(found, 100, 2) < 2.25 * 3600
    assert estimate_s(points(SETTINGS, SCRIPTED_ACTION, SMOKE_SWEEPS), 1, 1) < 60


def test_a_second_way_differs_from_the_strategy_in_what_its_name_says_and_in_nothing_else() -> None:
    settings = dataclasses.replace(SETTINGS, noise_scale=0.5)

    def of(label: str) -> TwinSettings:
        (found,) = points(settings, SCRIPTED_ACTION, (Sweep("system1", "follow", (label,), (120,)),))
        return found.cell.settings

    plain = of("rtc")
    assert plain.noise_scale == 0.5
    assert of("rtc+noise") == dataclasses.replace(plain, noise_scale=1.0)
    assert of("rtc+path") == dataclasses.replace(
        plain, strategy_options={**plain.strategy_options, "pull": "path", "mask": "linear"}
    )
