from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.twin.schedule import EventSchedule, on_grid_ns


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=40))
def test_events_run_by_time_then_priority_then_order_of_entry(events: list[tuple[int, int]]) -> None:
    schedule = EventSchedule()
    ran: list[tuple[int, int, int]] = []
    for number, (time_ns, priority) in enumerate(events):
        schedule.at(time_ns, priority, lambda now, p=priority, n=number: ran.append((now, p, n)))  # type: ignore[misc]

    assert schedule.run(10) == len(events)
    assert ran == sorted(ran)


def test_an_action_may_enter_events_for_the_present() -> None:
    schedule = EventSchedule()
    ran: list[str] = []

    def first(now_ns: int) -> None:
        ran.append("first")
        schedule.at(now_ns, 0, lambda _: ran.append("second"))

    schedule.at(5, 3, first)
    schedule.at(5, 4, lambda _: ran.append("third"))
    schedule.run(5)

    assert ran == ["first", "second", "third"]


def test_the_past_cannot_be_scheduled() -> None:
    schedule = EventSchedule()
    schedule.at(7, 0, lambda _: None)
    schedule.run(7)

    with pytest.raises(ValueError, match="before the present"):
        schedule.at(6, 0, lambda _: None)


def test_events_after_the_end_wait() -> None:
    schedule = EventSchedule()
    schedule.at(3, 0, lambda _: None)
    schedule.at(4, 0, lambda _: None)

    assert schedule.run(3) == 1
    assert len(schedule) == 1
    assert schedule.now_ns == 3


def test_a_stopped_schedule_runs_nothing_more() -> None:
    schedule = EventSchedule()
    ran: list[int] = []
    schedule.at(1, 0, lambda _: schedule.stop())
    schedule.at(1, 1, ran.append)

    assert schedule.run(9) == 1
    assert schedule.stopped
    assert ran == []


@given(st.integers(0, 10**12), st.integers(1, 10**9))
def test_the_grid_time_is_the_first_multiple_not_before(time_ns: int, grid_ns: int) -> None:
    found = on_grid_ns(time_ns, grid_ns)

    assert found % grid_ns == 0
    assert 0 <= found - time_ns < grid_ns
