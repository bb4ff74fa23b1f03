"""The kit as tests: derive from `RobotContract`, and say how to open the robot."""

from __future__ import annotations

from typing import ClassVar
from unittest import SkipTest

from dualsys.robots.kit import connection_checks, motion_checks, reading_checks
from dualsys.robots.kit.bench import Bench
from dualsys.robots.kit.judging import Check, judged


class RobotContract:
    """One test for each check. Trials are made once per class; what cannot be checked is skipped.

    ```python
    class TestMyArm(RobotContract):
        @classmethod
        def make_bench(cls) -> Bench:
            clock = WallClock()
            return Bench(lambda: MyArm(settings_with(clock)), clock, may_move=True)
    ```

    `may_move=True` is for robots in software. Tests that move a real arm belong behind an option that a
    person gives, as `dualsys robot check` has one.
    """

    _benches: ClassVar[dict[type, Bench]] = {}

    @classmethod
    def make_bench(cls) -> Bench:
        """How to open the robot, and what may be done to it. Called once."""
        raise NotImplementedError(f"{cls.__name__}: return a Bench from make_bench()")

    def require(self, check: Check) -> None:
        """Make a check.

        Raises:
            AssertionError: It failed; tells what was seen, what was expected, and what to do.
            SkipTest: It could not be made; tells why.
        """
        if type(self) not in self._benches:
            self._benches[type(self)] = self.make_bench()
        outcome = judged(check, self._benches[type(self)])
        if outcome.state == "skipped":
            raise SkipTest(outcome.seen)
        assert outcome.state == "passed", "\n".join(outcome.lines())

    def test_a_robot_that_is_not_there_is_an_error_in_time(self) -> None:
        self.require(connection_checks.absence)

    def test_it_connects(self) -> None:
        self.require(connection_checks.connection)

    def test_its_specification_makes_sense(self) -> None:
        self.require(reading_checks.specification)

    def test_its_readings_are_complete_and_finite(self) -> None:
        self.require(reading_checks.reading)

    def test_its_readings_are_within_its_limits(self) -> None:
        self.require(reading_checks.range_of_readings)

    def test_its_readings_come_in_time(self) -> None:
        self.require(reading_checks.readings_in_time)

    def test_its_cycle_can_be_waited_for(self) -> None:
        self.require(reading_checks.cycle)

    def test_what_is_no_set_point_is_refused(self) -> None:
        self.require(motion_checks.refuses_nonsense)

    def test_it_stays_where_it_is_told_to_stay(self) -> None:
        self.require(motion_checks.stays)

    def test_the_axis_that_is_told_to_move_moves(self) -> None:
        self.require(motion_checks.order)

    def test_it_moves_as_far_as_it_is_told(self) -> None:
        self.require(motion_checks.scale)

    def test_it_follows_soon(self) -> None:
        self.require(motion_checks.lag)

    def test_its_velocities_are_those_of_its_motion(self) -> None:
        self.require(motion_checks.velocities)

    def test_it_stays_within_its_limits(self) -> None:
        self.require(motion_checks.limits)

    def test_its_calls_do_not_wait(self) -> None:
        self.require(reading_checks.calls_do_not_wait)

    def test_a_stop_brings_it_to_rest(self) -> None:
        self.require(motion_checks.stop)

    def test_silence_brings_it_to_rest(self) -> None:
        self.require(motion_checks.silence)

    def test_closing_twice_does_nothing(self) -> None:
        self.require(connection_checks.close)

    def test_it_can_be_connected_again(self) -> None:
        self.require(connection_checks.reconnection)

    def test_a_lost_connection_shows(self) -> None:
        self.require(connection_checks.lost_connection)
