"""Asking other processes without waiting for them: planning never stops for an answer."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from dualsys.bus.handshake import shake_hands
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext
from dualsys.errors import BusError, DualsysError
from dualsys.messages import Welcome
from dualsys.specs import SystemSpecs

GREETING_S = 0.5
"""Longest wait for a handshake; it is tried again afterwards."""

QUESTION_S = 1.0
"""Longest wait for any other answer."""

_IDLE_S = 1.0
"""Without anything to ask for so long, what has come unasked is dropped."""


@dataclass(frozen=True)
class Question:
    """Something to ask by verb; `about` comes back with the answer."""

    verb: str
    arguments: Mapping[str, str]
    about: object


@dataclass(frozen=True)
class Answer:
    """What came of a question.

    Attributes:
        question: What was asked; None for a handshake.
        welcome: The answer to a handshake that succeeded.
        error: Why there is no good answer; None if there is.
    """

    question: Question | None
    welcome: Welcome | None = None
    error: Exception | None = None


class Contact:
    """A connection to the service of another process, with a thread that does the waiting.

    Args:
        context: From `bus.sockets.open_context`.
        endpoint: Address of the service.
        peer_name: What to call the process in errors.
        session: Random number of this run.
        specs: What this process works with; None where specs do not matter.
        details: What to tell about this process.

    Raises:
        BusError: The address cannot be used.
    """

    def __init__(
        self,
        context: ZmqContext,
        endpoint: str,
        peer_name: str,
        session: int,
        specs: SystemSpecs | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        # Made here so that an address that cannot be used is known at once; from then on it is the thread's.
        self._client = ServiceClient(context, endpoint, peer_name)
        self._session = session
        self._specs = specs
        self._details = dict(details or {})
        self._greeting = False
        self._questions: SimpleQueue[Question | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"contact {peer_name}", daemon=True)
        self._thread.start()

    def greet(self) -> None:
        """Shake hands, unless that is under way. The result is among the next answers."""
        if not self._greeting:
            self._greeting = True
            self._questions.put(Question("", {}, None))

    def ask(self, question: Question) -> None:
        """Ask something. The result is among the next answers."""
        self._questions.put(question)

    def answers(self) -> list[Answer]:
        """What has come of handshakes and questions since the last call.

        Raises:
            Exception: What ended the thread; a fault of the program.
        """
        answers: list[Answer] = []
        while True:
            try:
                answer = self._answers.get_nowait()
            except Empty:
                return answers
            if answer.error is not None and not isinstance(answer.error, DualsysError):
                raise answer.error
            if answer.question is None:
                self._greeting = False
            answers.append(answer)

    def close(self) -> None:
        """Stop asking. Waits for the question under way, which has a time limit."""
        self._ended.set()
        self._questions.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            while not self._ended.is_set():
                try:
                    question = self._questions.get(timeout=_IDLE_S)
                except Empty:
                    self._client.heard()
                    continue
                if question is None:
                    break
                self._answers.put(self._answer(question))
        except Exception as error:
            self._answers.put(Answer(None, error=error))
        finally:
            self._client.close()

    def _answer(self, question: Question) -> Answer:
        try:
            if not question.verb:
                welcome = shake_hands(
                    self._client, "planner", self._session, self._specs, GREETING_S, self._details
                )
                return Answer(None, welcome=welcome)
            reply = self._client.request(question.verb, QUESTION_S, question.arguments)
            return Answer(question, error=None if reply.ok else BusError(reply.text))
        except DualsysError as error:
            return Answer(question if question.verb else None, error=error)
