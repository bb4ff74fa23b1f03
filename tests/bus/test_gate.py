"""Who is let in, over real sockets: two machines are two key stores and two contexts."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
import zmq

from dualsys.bus import gate as gate_module
from dualsys.bus import sockets as sockets_module
from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.codec import encode
from dualsys.bus.gate import DOMAIN, REFRESH_NS, Gate, Protection, judge
from dualsys.bus.keys import KeyStore
from dualsys.bus.service import ServiceClient, ServiceServer
from dualsys.bus.sockets import GuardedContext, ZmqContext, ZmqSocket, close_context, gate_of, open_context
from dualsys.clock import NS_PER_MS, VirtualClock, WallClock
from dualsys.errors import BusError, KeyStoreError, PeerTimeoutError
from dualsys.messages import ArmCommand, Reply, Request

Until = Callable[[Callable[[], Any]], Any]


class KeepingContext(GuardedContext):
    """Keeps the sockets that a test drops, so that they are closed at its end and not by the collector."""

    kept: ClassVar[list[ZmqSocket]] = []

    def socket(self, *arguments: Any, **options: Any) -> ZmqSocket:
        self.kept.append(super().socket(*arguments, **options))
        return self.kept[-1]


class Machine:
    """A key store, and the contexts that use it."""

    def __init__(self, folder: Path, name: str, servers: dict[str, str]) -> None:
        self.store = KeyStore(folder / name)
        self.own = self.store.create(name)
        self._servers = servers
        self.contexts: list[ZmqContext] = []

    def context(self) -> ZmqContext:
        context = KeepingContext()
        context.gate = Gate(context, Protection(self.store.folder, self._servers))
        self.contexts.append(context)
        return context

    def allows(self, other: Machine) -> None:
        self.store.allow(other.own.name, other.own.public.hex())


class Site:
    """A cloud that serves protected addresses, and an edge that connects to them."""

    def __init__(self, folder: Path) -> None:
        self.service, self.upward, self.downward = (f"ipc://{folder}/{name}" for name in "sud")
        self.servers = dict.fromkeys((self.service, self.upward, self.downward), "cloud")
        self.folder = folder
        self.cloud = Machine(folder, "cloud", self.servers)
        self.edge = Machine(folder, "edge", self.servers)
        self.cloud.allows(self.edge)
        self.edge.allows(self.cloud)
        self.machines = [self.cloud, self.edge]

    def another(self, name: str) -> Machine:
        self.machines.append(Machine(self.folder, name, self.servers))
        return self.machines[-1]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Two machines that allow each other, and are less patient than usual."""
    monkeypatch.setattr(gate_module, "REFRESH_NS", 50 * NS_PER_MS)
    monkeypatch.setattr(sockets_module, "_HANDSHAKE_MS", 500)
    site = Site(tmp_path)
    yield site
    for machine in site.machines:
        for context in machine.contexts:
            close_context(context)
    KeepingContext.kept.clear()


def attempt(
    server: ServiceServer, client: ServiceClient, verb: str = "status", heard: list[str] | None = None
) -> Callable[[], bool]:
    """A question that can be asked again and again; says whether an answer came.

    The server is served in between, as its loop does; `heard` gets the verbs that reach it.
    """

    def carry_out(request: Request) -> Reply:
        if heard is not None:
            heard.append(request.verb)
        return Reply(ok=True)

    def ask() -> bool:
        with suppress(zmq.Again):
            client._socket.send_multipart([bytes(8), encode(Request(verb=verb))], zmq.NOBLOCK)
        server.serve(lambda _: Reply(ok=False), carry_out)
        if not client._socket.poll(20):
            return False
        client._socket.recv_multipart()
        return True

    return ask


def test_machines_that_allow_each_other_talk(site: Site, until: Until) -> None:
    server = ServiceServer(site.cloud.context(), site.service, setting="s")
    client = ServiceClient(site.edge.context(), site.service, "System 2")
    until(attempt(server, client))
    gate = gate_of(site.cloud.contexts[0])
    assert gate is not None
    assert gate.statistics().admitted >= 1
    assert gate.statistics().refused == 0


@pytest.mark.fault_row(34)
def test_a_key_that_is_not_allowed_stays_out_and_is_counted(site: Site, until: Until) -> None:
    stranger = site.another("stranger")
    stranger.allows(site.cloud)
    server = ServiceServer(site.cloud.context(), site.service, setting="s")
    client = ServiceClient(stranger.context(), site.service, "System 2")
    gate = gate_of(site.cloud.contexts[0])
    assert gate is not None

    def refused() -> bool:
        server.poll()
        return gate.statistics().refused >= 1

    until(refused)
    assert gate.statistics().admitted == 0
    assert f"the key {stranger.own.public.hex()} is not allowed" in gate.statistics().last_refused
    assert server.statistics().received == 0
    # Once it is allowed, it gets in without a restart of either side.
    site.cloud.allows(stranger)
    until(attempt(server, client))


@pytest.mark.fault_row(34)
def test_a_client_without_a_key_stays_out(site: Site, until: Until, context: ZmqContext) -> None:
    server = ServiceServer(site.cloud.context(), site.service, setting="s")
    plain = context.socket(zmq.DEALER)
    plain.connect(site.service)
    plain.send_multipart([bytes(8), encode(Request(verb="status"))])
    friend = ServiceClient(site.edge.context(), site.service, "System 2")
    until(attempt(server, friend))
    # Only the friend's questions came in, however long the other has been waiting.
    assert not plain.poll(50)


class Recorder(threading.Thread):
    """Passes one connection on to a port of this machine, and keeps what its client says."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = port
        self.port: int = self._listener.getsockname()[1]
        self.said = b""

    def run(self) -> None:
        near = self._listener.accept()[0]
        self._listener.close()
        with near, socket.create_connection(("127.0.0.1", self._port)) as far:
            while True:
                for line in select.select([near, far], [], [])[0]:
                    try:
                        data = line.recv(65536)
                    except ConnectionResetError:
                        return
                    if not data:
                        return
                    self.said += data if line is near else b""
                    (far if line is near else near).sendall(data)


@pytest.mark.fault_row(35)
def test_a_recorded_connection_that_is_played_again_says_nothing(site: Site, until: Until) -> None:
    site.servers["tcp://127.0.0.1:*"] = "cloud"
    server = ServiceServer(site.cloud.context(), "tcp://127.0.0.1:*", setting="s")
    recorder = Recorder(int(server.endpoint.rpartition(":")[2]))
    recorder.start()
    between = f"tcp://127.0.0.1:{recorder.port}"
    site.servers[between] = "cloud"
    client = ServiceClient(site.edge.context(), between, "System 2")
    heard: list[str] = []
    until(attempt(server, client, "resume", heard))
    client.close()
    recorder.join(10)

    def carry_out(request: Request) -> Reply:
        heard.append(request.verb)
        return Reply(ok=True)

    def serve() -> int:
        return server.serve(lambda _: Reply(ok=False), carry_out)

    # It may have asked more than once.
    while serve() or server.socket.poll(200):
        pass
    gate = gate_of(site.cloud.contexts[0])
    assert gate is not None
    before, admitted = len(heard), gate.statistics().admitted
    assert "resume" in heard
    assert len(recorder.said) > 500, "greeting, handshake and question, the key that was allowed among them"

    with socket.create_connection(("127.0.0.1", recorder._port), timeout=0.01) as again:
        again.sendall(recorder.said)

        def hung_up() -> bool:
            serve()
            with suppress(TimeoutError, ConnectionResetError):
                return not again.recv(65536)
            return False

        until(hung_up)
    assert len(heard) == before, "nothing is carried out again"
    assert gate.statistics().admitted == admitted


def test_nobody_gets_in_while_nobody_judges(site: Site) -> None:
    server = ServiceServer(site.cloud.context(), site.service, setting="s")
    client = ServiceClient(site.edge.context(), site.service, "System 2")
    with pytest.raises(
        PeerTimeoutError, match="does it allow the key 'edge' of this machine, and is its own"
    ):
        client.request("status", 0.2)
    assert server._socket.poll(0) == 0


def test_an_impostor_at_the_address_is_not_talked_to(site: Site) -> None:
    impostor = site.another("impostor")
    impostor.allows(site.edge)
    impostor._servers = dict.fromkeys(site.servers, "impostor")
    server = ServiceServer(impostor.context(), site.service, setting="s")
    client = ServiceClient(site.edge.context(), site.service, "System 2")
    for _ in range(20):
        assert not attempt(server, client)()
    assert server.statistics().received == 0


def test_revoking_a_key_cuts_a_live_connection_and_leaves_the_others(site: Site, until: Until) -> None:
    other = site.another("other")
    other.allows(site.cloud)
    site.cloud.allows(other)
    server = ServiceServer(site.cloud.context(), site.service, setting="s")
    revoked = ServiceClient(site.edge.context(), site.service, "System 2")
    stays = ServiceClient(other.context(), site.service, "System 2")
    until(attempt(server, revoked))
    until(attempt(server, stays))
    gate = gate_of(site.cloud.contexts[0])
    assert gate is not None
    site.cloud.store.revoke("edge")

    def cut() -> bool:
        server.poll()
        return gate.removals == 1 and gate.statistics().refused >= 1

    until(cut)
    until(attempt(server, stays))
    heard: list[str] = []
    for _ in range(20):
        attempt(server, revoked, "after", heard)()
    until(lambda: attempt(server, stays, "other", heard)() and "other" in heard)
    assert "after" not in heard
    assert "is not allowed" in gate.statistics().last_refused


def test_revoking_cuts_both_directions_of_channels(site: Site, until: Until) -> None:
    cloud, edge = site.cloud.context(), site.edge.context()
    service = ServiceServer(cloud, site.service, setting="s")
    latents = LatestPublisher(cloud, site.downward, bind=True, setting="d")
    observations = LatestSubscriber(cloud, site.upward, bind=True, setting="u", types=(ArmCommand,))
    to_cloud = LatestPublisher(edge, site.upward, bind=False, setting="u")
    from_cloud = LatestSubscriber(edge, site.downward, bind=False, setting="d", types=(ArmCommand,))

    def exchange() -> tuple[bool, bool]:
        service.poll()
        latents.send(ArmCommand(seq=1, position=()))
        to_cloud.send(ArmCommand(seq=2, position=()))
        from_cloud.wait(2_000_000)
        return observations.receive() is not None, from_cloud.receive() is not None

    until(lambda: all(exchange()))
    site.cloud.store.revoke("edge")
    until(lambda: not any(any(exchange()) for _ in range(20)))
    site.cloud.allows(site.edge)
    until(lambda: all(exchange()))


def test_a_server_whose_key_is_revoked_in_a_silence_is_sent_nothing(site: Site, until: Until) -> None:
    cloud, edge = site.cloud.context(), site.edge.context()
    service = ServiceServer(cloud, site.service, setting="s")
    observations = LatestSubscriber(cloud, site.upward, bind=True, setting="u", types=(ArmCommand,))
    to_cloud = LatestPublisher(edge, site.upward, bind=False, setting="u")

    def arrives() -> bool:
        service.poll()
        to_cloud.send(ArmCommand(seq=1, position=()))
        return observations.receive_within(2 * NS_PER_MS) is not None

    until(arrives)
    until(lambda: observations.receive_within(100 * NS_PER_MS) is None)
    site.edge.store.revoke("cloud")
    WallClock().sleep_until_ns(WallClock().now_ns() + 2 * gate_module.REFRESH_NS)
    to_cloud.send(ArmCommand(seq=2, position=()))
    assert observations.receive_within(200 * NS_PER_MS) is None
    site.edge.allows(site.cloud)
    until(arrives)


def test_revoking_the_servers_key_makes_the_client_hang_up(site: Site, until: Until) -> None:
    server = ServiceServer(site.cloud.context(), site.service, setting="s")
    client = ServiceClient(site.edge.context(), site.service, "System 2")
    until(attempt(server, client))
    site.edge.store.revoke("cloud")

    def hung_up() -> bool:
        server.poll()
        client._attachment.tend()
        return client._attachment._key is None

    until(hung_up)
    with pytest.raises(PeerTimeoutError):
        client.request("status", 0.1)
    site.edge.allows(site.cloud)

    def back() -> bool:
        client._attachment.tend()
        return attempt(server, client)()

    until(back)


def test_a_server_that_is_not_allowed_is_named_with_the_remedy(site: Site) -> None:
    site.edge.store.revoke("cloud")
    with pytest.raises(
        KeyStoreError, match=r"no key named 'cloud' is allowed.*`dualsys keys allow cloud KEY`"
    ):
        ServiceClient(site.edge.context(), site.service, "System 2")


def test_an_address_is_served_only_by_the_machine_that_the_settings_name(site: Site) -> None:
    with pytest.raises(KeyStoreError, match="with the key 'cloud', but the key of this machine is 'edge'"):
        ServiceServer(site.edge.context(), site.service, setting="endpoints.slow.service")


def test_a_process_may_talk_to_another_one_on_its_own_machine(site: Site, until: Until) -> None:
    server = ServiceServer(site.cloud.context(), site.service, setting="s")
    until(attempt(server, ServiceClient(site.cloud.context(), site.service, "System 2")))


def test_addresses_outside_of_the_protection_stay_private(site: Site) -> None:
    context = site.cloud.context()
    with pytest.raises(BusError, match="only loopback and ipc addresses"):
        LatestPublisher(context, "tcp://0.0.0.0:7400", bind=True, setting="out")


def test_an_encrypted_address_may_lie_on_any_interface(site: Site) -> None:
    site.servers["tcp://0.0.0.0:*"] = "cloud"
    publisher = LatestPublisher(site.cloud.context(), "tcp://0.0.0.0:*", bind=True, setting="out")
    assert publisher.endpoint.startswith("tcp://0.0.0.0:")


@pytest.mark.parametrize(
    "address", ["tcp://:7400", "tcp://host", "tcp://host:99999", "udp://host:1", "tcp://a b:1"]
)
def test_what_is_no_address_is_refused_with_keys_too(site: Site, address: str) -> None:
    site.servers[address] = "cloud"
    with pytest.raises(BusError, match="expected tcp://HOST:PORT or ipc:///PATH"):
        LatestPublisher(site.cloud.context(), address, bind=True, setting="out")


def test_without_protected_addresses_no_key_is_needed(tmp_path: Path) -> None:
    context = open_context(Protection(tmp_path / "none", {}))
    assert gate_of(context) is None
    close_context(context)


def test_a_key_store_that_becomes_unreadable_allows_nobody(tmp_path: Path, context: ZmqContext) -> None:
    store = KeyStore(tmp_path / "keys")
    store.create("cloud")
    friend = KeyStore(tmp_path / "friend").create("friend")
    store.allow("friend", friend.public.hex())
    clock = VirtualClock()
    gate = Gate(context, Protection(store.folder, {"ipc:///x": "cloud"}), clock)
    (store.folder / "allowed" / "friend.pub").chmod(0o666)
    (store.folder / "allowed" / "touch").touch()
    gate.refresh()
    assert gate.key_of("friend") == friend.public
    clock.advance_ns(REFRESH_NS)
    gate.refresh()
    assert gate.key_of("friend") is None
    assert "has mode 666" in gate.statistics().fault
    (store.folder / "allowed" / "friend.pub").chmod(0o600)
    clock.advance_ns(REFRESH_NS)
    gate.refresh()
    assert gate.key_of("friend") == friend.public
    assert gate.statistics().fault == ""
    gate._socket.close()


def question(**changes: bytes) -> list[bytes]:
    parts = {
        "version": b"1.0",
        "number": b"7",
        "domain": DOMAIN,
        "address": b"10.0.0.2",
        "identity": b"",
        "mechanism": b"CURVE",
        "key": b"k" * 32,
    }
    return list((parts | changes).values())


def test_an_allowed_key_is_judged_by_name() -> None:
    answer, reason = judge(question(), {b"k" * 32: "edge"})
    assert answer == [b"1.0", b"7", b"200", b"", b"edge", b""]
    assert reason == ""


@pytest.mark.parametrize(
    "request_frames",
    [
        question(key=b"x" * 32),
        question(key=b""),
        question(mechanism=b"NULL"),
        question(mechanism=b"PLAIN"),
        question(domain=b""),
        question(version=b"2.0"),
        question()[:3],
        [*question(), b"more"],
        [],
    ],
)
def test_everything_else_is_refused(request_frames: list[bytes]) -> None:
    answer, reason = judge(request_frames, {b"k" * 32: "edge"})
    assert answer[2] == b"300"
    assert answer[4] == b""
    assert reason
