from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from dualsys.bus.link_model import Conditions, Schedule
from dualsys.bus.link_profiles import PROFILES, ProfileName
from dualsys.clock import NS_PER_MS
from dualsys.errors import ConfigError, InstructionError, PolicyError
from dualsys.fast.control.core import Ages
from dualsys.fast.planner.demand import DemandBounds
from dualsys.slow.backend import System2Output
from dualsys.specs import TensorSpec
from dualsys.twin.episode import run_episode
from dualsys.twin.latency import Constant, Jitter
from dualsys.twin.scripted import SCRIPTED_SPECS, ScriptedSystem1, ScriptedSystem2, write_state
from dualsys.twin.settings import Parts, TwinSettings

from .conftest import Play

SEED = 10_000_000
JITTER = {
    "system2_delay": Jitter(200 * NS_PER_MS, 90 * NS_PER_MS),
    "system1_delay": Jitter(60 * NS_PER_MS, 33 * NS_PER_MS),
}


def test_the_same_seed_gives_the_same_episode_to_the_bit(play: Play) -> None:
    first = play("touch", SEED, **JITTER)
    play("pick", SEED + 1)

    assert play("touch", SEED, **JITTER) == first


class Tripping(ScriptedSystem1):
    """Somebody's own, with a mistake in it."""

    def sample(self, noise: Any, condition: Any) -> Any:
        del noise, condition
        return [][1]


def test_a_policy_of_somebody_s_own_that_trips_ends_the_episode_by_its_name(play: Play) -> None:
    del play
    from dualsys.twin.scripted import scripted_parts
    from dualsys_sim.episode import make_episode
    from dualsys_sim.world import World

    parts = replace(scripted_parts(), system1=Tripping())
    wrong = rf"System 1 policy {__name__}\.Tripping failed: IndexError: list index out of range"
    with World() as world, pytest.raises(PolicyError, match=wrong):
        run_episode(parts, world, make_episode("touch", SEED), TwinSettings())


def test_another_world_gives_the_same_episode_to_the_bit(play: Play) -> None:
    from dualsys.twin.episode import run_episode
    from dualsys.twin.scripted import scripted_parts
    from dualsys_sim.episode import make_episode
    from dualsys_sim.world import World

    with World() as world:
        other = run_episode(scripted_parts(), world, make_episode("touch", SEED), TwinSettings())

    assert other.trace_sha256 == play("touch", SEED).trace_sha256


@pytest.mark.parametrize(
    "change", [{"system2_delay": Constant(204 * NS_PER_MS)}, {"strategy": "naive_async"}]
)
def test_another_setting_gives_another_trace(play: Play, change: dict[str, object]) -> None:
    assert play("touch", SEED, **change).trace_sha256 != play("touch", SEED).trace_sha256


@pytest.mark.parametrize("strategy", ["rtc", "naive_async", "temporal_ensemble", "synchronous"])
def test_the_scripted_pair_picks_under_delay(play: Play, strategy: str) -> None:
    result = play("pick", SEED, strategy=strategy)

    assert result.success, result
    assert result.time_to_success_s == pytest.approx(result.duration_s)


@pytest.mark.parametrize("task", ["around", "intercept"])
def test_the_scripted_pair_knows_of_walls_and_glides(play: Play, task: str) -> None:
    result = play(task, SEED)

    assert result.success, result


def test_a_chunk_takes_effect_when_its_delay_is_over(play: Play) -> None:
    result = play("touch", SEED, system1_delay=Constant(72 * NS_PER_MS))

    assert result.metrics["plan_delay_ms_p50"] == 72.0
    assert result.metrics["plan_delay_ms_p95"] == 72.0


def test_no_latent_is_used_before_its_delay_is_over(play: Play) -> None:
    result = play("touch", SEED, system2_delay=Constant(400 * NS_PER_MS))

    assert float(result.metrics["latent_age_ms_p50"]) >= 400.0
    # The arm waits for the first latent and for the first chunk made from it.
    assert float(result.metrics["waiting_fraction"]) * result.duration_s == pytest.approx(0.46, abs=0.02)


def test_reactions_follow_from_the_delays_and_periods(play: Play) -> None:
    result = play("intercept", SEED, timeout_s=2.5, system1_delay=Constant(120 * NS_PER_MS), latent="zeroed")

    metrics = {name: float(value) for name, value in result.metrics.items() if not isinstance(value, str)}
    assert metrics["plan_period_ms_mean"] == pytest.approx(120.0)
    # U(L, L + s dt) for what a job sees when it begins; its wrist image is up to one frame of 40 ms older.
    assert 120.0 + 60.0 - 5.0 <= metrics["system1_reaction_ms_mean"] <= 120.0 + 60.0 + 40.0
    # An observation every 200 ms, 200 ms for its latent, then the wait for the next job, and the job.
    assert 100.0 + 200.0 + 120.0 <= metrics["system2_reaction_ms_mean"] <= 100.0 + 200.0 + 120.0 + 120.0
    assert metrics["system2_age_in_force_ms_p50"] >= 320.0
    assert metrics["events"] == metrics["system2_events_answered"] == 1.0  # the push
    assert 120.0 <= metrics["system1_event_reaction_ms_mean"] <= 120.0 + 120.0 + 40.0


@pytest.mark.parametrize("rate_hz", [1.0, 5.0, 10.0])
def test_system_2_is_shown_no_more_than_it_reads(play: Play, rate_hz: float) -> None:
    result = play("touch", SEED, timeout_s=2.1, system2_rate_hz=rate_hz, latent="zeroed")

    assert result.counters["planner.observations"] == int(result.duration_s * rate_hz - 1e-6) + 1


def test_a_faster_system_2_than_its_observations_reads_each_once(play: Play) -> None:
    result = play(
        "touch", SEED, timeout_s=2.0, system2_rate_hz=10.0, observation_rate_hz=4.0, latent="zeroed"
    )

    assert result.counters["planner.observations"] == int(result.duration_s * 4.0 - 1e-6) + 1


def test_plans_per_second_are_limited(play: Play) -> None:
    result = play("touch", SEED, timeout_s=2.0, plan_hz=5.0, latent="zeroed")

    assert result.counters["planner.jobs"] <= result.duration_s * 5.0 + 1


def test_without_any_delay_plans_are_made_every_tick(play: Play) -> None:
    nothing = Constant(0)
    result = play("touch", SEED, system1_delay=nothing, system2_delay=nothing)

    assert result.success
    assert result.metrics["plan_delay_ms_p95"] == 0.0
    assert result.counters["planner.jobs"] == result.counters["control.ticks"]


def test_new_words_are_obeyed(play: Play) -> None:
    result = play("touch", SEED + 3, event="changed")

    assert result.success, result
    assert result.metrics["event_happened"] == 1.0
    assert result.time_to_success_s is not None
    assert result.time_to_success_s < result.duration_s


def test_time_to_success_counts_from_the_moved_object(play: Play) -> None:
    result = play("touch", SEED, event="moved", moved_s=0.8)

    assert result.success
    assert result.metrics["event_happened"] == 1.0
    assert result.time_to_success_s == pytest.approx(result.duration_s - 0.8, abs=0.01)


def test_a_hand_that_comes_too_late_moves_nothing_and_gives_no_time(play: Play) -> None:
    result = play("pick", SEED, event="moved", moved_s=10.0)

    assert result.success
    assert result.metrics["event_happened"] == 0.0
    assert result.time_to_success_s is None


def test_without_a_latent_the_object_stays_where_it_is(play: Play) -> None:
    result = play("pick", SEED, timeout_s=3.0, latent="zeroed")

    assert not result.success
    assert result.reason == "timeout"


def test_a_stop_of_control_and_its_reason_are_told(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    from dualsys_sim.world import World

    measure = World.measure

    def runaway(world: World) -> Any:
        arm = measure(world)
        return arm if world.time_s < 1.0 else replace(arm, dq_rad_s=arm.dq_rad_s + 9.0)

    monkeypatch.setattr(World, "measure", runaway)
    result = play("pick", SEED, timeout_s=2.0)

    assert not result.success
    assert result.reason.startswith("control stopped: reading: velocity of axis 0 is ")
    assert result.reason.endswith("; timeout")
    assert result.counters["control.stopped"] == 1


def test_the_latent_of_another_episode_does_not_help(play: Play) -> None:
    assert not play("pick", SEED, timeout_s=3.0, latent="shuffled").success


def test_the_latent_of_other_words_is_obeyed_instead(play: Play) -> None:
    told, other = play("pick", SEED), play("pick", SEED, latent="other")

    assert other.success
    assert other.instruction == told.instruction
    assert other.trace_sha256 != told.trace_sha256


def test_an_object_that_is_absent_is_left_alone(play: Play) -> None:
    assert play("pick", SEED, event="absent").success


def test_words_that_were_not_explained_are_refused_by_the_scripted_system_2() -> None:
    from dualsys.twin.scripted import ScriptedSystem2

    with pytest.raises(InstructionError, match="knows"):
        ScriptedSystem2().check_instruction("juggle")


@pytest.mark.parametrize(
    ("name", "value"),
    [("system2_rate_hz", 0.0), ("observation_rate_hz", -1.0), ("plan_hz", -1.0), ("latent", "guessed"),
     ("wrist_rate_hz", float("nan")), ("uplink", "video"), ("feature_codec", "zip")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        TwinSettings(**{name: value})  # type: ignore[arg-type]


class FlatVision:
    """A vision tower that loses nothing: the bytes of the image as numbers, one row a token."""

    specs, weights = SCRIPTED_SPECS, "scripted"
    features: ClassVar = {"fixed": TensorSpec((96, 384))}

    def encode(self, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"fixed": images["fixed"].reshape(96, 384).astype(np.float32)}


class FlatLanguage(ScriptedSystem2):
    """The scripted System 2 behind `FlatVision`."""

    features: ClassVar = FlatVision.features

    def encode(
        self, features: Mapping[str, np.ndarray], proprioception: np.ndarray, instruction: str
    ) -> System2Output:
        image = features["fixed"].astype(np.uint8).reshape(96, 128, 3)
        return super().encode({"fixed": image}, proprioception, instruction)


def test_with_features_that_lose_nothing_an_episode_is_that_of_images_to_the_bit(play: Play) -> None:
    from dualsys_sim.episode import make_episode
    from dualsys_sim.world import World

    language = FlatLanguage()
    parts = Parts(
        language, ScriptedSystem1(), camera=write_state, explain=language.explain, vision=FlatVision()
    )
    settings = TwinSettings(uplink="features", feature_codec="float16")
    with World() as world:
        result = run_episode(parts, world, make_episode("touch", SEED), settings)
        with pytest.raises(ConfigError, match="uplink: got 'images', but System 2 reads features"):
            run_episode(parts, world, make_episode("touch", SEED), TwinSettings())
    assert result.trace_sha256 == play("touch", SEED).trace_sha256
    assert settings.describe()["uplink"] == "features"


def rate(mbit_s: float) -> Schedule:
    """A line with a bandwidth and nothing else."""
    return Schedule([Conditions(bandwidth_mbit_s=mbit_s)])


def test_over_a_bad_line_the_same_seed_gives_the_same_episode_and_another_seed_another(play: Play) -> None:
    line = Schedule([Conditions(delay_ms=60, jitter_ms=10, jitter_p99_ms=120, loss=0.02)])
    bad, again, other = (play("touch", SEED, line=line, line_seed=seed) for seed in (1, 1, 2))
    assert bad == again
    assert bad.trace_sha256 != other.trace_sha256
    assert bad.counters["line.losses"] > 0
    older_ms = bad.metrics["latent_age_ms_p50"] - play("touch", SEED).metrics["latent_age_ms_p50"]
    assert older_ms > 120, "the delay of both ways"


def test_a_cut_of_the_line_in_mid_motion_ends_in_a_hold_that_its_end_does_not_undo(play: Play) -> None:
    ages = Ages(latent_soft_ns=500 * NS_PER_MS, latent_hard_ns=600 * NS_PER_MS)
    cut = Schedule([Conditions(), Conditions(at_s=0.5, blackhole=True), Conditions(at_s=1.8)])
    result = play("touch", SEED, line=cut, ages=ages, timeout_s=3.0)
    assert not result.success
    assert (result.counters["control.held"], result.counters["control.stopped"]) == (1, 0)
    assert play("touch", SEED, ages=ages, timeout_s=8.0).success


@pytest.mark.parametrize("name", ["4g", "wifi-roam"])
def test_a_robot_that_goes_about_still_does_its_task(play: Play, name: ProfileName) -> None:
    assert play("touch", SEED, line=PROFILES[name].schedule).success


def test_on_a_narrow_line_a_latent_is_the_older_the_more_there_is_to_send(play: Play) -> None:
    # An image of 96 x 128 and what comes with it takes 37 kB, a latent 4: at 5 Hz 1.5 and 0.17 Mbit/s.
    still = {"system2_rate_hz": 5.0, "observation_rate_hz": 5.0}
    free = play("touch", SEED, **still)
    wide = play("touch", SEED, line=rate(100.0), **still)
    narrow = play("touch", SEED, line=rate(4.0), **still)
    busy = play("touch", SEED, line=rate(4.0), system2_rate_hz=5.0, observation_rate_hz=15.0)
    ages = [float(one.metrics["latent_age_ms_p50"]) for one in (free, wide, narrow, busy)]
    assert ages[1] - ages[0] == pytest.approx(3.3, abs=4.0)
    assert ages[2] - ages[0] == pytest.approx(83, abs=8.0)
    # Three times as many observations, 4.5 Mbit/s, do not fit: they pile up.
    assert ages[3] - ages[2] > 50
    assert narrow == play("touch", SEED, line=rate(4.0), **still)
    shown = narrow.counters["planner.observations"]
    assert narrow.counters["line.up_bytes"] == pytest.approx(37_100 * shown, rel=0.01)
    assert busy.counters["line.up_bytes"] > 2.5 * busy.counters["planner.observations"] * 37_000
    assert "line.up_bytes" not in free.counters


def test_what_a_line_cannot_carry_is_not_sent_and_the_arm_holds(play: Play) -> None:
    result = play("touch", SEED, line=rate(0.2), timeout_s=15.0)
    assert not result.success
    assert result.counters["line.unsent"] > 0
    assert result.counters["planner.observations"] > result.counters["planner.latents_accepted"]


def test_images_are_as_small_and_as_inexact_as_their_encoding_makes_them(play: Play) -> None:
    raw = play("touch", SEED, line=rate(100.0))
    jpeg = play("touch", SEED, line=rate(100.0), image_encoding="jpeg", jpeg_quality=50, timeout_s=2.0)
    # The scripted pair writes numbers into the image, of which JPEG keeps nothing.
    assert not jpeg.success
    sizes = [one.counters["line.up_bytes"] / one.counters["planner.observations"] for one in (raw, jpeg)]
    assert sizes[1] < sizes[0] / 2
    assert TwinSettings(image_encoding="jpeg", jpeg_quality=50).describe()["jpeg_quality"] == 50
    assert TwinSettings(line=rate(3.0)).describe()["line"] == {
        "steps": [{"at_s": 0.0, "bandwidth_mbit_s": 3.0}], "seed": 0,
    }  # fmt: skip


@pytest.mark.parametrize("codec", ["float16", "bfloat16", "int8"])
def test_latents_arrive_only_as_exact_as_their_codec_carries_them(play: Play, codec: str) -> None:
    coded = play("touch", SEED, latent_codec=codec)

    # The scripted pair writes metres beside larger numbers: of those int8 leaves too little to touch a block.
    assert coded.success == (codec != "int8"), coded
    assert coded.trace_sha256 != play("touch", SEED).trace_sha256
    assert coded.counters["planner.latents_rejected"] == 0
    assert coded.counters["planner.latents_accepted"] > 0


def test_system_2_on_demand_is_asked_less_and_never_too_late(play: Play) -> None:
    bounds = DemandBounds(pause_ns=600 * NS_PER_MS, answer_ns=600 * NS_PER_MS)
    always, asked = play("pick", SEED), play("pick", SEED, demand=bounds)

    assert asked.success
    assert asked.counters["planner.observations"] < always.counters["planner.observations"]
    reasons = {name: count for name, count in asked.counters.items() if name.startswith("demand.")}
    assert reasons["demand.start"] == 1
    assert sum(reasons.values()) - reasons["demand.still"] == asked.counters["planner.observations"]
    # The pause, an observation's period, System 2, and at most two plans.
    assert float(asked.metrics["system2_age_in_force_ms_p95"]) <= 600 + 100 + 200 + 2 * 60
    assert asked == play("pick", SEED, demand=bounds)


def test_a_residual_head_corrects_each_action_once_also_while_a_plan_is_being_computed() -> None:
    from dualsys.twin.scripted import scripted_parts
    from dualsys_sim.episode import make_episode
    from dualsys_sim.world import World

    class Expert(ScriptedSystem1):
        """Its head knows the action that the expert would take now."""

        capabilities = frozenset({"sampler", "guided", "residual"})

        def residual(self, action: Any, phase: Any, *seen: Any) -> Any:
            del phase
            return self.sample(np.zeros((16, 4), np.float32), self.condition(*seen))[0] - action

    parts = replace(scripted_parts(), system1=Expert())
    settings = TwinSettings(strategy="naive_async", system1_delay=Constant(300 * NS_PER_MS))
    with World() as world:
        corrected, plain = (
            run_episode(parts, world, make_episode("touch", SEED), replace(settings, residual=on))
            for on in (True, False)
        )
    assert corrected.success, corrected
    assert plain.counters["planner.corrected_plans"] == 0
    assert corrected.counters["planner.corrections_rejected"] == 0
    # Four plans in 1.6 s, and actions of 40 ms.
    moving_s = corrected.duration_s - 0.5
    assert moving_s / 0.04 - 4 < corrected.counters["planner.corrected_plans"] < corrected.duration_s / 0.04
    assert corrected.trace_sha256 != plain.trace_sha256
