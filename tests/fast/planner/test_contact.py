from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from dualsys.bus.handshake import answer_hello
from dualsys.bus.service import ServiceServer, refusal
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import NS_PER_S, WallClock
from dualsys.errors import BusError, MismatchError, PeerTimeoutError
from dualsys.fast.planner.contact import Answer, Contact, Question
from dualsys.messages import Reply, Request
from dualsys.specs import LatentSpec, ObservationSpec, SystemSpecs, TensorSpec


def specs_of(width: int) -> SystemSpecs:
    return SystemSpecs(
        ObservationSpec({}, TensorSpec((9,))), LatentSpec("latent_vector", {"tokens": TensorSpec((width,))})
    )


@pytest.fixture
def context() -> Iterator[ZmqContext]:
    made = open_context()
    yield made
    close_context(made)


class Answering:
    """A System 2 that answers in a thread of its own."""

    def __init__(self, context: ZmqContext) -> None:
        self._server = ServiceServer(context, "tcp://127.0.0.1:*", setting="test")
        self.endpoint = self._server.endpoint
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            self._server.socket.poll(10)
            self._server.serve(
                lambda hello: answer_hello(hello, "system2", specs_of(4), {"weights": "abc"}), self._reply
            )
        self._server.close()

    @staticmethod
    def _reply(request: Request) -> Reply:
        text = request.arguments["instruction"]
        return Reply(ok=True) if text == "go" else refusal(f"unknown word {text!r}")


@pytest.fixture
def answering(context: ZmqContext) -> Iterator[Answering]:
    made = Answering(context)
    yield made
    made.close()


@pytest.fixture
def contact_of(context: ZmqContext) -> Iterator[Callable[..., Contact]]:
    made: list[Contact] = []

    def make(endpoint: str, width: int = 4) -> Contact:
        made.append(Contact(context, endpoint, "System 2", 7, specs_of(width)))
        return made[-1]

    yield make
    for contact in made:
        contact.close()


def wait_for(contact: Contact) -> Answer:
    clock = WallClock()
    deadline_ns = clock.now_ns() + 5 * NS_PER_S
    while clock.now_ns() < deadline_ns:
        answers = contact.answers()
        if answers:
            assert len(answers) == 1
            return answers[0]
        clock.sleep_until_ns(clock.now_ns() + NS_PER_S // 200)
    pytest.fail("no answer within 5 s")


def test_a_handshake_brings_the_welcome(answering: Answering, contact_of: Callable[..., Contact]) -> None:
    contact = contact_of(answering.endpoint)
    contact.greet()
    contact.greet()
    answer = wait_for(contact)
    assert answer.welcome is not None
    assert answer.welcome.details["weights"] == "abc"


def test_specifications_that_differ_bring_a_mismatch(
    answering: Answering, contact_of: Callable[..., Contact]
) -> None:
    contact = contact_of(answering.endpoint, width=5)
    contact.greet()
    assert isinstance(wait_for(contact).error, MismatchError)


def test_an_answer_comes_back_with_its_question(
    answering: Answering, contact_of: Callable[..., Contact]
) -> None:
    contact = contact_of(answering.endpoint)
    for text, refused in (("go", False), ("fly", True)):
        question = Question("check", {"instruction": text}, about=text)
        contact.ask(question)
        answer = wait_for(contact)
        assert answer.question is question
        assert isinstance(answer.error, BusError) == refused


def test_nobody_there_is_a_timeout_and_not_a_wait(contact_of: Callable[..., Contact]) -> None:
    contact = contact_of("tcp://127.0.0.1:9")
    contact.greet()
    assert contact.answers() == []
    assert isinstance(wait_for(contact).error, PeerTimeoutError)
    contact.greet()
    assert isinstance(wait_for(contact).error, PeerTimeoutError)


def test_an_address_that_cannot_be_used_is_known_at_once(contact_of: Callable[..., Contact]) -> None:
    with pytest.raises(BusError, match=r"192\.0\.2\.1"):
        contact_of("tcp://192.0.2.1:9")
