"""The control loop: `read -> plan -> decide -> write -> publish -> answer -> pace`, in one Python thread.

Between two ticks there is time. Where it may be used (`prepare_ns`), a plan is taken in shortly before the
tick and not in it, and the code of a tick is run for nothing, so that the caches hold it at its time.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Final, Protocol

from dualsys.bus.handshake import PROCESS_ID, answer_hello
from dualsys.clock import Clock, Tick, seconds
from dualsys.errors import RobotError
from dualsys.fast.control.core import ControlCore, ControlOutput
from dualsys.fast.control.pacing import Pacing, Punctuality
from dualsys.fast.control.realtime import Realtime
from dualsys.messages import ControlState, Hello, Plan, Reply, Request, Welcome, clip_text
from dualsys.robots.contract import Robot

LAST_TICKS: Final = 12
"""Ticks that are told when one fails."""

STOP_TIMEOUT_S: Final = 1.0
"""Longest braking after a request to end; any arm is at rest before that."""


class Plans(Protocol):
    """Where plans come from."""

    def receive(self) -> Plan | None:
        """The newest plan since the last call, or None. Never blocks."""
        ...


class States(Protocol):
    """Where states go to."""

    def send(self, message: ControlState) -> None:
        """Publish. Never blocks."""
        ...


class Questions(Protocol):
    """Where questions are asked."""

    def serve(self, on_hello: OnHello, on_request: OnRequest) -> int:
        """Answer questions that are waiting, so few that a tick has the time. Never blocks."""
        ...


class OnHello(Protocol):
    """Answers a handshake."""

    def __call__(self, hello: Hello, /) -> Welcome | Reply:
        """The answer."""
        ...


class OnRequest(Protocol):
    """Carries out a request."""

    def __call__(self, request: Request, /) -> Reply:
        """The answer. A DualsysError becomes a refusal."""
        ...


class ControlLoop:
    """Runs a control core on a robot until it is told to end.

    Args:
        core: Decides.
        robot: Connected already.
        plans: Where plans come from.
        states: Where states go to.
        questions: Where operators, supervisor and planner ask.
        clock: Where time comes from.
        pacing: When ticks begin.
        wait: Waits for that, at most until the edge time it is given, ns; by default sleeps on the clock.
        state_every: Ticks per published state.
        realtime: What `request_realtime` said, for the status.
        punctuality: Where lateness is noted.
        prepare_ns: How long before a deadline to begin preparing the tick, 0 for not at all; only where
            `wait` ends by the clock.
        dry_run: Goes through the motions of a tick at an edge time, ns, without any effect.
    """

    def __init__(
        self,
        core: ControlCore,
        robot: Robot,
        plans: Plans,
        states: States,
        questions: Questions,
        clock: Clock,
        pacing: Pacing,
        *,
        wait: Callable[[int], object] | None = None,
        state_every: int = 1,
        realtime: Realtime | None = None,
        punctuality: Punctuality | None = None,
        prepare_ns: int = 0,
        dry_run: Callable[[int], None] | None = None,
    ) -> None:
        self._core = core
        self._robot = robot
        self._plans = plans
        self._states = states
        self._questions = questions
        self._clock = clock
        self._pacing = pacing
        self._wait = clock.sleep_until_ns if wait is None else wait
        self._state_every = state_every
        self._realtime = realtime or Realtime()
        self._punctuality = punctuality or Punctuality()
        self._prepare_ns = prepare_ns
        self._dry_run = dry_run
        self._latest: deque[ControlOutput] = deque(maxlen=LAST_TICKS)
        self._silent = False
        self._end_asked = False

    def ask_to_end(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Brake, then return from `run`. Also a signal handler; a second signal ends the process at once."""
        del frame
        if self._end_asked and number:
            raise KeyboardInterrupt
        self._end_asked = True

    def handle_signals(self) -> None:
        """Let SIGINT and SIGTERM ask for the end."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.ask_to_end)

    def run(self) -> None:
        """Tick until the end is asked for and the arm is at rest.

        Raises:
            RobotError: A tick failed. The robot was stopped before; the message tells the last ticks.
        """
        most_ticks = round(STOP_TIMEOUT_S / seconds(self._pacing.period_ns))
        try:
            while most_ticks > 0:
                tick = self._next_tick()
                self._punctuality.note(tick)
                if self._end_asked:
                    self._core.request_stop("control was told to end")
                    most_ticks -= 1
                output = self._tick(tick.missed)
                if self._end_asked and output.command is None:
                    break
            self._robot.stop("control has ended")
        except Exception as error:
            raise RobotError(
                f"a control tick failed, {self._stopped_for(error)}: {error}\n{self._told()}"
            ) from error
        except BaseException:
            self._robot.stop("control was interrupted")
            raise

    def _stopped_for(self, error: Exception) -> str:
        """Stop the robot after a tick has failed; a driver that fails at that too must not hide why."""
        try:
            self._robot.stop(f"a control tick failed: {error}")
        except Exception as another:
            return f"and the robot could not be told to stop ({another})"
        return "the robot was stopped"

    def _next_tick(self) -> Tick:
        while True:
            due_ns = self._pacing.due_ns(self._clock.now_ns())
            if self._prepare_ns:
                self._prepare(due_ns)
            self._wait(due_ns)
            # Nothing begins after a wait that ended too early.
            if (tick := self._pacing.begin(self._clock.now_ns())) is not None:
                return tick

    def _prepare(self, due_ns: int) -> None:
        """Do what need not wait for the deadline, ns, and go through the motions of what must."""
        self._clock.sleep_until_ns(due_ns - self._prepare_ns)
        self._take_in_plan(self._clock.now_ns())
        now_ns = self._clock.now_ns()
        # After a plan, or a wake-up that was late, there may be no time left: the tick comes first.
        if self._dry_run is not None and 2 * (due_ns - now_ns) >= self._prepare_ns:
            self._dry_run(now_ns)

    def _take_in_plan(self, now_ns: int) -> None:
        plan = self._plans.receive()
        if plan is not None:
            self._core.on_plan(plan, now_ns)

    def _tick(self, missed: int) -> ControlOutput:
        reading = self._robot.read()
        now_ns = self._clock.now_ns()
        self._take_in_plan(now_ns)
        output = self._core.step(now_ns, reading, missed)
        self._latest.append(output)
        if output.command is not None:
            self._robot.write(output.command)
        elif not self._silent:
            self._robot.stop(output.reason)
        self._silent = output.command is None
        if self._punctuality.ticks % self._state_every == 0:
            self._states.send(output.state)
        self._questions.serve(self._on_hello, self._on_request)
        return output

    def _on_hello(self, hello: Hello) -> Welcome | Reply:
        if hello.role == "planner" and hello.session:
            self._core.begin_session(hello.session)
        spec = self._robot.spec
        details = {
            "session": str(self._core.session),
            "epoch": str(self._core.epoch),
            "robot": spec.name,
            "axes": " ".join(spec.axes),
            "realtime": str(self._realtime),
            PROCESS_ID: str(os.getpid()),
        }
        return answer_hello(hello, "control", None, details)

    def _on_request(self, request: Request) -> Reply:
        if request.verb == "stop":
            self._core.request_stop(request.arguments.get("reason", "") or "an operator asked for a stop")
            return Reply(ok=True, text="stopping")
        if request.verb == "resume":
            epoch = self._core.resume(self._clock.now_ns())
            return Reply(ok=True, text="resumed", values={"epoch": str(epoch)})
        if request.verb in ("new_epoch", "epoch"):
            return Reply(ok=True, values={"epoch": str(self._core.new_epoch())})
        if request.verb == "status":
            return Reply(ok=True, text=self._mode(), values=self._status())
        raise RobotError(f"control knows no {request.verb!r}: ask for stop, resume, new_epoch or status")

    def _mode(self) -> str:
        reason = self._latest[-1].reason if self._latest else ""
        return clip_text(f"{self._core.mode}: {reason}" if reason else str(self._core.mode))

    def _status(self) -> dict[str, str]:
        punctuality = self._punctuality
        values = {
            "mode": str(self._core.mode),
            "reason": self._latest[-1].reason if self._latest else "",
            "session": str(self._core.session),
            "epoch": str(self._core.epoch),
            "last_refusal": self._core.last_refusal,
            "realtime": str(self._realtime),
            "missed_longest": str(punctuality.longest_miss),
            "prepared_us": f"{self._prepare_ns / 1000:g}",
        }
        values |= self._realtime.values()
        values |= {f"late_{name}_us": f"{value:.0f}" for name, value in punctuality.late_us().items()}
        values |= {name: str(count) for name, count in self._pacing.counts().items()}
        values |= {name: str(count) for name, count in self._core.statistics().items()}
        return {name: clip_text(text) for name, text in values.items()}

    def _told(self) -> str:
        if not self._latest:
            return "no tick was completed before"
        lines = ["the last ticks (time ns, mode, command):"]
        for output in self._latest:
            command = (
                "none" if output.command is None else " ".join(f"{value:.4f}" for value in output.command)
            )
            lines.append(f"  {output.state.t_ns} {output.mode} {output.reason!r} {command}")
        return "\n".join(lines)
