from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dualsys.clock import NS_PER_MS
from dualsys.errors import MessageError, MismatchError, PeerTimeoutError
from dualsys.fast.planner.connections import RETRY_NS, Connection, SlowConnection, epoch_in
from dualsys.messages import Welcome

SILENCE_NS = 1000 * NS_PER_MS


def welcome(**details: str) -> Welcome:
    return Welcome(protocol=1, role="peer", details=details)


def latent(make_bench: Callable[..., Any], weights: str) -> Any:
    bench = make_bench()
    bench.core.start_episode(0, "go")
    bench.see(10**9)
    observation = bench.core.observation(10**9, bench.fixed)
    return bench.answer(observation, weights=weights)


def test_hands_are_shaken_at_once_and_then_tried_again_at_intervals() -> None:
    connection = Connection()
    assert connection.wants_greeting(0)
    assert not connection.wants_greeting(RETRY_NS - 1)
    connection.failed(PeerTimeoutError("System 2", "tcp://127.0.0.1:1", 0.5))
    assert connection.wants_greeting(RETRY_NS)
    connection.welcomed()
    assert not connection.wants_greeting(10 * RETRY_NS)


def test_a_lost_connection_is_made_anew_and_counted() -> None:
    connection = Connection()
    connection.wants_greeting(0)
    connection.welcomed()
    connection.lost("silence")
    connection.lost("silence")
    assert not connection.wants_greeting(1)
    assert connection.wants_greeting(RETRY_NS)
    assert connection.statistics().losses == 1
    assert connection.statistics().fault == "silence"
    connection.welcomed()
    statistics = connection.statistics()
    assert (statistics.connected, statistics.handshakes, statistics.fault) == (True, 2, "")


def test_a_mismatch_at_the_first_handshake_ends_the_planner() -> None:
    with pytest.raises(MismatchError, match=r"ours \[9\], theirs \[8\]"):
        Connection().failed(MismatchError("specs.proprioception.shape", [9], [8], "retrain"))


def test_a_mismatch_after_a_restart_of_the_other_side_is_survived_and_shown() -> None:
    connection = Connection()
    connection.welcomed()
    connection.lost("silence")
    connection.failed(MismatchError("specs.proprioception.shape", [9], [8], "retrain"))
    assert not connection.connected
    assert "theirs [8]" in connection.statistics().fault


@pytest.mark.fault_row(6)
def test_latents_count_only_after_the_handshake(make_bench: Callable[..., Any]) -> None:
    slow = SlowConnection(SILENCE_NS)
    packet = latent(make_bench, "abc")
    assert not slow.admits(packet)
    slow.welcomed(welcome(weights="abc"))
    assert slow.admits(packet)
    assert slow.dropped == 1


def test_latents_of_other_weights_call_for_a_new_handshake(make_bench: Callable[..., Any]) -> None:
    slow = SlowConnection(SILENCE_NS)
    slow.welcomed(welcome(weights="abc"))
    assert not slow.admits(latent(make_bench, "xyz"))
    assert slow.connection.wants_greeting(0)
    assert "'xyz' instead of 'abc'" in slow.connection.statistics().fault


def test_unanswered_observations_are_silence(make_bench: Callable[..., Any]) -> None:
    slow = SlowConnection(SILENCE_NS)
    slow.welcomed(welcome(weights="abc"))
    slow.watch(10 * SILENCE_NS)
    assert slow.connection.connected
    slow.sent(0)
    slow.sent(SILENCE_NS)
    slow.watch(SILENCE_NS)
    assert slow.connection.connected
    assert slow.admits(latent(make_bench, "abc"))
    slow.watch(SILENCE_NS + 1)
    assert slow.connection.connected
    slow.sent(SILENCE_NS + 1)
    slow.watch(2 * SILENCE_NS + 2)
    assert not slow.connection.connected
    assert slow.connection.statistics().fault == "no latent for 1000 ms"


def test_the_epoch_of_control_is_read_from_its_welcome() -> None:
    assert epoch_in(welcome(epoch="7")) == 7


@pytest.mark.parametrize("details", [{}, {"epoch": "-1"}, {"epoch": "soon"}, {"epoch": str(2**63)}])
def test_a_welcome_without_an_epoch_is_refused(details: dict[str, str]) -> None:
    with pytest.raises(MessageError, match="expected a number"):
        epoch_in(welcome(**details))
