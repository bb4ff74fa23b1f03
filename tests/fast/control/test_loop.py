"""The control loop on a virtual clock: what it writes, publishes, answers, and how it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from dualsys.clock import NS_PER_MS, VirtualClock
from dualsys.errors import DualsysError, RobotError
from dualsys.fast.control.core import Ages, ControlCore
from dualsys.fast.control.loop import ControlLoop, OnHello, OnRequest
from dualsys.fast.control.pacing import DevicePaced, Pacing, Periodic, Simulated
from dualsys.fast.control.realtime import Grant, Realtime
from dualsys.messages import PROTOCOL_VERSION, ControlState, Hello, Plan, Reply, Request, Tensor, Welcome
from dualsys.robots.contract import ArmReading
from dualsys.robots.simulated import SIMULATED_PANDA

from .conftest import HOME, JOINT_1, PERIOD_NS, SESSION


@dataclass
class ScriptedRobot:
    """An arm that is where it was commanded to be; `trouble` is called before each reading.

    So is `write_trouble` before each command: with the number of the reading that it answers.
    """

    clock: VirtualClock
    trouble: Callable[[int], None] = lambda _: None
    write_trouble: Callable[[int], None] = lambda _: None
    arm: NDArray[np.float64] = field(default_factory=HOME.copy)
    written: list[NDArray[np.float64]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    reads: int = 0
    spec = SIMULATED_PANDA

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def read(self) -> ArmReading:
        self.reads += 1
        self.trouble(self.reads)
        return ArmReading(self.clock.now_ns(), self.arm.copy(), np.zeros(8))

    def write(self, command: NDArray[np.float64]) -> None:
        self.write_trouble(self.reads)
        self.written.append(command)
        self.arm = command.copy()

    def stop(self, reason: str) -> None:
        self.stops.append(reason)


class Channel:
    """Plans to be received, states that were sent, questions to be asked at a tick."""

    def __init__(self) -> None:
        self.plans: deque[Plan] = deque()
        self.states: list[ControlState] = []
        self.questions: dict[int, Hello | Request] = {}
        self.answers: list[Welcome | Reply] = []
        self.calls = 0

    def receive(self) -> Plan | None:
        return self.plans.popleft() if self.plans else None

    def send(self, message: ControlState) -> None:
        self.states.append(message)

    def serve(self, on_hello: OnHello, on_request: OnRequest) -> int:
        self.calls += 1
        question = self.questions.get(self.calls)
        if question is None:
            return 0
        try:
            answer = on_hello(question) if isinstance(question, Hello) else on_request(question)
        except DualsysError as error:
            answer = Reply(ok=False, text=str(error))
        self.answers.append(answer)
        return 1


class Bench:
    """A loop with doubles around it, which ends itself after `ticks`."""

    def __init__(
        self,
        clock: VirtualClock,
        ticks: int,
        state_every: int = 1,
        pacing: Pacing | None = None,
        wait: Callable[[int], object] | None = None,
        realtime: Realtime | None = None,
        prepare_ns: int = 0,
        dry_run: Callable[[int], None] | None = None,
    ) -> None:
        self.clock = clock
        self.channel = Channel()
        self.robot = ScriptedRobot(clock, self.at_tick)
        self.core = ControlCore(SIMULATED_PANDA.limits, Ages(), PERIOD_NS, session=SESSION)
        self.loop = ControlLoop(
            self.core, self.robot, self.channel, self.channel, self.channel, clock,
            pacing or Periodic(PERIOD_NS), wait=wait, state_every=state_every, realtime=realtime,
            prepare_ns=prepare_ns, dry_run=dry_run,
        )  # fmt: skip
        self.ticks = ticks
        self.events: dict[int, Callable[[], None]] = {}

    def at_tick(self, index: int) -> None:
        if index == self.ticks:
            self.loop.ask_to_end()
        self.events.get(index, lambda: None)()

    def ask(self, tick: int, verb: str, **arguments: str) -> None:
        self.channel.questions[tick] = Request(verb=verb, arguments=arguments)

    def plan(self, rate: NDArray[np.float64]) -> Plan:
        now_ns = self.clock.now_ns()
        times = now_ns + np.array([0, 400, 800], dtype=np.int64) * NS_PER_MS
        rows = self.robot.arm + np.array([0, 0.4, 0.8])[:, None] * rate
        return Plan(
            session=self.core.session, episode=0, epoch=self.core.epoch, seq=self.robot.reads,
            t_ns=Tensor.of(times), setpoints=Tensor.of(rows), latent_seq=0, t_latent_ns=now_ns,
            t_observation_ns=now_ns, splice_ns=now_ns, delay_ns=0, delay_steps=0,
        )  # fmt: skip


def test_every_tick_reads_writes_and_publishes(clock: VirtualClock) -> None:
    bench = Bench(clock, 50)
    bench.loop.run()
    assert len(bench.robot.written) == 50
    assert [state.seq for state in bench.channel.states] == list(range(1, 52))


def test_states_can_be_published_at_a_part_of_the_rate(clock: VirtualClock) -> None:
    bench = Bench(clock, 50, state_every=5)
    bench.loop.run()
    assert len(bench.channel.states) == 10


def test_a_plan_moves_the_arm_and_the_end_brakes_it_within_the_limits_before_the_loop_returns(
    clock: VirtualClock,
) -> None:
    bench = Bench(clock, 100)
    bench.events[10] = lambda: bench.channel.plans.append(bench.plan(JOINT_1))
    bench.loop.run()
    steps = np.diff(np.array(bench.robot.written)[:, 0]) / 0.004
    assert steps.max() == pytest.approx(1.0, rel=0.35)
    assert abs(steps[-1]) <= SIMULATED_PANDA.limits.acceleration[0] * 0.004 + 1e-9
    assert np.abs(np.diff(steps)).max() / 0.004 <= SIMULATED_PANDA.limits.acceleration[0] + 1e-6
    assert bench.robot.stops[-1] == "control has ended"


@pytest.mark.fault_row(10)
def test_a_tick_that_overruns_is_followed_by_the_next_one_in_phase_and_counted(clock: VirtualClock) -> None:
    bench = Bench(clock, 30)
    bench.events[10] = lambda: clock.advance_ns(PERIOD_NS * 5 // 2)
    bench.loop.run()
    assert bench.core.statistics()["missed"] == 1
    stamps = np.array([state.t_ns for state in bench.channel.states])
    assert set(stamps[11:] % PERIOD_NS) == {stamps[0] % PERIOD_NS}


@pytest.mark.fault_row(25)
@pytest.mark.parametrize(("trouble", "told_ticks"), [("trouble", 19), ("write_trouble", 20)])
def test_a_failing_driver_stops_the_robot_and_the_error_tells_the_last_ticks(
    clock: VirtualClock, trouble: str, told_ticks: int
) -> None:
    bench = Bench(clock, 1000)

    def fail(reads: int) -> None:
        if reads == 20:
            raise RobotError("cable pulled")

    setattr(bench.robot, trouble, fail)
    with pytest.raises(RobotError, match=r"cable pulled(.|\n)*last ticks(.|\n)*WAITING") as caught:
        bench.loop.run()
    assert bench.robot.stops == ["a control tick failed: cable pulled"]
    assert (bench.robot.reads, len(bench.robot.written)) == (20, 19), "nothing is read or sent afterwards"
    assert isinstance(caught.value.__cause__, RobotError)
    # A command that could not be written was decided: what it was is the first that one wants to know.
    last_ns = (told_ticks - 1) * PERIOD_NS
    assert str(caught.value).splitlines()[-1].split()[0] == str(bench.channel.states[0].t_ns + last_ns)


@pytest.mark.fault_row(25)
def test_a_driver_that_fails_to_stop_as_well_does_not_hide_what_failed_before(clock: VirtualClock) -> None:
    bench = Bench(clock, 1000)

    def fail(reads: int) -> None:
        if reads == 20:
            raise RobotError("cable pulled")

    def stop(reason: str) -> None:
        bench.robot.stops.append(reason)
        raise OSError("no such device")

    bench.robot.trouble = fail
    bench.robot.stop = stop  # type: ignore[method-assign]
    told = r"could not be told to stop \(no such device\): cable pulled(.|\n)*last ticks(.|\n)*WAITING"
    with pytest.raises(RobotError, match=told):
        bench.loop.run()
    assert bench.robot.stops == ["a control tick failed: cable pulled"]


def test_a_failure_that_is_a_bug_is_surfaced_in_the_same_way(clock: VirtualClock) -> None:
    bench = Bench(clock, 1000)
    bench.events[1] = lambda: [][0]
    with pytest.raises(RobotError, match="no tick was completed before") as caught:
        bench.loop.run()
    assert isinstance(caught.value.__cause__, IndexError)


@pytest.mark.fault_row(45)
def test_an_interrupt_stops_the_robot_and_passes_through(clock: VirtualClock) -> None:
    bench = Bench(clock, 1000)

    def ctrl_c_twice() -> None:
        bench.loop.ask_to_end(2)
        bench.loop.ask_to_end(2)

    bench.events[5] = ctrl_c_twice
    with pytest.raises(KeyboardInterrupt):
        bench.loop.run()
    assert bench.robot.stops == ["control was interrupted"]


def test_stop_resume_new_epoch_and_status_are_answered(clock: VirtualClock) -> None:
    bench = Bench(clock, 60)
    bench.ask(5, "new_epoch")
    bench.ask(10, "stop", reason="lunch")
    bench.ask(20, "status")
    bench.ask(25, "new_epoch")
    bench.ask(30, "resume")
    bench.ask(40, "epoch")
    bench.ask(45, "dance")
    bench.loop.run()
    raised, stopped, status, refused, resumed, again, unknown = bench.channel.answers
    assert isinstance(raised, Reply)
    assert raised.values == {"epoch": "1"}
    assert isinstance(status, Reply)
    assert (status.values["mode"], status.values["reason"]) == ("STOPPED", "lunch")
    assert float(status.values["late_max_us"]) == 0.0
    assert status.values["realtime"] == "not asked for"
    assert isinstance(refused, Reply)
    assert not refused.ok
    assert isinstance(resumed, Reply)
    assert resumed.values == {"epoch": "2"}
    assert isinstance(again, Reply)
    assert again.values == {"epoch": "3"}
    assert isinstance(unknown, Reply)
    assert "dance" in unknown.text
    assert isinstance(stopped, Reply)
    assert stopped.ok
    assert bench.robot.stops.count("lunch") == 1


@pytest.mark.fault_row(26)
def test_a_stopped_robot_is_told_once_and_is_sent_nothing(clock: VirtualClock) -> None:
    bench = Bench(clock, 60)
    bench.ask(10, "stop", reason="lunch")
    bench.loop.run()
    assert len(bench.robot.written) == 10
    assert bench.robot.stops == ["lunch", "control has ended"]


def test_a_planner_that_says_hello_brings_its_session(clock: VirtualClock) -> None:
    bench = Bench(clock, 20)
    bench.channel.questions[3] = Hello(protocol=PROTOCOL_VERSION, role="planner", session=99)
    bench.channel.questions[6] = Hello(protocol=PROTOCOL_VERSION, role="supervisor", session=0)
    bench.loop.run()
    welcome = bench.channel.answers[1]
    assert isinstance(welcome, Welcome)
    assert (welcome.details["session"], welcome.details["epoch"]) == ("99", "1")
    assert welcome.details["robot"] == "simulated_panda"


def test_ten_simulated_seconds_have_every_tick_and_none_is_late(clock: VirtualClock) -> None:
    bench = Bench(clock, 2500, pacing=Simulated(PERIOD_NS))
    bench.ask(2400, "status")
    bench.loop.run()
    stamps = np.array([state.t_ns for state in bench.channel.states])
    assert (np.diff(stamps) == PERIOD_NS).all()
    status = bench.channel.answers[0]
    assert isinstance(status, Reply)
    assert (status.values["late_max_us"], status.values["missed_longest"]) == ("0", "0")


@pytest.mark.fault_row(13)
def test_a_robot_can_set_the_pace_and_the_status_tells_how_far_its_clock_runs_ahead(
    clock: VirtualClock,
) -> None:
    cycle_ns = PERIOD_NS * 98 // 100

    def next_cycle(deadline_ns: int) -> bool:
        clock.advance_ns(min(cycle_ns, deadline_ns - clock.now_ns()))
        return True

    bench = Bench(clock, 1000, pacing=DevicePaced(PERIOD_NS), wait=next_cycle)
    bench.ask(990, "status")
    bench.loop.run()
    stamps = np.array([state.t_ns for state in bench.channel.states])
    assert (np.diff(stamps) == cycle_ns).all()
    status = bench.channel.answers[0]
    assert isinstance(status, Reply)
    assert int(status.values["beats"]) == 990 - 990 * 98 // 100
    assert status.values["missed"] == "0"


@pytest.mark.fault_row(12)
def test_a_wait_that_ends_early_begins_no_tick(clock: VirtualClock) -> None:
    def doze(deadline_ns: int) -> None:
        clock.advance_ns(max(1, (deadline_ns - clock.now_ns()) // 2))

    bench = Bench(clock, 50, wait=doze)
    bench.loop.run()
    stamps = np.array([state.t_ns for state in bench.channel.states])
    assert (np.diff(stamps) == PERIOD_NS).all()


def test_the_status_tells_what_was_granted_one_by_one(clock: VirtualClock) -> None:
    grants = (Grant("scheduler", True, "SCHED_FIFO 50"), Grant("memory", False, "no"))
    bench = Bench(clock, 20, realtime=Realtime(grants))
    bench.ask(10, "status")
    bench.loop.run()
    status = bench.channel.answers[0]
    assert isinstance(status, Reply)
    assert status.values["realtime"] == "SCHED_FIFO 50; not granted: no"
    assert status.values["realtime.scheduler"] == "ok: SCHED_FIFO 50"
    assert status.values["realtime.memory"] == "refused: no"


def test_a_tick_is_prepared_shortly_before_its_deadline_and_a_plan_is_taken_in_then(
    clock: VirtualClock,
) -> None:
    prepared: list[int] = []
    bench = Bench(clock, 20, prepare_ns=PERIOD_NS // 8, dry_run=prepared.append)
    read: list[int] = []
    bench.events = {index: lambda: read.append(clock.now_ns()) for index in range(1, 21)}
    bench.events[5] = lambda: bench.channel.plans.append(bench.plan(0.5 * JOINT_1))
    bench.loop.run()
    assert read == [time_ns + PERIOD_NS // 8 for time_ns in prepared[:4] + prepared[5:20]]
    assert bench.core.statistics()["plans"] == 1


def test_a_tick_is_not_prepared_when_there_is_no_time_left_for_it(clock: VirtualClock) -> None:
    prepared: list[int] = []
    bench = Bench(clock, 10, prepare_ns=PERIOD_NS // 8, dry_run=prepared.append)
    slow = bench.channel.receive

    def receive() -> Plan | None:
        clock.advance_ns(PERIOD_NS // 10)
        return slow()

    bench.channel.receive = receive  # type: ignore[method-assign]
    bench.loop.run()
    assert prepared == []
    assert bench.robot.reads >= 10
