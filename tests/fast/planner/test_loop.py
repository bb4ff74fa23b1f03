from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dualsys.bus.codec import to_image
from dualsys.bus.service import PeerToken
from dualsys.cameras.contract import CameraSpec
from dualsys.cameras.feed import Feed
from dualsys.cameras.link import LinkCamera
from dualsys.clock import NS_PER_MS, VirtualClock
from dualsys.errors import BusError, MismatchError, PeerTimeoutError, PolicyError
from dualsys.fast.planner.contact import Answer, Question
from dualsys.fast.planner.demand import Demand, DemandBounds
from dualsys.fast.planner.loop import Cadence, PlannerLoop, Rhythm, Wiring
from dualsys.fast.planner.rate_control import RateBounds
from dualsys.fast.planner.records import PlannerSettings
from dualsys.fast.planner.uplink import Uplink
from dualsys.messages import CameraFrame, Image, Message, Observation, Plan, Request, Welcome

from .line_double import BOUNDS

SESSION = 77
RHYTHM = Rhythm(
    plan_ns=20 * NS_PER_MS, observation_ns=100 * NS_PER_MS, delay_ns=0, silence_ns=1000 * NS_PER_MS
)


class Inbox:
    """Gives out the newest message once."""

    def __init__(self) -> None:
        self.newest: Any = None

    def receive(self) -> Any:
        message, self.newest = self.newest, None
        return message


class Outbox:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)


class Desk:
    """A service with scripted questions."""

    def __init__(self) -> None:
        self.questions: list[Any] = []
        self.answers: list[Any] = []

    def poll(self) -> list[Any]:
        waiting, self.questions = self.questions, []
        return waiting

    def answer(self, peer: PeerToken, message: Message) -> None:
        del peer
        self.answers.append(message)


class ScriptedPeer:
    """Answers handshakes and questions with what it was given, or not at all."""

    def __init__(self, **details: str) -> None:
        self.details = details
        self.error: Exception | None = None
        self.greetings = 0
        self.silent = False
        self._answers: list[Answer] = []

    def greet(self) -> None:
        self.greetings += 1
        if not self.silent:
            welcome = Welcome(protocol=1, role="peer", details=self.details)
            self._answers.append(
                Answer(None, error=self.error) if self.error else Answer(None, welcome=welcome)
            )

    def ask(self, question: Question) -> None:
        self._answers.append(Answer(question, error=self.error))

    def answers(self) -> list[Answer]:
        ready, self._answers = self._answers, []
        return ready


class Stage:
    """A planner loop with everything around it played by doubles, on a virtual clock."""

    def __init__(
        self,
        bench: Any,
        rhythm: Rhythm = RHYTHM,
        bounds: RateBounds | None = None,
        demand: Demand | None = None,
    ) -> None:
        self.bench, self.core, self.policy = bench, bench.core, bench.policy
        self.clock = VirtualClock(10**9)
        self.latents, self.states, self.wrist, self.fixed = Inbox(), Inbox(), Inbox(), Inbox()
        self.observations, self.plans, self.desk = Outbox(), Outbox(), Desk()
        self.slow, self.control = ScriptedPeer(weights="w"), ScriptedPeer(epoch="0")
        self.arm_session, self.epoch = SESSION, 0
        self.answering = self.filming = True
        wiring = Wiring(
            latents=self.latents,
            states=self.states,
            cameras={
                "fixed": self.feed("fixed", self.fixed, 8, 6),
                "wrist": self.feed("wrist", self.wrist, 4, 4),
            },
            observations=self.observations,
            plans=self.plans,
            service=self.desk,
            slow=self.slow,
            control=self.control,
        )
        start_ns = self.clock.now_ns()
        uplink = None if bounds is None else Uplink(rhythm.observation_ns, 90, start_ns, bounds)
        self.loop = PlannerLoop(
            self.core, wiring, rhythm, self.clock, SESSION, {"weights": "s"}, uplink, demand
        )

    def feed(self, name: str, inbox: Inbox, width: int, height: int) -> Feed:
        feed = Feed(LinkCamera(CameraSpec(name, width, height, 25.0), lambda: inbox, self.clock), self.clock)
        feed.connect()
        return feed

    def run(self, duration_ms: int) -> None:
        """Let the world go on: states at every wake-up, images at 25 Hz, answers of System 2 at once."""
        for _ in range(duration_ms // 5):
            now_ns = self.clock.now_ns()
            self.states.newest = self.bench.state(
                now_ns, session=self.arm_session, epoch=self.epoch, **self.command()
            )
            if self.filming and now_ns % (40 * NS_PER_MS) == 0:
                self.wrist.newest = frame("wrist", (4, 4, 3))
                self.fixed.newest = frame("fixed", (6, 8, 3))
            seen = len(self.observations.sent)
            self.loop.wake()
            if self.answering and len(self.observations.sent) > seen:
                self.latents.newest = self.bench.answer(self.observations.sent[-1])
            self.clock.advance_ns(5 * NS_PER_MS)

    def command(self) -> dict[str, Any]:
        """The arm follows the newest plan."""
        if not self.plans.sent:
            return {}
        times, setpoints = self.plans.sent[-1].t_ns.array(), self.plans.sent[-1].setpoints.array()
        elapsed_ns = self.clock.now_ns() - times[0]
        pose = tuple(float(np.interp(elapsed_ns, times - times[0], column)) for column in setpoints.T)
        return {"position": pose, "command": pose}

    def request(self, verb: str, **arguments: str) -> None:
        self.desk.questions.append((PeerToken(b"", b""), Request(verb=verb, arguments=arguments)))

    def start(self) -> None:
        self.request("start_episode", episode="0", instruction="go")

    def told(self) -> dict[str, str]:
        return self.loop.status()


def frame(camera: str, shape: tuple[int, int, int]) -> CameraFrame:
    return CameraFrame(camera=camera, seq=0, t_robot_ns=0, image=to_image(np.zeros(shape, np.uint8)))


@pytest.fixture
def stage(make_bench: Callable[..., Any]) -> Stage:
    return Stage(make_bench())


def test_a_running_system_observes_and_plans_at_its_rates(stage: Stage) -> None:
    stage.start()
    stage.run(2000)
    observations, plans = stage.observations.sent, stage.plans.sent
    assert isinstance(observations[0], Observation)
    assert isinstance(plans[0], Plan)
    assert 18 <= len(observations) <= 21
    assert 90 <= len(plans) <= 100
    assert [plan.seq for plan in plans] == list(range(len(plans)))
    assert stage.core.statistics().divergences == 0


def test_each_image_is_shown_once_with_the_stamp_of_its_arrival(stage: Stage) -> None:
    stage.start()
    stage.run(1000)
    stamps = [observation.t_capture_ns for observation in stage.observations.sent]
    assert len(set(stamps)) == len(stamps)
    assert all(stamp % (40 * NS_PER_MS) == 0 for stamp in stamps)


@pytest.mark.fault_row(48)
def test_an_image_from_before_an_episode_is_not_shown_in_it(stage: Stage) -> None:
    stage.start()
    stage.run(500)
    stage.request("end_episode")
    stage.run(100)
    # The world is built anew, and nobody films meanwhile.
    stage.filming = False
    stage.request("start_episode", episode="1", instruction="go")
    began_ns = stage.clock.now_ns()
    stage.run(300)
    assert {observation.episode for observation in stage.observations.sent} == {0}
    stage.filming = True
    stage.run(200)
    shown = [observation.t_capture_ns for observation in stage.observations.sent if observation.episode == 1]
    assert shown
    assert min(shown) > began_ns


def test_without_an_episode_nothing_is_sent(stage: Stage) -> None:
    stage.run(500)
    assert stage.observations.sent == []
    assert stage.plans.sent == []
    assert stage.told()["core.waiting_for"] == "an episode"


def test_an_emulated_delay_holds_a_plan_back_and_nothing_else(make_bench: Callable[..., Any]) -> None:
    stage = Stage(make_bench(), Rhythm(20 * NS_PER_MS, 100 * NS_PER_MS, 100 * NS_PER_MS, 10**9))
    stage.start()
    stage.run(2000)
    assert {plan.delay_ns for plan in stage.plans.sent} == {100 * NS_PER_MS}
    assert 14 <= len(stage.plans.sent) <= 20
    assert len(stage.observations.sent) >= 18


@pytest.mark.parametrize("error", [PolicyError("the runtime failed"), IndexError("the runtime failed")])
def test_a_policy_that_fails_is_survived_and_counted(stage: Stage, error: Exception) -> None:
    stage.start()
    stage.run(300)
    before = len(stage.plans.sent)
    good = stage.policy.sample

    def fail(noise: Any, condition: Any) -> Any:
        del noise, condition
        raise error

    stage.policy.sample = fail
    stage.run(100)
    assert len(stage.plans.sent) == before
    assert int(stage.told()["core.abandoned_jobs"]) == 5
    assert stage.told()["core.last_fault"].endswith("the runtime failed")
    stage.policy.sample = good
    stage.run(100)
    assert len(stage.plans.sent) > before


def test_an_image_that_is_none_is_counted_and_survived(stage: Stage) -> None:
    stage.start()
    stage.run(300)
    stage.wrist.newest = CameraFrame(camera="wrist", seq=0, t_robot_ns=0, image=Image("raw", 4, 4, b"short"))
    stage.loop.wake()
    assert stage.loop.statistics().images_rejected == 1


@pytest.mark.fault_row(28)
def test_system_2_that_falls_silent_and_returns_is_greeted_again(stage: Stage) -> None:
    stage.start()
    stage.run(500)
    assert stage.slow.greetings == 1
    stage.answering, stage.slow.error = False, PeerTimeoutError("System 2", "tcp://127.0.0.1:1", 0.5)
    stage.run(3000)
    assert stage.told()["slow.connected"] == "False"
    assert stage.told()["slow.losses"] == "1"
    assert 3 <= stage.slow.greetings <= 6
    stage.answering, stage.slow.error = True, None
    stage.run(1500)
    assert stage.told()["slow.connected"] == "True"
    assert stage.told()["slow.handshakes"] == "2"
    accepted = stage.core.statistics().latents_accepted
    stage.run(500)
    assert stage.core.statistics().latents_accepted > accepted


@pytest.mark.fault_row(30)
def test_observations_that_nobody_heard_at_first_are_followed_by_others_and_move_nothing(
    stage: Stage,
) -> None:
    stage.start()
    stage.answering = False
    stage.run(500)
    lost = len(stage.observations.sent)
    assert lost >= 4
    assert (stage.plans.sent, stage.told()["core.waiting_for"]) == ([], "a latent of this episode")
    stage.answering = True
    stage.run(250)
    assert stage.plans.sent[0].latent_seq >= lost
    assert stage.told()["slow.losses"] == "0"


def test_no_latent_counts_before_the_handshake(stage: Stage) -> None:
    stage.slow.silent = True
    stage.core.start_episode(0, "go")
    stage.run(1000)
    assert stage.core.statistics().latents_accepted == 0
    assert stage.loop.statistics().latents_dropped > 0
    assert stage.plans.sent == []


def test_a_system_2_that_does_not_fit_ends_the_planner(stage: Stage) -> None:
    stage.slow.error = MismatchError("specs.latent.kind", "latent_sequence", "route", "retrain")
    with pytest.raises(MismatchError, match="'latent_sequence', theirs 'route'"):
        stage.run(10)


def test_control_that_follows_another_session_is_greeted_again_and_its_epoch_adopted(stage: Stage) -> None:
    stage.start()
    stage.run(500)
    assert stage.control.greetings == 1
    stage.arm_session, stage.control.details = 5, {"epoch": "1"}
    stage.run(5)
    stage.arm_session = SESSION
    stage.run(20)
    assert stage.control.greetings == 2
    assert stage.core.epoch == 1
    assert stage.told()["control.losses"] == "1"


@pytest.mark.fault_row(8)
def test_plans_for_a_control_that_was_restarted_are_made_for_its_epoch_only(stage: Stage) -> None:
    stage.start()
    stage.run(500)
    before = len(stage.plans.sent)
    stage.arm_session, stage.epoch, stage.control.details = 5, 900, {"epoch": "900"}
    stage.run(5)
    stage.arm_session = SESSION
    stage.run(200)
    assert {plan.epoch for plan in stage.plans.sent[:before]} == {0}
    assert {plan.epoch for plan in stage.plans.sent[before:]} == {900}


def test_control_that_refuses_is_asked_again_and_shown(stage: Stage) -> None:
    stage.control.error = BusError("control follows session 5")
    stage.run(1100)
    assert stage.control.greetings == 3
    assert stage.told()["control.fault"] == "control follows session 5"


def test_the_status_tells_everything_by_name(stage: Stage) -> None:
    stage.start()
    stage.run(500)
    stage.request("status")
    stage.run(5)
    values = stage.desk.answers[-1].values
    assert values["planner.episode"] == "0"
    assert values["planner.instruction"] == "go"
    assert int(values["core.plans"]) > 0
    assert int(values["loop.wakes"]) > 0


def test_a_signal_ends_the_loop_and_a_second_one_ends_the_process(stage: Stage) -> None:
    stage.loop.ask_to_end(15)
    stage.loop.run()
    assert stage.loop.statistics().wakes == 0
    with pytest.raises(KeyboardInterrupt):
        stage.loop.ask_to_end(15)


def test_a_cadence_keeps_its_phase_and_makes_up_for_nothing() -> None:
    cadence = Cadence(10, start_ns=0)
    assert [now for now in range(30) if cadence.due(now)] == [0, 10, 20]
    assert cadence.due(57)
    assert not cadence.due(59)
    assert cadence.due(60)


@pytest.mark.parametrize(("plan_ms", "wake_ms"), [(20, 5), (4, 4), (100, 5)])
def test_the_loop_wakes_a_whole_number_of_times_per_plan(plan_ms: int, wake_ms: int) -> None:
    rhythm = Rhythm(plan_ms * NS_PER_MS, 1, 0, 1)
    assert rhythm.wake_ns == wake_ms * NS_PER_MS


def test_the_arm_of_another_session_is_not_planned_for(stage: Stage) -> None:
    stage.start()
    stage.arm_session = 5
    stage.run(500)
    assert stage.plans.sent == []


def test_an_adaptive_uplink_sends_less_while_nobody_answers_and_all_while_somebody_does(
    make_bench: Callable[..., Any],
) -> None:
    stage = Stage(make_bench(settings=PlannerSettings(image_encoding="jpeg")), bounds=BOUNDS)
    stage.start()
    stage.run(4000)
    assert stage.told()["uplink.mode"] == "adaptive"
    assert (stage.told()["uplink.jpeg_quality"], stage.told()["uplink.rate_hz"]) == ("90", "10.0")
    assert {one.images["fixed"].encoding for one in stage.observations.sent} == {"jpeg"}
    stage.answering, before = False, len(stage.observations.sent)
    stage.run(5000)
    assert len(stage.observations.sent) - before <= 17
    assert (stage.told()["uplink.reason"], stage.told()["uplink.silences"]) == ("silence", "1")


def test_on_demand_a_still_scene_is_shown_as_seldom_as_allowed_and_the_rest_is_counted(
    make_bench: Callable[..., Any],
) -> None:
    bounds = DemandBounds(pause_ns=500 * NS_PER_MS, answer_ns=600 * NS_PER_MS, contact_m=0.0)
    stage = Stage(make_bench(), demand=Demand(bounds))
    stage.policy.chunks[0][:] = 0.0
    stage.start()
    stage.run(3000)
    sent = [observation.t_capture_ns for observation in stage.observations.sent]
    assert 5 <= len(sent) <= 8
    assert max(after - before for before, after in itertools.pairwise(sent)) <= 600 * NS_PER_MS
    assert int(stage.told()["demand.spared"]) >= 15
    stage.request("say", text="take the other one")
    stage.run(200)
    assert stage.observations.sent[-1].instruction == "take the other one"
    assert stage.told()["demand.reasons.instruction"] == "1"
    assert stage.told()["slow.losses"] == "0"
