"""The sending end never blocks: what a slow recorder does not take is dropped, counted, and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zmq

from dualsys.bus.codec import MAX_FRAME_BYTES, decode, encode
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext, attach, open_socket
from dualsys.clock import NS_PER_MS, VirtualClock, WallClock
from dualsys.config import SystemConfig
from dualsys.messages import Hello, Reply, Request, Welcome
from dualsys.recorder.ledger import Ledger
from dualsys.recorder.records import (
    ControlTick,
    Event,
    Lost,
    ModeChange,
    Question,
    Record,
    RecorderEnd,
    Rejected,
)
from dualsys.recorder.tap import RecordedService, Tap, Watch, open_tap, versions
from dualsys.recorder.topics import Envelope

from .conftest import ListTap

QUEUED = 50


def event(number: int) -> Event:
    return Event(t_ns=number, kind="test", details={"number": number, "ballast": "x" * 20_000})


def received(pull: zmq.Socket[bytes], count: int) -> list[Envelope]:
    """So many, all of which have been handed over or will be."""
    frames = []
    while len(frames) < count:
        assert pull.poll(5000), f"{len(frames)} of {count} came"
        frames.append(decode(pull.recv(), Envelope))
    return frames


def test_records_from_before_the_recorder_was_there_arrive_in_order(
    context: ZmqContext, tmp_path: Path, clock: VirtualClock
) -> None:
    endpoint = f"ipc://{tmp_path}/r"
    tap = Tap(context, endpoint, "control", clock)
    for number in range(20):
        tap.put(event(number))
    pull = open_socket(context, zmq.PULL, MAX_FRAME_BYTES)
    attach(pull, endpoint, bind=True, setting="test")
    assert [one.number for one in received(pull, 20)] == list(range(20))
    assert not pull.poll(0)
    assert (tap.taken, tap.dropped) == (20, 0)
    tap.close()
    pull.close(linger=0)


@pytest.mark.fault_row(43)
def test_a_recorder_that_does_not_read_costs_records_but_no_time(context: ZmqContext, tmp_path: Path) -> None:
    endpoint, wall = f"ipc://{tmp_path}/r", WallClock()
    pull = open_socket(context, zmq.PULL, MAX_FRAME_BYTES)
    pull.setsockopt(zmq.RCVHWM, QUEUED)
    attach(pull, endpoint, bind=True, setting="test")
    tap = Tap(context, endpoint, "control", wall, QUEUED)
    begun_ns, count = wall.now_ns(), 2000
    for number in range(count):
        tap.put(event(number))
    assert wall.now_ns() - begun_ns < 5000 * NS_PER_MS, "2000 waits of even 5 ms would take longer"
    assert tap.dropped > count // 2
    arrived = received(pull, count - tap.dropped)
    while not pull.poll(10):  # The transport notices only after a while that there is room again.
        tap.put(event(tap.taken))
        assert tap.taken < 2 * count, "it takes records again, once they are read"
    arrived += received(pull, tap.taken - tap.dropped - len(arrived))
    ledger, written = Ledger(), []
    for envelope in arrived:
        written += [record for record, _ in ledger.enter(envelope)]
    lost = [record for record in written if isinstance(record, Lost)]
    assert sum(record.count for record in lost) == tap.dropped
    assert ledger.end(0).lost == {"control": tap.dropped}
    assert ledger.end(0).received == {"control": tap.taken - tap.dropped}
    tap.close()
    pull.close(linger=0)


def test_what_cannot_be_sent_is_dropped_and_counted_with_its_fault(
    context: ZmqContext, tmp_path: Path, clock: VirtualClock
) -> None:
    tap = Tap(context, f"ipc://{tmp_path}/r", "control", clock)
    tap.put(Event(t_ns=0, kind="test", details={"no": object()}))
    assert (tap.taken, tap.dropped) == (1, 1)
    assert "Envelope cannot be sent" in tap.last_fault
    tap.close()


def test_nothing_is_opened_unless_recording_is_enabled(context: ZmqContext, clock: VirtualClock) -> None:
    assert open_tap(context, SystemConfig(), "control", clock) is None


def ticks(*modes: tuple[str, str]) -> list[Envelope]:
    return [
        Envelope(
            source="control",
            number=number,
            record=ControlTick(
                t_ns=number, tick=number, missed=0, fresh=True, reading_t_ns=0, position=(), velocity=(),
                status="ok", mode=mode, reason=reason,
            ),
        )
        for number, (mode, reason) in enumerate(modes)
    ]  # fmt: skip


def entered(envelopes: list[Envelope]) -> list[Record]:
    ledger = Ledger()
    return [record for envelope in envelopes for record, _ in ledger.enter(envelope)]


@pytest.mark.fault_row(2)
def test_a_change_of_mode_or_of_its_reason_is_a_record_of_its_own() -> None:
    envelopes = ticks(("WAITING", "x"), ("WAITING", "x"), ("RUNNING", ""), ("HOLDING", "a"), ("HOLDING", "b"))
    changes = [one for one in entered(envelopes) if isinstance(one, ModeChange)]
    assert [(one.before, one.mode, one.reason) for one in changes] == [
        ("", "WAITING", "x"),
        ("WAITING", "RUNNING", ""),
        ("RUNNING", "HOLDING", "a"),
        ("HOLDING", "HOLDING", "b"),
    ]


def test_a_process_that_starts_anew_counts_from_zero_without_a_loss() -> None:
    envelopes = ticks(("A", ""), ("A", ""), ("A", ""))
    assert not [one for one in entered([*envelopes, *envelopes]) if isinstance(one, Lost)]


def test_the_last_record_tells_what_was_received_lost_and_rejected() -> None:
    ledger = Ledger()
    first, _, third = ticks(("A", ""), ("A", ""), ("A", ""))
    for envelope in (first, third):
        list(ledger.enter(envelope))
    ledger.reject("not a valid Envelope")
    assert ledger.end(9) == RecorderEnd(
        t_ns=9, received={"control": 2}, lost={"control": 1}, rejected=1, fault="not a valid Envelope"
    )


def test_rejections_are_noted_once_for_many_looks(clock: VirtualClock) -> None:
    tap, counted = ListTap(clock=clock), [0]
    watch = Watch(tap, every=10)
    watch.add("planner.plan", lambda: (counted[0], "not a valid Plan"))
    for _ in range(35):
        counted[0] += 1
        watch.look()
    noted = [one for one in tap.records(Rejected) if isinstance(one, Rejected)]
    assert [(one.channel, one.total, one.fault) for one in noted] == [
        ("planner.plan", total, "not a valid Plan") for total in (10, 20, 30)
    ]


def test_questions_and_answers_are_recorded(context: ZmqContext, tmp_path: Path) -> None:
    tap, endpoint = ListTap(), f"ipc://{tmp_path}/s"
    service = RecordedService(tap, context, endpoint, setting="test")
    client = ServiceClient(context, endpoint, "control")
    client._socket.send_multipart([bytes(8), b"garbage"])
    for message in (Hello(protocol=1, role="planner", session=7), Request(verb="stop", arguments={"a": "b"})):
        client._socket.poll(100, zmq.POLLOUT)
        client._socket.send_multipart([bytes(8), encode(message)])
    deadline_ns = WallClock().now_ns() + 5000 * NS_PER_MS
    while len(tap.envelopes) < 3 and WallClock().now_ns() < deadline_ns:
        service.socket.poll(100)
        service.serve(
            lambda hello: Welcome(protocol=hello.protocol, role="control"),
            lambda request: Reply(ok=False, text=f"no {request.verb}"),
        )
    asked = [one for one in tap.records(Question) if isinstance(one, Question)]
    assert [(one.verb, one.caller, one.ok) for one in asked] == [
        ("", "", False),
        ("hello", "planner", True),
        ("stop", "", False),
    ]
    assert (asked[2].arguments, asked[2].text) == ({"a": "b"}, "no stop")
    assert "not a valid" in asked[0].text
    client.close()
    service.close()


def test_the_versions_that_numbers_depend_on_are_named() -> None:
    assert versions()["numpy"] == np.__version__
    assert set(versions()) == {"dualsys", "numpy", "python", "machine", "platform"}


def test_sources_are_counted_apart() -> None:
    one, other = ticks(("A", ""), ("A", "")), [Envelope(source="planner", number=0, record=event(0))]
    assert not [record for record in entered([*one, *other]) if isinstance(record, Lost)]
