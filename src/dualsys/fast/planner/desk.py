"""What others may ask of the planner: handshake, episodes, instructions, status. Nobody ends it from afar.

An instruction is taken only after System 2 has said that it understands it. That answer takes a while, so
such requests are answered later; planning goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from dualsys.bus.handshake import answer_hello
from dualsys.bus.service import PeerToken, refusal
from dualsys.errors import DualsysError, InstructionError, PeerTimeoutError
from dualsys.fast.planner.contact import Answer, Question
from dualsys.fast.planner.core import PlannerCore
from dualsys.messages import MAX_NUMBER, Hello, Message, Reply, Request, whole_number

VERBS = ("start_episode", "end_episode", "say", "status")
MOST_UNJUDGED = 2
"""So many instructions wait for System 2 at most. Each is judged or given up within a second once it is its
turn. Who asks waits for two: nothing is carried out that nobody waits for any more."""

_CHECK = "check"


class Service(Protocol):
    """Where questions come in."""

    def poll(self) -> list[tuple[PeerToken, Hello | Request]]:
        """The questions that are waiting. Never blocks."""
        ...

    def answer(self, peer: PeerToken, message: Message) -> None:
        """Answer one. Never blocks."""
        ...


class Asker(Protocol):
    """Who can be asked; see `Contact`."""

    def ask(self, question: Question) -> None:
        """Ask. Never blocks."""
        ...


@dataclass(frozen=True)
class _Pending:
    """A request that waits for System 2's word on its instruction."""

    peer: PeerToken
    request: Request


class Desk:
    """Answers requests.

    Args:
        core: Carries them out.
        service: Where they come in.
        slow: System 2, which checks instructions.
        details: What to tell about this process.
        status: What to tell about its present state, see `bus.status`.
    """

    def __init__(
        self,
        core: PlannerCore,
        service: Service,
        slow: Asker,
        details: Mapping[str, str],
        status: Callable[[], Mapping[str, str]],
    ) -> None:
        self._core = core
        self._service = service
        self._slow = slow
        self._details = dict(details)
        self._status = status
        self._unjudged = 0

    def serve(self) -> None:
        """Answer what is waiting, or ask System 2 about it."""
        for peer, question in self._service.poll():
            if isinstance(question, Hello):
                self._service.answer(peer, answer_hello(question, "planner", None, self._details))
                continue
            try:
                reply = self._begin(peer, question)
            except DualsysError as error:
                reply = refusal(str(error))
            if reply is not None:
                self._service.answer(peer, reply)

    def checked(self, answer: Answer) -> None:
        """Carry out a request whose instruction System 2 has judged."""
        if answer.question is None or not isinstance(answer.question.about, _Pending):
            return
        pending = answer.question.about
        self._unjudged -= 1
        try:
            if isinstance(answer.error, PeerTimeoutError):
                raise InstructionError(f"the instruction cannot be checked: {answer.error}")
            if answer.error is not None:
                raise answer.error
            reply = self._instructed(pending.request)
        except DualsysError as error:
            reply = refusal(str(error))
        self._service.answer(pending.peer, reply)

    def _begin(self, peer: PeerToken, request: Request) -> Reply | None:
        """The answer, or None if it comes later."""
        if request.verb in ("say", "start_episode"):
            name = "text" if request.verb == "say" else "instruction"
            instruction = _argument(request, name)
            if request.verb == "start_episode":
                _number(request, "episode")
            if self._unjudged >= MOST_UNJUDGED:
                raise InstructionError(
                    f"{self._unjudged} instructions wait for System 2 to understand them: repeat this one "
                    "when they are answered"
                )
            self._unjudged += 1
            self._slow.ask(Question(_CHECK, {"instruction": instruction}, _Pending(peer, request)))
            return None
        if request.verb == "end_episode":
            self._core.end_episode()
            return Reply(ok=True, text="the planner is idle")
        if request.verb == "status":
            return Reply(ok=True, values=dict(self._status()))
        raise InstructionError(f"the planner knows no {request.verb!r}: ask for {', '.join(VERBS)}")

    def _instructed(self, request: Request) -> Reply:
        if request.verb == "say":
            text = _argument(request, "text")
            self._core.instruct(text)
            return Reply(ok=True, text=f"told the robot: {text}")
        epoch = _number(request, "epoch") if "epoch" in request.arguments else None
        self._core.start_episode(_number(request, "episode"), _argument(request, "instruction"), epoch)
        return Reply(ok=True, values={"epoch": str(self._core.epoch)})


def _argument(request: Request, name: str) -> str:
    if name not in request.arguments:
        raise InstructionError(f"{request.verb}: the argument {name!r} is missing")
    return request.arguments[name]


def _number(request: Request, name: str) -> int:
    text = _argument(request, name)
    number = whole_number(text)
    if number is None:
        raise InstructionError(
            f"{request.verb}: {name}: expected a number, got {text!r} (at most {MAX_NUMBER})"
        )
    return number
