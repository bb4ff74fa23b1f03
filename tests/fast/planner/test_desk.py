from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dualsys.bus.service import PeerToken
from dualsys.errors import BusError, PeerTimeoutError
from dualsys.fast.planner.contact import Answer, Question
from dualsys.fast.planner.desk import Desk
from dualsys.messages import PROTOCOL_VERSION, Hello, Message, Reply, Request, Welcome

CALLER = PeerToken(b"caller", b"12345678")


class Counter:
    """A service with scripted questions, and a System 2 that is asked about instructions."""

    def __init__(self) -> None:
        self.questions: list[tuple[PeerToken, Hello | Request]] = []
        self.answers: list[tuple[PeerToken, Message]] = []
        self.asked: list[Question] = []

    def poll(self) -> list[tuple[PeerToken, Hello | Request]]:
        waiting, self.questions = self.questions, []
        return waiting

    def answer(self, peer: PeerToken, message: Message) -> None:
        self.answers.append((peer, message))

    def ask(self, question: Question) -> None:
        self.asked.append(question)


class Office:
    """A desk over a real core."""

    def __init__(self, core: Any) -> None:
        self.counter = Counter()
        self.desk = Desk(core, self.counter, self.counter, {"weights": "w"}, lambda: {"core.jobs": "3"})

    def request(self, verb: str, **arguments: str) -> Reply | None:
        """Make a request; the answer, unless it comes later."""
        self.counter.questions = [(CALLER, Request(verb=verb, arguments=arguments))]
        self.desk.serve()
        return self.told()

    def told(self) -> Any:
        return self.counter.answers.pop()[1] if self.counter.answers else None

    def judge(self, error: Exception | None = None) -> Reply:
        """System 2 has judged the oldest instruction."""
        self.desk.checked(Answer(self.counter.asked.pop(0), error=error))
        reply = self.told()
        assert isinstance(reply, Reply)
        return reply


@pytest.fixture
def core(make_bench: Callable[..., Any]) -> Any:
    return make_bench().core


@pytest.fixture
def office(core: Any) -> Office:
    return Office(core)


def test_an_episode_starts_once_system_2_has_understood_its_instruction(office: Office, core: Any) -> None:
    assert office.request("start_episode", episode="0", instruction="pick the red block") is None
    assert core.episode == -1
    assert dict(office.counter.asked[0].arguments) == {"instruction": "pick the red block"}
    reply = office.judge()
    assert reply.ok
    assert reply.values == {"epoch": "0"}
    assert (core.episode, core.instruction) == (0, "pick the red block")


def test_an_episode_can_name_the_epoch_of_control(office: Office, core: Any) -> None:
    office.request("start_episode", episode="0", instruction="go", epoch="4")
    assert office.judge().ok
    assert core.epoch == 4


def test_an_instruction_that_is_not_understood_is_refused_with_the_words_of_system_2(
    office: Office, core: Any
) -> None:
    core.start_episode(0, "pick the red block")
    office.request("say", text="pick the mauve block")
    reply = office.judge(BusError("unknown word 'mauve'; known words: ..."))
    assert not reply.ok
    assert "mauve" in reply.text
    assert core.instruction == "pick the red block"


def test_an_instruction_is_refused_while_system_2_does_not_answer(office: Office, core: Any) -> None:
    core.start_episode(0, "pick the red block")
    office.request("say", text="pick the blue block")
    reply = office.judge(PeerTimeoutError("System 2", "tcp://127.0.0.1:1", 1.0))
    assert not reply.ok
    assert "the instruction cannot be checked: no answer from System 2" in reply.text


def test_no_more_instructions_wait_for_system_2_than_it_can_judge_before_who_asked_gives_up(
    office: Office, core: Any
) -> None:
    core.start_episode(0, "pick the red block")
    for colour in ("blue", "green"):
        assert office.request("say", text=f"pick the {colour} block") is None
    reply = office.request("say", text="pick the orange block")
    assert reply is not None
    assert not reply.ok
    assert reply.text.startswith("2 instructions wait for System 2")
    assert office.judge().ok
    assert core.instruction == "pick the blue block"
    assert office.request("say", text="pick the orange block") is None
    assert not office.judge(BusError("unknown word")).ok
    assert office.judge().ok
    assert core.instruction == "pick the orange block"


def test_something_said_within_an_episode_keeps_it(office: Office, core: Any) -> None:
    core.start_episode(3, "pick the red block")
    assert office.request("say", text="pick the blue block") is None
    assert office.judge().ok
    assert (core.episode, core.instruction) == (3, "pick the blue block")


def test_an_epoch_that_no_message_could_carry_is_refused_and_changes_nothing(
    office: Office, core: Any
) -> None:
    office.request("start_episode", episode="0", instruction="go", epoch=str(2**63))
    reply = office.judge()
    assert not reply.ok
    assert "epoch: expected a number, got '9223372036854775808'" in reply.text
    assert (core.episode, core.epoch) == (-1, 0)


def test_an_episode_that_runs_backwards_is_refused(office: Office, core: Any) -> None:
    core.start_episode(3, "go")
    office.request("start_episode", episode="3", instruction="go")
    reply = office.judge()
    assert not reply.ok
    assert "expected more than 3, got 3" in reply.text


@pytest.mark.parametrize(
    ("verb", "arguments", "fault"),
    [
        ("say", {}, "say: the argument 'text' is missing"),
        ("start_episode", {"episode": "1"}, "the argument 'instruction' is missing"),
        ("start_episode", {"instruction": "go"}, "the argument 'episode' is missing"),
        ("start_episode", {"instruction": "go", "episode": "one"}, "episode: expected a number, got 'one'"),
        ("start_episode", {"instruction": "go", "episode": "9" * 30}, f"(at most {2**63 - 1})"),
        ("dance", {}, "knows no 'dance': ask for start_episode, end_episode, say, status"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_at_once(
    office: Office, verb: str, arguments: dict[str, str], fault: str
) -> None:
    reply = office.request(verb, **arguments)
    assert reply is not None
    assert not reply.ok
    assert fault in reply.text
    assert office.counter.asked == []


def test_an_episode_can_be_ended(office: Office, core: Any) -> None:
    core.start_episode(0, "go")
    reply = office.request("end_episode")
    assert reply is not None
    assert reply.ok
    assert core.statistics().waiting_for == "an episode"


def test_the_status_is_told(office: Office) -> None:
    reply = office.request("status")
    assert reply is not None
    assert reply.values == {"core.jobs": "3"}


@pytest.mark.parametrize("verb", ["stop", "kill", "reload"])
def test_nobody_can_end_the_planner_from_afar(office: Office, verb: str) -> None:
    reply = office.request(verb)
    assert reply is not None
    assert not reply.ok
    assert "ask for start_episode, end_episode, say, status" in reply.text


def test_a_handshake_is_answered_with_what_this_process_is(office: Office) -> None:
    office.counter.questions = [(CALLER, Hello(protocol=PROTOCOL_VERSION, role="supervisor", session=0))]
    office.desk.serve()
    answer = office.told()
    assert isinstance(answer, Welcome)
    assert answer.role == "planner"
    assert answer.details == {"weights": "w"}
