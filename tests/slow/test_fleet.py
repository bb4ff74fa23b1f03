"""The robots of one System 2: who is served, and what becomes of what they send."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS, NS_PER_S
from dualsys.errors import AdmissionError, MessageError, PolicyError
from dualsys.messages import Observation
from dualsys.slow.admission import Capacity
from dualsys.slow.backend import System2Input, System2Output
from dualsys.slow.fleet import ABSENT_NS, Fleet

Observe = Callable[..., Observation]
MS = NS_PER_MS


class Sharing:
    """A scripted model that takes several inputs at once: each latent is the mean of its own image."""

    def __init__(self, one: object) -> None:
        self._one = one
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._one, name)

    def batch_sizes(self, largest: int) -> tuple[int, ...]:
        return tuple(range(1, largest + 1))

    def encode_batch(self, inputs: Sequence[System2Input]) -> list[System2Output]:
        self.sizes.append(len(inputs))
        return [self._one.encode(one.images, one.proprioception, one.instruction) for one in inputs]  # type: ignore[attr-defined]

    def rehearse(self, size: int) -> None:
        self.sizes.append(size)


def told(name: str = "arm1", rate_hz: str = "10", age_ms: str = "1000") -> dict[str, str]:
    return {"robot_name": name, "observation_rate_hz": rate_hz, "latent_soft_ms": age_ms}


@pytest.fixture
def sharing(system2) -> Sharing:
    return Sharing(system2)


@pytest.fixture
def fleet(sharing: Sharing) -> Fleet:
    return Fleet(sharing, Capacity(4, (1, 2, 3, 4), 10 * MS, 0, 0))


def answered(fleet: Fleet, now_ns: int) -> dict[str, float]:
    """Run one pass; the first element of the latent of each robot that got one."""
    answers = fleet.compute(fleet.take(now_ns))
    return {answer.robot: float(answer.packet.tensors["tokens"].array()[0, 0]) for answer in answers}


def test_robots_share_a_pass_and_each_gets_its_own_latent(
    fleet: Fleet, sharing: Sharing, observe: Observe
) -> None:
    for session, name in ((7, "arm1"), (8, "arm2"), (9, "arm3")):
        fleet.join(session, told(name), 0)
        assert fleet.put(observe(session=session, grey=10 * session), session)
    assert fleet.due_ns() == 7
    assert answered(fleet, 9) == {"arm1": 70, "arm2": 80, "arm3": 90}
    assert sharing.sizes == [3]
    assert fleet.statistics().processed == 3


def test_whoever_has_not_shaken_hands_is_not_served(fleet: Fleet, observe: Observe) -> None:
    assert not fleet.put(observe(session=7), 0)
    fleet.join(7, told(), 0)
    assert fleet.put(observe(session=7), 0)
    assert not fleet.put(observe(session=8), 0)


def test_what_one_robot_does_wrong_costs_no_other(fleet: Fleet, sharing: Sharing, observe: Observe) -> None:
    for session in (7, 8, 9):
        fleet.join(session, told(f"arm{session}"), 0)
    fleet.put(observe(session=7, instruction="fly"), 0)
    fleet.put(observe(session=8), 0)
    fleet.put(observe(session=9, images={}), 0)
    assert answered(fleet, 0 + 10 * MS) == {"arm8": 100}
    assert sharing.sizes == [1]
    robots = fleet.by_robot()
    assert [robots[name].rejected for name in ("arm7", "arm8", "arm9")] == [1, 0, 1]
    assert "unknown words: fly" in robots["arm7"].last_fault
    assert robots["arm8"].last_fault == ""


def test_a_latent_that_cannot_be_used_is_kept_from_its_robot_alone(
    fleet: Fleet, sharing: Sharing, observe: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = sharing.encode_batch

    def spoil(inputs: Sequence[System2Input]) -> list[System2Output]:
        _, *others = good(inputs)
        return [System2Output({"tokens": np.full((2, 4), np.nan, np.float32)}), *others]

    monkeypatch.setattr(sharing, "encode_batch", spoil)
    for session in (7, 8):
        fleet.join(session, told(f"arm{session}"), 0)
        fleet.put(observe(session=session), 0)
    assert answered(fleet, 10 * MS) == {"arm8": 100}
    assert "NaN" in fleet.by_robot()["arm7"].last_fault


def test_a_pass_that_fails_is_counted_for_all_that_were_in_it_and_the_next_one_runs(
    fleet: Fleet, sharing: Sharing, observe: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Sequence[System2Input]) -> list[System2Output]:
        raise PolicyError("the model failed")

    for session in (7, 8):
        fleet.join(session, told(f"arm{session}"), 0)
        fleet.put(observe(session=session), 0)
    with monkeypatch.context() as patch:
        patch.setattr(sharing, "encode_batch", fail)
        assert answered(fleet, 10 * MS) == {}
    assert fleet.statistics().rejected == {"model": 2}
    for session in (7, 8):
        fleet.put(observe(session=session, seq=1), 20 * MS)
    assert set(answered(fleet, 20 * MS)) == {"arm7", "arm8"}


def test_every_robot_has_an_order_of_its_own(fleet: Fleet, observe: Observe) -> None:
    for session in (7, 8):
        fleet.join(session, told(f"arm{session}"), 0)
    for seven, eight, expected in ((5, 0, {"arm7", "arm8"}), (4, 1, {"arm8"}), (6, 1, {"arm7"})):
        fleet.put(observe(session=7, seq=seven), 0)
        fleet.put(observe(session=8, seq=eight), 0)
        assert set(answered(fleet, 10 * MS)) == expected


def test_a_robot_without_a_name_is_told_to_take_one(fleet: Fleet) -> None:
    with pytest.raises(MessageError, match=r"set robot\.name to another one for each of them"):
        fleet.join(7, told(name=""), 0)
    with pytest.raises(MessageError, match=r"expected up to 64 letters.* got 'arm\\x001'"):
        fleet.join(7, told(name="arm\x001"), 0)
    assert (fleet.refused, fleet.robots) == (2, ())


def test_a_robot_for_which_there_is_no_room_is_refused_with_the_numbers(fleet: Fleet) -> None:
    for _ in range(8):
        fleet.finish(2, 300 * MS)
    fleet.join(7, told("patient", age_ms="1000"), 0)
    # 100 between observations, 10 for others, 2 passes of 300.
    with pytest.raises(AdmissionError, match=r"'hasty' would be number 2, and its latents up to 710 ms old"):
        fleet.join(8, told("hasty", age_ms="700"), 0)
    assert fleet.robots == ("patient",)
    assert fleet.refused == 1
    assert "'hasty'" in fleet.last_refusal
    fleet.join(8, told("hasty", age_ms="720"), 0)
    assert fleet.by_robot()["hasty"].worst_age_ms == 710


def test_a_robot_that_comes_again_needs_no_second_place(fleet: Fleet, observe: Observe) -> None:
    for number in range(4):
        fleet.join(number, told(f"arm{number}"), 0)
    fleet.join(99, told("arm0"), 0)
    assert not fleet.put(observe(session=0), 0)
    assert fleet.put(observe(session=99), 0)
    with pytest.raises(AdmissionError, match=r"fleet\.robots is 4"):
        fleet.join(5, told("arm5"), 0)
    with pytest.raises(AdmissionError, match="session 99 of robot 'arm0'"):
        fleet.join(99, told("arm1"), 0)


def test_a_robot_whose_connection_is_gone_keeps_its_place_while_it_sends(
    fleet: Fleet, observe: Observe
) -> None:
    fleet.join(7, told(), 0)
    fleet.release("arm1")
    fleet.release("nobody")
    fleet.prune(ABSENT_NS)
    fleet.put(observe(session=7), ABSENT_NS)
    fleet.prune(2 * ABSENT_NS)
    assert fleet.robots == ("arm1",)
    fleet.prune(2 * ABSENT_NS + 1)
    assert fleet.robots == ()
    assert fleet.due_ns() is None
    assert not fleet.put(observe(session=7, seq=1), 3 * ABSENT_NS)


def test_a_silent_robot_that_is_connected_keeps_its_place(fleet: Fleet) -> None:
    fleet.join(7, told(), 0)
    fleet.prune(3600 * NS_PER_S)
    fleet.release("arm1")
    fleet.join(7, told(), 3600 * NS_PER_S)
    fleet.prune(7200 * NS_PER_S)
    assert fleet.robots == ("arm1",)


def test_the_answer_to_a_robot_that_has_left_or_changed_is_not_sent(fleet: Fleet, observe: Observe) -> None:
    fleet.join(7, told(), 0)
    fleet.put(observe(session=7), 0)
    (answer,) = fleet.compute(fleet.take(0))
    assert fleet.serves(answer)
    fleet.join(8, told(), 0)
    assert not fleet.serves(answer)
    fleet.release("arm1")
    fleet.prune(ABSENT_NS + 1)
    assert not fleet.serves(answer)


def test_a_robot_that_leaves_while_it_is_computed_gets_nothing(fleet: Fleet, observe: Observe) -> None:
    fleet.join(7, told(), 0)
    fleet.put(observe(session=7), 0)
    turns = fleet.take(0)
    fleet.release("arm1")
    fleet.prune(ABSENT_NS + 1)
    assert fleet.compute(turns) == []


def test_the_only_robot_needs_neither_name_nor_handshake(system2, observe: Observe) -> None:
    fleet = Fleet(system2, Capacity(1, (1,), 10 * MS, 0, 0))
    assert fleet.put(observe(session=7, grey=40), 3)
    assert answered(fleet, 3) == {"": 40}
    fleet.join(8, {}, 4)
    assert not fleet.put(observe(session=7), 5)
    assert fleet.put(observe(session=8), 5)
    fleet.release("")
    fleet.prune(3600 * NS_PER_S)
    assert fleet.robots == ("",)
    assert fleet.by_robot() == {}
    with pytest.raises(MessageError, match="expected up to 64 letters"):
        fleet.join(9, told(name="a b"), 6)
