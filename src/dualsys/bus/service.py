"""Services: questions and answers, each with a deadline.

A client asks one question at a time and waits for the answer that carries the question's number, for so long
and no longer; an answer to a question that was given up is dropped. Only a handshake that is repeated word
for word takes the answer to any of its attempts: on a line that is slower than the client is patient, none
would ever come in time. A question is never queued for a server that is not there: a "reset" that nobody
heard must not be carried out by a server that starts later.

Sockets are not thread-safe: use each client and each server from one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import zmq

from dualsys.bus.codec import decode, encode, most_bytes
from dualsys.bus.endings import Endings
from dualsys.bus.polling import has_come
from dualsys.bus.sockets import Attachment, ZmqContext, ZmqSocket, gate_of, open_socket
from dualsys.clock import NS_PER_MS, WallClock, nanoseconds
from dualsys.errors import DualsysError, MessageError, PeerTimeoutError
from dualsys.messages import Hello, Message, Reply, Request, Welcome, clip_text

MAX_SERVICE_BYTES = 1024 * 1024
"""Largest answer. Questions are smaller, see `codec.MESSAGE_BYTES`, and big things travel on channels."""

QUESTIONS_PER_CALL = 8
_WAITING_PER_CLIENT = 32
"""Most questions of a client, and answers to it, that wait at a server: a client asks one at a time."""
_TAKEN_IN_PER_LOOK = 64
_REQUEST_ID_BYTES = 8
_NO_QUESTION = bytes(_REQUEST_ID_BYTES)
_OPEN_GREETINGS = 256
_OPEN_ATTEMPTS = 64
"""Handshakes of a client that were given up and whose answer may still come."""


@dataclass(frozen=True)
class PeerToken:
    """Whom to answer, and which question: opaque outside this module."""

    identity: bytes
    request_id: bytes


@dataclass(frozen=True)
class ServiceStatistics:
    """Totals of one service server.

    Attributes:
        received: Valid questions.
        rejected: Questions that were not a valid message.
        undelivered: Answers whose client had gone.
        claims_refused: Handshakes of a role that another connection held.
        last_fault: What was wrong with the last rejected question; empty while there is none.
    """

    received: int
    rejected: int
    undelivered: int
    last_fault: str
    claims_refused: int = 0


@dataclass(frozen=True)
class _Claim:
    """Who holds a role: the connection that was welcomed in it, and the session it named."""

    peer: PeerToken
    session: int


class ServiceServer:
    """Answers questions, without ever blocking.

    Args:
        context: From `sockets.open_context`.
        endpoint: Address to bind.
        setting: Name of the setting that the address came from.
        at_once: How many questions are taken in at a call, whoever asks and however much.

    Raises:
        AddressInUseError: Another process owns the address.
        BusError: The address cannot be used.
    """

    def __init__(
        self, context: ZmqContext, endpoint: str, *, setting: str, at_once: int = QUESTIONS_PER_CALL
    ) -> None:
        self._at_once = at_once
        self._clock = WallClock()
        self._exclusive: dict[str, str] = {}
        self._claims: dict[tuple[str, str], _Claim] = {}
        self._greetings: dict[PeerToken, tuple[Hello, int]] = {}
        self._claims_refused = 0
        self._socket = open_socket(context, zmq.ROUTER, most_bytes(Hello, Request))
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.RCVHWM, _WAITING_PER_CLIENT)
        self._socket.setsockopt(zmq.SNDHWM, _WAITING_PER_CLIENT)
        self._attachment = Attachment(self._socket, endpoint, bind=True, setting=setting)
        self.endpoint = self._attachment.endpoint
        self._gate = gate_of(context)
        self._received = 0
        self._rejected = 0
        self._undelivered = 0
        self._last_fault = ""

    @property
    def socket(self) -> ZmqSocket:
        """The socket, to wait on several at once. Do not read from it."""
        return self._socket

    def reserve(self, role: str, *, each: str = "") -> None:
        """Let only one hold a role, such as `planner`.

        One connection holds it, from its welcome until it is gone. Another one of that role is refused
        meanwhile, unless it names the same session: then it is the same process, connected anew. Requests, a
        stop above all, are answered whoever holds what.

        Args:
            role: Which.
            each: A detail of the handshake, such as a name: one may hold the role for each of its values.
        """
        self._exclusive[role] = each

    def holder(self, role: str) -> int | None:
        """Session that holds a role reserved for one, or held it last; None while nobody has."""
        claim = self._claims.get((role, ""))
        return None if claim is None else claim.session

    def release_gone(self, role: str) -> list[str]:
        """Free a reserved role where the connection that held it is gone.

        It uses the socket: look for questions afterwards, since a wait for its file descriptor that has begun
        before may not hear of them.

        Returns:
            The values of the detail that it is reserved for each of.
        """
        held = [(key, claim) for key, claim in self._claims.items() if key[0] == role]
        gone = [key for key, claim in held if not self._is_connected(claim)]
        for key in gone:
            del self._claims[key]
        return [value for _, value in gone]

    def poll(self) -> list[tuple[PeerToken, Hello | Request]]:
        """Return the questions that are waiting. Each must be answered with `answer`.

        A handshake of a reserved role is the last of them: answer it before the next call, for whoever asks
        for the same role after it is judged by what became of it.

        The gate of the process is served here too: whoever owns a protected address calls this often.
        """
        if self._gate is not None:
            self._gate.serve()
            self._attachment.tend()
        questions: list[tuple[PeerToken, Hello | Request]] = []
        for _ in range(self._at_once):
            if not has_come(self._socket):
                break
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            question = self._read(parts)
            if question is None:
                continue
            questions.append(question)
            if isinstance(question[1], Hello) and question[1].role in self._exclusive:
                break
        return questions

    def answer(self, peer: PeerToken, message: Message) -> None:
        """Send the answer. A client that has gone is counted, not waited for."""
        hello, received_ns = self._greetings.pop(peer, (None, -1))
        if isinstance(message, Welcome):
            if hello is not None and hello.role in self._exclusive:
                self._claims[self._place(hello)] = _Claim(peer, hello.session)
            stamps = {"t_received_ns": received_ns, "t_sent_ns": self._clock.now_ns()}
            message = msgspec.structs.replace(message, **stamps)
        self._undelivered += self._send(peer.identity, peer.request_id, encode(message)) != 0

    def _send(self, *frames: bytes) -> int:
        """Send to a client. Returns 0, EHOSTUNREACH if it has gone, or EAGAIN if it takes in nothing."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return error.errno
        return 0

    def serve(
        self,
        on_hello: Callable[[Hello], Welcome | Reply],
        on_request: Callable[[Request], Reply],
    ) -> int:
        """Answer every question that is waiting.

        Args:
            on_hello: Answers a handshake, usually with `handshake.answer_hello`.
            on_request: Carries out a request. A DualsysError that it raises becomes a refusal with that text;
                anything else is a bug and propagates.

        Returns:
            How many were answered.
        """
        questions = self.poll()
        for peer, question in questions:
            answer: Welcome | Reply
            try:
                answer = on_hello(question) if isinstance(question, Hello) else on_request(question)
            except DualsysError as error:
                answer = refusal(str(error))
            self.answer(peer, answer)
        return len(questions)

    def statistics(self) -> ServiceStatistics:
        """Return totals since it was made."""
        return ServiceStatistics(
            self._received, self._rejected, self._undelivered, self._last_fault, self._claims_refused
        )

    def tend(self) -> None:
        """Follow the key store. `poll` does so too; this is for when it is called rarely."""
        self._attachment.tend()

    def close(self) -> None:
        """Release the address. Closing twice is allowed."""
        self._attachment.close()

    def _read(self, parts: list[bytes]) -> tuple[PeerToken, Hello | Request] | None:
        if len(parts) != 3 or len(parts[1]) != _REQUEST_ID_BYTES:
            # Without a number there is no question to answer.
            self._rejected += 1
            self._last_fault = f"not a question: {len(parts)} parts instead of sender, number and message"
            return None
        peer = PeerToken(parts[0], parts[1])
        try:
            question = decode(parts[2], Hello, Request)
        except MessageError as error:
            self._rejected += 1
            self._last_fault = str(error)
            self.answer(peer, refusal(str(error)))
            return None
        if isinstance(question, Hello):
            if (holder := self._holder(peer, question)) is not None:
                self._claims_refused += 1
                self.answer(peer, refusal(_taken(question, holder, self._place(question)[1])))
                return None
            while len(self._greetings) >= _OPEN_GREETINGS:
                del self._greetings[next(iter(self._greetings))]
            self._greetings[peer] = (question, self._clock.now_ns())
        self._received += 1
        return peer, question

    def _place(self, hello: Hello) -> tuple[str, str]:
        """What a caller claims: its role, and where that is held by each of several, which of them it is."""
        each = self._exclusive.get(hello.role, "")
        return hello.role, hello.details.get(each, "") if each else ""

    def _holder(self, peer: PeerToken, hello: Hello) -> _Claim | None:
        """Who else holds the role that a caller wants; None if it is free."""
        place = self._place(hello)
        claim = self._claims.get(place)
        if claim is None or claim.peer.identity == peer.identity or claim.session == hello.session != 0:
            return None
        if self._is_connected(claim):
            return claim
        del self._claims[place]
        return None

    def _is_connected(self, claim: _Claim) -> bool:
        # An answer to no question: whoever is there drops it, and whoever has gone cannot be reached.
        return self._send(claim.peer.identity, _NO_QUESTION, b"") != zmq.EHOSTUNREACH


class ServiceClient:
    """Asks one server questions, each with a deadline.

    Args:
        context: From `sockets.open_context`.
        endpoint: Address of the server.
        peer_name: What to call the server in errors, such as `System 2`.

    Raises:
        BusError: The address cannot be used.
    """

    def __init__(self, context: ZmqContext, endpoint: str, peer_name: str) -> None:
        self._clock = WallClock()
        self._peer_name = peer_name
        self._socket = open_socket(context, zmq.DEALER, MAX_SERVICE_BYTES)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        # See `open_socket`. Whoever keeps a client open takes in what comes now and then, see `heard`.
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._attachment = Attachment(
            self._socket, endpoint, bind=False, setting=f"address of {peer_name}", endings=Endings()
        )
        self.endpoint = self._attachment.endpoint
        self._asked = 0
        self._greeting = b""
        self._greeted: deque[bytes] = deque(maxlen=_OPEN_ATTEMPTS)
        self.late_answers = 0

    @property
    def peer_name(self) -> str:
        """What the server is called in errors."""
        return self._peer_name

    def ask(self, message: Hello | Request, timeout_s: float) -> Welcome | Reply:
        """Ask, and wait for the answer.

        Raises:
            PeerTimeoutError: No answer within `timeout_s`. Whether the question was acted upon is not known.
            MessageError: The answer is not a valid message.
        """
        self._attachment.tend()
        deadline_ns = self._clock.now_ns() + nanoseconds(timeout_s)
        payload = encode(message)
        self._asked += 1
        request_id = self._asked.to_bytes(_REQUEST_ID_BYTES, "big")
        good = self._attempts(message, payload, request_id)
        while self._wait(zmq.POLLOUT, deadline_ns):
            try:
                self._socket.send_multipart([request_id, payload], zmq.NOBLOCK)
                break
            except zmq.Again:
                continue
        while self._wait(zmq.POLLIN, deadline_ns):
            parts = self._socket.recv_multipart(zmq.NOBLOCK)
            if len(parts) == 2 and parts[0] in good:
                good.clear()
                return decode(parts[1], Welcome, Reply)
            self.late_answers += 1
        raise PeerTimeoutError(self._peer_name, self.endpoint, timeout_s, self._attachment.advice)

    def request(self, verb: str, timeout_s: float, arguments: Mapping[str, str] | None = None) -> Reply:
        """Ask for something by verb.

        Raises:
            PeerTimeoutError: No answer within `timeout_s`.
            MessageError: The answer is not a valid reply.
        """
        answer = self.ask(Request(verb=verb, arguments=dict(arguments or {})), timeout_s)
        if not isinstance(answer, Reply):
            raise MessageError(f"{self._peer_name} answered {verb!r} with a handshake instead of a reply")
        return answer

    def pose(self, message: Request) -> bool:
        """Ask without waiting; whether the question could be sent. What comes back only `heard` takes."""
        self._attachment.tend()
        self._asked += 1
        try:
            request_id = self._asked.to_bytes(_REQUEST_ID_BYTES, "big")
            self._socket.send_multipart([request_id, encode(message)], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def heard(self) -> bool:
        """Whether the server has sent anything since the last call, which is then dropped. Never blocks.

        Whoever keeps a client open to hold a role calls this now and then: a server looks for those that hold
        one by sending them something.
        """
        anything = False
        # No longer than that: whoever is asked may say more than anybody can take in.
        for _ in range(_TAKEN_IN_PER_LOOK):
            if not has_come(self._socket):
                break
            self._socket.recv_multipart(zmq.NOBLOCK)
            anything = True
        return anything

    def close(self) -> None:
        """Disconnect. Closing twice is allowed."""
        self._attachment.close(linger=0)

    def _attempts(self, message: Hello | Request, payload: bytes, request_id: bytes) -> deque[bytes]:
        """Numbers of the questions whose answer is one to this question."""
        if not isinstance(message, Hello):
            return deque((request_id,))
        if payload != self._greeting:
            self._greeting = payload
            self._greeted.clear()
        self._greeted.append(request_id)
        return self._greeted

    def _wait(self, event: int, deadline_ns: int) -> bool:
        remaining_ns = deadline_ns - self._clock.now_ns()
        return remaining_ns > 0 and bool(self._socket.poll(-(-remaining_ns // NS_PER_MS), event))


def _taken(hello: Hello, holder: _Claim, which: str) -> str:
    of = f" of {which!r}" if which else ""
    return (
        f"another {hello.role}{of} (session {holder.session}) is connected, and there can be only one: end "
        "that one first"
    )


def refusal(text: str, values: Mapping[str, str] | None = None) -> Reply:
    """Make the answer that says no, with the reason in words."""
    return Reply(ok=False, text=clip_text(text), values={k: clip_text(v) for k, v in (values or {}).items()})
