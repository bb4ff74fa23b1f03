"""Questions and answers over real sockets."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from dualsys.bus.codec import decode, encode, most_bytes
from dualsys.bus.service import PeerToken, ServiceClient, ServiceServer
from dualsys.bus.sockets import ZmqContext
from dualsys.clock import NS_PER_S, WallClock
from dualsys.errors import AddressInUseError, BusError, MessageError, PeerTimeoutError
from dualsys.messages import MAX_TEXT, Hello, Reply, Request, Welcome

Until = Callable[[Callable[[], Any]], Any]
ANY_PORT = "tcp://127.0.0.1:*"
HELLO = Hello(protocol=1, role="operator", session=1)


def welcome(hello: Hello) -> Welcome:
    return Welcome(protocol=1, role="double", details={"caller": hello.role})


def carry_out(request: Request) -> Reply:
    if request.verb == "refuse":
        raise BusError("no" * MAX_TEXT)
    return Reply(ok=True, text=request.verb, values=request.arguments)


@contextmanager
def serving(server: ServiceServer) -> Iterator[None]:
    """Answer in a thread, as a process of its own would."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            if server.socket.poll(5):
                server.serve(welcome, carry_out)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def server(context: ZmqContext) -> ServiceServer:
    return ServiceServer(context, ANY_PORT, setting="service")


@pytest.fixture
def client(context: ZmqContext, server: ServiceServer) -> ServiceClient:
    return ServiceClient(context, server.endpoint, "the double")


def test_a_request_is_answered(server: ServiceServer, client: ServiceClient) -> None:
    with serving(server):
        assert client.request("say", 5, {"text": "hello"}) == Reply(
            ok=True, text="say", values={"text": "hello"}
        )
    assert server.statistics().received == 1


def test_a_handshake_is_answered(server: ServiceServer, client: ServiceClient) -> None:
    with serving(server):
        answer = client.ask(HELLO, 5)
    assert isinstance(answer, Welcome)
    assert answer.details == {"caller": "operator"}
    # Stamped by the server's clock, for estimates of the offset.
    assert 0 < answer.t_received_ns <= answer.t_sent_ns


def test_many_clients_get_their_own_answers(context: ZmqContext, server: ServiceServer) -> None:
    clients = [ServiceClient(context, server.endpoint, "the double") for _ in range(5)]
    with serving(server):
        for round_ in range(3):
            for number, client in enumerate(clients):
                assert client.request(f"{number}.{round_}", 5).text == f"{number}.{round_}"


def test_what_a_handler_refuses_is_told_to_the_client(server: ServiceServer, client: ServiceClient) -> None:
    with serving(server):
        answer = client.request("refuse", 5)
        assert not answer.ok
        assert len(answer.text) == MAX_TEXT
        assert client.request("after", 5).ok


def test_nobody_there_is_a_timeout(context: ZmqContext) -> None:
    client = ServiceClient(context, "tcp://127.0.0.1:9", "System 2")
    with pytest.raises(PeerTimeoutError, match=r"System 2 at tcp://127\.0\.0\.1:9 within 0\.05 s"):
        client.request("status", 0.05)


def test_a_question_that_nobody_heard_is_never_carried_out_later(
    context: ZmqContext, server: ServiceServer, reopened: Until
) -> None:
    endpoint = server.endpoint
    server.close()
    client = ServiceClient(context, endpoint, "the double")
    with pytest.raises(PeerTimeoutError):
        client.request("reset", 0.05)
    late = reopened(lambda: ServiceServer(context, endpoint, setting="service"))
    with serving(late):
        assert client.request("status", 5).text == "status"
    assert late.statistics().received == 1


def test_the_answer_to_a_question_that_was_given_up_is_dropped(
    server: ServiceServer, client: ServiceClient, until: Until
) -> None:
    with serving(server):
        assert client.request("connected", 5).ok
    with pytest.raises(PeerTimeoutError):
        client.request("slow", 0.05)
    questions = until(server.poll)
    for peer, _ in questions:
        server.answer(peer, Reply(ok=True, text="late"))
    with serving(server):
        assert client.request("quick", 5).text == "quick"
    assert client.late_answers == len(questions) == 1


def test_a_handshake_that_is_repeated_takes_the_answer_to_an_attempt_that_was_given_up(
    server: ServiceServer, client: ServiceClient, until: Until
) -> None:
    with serving(server):
        assert client.request("connected", 5).ok
    # A line on which every answer is later than anybody waits.
    for _ in range(2):
        with pytest.raises(PeerTimeoutError):
            client.ask(HELLO, 0.05)
    asked = until(server.poll)
    while len(asked) < 2:
        asked += until(server.poll)
    server.answer(asked[0][0], welcome(HELLO))
    assert isinstance(client.ask(HELLO, 5), Welcome)
    assert client.late_answers == 0
    # Once shaken, hands are shaken: what else comes of it is late.
    server.answer(asked[1][0], Reply(ok=False, text="too late"))
    with serving(server):
        assert isinstance(client.ask(HELLO, 5), Welcome)
    assert client.late_answers >= 1


def test_another_handshake_or_a_request_takes_no_answer_but_its_own(
    server: ServiceServer, client: ServiceClient, until: Until
) -> None:
    with serving(server):
        assert client.request("connected", 5).ok
    with pytest.raises(PeerTimeoutError):
        client.ask(HELLO, 0.05)
    ((peer, _),) = until(server.poll)
    server.answer(peer, Reply(ok=False, text="another"))
    with serving(server):
        assert isinstance(client.ask(planner(5), 5), Welcome)
    assert client.late_answers == 1
    with pytest.raises(PeerTimeoutError):
        client.request("status", 0.05)
    ((peer, _),) = until(server.poll)
    server.answer(peer, Reply(ok=True, text="before"))
    with serving(server):
        assert client.request("status", 5) == Reply(ok=True, text="status")
    assert client.late_answers == 2


def test_an_invalid_question_is_refused_and_counted(
    context: ZmqContext, server: ServiceServer, until: Until
) -> None:
    stranger = context.socket(zmq.DEALER)
    stranger.connect(server.endpoint)
    stranger.send_multipart([b"12345678", b"garbage"])
    stranger.send_multipart([b"12345678", encode(Reply(ok=True))])
    stranger.send(b"alone")
    stranger.send_multipart([b"short", b"x", b"y"])
    until(lambda: server.poll() == [] and server.statistics().rejected == 4)
    number, payload = stranger.recv_multipart()
    assert number == b"12345678"
    assert b"not a valid Hello or Request" in payload
    assert server.statistics().received == 0


def test_a_client_that_has_gone_is_counted(server: ServiceServer) -> None:
    server.answer(PeerToken(b"gone", b"12345678"), Reply(ok=True))
    assert server.statistics().undelivered == 1


def test_an_invalid_answer_is_an_error(context: ZmqContext) -> None:
    double = context.socket(zmq.ROUTER)
    double.bind(ANY_PORT)
    client = ServiceClient(context, double.getsockopt_string(zmq.LAST_ENDPOINT), "the double")

    def misbehave() -> None:
        identity, number, _ = double.recv_multipart()
        double.send_multipart([identity, number, b"garbage"])
        identity, number, _ = double.recv_multipart()
        double.send_multipart([identity, number, encode(welcome(HELLO))])

    thread = threading.Thread(target=misbehave)
    thread.start()
    with pytest.raises(MessageError, match="not a valid Welcome or Reply"):
        client.request("status", 5)
    with pytest.raises(MessageError, match="handshake instead of a reply"):
        client.request("status", 5)
    thread.join()


def test_closing_twice_is_allowed(server: ServiceServer, client: ServiceClient) -> None:
    for _ in range(2):
        client.close()
        server.close()


def planner(session: int) -> Hello:
    return Hello(protocol=1, role="planner", session=session)


@pytest.mark.fault_row(37)
def test_a_reserved_role_is_held_by_one_until_it_is_gone(
    context: ZmqContext, server: ServiceServer, client: ServiceClient, until: Until
) -> None:
    server.reserve("planner")
    second = ServiceClient(context, server.endpoint, "the double")
    with serving(server):
        assert isinstance(client.ask(planner(1), 5), Welcome)
        for _ in range(3):
            refused = second.ask(planner(2), 5)
            assert isinstance(refused, Reply)
            assert "another planner (session 1) is connected, and there can be only one" in refused.text
        # The first does not notice that it was asked after, and may shake hands again.
        assert isinstance(client.ask(planner(1), 5), Welcome)
        assert client.request("status", 5).ok
        # Other roles are free, and nobody is kept from asking: a stop gets through whoever holds what.
        assert isinstance(second.ask(HELLO, 5), Welcome)
        assert second.request("stop", 5) == Reply(ok=True, text="stop")
        client.close()
        until(lambda: isinstance(second.ask(planner(2), 5), Welcome))
        third = ServiceClient(context, server.endpoint, "the double")
        assert isinstance(third.ask(planner(3), 5), Reply)
    assert server.holder("planner") == 2
    assert server.statistics().claims_refused >= 4


@pytest.mark.fault_row(37)
def test_of_two_that_ask_for_a_role_at_once_one_is_refused(
    context: ZmqContext, server: ServiceServer, until: Until
) -> None:
    server.reserve("planner")
    clients = [ServiceClient(context, server.endpoint, "the double") for _ in range(2)]
    for session, client in enumerate(clients, 1):
        assert client._socket.poll(5000, zmq.POLLOUT)
        client._socket.send_multipart([b"question", encode(planner(session))])
    # Time for both questions to come in before anybody looks.
    assert not clients[0]._socket.poll(100)

    answers: list[Welcome | Reply] = []

    def answered() -> bool:
        server.serve(welcome, carry_out)
        heard = [client._socket.recv_multipart() for client in clients if client._socket.poll(10)]
        # Whoever holds the role may be looked for.
        answers.extend(decode(parts[1], Welcome, Reply) for parts in heard if parts[0] == b"question")
        return len(answers) == 2

    until(answered)
    assert sorted(type(answer).__name__ for answer in answers) == ["Reply", "Welcome"]
    assert server.statistics().claims_refused == 1


@pytest.mark.fault_row(37)
def test_a_role_is_kept_however_often_its_holder_is_looked_for(
    server: ServiceServer, client: ServiceClient
) -> None:
    server.reserve("planner")
    with serving(server):
        assert isinstance(client.ask(planner(1), 5), Welcome)
    clock = WallClock()
    # As many as libzmq lets wait by default, and then longer than heartbeats may stay away.
    for _ in range(1500):
        assert server.release_gone("planner") == []
        clock.sleep_until_ns(clock.now_ns() + NS_PER_S // 1000)
    deadline_ns = clock.now_ns() + 3 * NS_PER_S
    while clock.now_ns() < deadline_ns:
        assert server.release_gone("planner") == []
        clock.sleep_until_ns(clock.now_ns() + NS_PER_S // 100)
    while client.heard():
        pass
    with serving(server):
        assert client.request("status", 5).ok


BREAKING = """
import sys, zmq
from dualsys.bus.service import ServiceClient, ServiceServer
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_S, WallClock
from dualsys.messages import Request

def wait(duration_s):
    clock = WallClock()
    clock.sleep_until_ns(clock.now_ns() + round(duration_s * NS_PER_S))

ours, theirs = open_context(), open_context()
if sys.argv[1] == "server":
    served = ServiceServer(ours, "tcp://127.0.0.1:*", setting="service")
    peer = theirs.socket(zmq.DEALER)
    peer.connect(served.endpoint)
    for _ in range(500):
        peer.send_multipart([bytes(8), b"x"])
else:
    peer = theirs.socket(zmq.ROUTER)
    peer.bind("tcp://127.0.0.1:*")
    client = ServiceClient(ours, peer.getsockopt_string(zmq.LAST_ENDPOINT), "the double")
    while not client.pose(Request(verb="status")):
        wait(0.01)
    identity, *_ = peer.recv_multipart()
    peer.setsockopt(zmq.SNDHWM, 0)
    for _ in range(5000):
        peer.send_multipart([identity, b"question", b""])
wait(0.5)
peer.close(linger=0)
# A heartbeat would be due meanwhile.
wait(1.5)
if sys.argv[1] == "server":
    for _ in range(200):
        served.poll()
close_context(theirs)
close_context(ours)
print("alive")
"""


@pytest.mark.fault_row(31)
@pytest.mark.parametrize("side", ["server", "client"])
def test_a_connection_that_breaks_with_all_that_may_wait_waiting_ends_no_process(side: str) -> None:
    code = [sys.executable, "-c", BREAKING, side]
    done = subprocess.run(code, capture_output=True, text=True, timeout=60, check=False)
    # libzmq itself would have ended it.
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_a_process_that_connects_anew_keeps_its_role(
    context: ZmqContext, server: ServiceServer, client: ServiceClient
) -> None:
    server.reserve("planner")
    again = ServiceClient(context, server.endpoint, "the double")
    with serving(server):
        assert isinstance(client.ask(planner(1), 5), Welcome)
        assert isinstance(again.ask(planner(1), 5), Welcome)
        # Without a session number two connections cannot be told to be the same process.
        assert isinstance(client.ask(planner(0), 5), Reply)


def test_who_was_not_welcomed_holds_nothing(
    server: ServiceServer, client: ServiceClient, until: Until
) -> None:
    server.reserve("planner")
    questions = until(lambda: sent_and_polled(client, server, planner(1)))
    server.answer(questions[0][0], Reply(ok=False, text="does not fit"))
    assert server.holder("planner") is None


def sent_and_polled(client: ServiceClient, server: ServiceServer, hello: Hello) -> Any:
    client._socket.send_multipart([bytes(8), encode(hello)])
    client._socket.poll(20)
    return server.poll()


@pytest.mark.fault_row(31)
def test_however_much_is_asked_no_call_takes_in_more_than_it_may(
    context: ZmqContext, until: Until, stranger: Any
) -> None:
    server = ServiceServer(context, ANY_PORT, setting="service", at_once=1)
    clients = [ServiceClient(context, server.endpoint, "the double") for _ in range(3)]
    for client in clients:
        assert client._socket.poll(5000, zmq.POLLOUT)
        client._socket.send_multipart([b"question", encode(Request(verb="status"))])
    assert not clients[0]._socket.poll(100)
    assert [server.serve(welcome, carry_out) for _ in clients] == [1, 1, 1]
    hostile = stranger(server.endpoint, b"DEALER")
    hostile.announce(most_bytes(Hello, Request) + 1)
    until(hostile.hung_up)


@pytest.mark.fault_row(31)
def test_a_client_takes_in_no_more_than_it_may_of_a_server_that_never_stops(
    context: ZmqContext, until: Until
) -> None:
    double = context.socket(zmq.ROUTER)
    double.bind(ANY_PORT)
    client = ServiceClient(context, double.getsockopt_string(zmq.LAST_ENDPOINT), "the double")
    until(lambda: client.pose(Request(verb="status")))
    identity, _, _ = double.recv_multipart()
    for _ in range(100):
        double.send_multipart([identity, b"question", b""])
    looks = 0
    while client._socket.poll(300):
        assert client.heard()
        looks += 1
    assert looks >= 2, "each look took in 64 at most"


def test_a_second_server_at_the_same_address_is_refused(context: ZmqContext) -> None:
    first = ServiceServer(context, ANY_PORT, setting="endpoints.slow.service")
    with pytest.raises(AddressInUseError, match=r"endpoints\.slow\.service"):
        ServiceServer(context, first.endpoint, setting="endpoints.slow.service")


@pytest.mark.parametrize("verb", ["kill", "reload", "restart", "shell", "exec", "eval", "shutdown", "load"])
def test_no_process_can_be_ended_reloaded_or_made_to_run_something_from_afar(
    verb: str, repository: Path
) -> None:
    for name in (
        "slow/server.py",
        "fast/planner/desk.py",
        "fast/control/loop.py",
        "../../sim/dualsys_sim/server.py",
        "../../sim/dualsys_sim/serving.py",
        "../../sim/dualsys_sim/environment_server.py",
    ):
        text = (repository / "src/dualsys" / name).read_text("utf-8")
        assert f'"{verb}"' not in text, f"{name} knows {verb!r}"
