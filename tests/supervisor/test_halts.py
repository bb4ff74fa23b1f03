"""What is noted when control brings the arm to rest."""

from __future__ import annotations

import msgspec

from dualsys.clock import NS_PER_S
from dualsys.messages import ControlState
from dualsys.supervisor.halts import MOST, Halts

STATE = ControlState(
    session=1, seq=0, t_ns=0, position=(), velocity=(), command=(), mode="RUNNING", reason="", epoch=0,
    plan_seq=0, latent_age_ns=0, plan_age_ns=0, counters={},
)  # fmt: skip


def looked(*states: tuple[str, str], episode: int | None = 0) -> Halts:
    halts = Halts()
    for number, (mode, reason) in enumerate(states):
        halts.look(msgspec.structs.replace(STATE, mode=mode, reason=reason, t_ns=number * NS_PER_S), episode)
    return halts


def test_each_halt_is_noted_once_with_the_reason_that_it_began_with() -> None:
    halts = looked(
        ("RUNNING", ""), ("HOLDING", "latent is 801 ms old"), ("HOLDING", "latent is 805 ms old"),
        ("STOPPED", "too hot"), ("WAITING", "resumed"), ("HOLDING", "no plan"),
    )  # fmt: skip
    words = ["HOLDING: latent is 801 ms old", "STOPPED: too hot", "HOLDING: no plan"]
    assert [halt.words for halt in halts.of(0)] == words
    assert halts.of(1) == []
    assert halts.now == halts.kept[-1]
    assert halts.kept[1].tree(NS_PER_S) == {
        "episode": 0, "after_s": 2.0, "mode": "STOPPED", "reason": "too hot"
    }  # fmt: skip


def test_an_arm_that_is_led_again_is_no_longer_at_rest() -> None:
    assert looked(("HOLDING", "x"), ("RUNNING", "")).now is None
    assert looked().now is None


def test_a_halt_between_two_episodes_belongs_to_none() -> None:
    halts = looked(("STOPPED", "an operator"), episode=None)
    assert (halts.of(0), halts.kept[0].episode) == ([], None)


def test_their_number_is_bounded() -> None:
    halts = looked(*[("HOLDING", "x"), ("RUNNING", "")] * (MOST + 5), ("STOPPED", "last"))
    assert len(halts.kept) == MOST
    assert halts.now is not None
    assert halts.now.words == "STOPPED: last"
