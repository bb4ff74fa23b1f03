"""Set-points sent by a thread of the driver's own."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from dualsys.clock import NS_PER_MS, VirtualClock
from dualsys.errors import RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.scripted import SCRIPTED_SPEC
from dualsys.robots.setpoint_sender import BEAT_NS, SILENCE_NS, Mailbox, SenderCalls, SetpointSender

from .stepped_clock import until

HERE = np.array([0.1, 0.2, 0.03])


def test_only_the_newest_set_point_is_sent() -> None:
    box = Mailbox()
    box.put(HERE, 1)
    box.put(2 * HERE, 2)
    act, setpoint = box.take(3)
    assert act == "send"
    assert setpoint is not None
    assert setpoint.tolist() == (2 * HERE).tolist()
    assert box.take(3) == ("wait", None)


def test_an_arm_without_set_points_hears_that_the_process_lives() -> None:
    box = Mailbox()
    acts = [box.take(t_ms * NS_PER_MS)[0] for t_ms in range(1, 101)]
    assert acts.count("beat") == 100 * NS_PER_MS // BEAT_NS
    assert set(acts) == {"beat", "wait"}


def test_silence_is_told_once_and_the_next_set_point_ends_it() -> None:
    box = Mailbox()
    box.put(HERE, 0)
    box.take(0)
    acts = [box.take(t_ns)[0] for t_ns in range(0, 5 * SILENCE_NS, NS_PER_MS)]
    assert acts.count("rest") == 1
    assert acts.index("rest") == SILENCE_NS // NS_PER_MS
    assert box.silent
    assert not box.moving
    box.put(HERE, 5 * SILENCE_NS)
    assert not box.silent
    assert box.take(5 * SILENCE_NS)[0] == "send"


def test_a_rest_that_is_asked_for_drops_the_set_point_that_waits() -> None:
    box = Mailbox()
    box.put(HERE, 0)
    box.ask_rest()
    assert box.take(0) == ("rest", None)
    assert not box.silent
    box.ask_rest()
    assert box.take(0)[0] == "wait"


def test_a_set_point_after_a_rest_goes_first() -> None:
    box = Mailbox()
    box.put(HERE, 0)
    box.ask_rest()
    box.put(HERE, 0)
    assert box.take(0)[0] == "send"


class Arm:
    """Notes what it is told; refuses after `patience` set-points."""

    def __init__(self, patience: int = 1000) -> None:
        self.told: list[str] = []
        self.threads: set[str] = set()
        self.patience = patience

    def send(self, _: FloatArray) -> None:
        self.told.append("send")
        self.threads.add(threading.current_thread().name)
        if self.told.count("send") > self.patience:
            raise RobotError("it has had enough")

    def calls(self) -> SenderCalls:
        return SenderCalls(self.send, lambda: self.told.append("rest"), lambda: self.told.append("beat"))


def test_the_arm_is_told_by_the_thread_and_rests_at_the_end() -> None:
    arm, clock = Arm(), VirtualClock()
    sender = SetpointSender(SCRIPTED_SPEC, clock, arm.calls())
    sender.start()
    sender.put(HERE, HERE)
    until(lambda: "send" in arm.told)
    sender.end()
    assert arm.told == ["send", "rest"]
    assert arm.threads == {"set-points of scripted"}
    assert sender.settled()


def test_what_the_arm_refuses_is_a_fault_after_which_nothing_is_told() -> None:
    arm, clock = Arm(patience=0), VirtualClock()
    sender = SetpointSender(SCRIPTED_SPEC, clock, arm.calls())
    sender.start()
    sender.put(HERE, HERE)
    until(lambda: bool(sender.fault))
    assert sender.fault == "it has had enough"
    clock.advance_ns(10 * SILENCE_NS)
    sender.put(HERE, HERE)
    sender.end()
    assert arm.told == ["send"]


def test_an_arm_at_rest_is_not_sent_far_away_but_one_that_moves_may_go_on() -> None:
    arm = Arm()
    sender = SetpointSender(SCRIPTED_SPEC, VirtualClock(), arm.calls())
    with pytest.raises(RobotError, match=r"elbow: .* 0.20 rad away, at most 0.1 rad: nothing was sent"):
        sender.put(HERE + np.array([0.0, 0.2, 0.0]), HERE)
    # The gripper is no joint.
    sender.put(HERE + np.array([0.05, 0.0, 0.05]), HERE)
    sender.put(HERE + np.array([0.2, 0.0, 0.05]), HERE)
