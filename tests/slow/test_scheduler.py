"""Whose turn it is: nobody starves, whatever the others do, and no pass waits longer than it may."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import VirtualClock
from dualsys.slow.admission import Capacity
from dualsys.slow.scheduler import Scheduler, rounds

SIZES = st.one_of(
    st.integers(1, 9).map(lambda largest: tuple(range(1, largest + 1))),
    st.sets(st.integers(2, 9)).map(lambda more: (1, *sorted(more))),
)


def scheduler(robots: str, sizes: Sequence[int] = (1, 2, 3), wait_ns: int = 10) -> Scheduler[int]:
    made: Scheduler[int] = Scheduler(sizes, wait_ns)
    for robot in robots:
        made.add(robot)
    return made


def taken(made: Scheduler[int], now_ns: int) -> list[tuple[str, int]]:
    return [(turn.robot, turn.item) for turn in made.take(now_ns)]


def test_the_newest_observation_is_taken_and_keeps_the_place_of_the_first() -> None:
    made = scheduler("abc", sizes=(1,))
    assert not made.put("a", 1, 0)
    assert not made.put("b", 2, 1)
    assert made.put("a", 3, 2)
    assert [(turn.robot, turn.item, turn.waited_ns) for turn in made.take(20)] == [("a", 3, 20)]
    assert taken(made, 20) == [("b", 2)]
    assert taken(made, 20) == []


def test_who_was_served_longest_ago_goes_first_however_often_others_send() -> None:
    made = scheduler("abc", sizes=(1, 2))
    served = []
    for now_ns in range(6):
        for robot in "abc":
            made.put(robot, now_ns, now_ns)
        served.append("".join(turn.robot for turn in made.take(now_ns)))
    assert served == ["ab", "ca", "bc", "ab", "ca", "bc"]


def test_who_joins_comes_after_those_that_wait_for_their_turn() -> None:
    made = scheduler("ab", sizes=(1,), wait_ns=0)
    for robot in "ab":
        made.put(robot, 0, 0)
    assert taken(made, 0) == [("a", 0)]
    made.add("c")
    made.put("c", 1, 1)
    made.put("a", 1, 1)
    assert [made.take(1)[0].robot for _ in range(3)] == ["b", "c", "a"]


def test_one_robot_never_waits_for_others() -> None:
    made = scheduler("a", wait_ns=1000)
    made.put("a", 1, 5)
    assert made.due_ns() == 5
    assert taken(made, 5) == [("a", 1)]
    assert made.due_ns() is None


def test_a_batch_leaves_when_it_is_full_or_the_first_has_waited_long_enough() -> None:
    made = scheduler("abcd")
    made.put("a", 1, 0)
    made.put("b", 2, 4)
    assert made.due_ns() == 10
    assert taken(made, 9) == []
    assert taken(made, 10) == [("a", 1), ("b", 2)]
    for number, robot in enumerate("abcd"):
        made.put(robot, number, 11)
    assert taken(made, 11) == [("c", 2), ("d", 3), ("a", 0)]
    assert taken(made, 20) == []
    assert taken(made, 21) == [("b", 1)]


def test_a_batch_is_full_when_every_robot_is_in_it() -> None:
    made = scheduler("ab", sizes=tuple(range(1, 9)))
    made.put("a", 1, 0)
    made.put("b", 2, 3)
    assert taken(made, 3) == [("a", 1), ("b", 2)]


def test_only_sizes_that_the_model_takes_are_made() -> None:
    made = scheduler("abcdefg", sizes=(1, 2, 4))
    for robot in "abcdefg":
        made.put(robot, 0, 0)
    assert [len(made.take(100)) for _ in range(4)] == [4, 2, 1, 0]


def test_who_leaves_is_forgotten_and_no_stranger_is_taken_in() -> None:
    made = scheduler("ab")
    made.put("a", 1, 0)
    made.remove("a")
    assert made.waiting == 0
    assert made.robots == 1
    with pytest.raises(KeyError):
        made.put("a", 2, 1)
    made.remove("nobody")


@pytest.mark.parametrize(
    ("sizes", "wait_ns"), [((), 0), ((2, 4), 0), ((1, 1), 0), ((1, 4, 2), 0), ((1,), -1)]
)
def test_sizes_ascend_from_one_and_waits_are_not_negative(sizes: tuple[int, ...], wait_ns: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        Scheduler(sizes, wait_ns)


def test_missing_sizes_make_more_rounds() -> None:
    assert rounds(8, (1, 2, 4, 8)) == 4
    assert rounds(8, (1, 4)) == 8


@given(robots=st.integers(0, 40), largest=st.integers(1, 12))
def test_with_all_sizes_the_rounds_are_the_quotient_rounded_up(robots: int, largest: int) -> None:
    assert rounds(robots, tuple(range(1, largest + 1))) == -(-robots // largest)


class Sending:
    """Robots that send at their own rates, and a model that takes its time, on a virtual clock.

    Attributes:
        worst_wait_ns: Of each robot, from filling its slot to the end of the pass that it was in.
        worst_age_ns: Of each robot, age of the newest latent when the next one leaves.
        served: How often each was.
    """

    def __init__(
        self, periods_ns: Sequence[int], phases_ns: Sequence[int], capacity: Capacity, pass_ns: Sequence[int]
    ) -> None:
        count = len(periods_ns)
        self.worst_wait_ns, self.worst_age_ns, self.served = [0] * count, [0] * count, [0] * count
        self._capacity = capacity
        self._periods_ns = periods_ns
        self._pass_ns = list(pass_ns)
        self._clock = VirtualClock()
        self._scheduler: Scheduler[int] = Scheduler(capacity.sizes, capacity.wait_ns)
        for robot in range(count):
            self._scheduler.add(str(robot))
        self._sends = [(phase, robot) for robot, phase in enumerate(phases_ns)]
        heapq.heapify(self._sends)

    def run(self, passes: int) -> None:
        """Until the model has run so often."""
        newest: dict[int, int] = {}
        for number in range(passes):
            while not (turns := self._scheduler.take(self._clock.now_ns())):
                due_ns = self._scheduler.due_ns()
                next_ns = self._sends[0][0]
                self._advance(next_ns if due_ns is None else min(due_ns, next_ns))
            begun_ns = self._clock.now_ns()
            self._advance(begun_ns + self._pass_ns[number % len(self._pass_ns)])
            ended_ns = self._clock.now_ns()
            for turn in turns:
                robot, captured_ns = int(turn.robot), turn.item
                wait_ns = turn.waited_ns + ended_ns - begun_ns
                self.worst_wait_ns[robot] = max(self.worst_wait_ns[robot], wait_ns)
                if robot in newest:
                    age_ns = ended_ns - newest[robot]
                    self.worst_age_ns[robot] = max(self.worst_age_ns[robot], age_ns)
                newest[robot] = captured_ns
                self.served[robot] += 1

    def _advance(self, until_ns: int) -> None:
        """Let time pass, and robots send."""
        while self._sends[0][0] <= until_ns:
            send_ns, robot = heapq.heappop(self._sends)
            self._scheduler.put(str(robot), send_ns, send_ns)
            heapq.heappush(self._sends, (send_ns + self._periods_ns[robot], robot))
        self._clock.sleep_until_ns(until_ns)


@given(data=st.data(), sizes=SIZES, wait_ns=st.integers(0, 40), count=st.integers(1, 14))
def test_no_robot_waits_longer_and_no_latent_is_older_than_is_promised(
    data: st.DataObject, sizes: tuple[int, ...], wait_ns: int, count: int
) -> None:
    numbers = st.lists(st.integers(1, 120), min_size=count, max_size=count)
    periods_ns, phases_ns = data.draw(numbers), data.draw(numbers)
    pass_ns = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=7))
    capacity = Capacity(count, sizes, wait_ns, 0, 0)
    sending = Sending(periods_ns, phases_ns, capacity, pass_ns)
    sending.run(60)
    longest_ns = max(pass_ns)
    for robot, period_ns in enumerate(periods_ns):
        bound_ns = capacity.worst_age_ns(period_ns, count, longest_ns)
        assert sending.worst_age_ns[robot] <= bound_ns
        assert sending.worst_wait_ns[robot] <= bound_ns - period_ns


@given(data=st.data(), sizes=SIZES, count=st.integers(1, 14), pass_ns=st.integers(1, 60))
def test_whoever_sends_more_than_can_be_served_is_served_as_often_as_the_others(
    data: st.DataObject, sizes: tuple[int, ...], count: int, pass_ns: int
) -> None:
    # All send at least once a pass, some of them many times.
    periods = st.lists(st.integers(1, pass_ns), min_size=count, max_size=count)
    sending = Sending(data.draw(periods), [0] * count, Capacity(count, sizes, 5, 0, 0), [pass_ns])
    sending.run(50)
    assert max(sending.served) - min(sending.served) <= 1
