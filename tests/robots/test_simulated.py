"""The driver of the robot link, against a scripted robot on real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.handshake import answer_hello
from dualsys.bus.service import ServiceServer
from dualsys.bus.sockets import close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, WallClock
from dualsys.errors import ConfigError, MismatchError, PeerTimeoutError, RobotError
from dualsys.messages import ArmCommand, ArmState, Hello, Reply, Welcome
from dualsys.robots.link import LinkRobot, spec_details
from dualsys.robots.registry import RobotSettings
from dualsys.robots.simulated import SIMULATED_PANDA, SimulatedRobot

CLOCK = WallClock()


@dataclass
class Link:
    """A robot at the other end: what it is called, whether it sends readings, and the last command it got."""

    settings: RobotSettings
    name: str = "simulated_panda"
    sends: bool = True
    command: ArmCommand | None = None
    seq: int = 0


@pytest.fixture
def settings(tmp_path: Path) -> RobotSettings:
    """Addresses of this test."""
    state, command, service = (f"ipc://{tmp_path}/{name}" for name in ("state", "command", "service"))
    return RobotSettings(state, command, service, 5.0, CLOCK)


@pytest.fixture
def serve(settings: RobotSettings) -> Iterator[Callable[[Link], None]]:
    """Starts the robot of a link; it ends with the test."""
    done = Event()
    threads: list[Thread] = []

    def run(link: Link) -> None:
        context = open_context()
        service = ServiceServer(context, settings.service_endpoint, setting="test")
        states = LatestPublisher(context, settings.state_endpoint, bind=True, setting="test")
        commands = LatestSubscriber(
            context, settings.command_endpoint, bind=True, setting="test", types=(ArmCommand,)
        )

        def hello(question: Hello) -> Welcome | Reply:
            spec = replace(SIMULATED_PANDA, name=link.name)
            return answer_hello(question, "robot", None, spec_details(spec))

        while not done.is_set():
            service.serve(hello, lambda _: Reply(ok=False))
            link.command = commands.receive() or link.command
            if link.sends:
                link.seq += 1
                place = (float(link.seq), *range(1, 8))
                states.send(
                    ArmState(seq=link.seq, t_robot_ns=0, position=place, velocity=(0.0,) * 8, status="ok",
                             command_seq=-1)
                )  # fmt: skip
            CLOCK.sleep_until_ns(CLOCK.now_ns() + 2 * NS_PER_MS)
        close_context(context)

    def start(link: Link) -> None:
        threads.append(Thread(target=run, args=(link,)))
        threads[-1].start()

    yield start
    done.set()
    for thread in threads:
        thread.join()


def until(condition: Callable[[], bool]) -> None:
    deadline_ns = CLOCK.now_ns() + 5 * NS_PER_S
    while not condition():
        assert CLOCK.now_ns() < deadline_ns
        CLOCK.sleep_until_ns(CLOCK.now_ns() + NS_PER_MS)


def test_readings_come_in_newest_first_with_a_stamp_of_this_machine_and_commands_go_out(
    settings: RobotSettings, serve: Callable[[Link], None]
) -> None:
    link = Link(settings)
    serve(link)
    robot = SimulatedRobot(settings)
    before_ns = CLOCK.now_ns()
    robot.connect()
    first = robot.read()
    assert before_ns < first.t_ns <= CLOCK.now_ns()
    np.testing.assert_array_equal(first.position[1:], np.arange(1.0, 8.0))
    until(lambda: robot.read().position[0] > first.position[0])
    command = np.arange(8) / 7

    def arrived() -> bool:
        robot.write(command)
        return link.command is not None

    until(arrived)
    assert link.command is not None
    assert link.command.position == tuple(command)
    robot.stop("test")
    robot.close()
    robot.close()


def test_while_nothing_new_comes_the_same_reading_keeps_its_stamp(
    settings: RobotSettings, serve: Callable[[Link], None]
) -> None:
    link = Link(settings)
    serve(link)
    robot = SimulatedRobot(settings)
    robot.connect()
    link.sends = False

    def is_kept() -> bool:
        last = robot.read()
        CLOCK.sleep_until_ns(CLOCK.now_ns() + 20 * NS_PER_MS)
        return robot.read() is last

    # Some may still be on their way.
    until(is_kept)
    robot.close()


def test_every_reading_is_a_cycle_that_can_be_waited_for_and_silence_ends_at_the_deadline(
    settings: RobotSettings, serve: Callable[[Link], None]
) -> None:
    link = Link(settings)
    serve(link)
    robot = SimulatedRobot(settings)
    with pytest.raises(RobotError, match="before it was connected"):
        robot.wait_cycle(0)
    robot.connect()
    seen = robot.read().position[0]
    for _ in range(3):
        assert robot.wait_cycle(CLOCK.now_ns() + 5 * NS_PER_S)
        newest = robot.read().position[0]
        assert newest > seen, "a cycle that was waited for has a reading of its own"
        seen = newest
    link.sends = False

    def is_silent() -> bool:
        deadline_ns = CLOCK.now_ns() + 20 * NS_PER_MS
        if robot.wait_cycle(deadline_ns):
            return False
        assert CLOCK.now_ns() >= deadline_ns
        return True

    # Some may still be on their way.
    until(is_silent)
    robot.close()


def test_any_robot_behind_the_link_tells_what_it_is(
    settings: RobotSettings, serve: Callable[[Link], None]
) -> None:
    link = Link(settings, name="toaster")
    serve(link)
    robot = LinkRobot(settings)
    for _ in range(2):
        robot.connect()
        assert (robot.spec.name, robot.spec.axes) == ("toaster", SIMULATED_PANDA.axes)
        assert robot.read().position.shape == (8,)
        with pytest.raises(RobotError, match="close it first"):
            robot.connect()
        robot.close()


def test_the_only_robot_that_will_do_can_be_named(
    settings: RobotSettings, serve: Callable[[Link], None]
) -> None:
    serve(Link(settings, name="toaster"))
    with pytest.raises(MismatchError, match="ours 'panda', theirs 'toaster'"):
        LinkRobot(replace(settings, options={"robot": "panda"})).connect()


def test_what_is_no_number_is_not_sent(settings: RobotSettings, serve: Callable[[Link], None]) -> None:
    link = Link(settings)
    serve(link)
    robot = SimulatedRobot(settings)
    robot.connect()
    with pytest.raises(RobotError, match="panda_joint3"):
        robot.write(np.array([0.0, 0.0, np.nan, 0.0, 0.0, 0.0, 0.0, 0.0]))
    robot.close()
    assert link.command is None


def test_another_robot_is_refused_by_name(settings: RobotSettings, serve: Callable[[Link], None]) -> None:
    serve(Link(settings, name="toaster"))
    robot = SimulatedRobot(settings)
    with pytest.raises(MismatchError, match="toaster"):
        robot.connect()
    robot.close()


def test_another_arm_than_the_one_in_the_options_is_refused(
    settings: RobotSettings, serve: Callable[[Link], None]
) -> None:
    robot = SimulatedRobot(replace(settings, options={"arm": "xarm6"}))
    assert robot.spec.axes == ("joint1", "joint2", "joint3", "joint4", "joint5", "joint6", "gripper_opening")
    serve(Link(settings))
    with pytest.raises(
        MismatchError, match="robot differs: ours 'simulated_xarm6', theirs 'simulated_panda'"
    ):
        robot.connect()
    with pytest.raises(ConfigError, match=r"robot\.options\.arm: got 'ur5e', expected one of panda"):
        SimulatedRobot(replace(settings, options={"arm": "ur5e"}))


def test_a_robot_that_answers_but_sends_no_readings_is_reported(
    settings: RobotSettings, serve: Callable[[Link], None]
) -> None:
    serve(Link(settings, sends=False))
    robot = SimulatedRobot(replace(settings, connect_timeout_s=0.5))
    with pytest.raises(RobotError, match="no reading came from"):
        robot.connect()
    robot.close()


def test_a_robot_that_is_not_there_is_reported(settings: RobotSettings) -> None:
    robot = SimulatedRobot(replace(settings, connect_timeout_s=0.1))
    with pytest.raises(PeerTimeoutError, match="the robot"):
        robot.connect()
    robot.close()


def test_nothing_is_read_or_written_before_the_connection(settings: RobotSettings) -> None:
    robot = SimulatedRobot(settings)
    with pytest.raises(RobotError, match="before it was connected"):
        robot.read()
    with pytest.raises(RobotError, match="before it was connected"):
        robot.write(np.zeros(8))
