from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.clock import NS_PER_MS
from dualsys.errors import ConfigError, InstructionError, PolicyError, SpecError
from dualsys.fast.chunking.strategy import make_strategy
from dualsys.fast.planner.core import PlannerCore
from dualsys.fast.planner.records import PlannerSettings
from dualsys.fast.policies.weak import WithWeak
from dualsys.messages import Plan
from dualsys.robots.kinematics import PANDA

from .conftest import ScriptedPolicy

SESSION = 77
T0 = 10**9
STEP_NS = 40 * NS_PER_MS
FIXED = {"fixed": np.zeros((6, 8, 3), np.uint8)}


def moving(x: float, grip: float = 1.0) -> np.ndarray:
    chunk = np.zeros((16, 4), np.float32)
    chunk[:, 0], chunk[:, 3] = x, grip
    return chunk


class Noisy(ScriptedPolicy):
    """Its chunks are its noise."""

    def sample(self, noise: np.ndarray, condition: Any) -> np.ndarray:
        self.chunks = [noise]
        return super().sample(noise, condition)


def knots(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    return plan.t_ns.array(), plan.setpoints.array()


def test_a_plan_echoes_what_it_came_from(bench: Any) -> None:
    plan = bench.plan(T0 + 8 * NS_PER_MS, delay_ns=25 * NS_PER_MS)
    assert (plan.session, plan.episode, plan.epoch, plan.seq) == (SESSION, 0, 0, 0)
    assert (plan.latent_seq, plan.t_latent_ns, plan.t_observation_ns) == (0, T0, T0)
    assert plan.splice_ns == T0 + 33 * NS_PER_MS == plan.t_ns.array()[0]
    assert plan.delay_ns == 25 * NS_PER_MS
    assert plan.delay_steps == 1


@pytest.mark.parametrize("missing", ["state", "frame", "latent"])
def test_no_job_begins_without_everything_it_needs(make_bench: Callable[..., Any], missing: str) -> None:
    bench = make_bench()
    bench.ready(T0)
    bench.core.start_episode(1, "pick the blue block")
    if missing != "state":
        bench.core.on_state(bench.state(T0))
    if missing != "frame":
        bench.core.on_frame("wrist", np.zeros((4, 4, 3), np.uint8), T0)
    if missing == "state":
        # An observation needs the arm state too, so there is no latent either.
        assert bench.core.observation(T0, FIXED) is None
    elif missing == "frame":
        bench.latent(T0)
    assert bench.core.begin(T0) is None
    assert getattr(bench.core.statistics(), f"declined_no_{missing}") == 1
    expected = {"state": "arm state", "frame": "wrist image", "latent": "latent"}[missing]
    assert expected in bench.core.statistics().waiting_for


def test_old_inputs_begin_no_job(bench: Any) -> None:
    assert bench.core.begin(T0 + 101 * NS_PER_MS) is None
    assert bench.core.statistics().declined_no_state == 1
    bench.core.on_state(bench.state(T0 + 501 * NS_PER_MS))
    assert bench.core.begin(T0 + 501 * NS_PER_MS) is None
    assert bench.core.statistics().declined_no_frame == 1


def test_inputs_stamped_in_the_future_are_no_fresher_than_old_ones(bench: Any) -> None:
    bench.core.on_state(bench.state(T0 + 10**9))
    assert bench.core.begin(T0) is None
    assert bench.core.statistics().declined_no_state == 1


def test_one_job_runs_at_a_time(bench: Any) -> None:
    job = bench.begin(T0)
    assert bench.core.begin(T0) is None
    bench.core.finish(job, moving(0.0), T0)
    assert bench.core.begin(T0) is not None


def test_nothing_happens_before_the_first_episode(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    core = bench.core
    core.on_state(bench.state(T0))
    assert core.begin(T0) is None
    assert core.observation(T0, FIXED) is None
    assert core.statistics().waiting_for == "an episode"


def test_proprioception_has_the_nine_numbers_in_order(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.core.start_episode(0, "go")
    position = (0.40, 0.01, 0.21, 0.1, 0.2, 0.3, 0.4, 0.03)
    command = (0.42, 0.00, 0.22, 0.1, 0.2, 0.3, 0.4, 0.00)
    velocity = (0.0,) * 7 + (-0.05,)
    bench.core.on_state(bench.state(T0, position=position, velocity=velocity, command=command))
    observation = bench.core.observation(T0, FIXED)
    expected = [0.40, 0.01, 0.21, 0.02, -0.01, 0.01, 0.03, -0.05, -1.0]
    assert observation.proprioception.dtype == "float32"
    np.testing.assert_allclose(observation.proprioception.array(), expected, atol=1e-7)


def test_the_gripper_that_the_policy_is_told_of_is_the_planned_one(bench: Any) -> None:
    bench.policy.chunks = [moving(0.0, grip=-1.0)]
    bench.plan(T0)
    bench.see(T0 + STEP_NS)
    assert bench.begin(T0 + STEP_NS).proprioception[8] == -1.0


def test_a_single_latent_stands_for_both_with_its_age(bench: Any) -> None:
    job = bench.begin(T0 + 60 * NS_PER_MS)
    np.testing.assert_array_equal(job.tokens[0], job.tokens[1])
    np.testing.assert_allclose(job.latent_age_s, [0.06, 0.06])


def test_two_latents_come_newest_first_with_their_own_ages(bench: Any) -> None:
    bench.see(T0 + 200 * NS_PER_MS)
    bench.latent(T0 + 200 * NS_PER_MS, value=0.9)
    job = bench.begin(T0 + 250 * NS_PER_MS)
    assert (job.tokens[0, 0, 0], job.tokens[1, 0, 0]) == (np.float32(0.9), np.float32(0.5))
    np.testing.assert_allclose(job.latent_age_s, [0.05, 0.25])
    assert job.latent.seq == 1


@pytest.mark.fault_row(15)
@pytest.mark.parametrize("step_ns", [-(10**18), -NS_PER_MS, NS_PER_MS, 10**18])
def test_a_cloud_whose_clock_is_set_changes_no_age(make_bench: Callable[..., Any], step_ns: int) -> None:
    def aged(steps_ns: tuple[int, int]) -> tuple[list[float], int, int]:
        bench = make_bench()
        bench.ready(T0)
        for number, cloud_ns in enumerate(steps_ns, 1):
            now_ns = T0 + number * 200 * NS_PER_MS
            bench.see(now_ns)
            observation = bench.core.observation(now_ns, FIXED)
            stamps_ns = {"t_received_ns": 10**18 + cloud_ns, "t_sent_ns": 10**18 + cloud_ns + 1}
            assert bench.core.on_latent(bench.answer(observation, **stamps_ns))
        plan = bench.plan(now_ns + 50 * NS_PER_MS)
        return list(bench.policy.conditions[-1]["age"]), plan.t_latent_ns, plan.t_observation_ns

    assert aged((0, step_ns)) == aged((0, 0))
    assert aged((0, step_ns))[0] == pytest.approx([0.05, 0.25])


def test_features_are_computed_once_per_frame(bench: Any) -> None:
    for frame in range(1, 5):
        bench.core.on_frame("wrist", np.full((4, 4, 3), frame, np.uint8), T0 + frame * 40 * NS_PER_MS)
    bench.core.on_state(bench.state(T0 + 160 * NS_PER_MS))
    job = bench.begin(T0 + 160 * NS_PER_MS)
    for _ in range(3):
        bench.core.compute(job)
    assert bench.policy.encoded == [4, 1]
    wrist = bench.policy.conditions[0]["wrist"]
    assert wrist.shape == (2, 16, 128)
    assert (wrist[0, 0, 0], wrist[1, 0, 0]) == (4, 1)


def test_the_same_seed_gives_the_same_noise_whatever_the_session(make_bench: Callable[..., Any]) -> None:
    jobs = []
    for seed in (1, 1, 2):
        bench = make_bench(seed=seed)
        bench.ready(T0)
        bench.plan(T0)
        jobs.append(bench.begin(T0 + 1))
    assert jobs[0].noise.tobytes() == jobs[1].noise.tobytes()
    assert jobs[0].noise.tobytes() != jobs[2].noise.tobytes()
    assert jobs[0].noise.dtype == np.float32
    assert jobs[0].noise.shape == (1, 16, 4)


def test_noise_is_as_large_as_it_is_set_and_the_same_otherwise(make_bench: Callable[..., Any]) -> None:
    noises = {}
    for scale in (1.0, 0.5, 0.0):
        bench = make_bench(settings=PlannerSettings(noise_scale=scale))
        bench.ready(T0)
        noises[scale] = bench.begin(T0).noise
        assert noises[scale].dtype == np.float32
    np.testing.assert_array_equal(noises[0.5], 0.5 * noises[1.0])
    assert noises[1.0].any()
    assert not noises[0.0].any()


def test_a_weak_policy_has_noise_of_its_own_and_leaves_that_of_the_strong_one_as_it_was(
    make_bench: Callable[..., Any],
) -> None:
    noises, chunks = {}, {}
    for name, nearest in (("alone", 0), ("with", 2), ("again", 2)):
        strong, weak = Noisy(), Noisy()
        policy = WithWeak(strong, weak, "there") if nearest else strong
        bench = make_bench("bid", policy=policy, samples=4, nearest=nearest)
        bench.ready(T0)
        bench.plan(T0)
        assert not weak.noises, "there is nothing to continue yet: one plain sample"
        strong.noises.clear()
        job = bench.begin(T0 + STEP_NS // 4)
        chunks[name] = bench.core.compute(job)
        noises[name] = [one.tobytes() for one in (*strong.noises, *weak.noises)]
    assert len(noises["alone"]) == 4
    assert noises["with"][:4] == noises["alone"]
    assert len(set(noises["with"])) == 8
    assert noises["again"] == noises["with"]
    assert chunks["again"].tobytes() == chunks["with"].tobytes()


def test_noise_differs_from_job_to_job_and_from_episode_to_episode(bench: Any) -> None:
    noises = []
    for episode in (0, 1):
        if episode:
            bench.ready(T0 + 1, episode)
        for _ in range(2):
            job = bench.begin(T0 + 1)
            noises.append(job.noise.tobytes())
            bench.core.finish(job, moving(0.0), T0 + 1)
    assert len(set(noises)) == 4


@pytest.mark.fault_row(20)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_chunk_that_is_not_finite_is_rejected_and_the_last_plan_stays(bench: Any, bad: float) -> None:
    bench.plan(T0)
    chunk = moving(0.5)
    chunk[7, 2] = bad
    job = bench.begin(T0 + 1)
    assert bench.core.finish(job, chunk, T0 + 2) is None
    assert bench.core.statistics().chunks_rejected == 1
    assert "finite" in bench.core.statistics().last_fault
    bench.policy.chunks = [moving(0.0)]
    assert knots(bench.plan(T0 + STEP_NS))[1][0, 0] == pytest.approx(0.42 + 0.012, abs=1e-6)


@pytest.mark.parametrize("chunk", [np.zeros((15, 4), np.float32), np.zeros((16, 4), np.float64)])
def test_a_chunk_of_a_wrong_shape_or_type_is_rejected(bench: Any, chunk: np.ndarray) -> None:
    assert bench.core.finish(bench.begin(T0), chunk, T0) is None
    assert bench.core.statistics().chunks_rejected == 1


def test_actions_beyond_their_range_are_clipped_and_counted(bench: Any) -> None:
    chunk = moving(3.0)
    bench.policy.chunks = [chunk]
    assert knots(bench.plan(T0))[1][1, 0] == pytest.approx(0.42 + 0.012)
    assert bench.core.statistics().clipped_actions == 16


def test_a_chunk_that_is_wholly_over_changes_nothing_and_is_counted(bench: Any) -> None:
    job = bench.begin(T0)
    assert bench.core.finish(job, moving(1.0), T0 + 16 * STEP_NS) is None
    assert bench.core.statistics().expired_chunks == 1


def out_of_range(*_: object) -> Any:
    return [][1]


def out_of_memory(*_: object) -> Any:
    raise MemoryError


@pytest.mark.parametrize(
    ("method", "wrong", "told"),
    [
        ("encode_wrist", out_of_range, "IndexError: list index out of range"),
        ("condition", out_of_range, "IndexError: list index out of range"),
        ("sample", out_of_range, "IndexError: list index out of range"),
        ("sample", lambda *_: None, "TypeError: expected a NumPy array, got builtins.NoneType"),
        ("sample", lambda *_: np.array([None]), "TypeError: expected an array of .*, got one of object"),
    ],
)
def test_a_policy_of_somebody_s_own_that_trips_is_named(
    bench: Any, method: str, wrong: Callable[..., Any], told: str
) -> None:
    setattr(bench.policy, method, wrong)
    with pytest.raises(PolicyError, match=rf"^System 1 policy \S+\.ScriptedPolicy failed: {told}"):
        bench.core.compute(bench.begin(T0))


def test_a_lack_of_memory_is_no_fault_of_the_policy(bench: Any) -> None:
    bench.policy.sample = out_of_memory
    with pytest.raises(MemoryError):
        bench.core.compute(bench.begin(T0))


def test_a_job_that_failed_can_be_given_up(bench: Any) -> None:
    job = bench.begin(T0)
    bench.core.abandon(job, "the runtime failed")
    assert bench.core.statistics().abandoned_jobs == 1
    assert bench.core.statistics().last_fault == "the runtime failed"
    assert bench.core.finish(job, moving(1.0), T0) is None
    assert bench.core.begin(T0) is not None


def test_a_new_episode_forgets_everything_of_the_old_one(bench: Any) -> None:
    bench.plan(T0)
    late = bench.begin(T0 + 1)
    bench.core.start_episode(1, "pick the blue block", epoch=5)
    assert bench.core.finish(late, moving(1.0), T0 + 2) is None
    assert bench.core.statistics().stale_jobs == 1
    assert bench.core.begin(T0 + 2) is None
    assert (bench.core.episode, bench.core.epoch) == (1, 5)


def test_between_episodes_the_planner_is_idle(bench: Any) -> None:
    bench.core.end_episode()
    bench.see(T0 + 1)
    assert bench.core.begin(T0 + 1) is None
    assert bench.core.observation(T0 + 1, FIXED) is None
    assert bench.core.statistics().waiting_for == "an episode"


def test_episodes_and_epochs_never_run_backwards(bench: Any) -> None:
    with pytest.raises(SpecError, match="episode: expected more than 0, got 0"):
        bench.core.start_episode(0, "again")
    bench.core.start_episode(1, "go", epoch=3)
    with pytest.raises(SpecError, match="epoch: expected at least 3, got 2"):
        bench.core.start_episode(2, "go", epoch=2)


@pytest.mark.parametrize("text", ["", "   ", "x" * 3000])
def test_an_instruction_that_says_nothing_or_too_much_is_refused(bench: Any, text: str) -> None:
    with pytest.raises(InstructionError, match="expected 1 to 2048 characters"):
        bench.core.instruct(text)
    assert bench.core.instruction == "pick the red block"


def test_an_instruction_keeps_the_episode_and_the_motion(bench: Any) -> None:
    bench.plan(T0)
    bench.core.instruct("pick the blue block")
    assert bench.core.episode == 0
    plan = bench.plan(T0 + 4 * NS_PER_MS)
    assert plan.seq == 1
    observation = bench.core.observation(T0 + 5 * NS_PER_MS, FIXED)
    assert observation.instruction == "pick the blue block"


def test_a_new_epoch_of_control_voids_what_was_planned(bench: Any) -> None:
    bench.plan(T0)
    running = bench.begin(T0 + 1)
    assert bench.core.on_state(bench.state(T0 + 2, epoch=1))
    assert bench.core.finish(running, moving(1.0), T0 + 3) is None
    plan = bench.plan(T0 + STEP_NS)
    assert plan.epoch == 1
    assert knots(plan)[1][0, 0] == pytest.approx(0.42)


def test_an_arm_state_of_an_old_epoch_is_ignored(bench: Any) -> None:
    bench.core.start_episode(1, "go", epoch=4)
    assert not bench.core.on_state(bench.state(T0 + 1))
    assert bench.core.statistics().states_of_old_epochs == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"position": (0.0,) * 7}, "position: expected 8 finite numbers"),
        ({"velocity": (float("nan"),) * 8}, "velocity"),
        ({"command": (float("inf"),) * 8}, "command"),
        ({"session": 1}, "session: expected 77, got 1"),
        ({"t_ns": T0 - 1}, "t_ns"),
    ],
)
def test_a_bad_arm_state_is_rejected_and_survived(bench: Any, changes: dict[str, Any], fault: str) -> None:
    assert not bench.core.on_state(bench.state(**({"t_ns": T0} | changes)))
    assert bench.core.statistics().states_rejected == 1
    assert fault in bench.core.statistics().last_fault
    assert bench.core.begin(T0) is not None


@pytest.mark.parametrize("image", [np.zeros((5, 4, 3), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_a_bad_wrist_image_is_rejected_and_survived(bench: Any, image: np.ndarray) -> None:
    assert not bench.core.on_frame("wrist", image, T0 + 1)
    assert bench.core.statistics().frames_rejected == 1
    assert bench.core.begin(T0) is not None


def test_a_camera_of_another_name_is_rejected(bench: Any) -> None:
    assert not bench.core.on_frame("ceiling", np.zeros((4, 4, 3), np.uint8), T0 + 1)
    assert "'ceiling'" in bench.core.statistics().last_fault


@pytest.mark.parametrize(
    "images",
    [{}, {"fixed": np.zeros((6, 9, 3), np.uint8)}, {"wrist": np.zeros((6, 8, 3), np.uint8)}],
)
def test_an_observation_without_the_right_images_is_not_made(
    bench: Any, images: dict[str, np.ndarray]
) -> None:
    assert bench.core.observation(T0 + 1, images) is None
    assert bench.core.statistics().frames_rejected == 1


def test_a_latent_that_is_dropped_changes_nothing(bench: Any) -> None:
    observation = bench.core.observation(T0 + 1, FIXED)
    assert not bench.core.on_latent(bench.answer(observation, session=1))
    assert bench.core.statistics().latents_other_session == 1
    assert bench.begin(T0 + 2).latent.seq == 0


def test_statistics_name_every_counter_once(bench: Any) -> None:
    bench.plan(T0)
    counters = bench.core.statistics().counters()
    assert counters["jobs"] == counters["plans"] == counters["latents_accepted"] == 1
    assert all(isinstance(count, int) for count in counters.values())


def test_a_strategy_that_does_not_suit_the_policy_is_refused(make_bench: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="execution_horizon"):
        make_bench("rtc", execution_horizon=16)


def test_a_policy_with_other_actions_is_refused(bench: Any) -> None:
    bench.policy.action = msgspec.structs.replace(bench.policy.action, space="joint_velocity")
    with pytest.raises(SpecError, match="expected space 'tool_velocity'"):
        PlannerCore(bench.policy, make_strategy("rtc"), PANDA, SESSION, 0)
