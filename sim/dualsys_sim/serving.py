"""What every simulated robot needs to be a process of its own: robot link, questions, cameras, its end."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Final, Protocol

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.handshake import PROCESS_ID, answer_hello
from dualsys.bus.service import ServiceServer
from dualsys.bus.sockets import ZmqContext
from dualsys.clock import NS_PER_S, Pacer, WallClock
from dualsys.errors import InstructionError
from dualsys.messages import ArmCommand, ArmState, CameraFrame, Hello, Reply, Request, Welcome, clip_text
from dualsys.robots.contract import RobotSpec
from dualsys.robots.link import spec_details

if TYPE_CHECKING:
    from dualsys.config import SystemConfig

MOST_CATCH_UP: Final = 5
"""Ticks that are made up for at once after a delay; time beyond that is lost, and counted."""


class RobotCore(Protocol):
    """A simulated robot without a socket and a clock; `table.TableCore` says what each method does."""

    counters: Counter[str]

    @property
    def time_ns(self) -> int: ...

    def reset(self, arguments: dict[str, str], /) -> dict[str, str]: ...

    def on_command(self, command: ArmCommand, /) -> bool: ...

    def tick(self) -> ArmState: ...

    def stop(self, reason: str, /) -> None: ...

    def recover(self) -> None: ...

    def say(self, words: str, /) -> None: ...

    def scene(self) -> dict[str, str]: ...

    def verdict(self) -> dict[str, str]: ...

    def status(self) -> dict[str, str]: ...


class CameraPublisher:
    """Publishes the newest frame of each camera under the camera's name as topic.

    Args:
        context: From `bus.sockets.open_context`.
        endpoint: Address to bind.
    """

    def __init__(self, context: ZmqContext, endpoint: str) -> None:
        self._publisher = LatestPublisher(context, endpoint, bind=True, setting="endpoints.robot.cameras")
        self.endpoint = self._publisher.endpoint

    def send(self, frame: CameraFrame) -> None:
        """Replace what is on its way from that camera. Never blocks."""
        self._publisher.send(frame, frame.camera.encode())


class Shutters:
    """Says which camera is due, at most one at a time, the most overdue first.

    Args:
        rates_hz: Frames per second of each camera.
    """

    def __init__(self, rates_hz: Mapping[str, float]) -> None:
        self._period_ns = {name: round(NS_PER_S / rate) for name, rate in rates_hz.items()}
        self._due_ns = dict.fromkeys(rates_hz, 0)

    def due(self, time_ns: int) -> str | None:
        """The camera to look through now, or None."""
        if not self._due_ns:
            return None
        name = min(self._due_ns, key=self._due_ns.__getitem__)
        if self._due_ns[name] > time_ns:
            return None
        following_ns = self._due_ns[name] + self._period_ns[name]
        # After a delay frames are left out: they would show the same instant twice.
        self._due_ns[name] = following_ns if following_ns > time_ns else time_ns + self._period_ns[name]
        return name


class RobotServer:
    """Answers the questions of the robot link.

    Args:
        core: What is asked about.
        spec: What robot it is.
        name: What it is called in refusals.
    """

    def __init__(self, core: RobotCore, spec: RobotSpec, name: str = "the simulated robot") -> None:
        self._core, self._spec, self._name = core, spec, name
        self._verbs: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
            "reset": self._reset,
            "status": self._status,
            "verdict": self._verdict,
            "instruction": self._instruction,
            "stop": self._stop,
            "recover": self._recover,
        }
        self.was_reset = False

    def on_hello(self, hello: Hello) -> Welcome | Reply:
        """Say what robot this is."""
        return answer_hello(hello, "robot", None, spec_details(self._spec) | {PROCESS_ID: str(os.getpid())})

    def on_request(self, request: Request) -> Reply:
        """Carry out a request.

        Raises:
            InstructionError: It is unknown, or its arguments are wrong.
        """
        if request.verb not in self._verbs:
            known = ", ".join(self._verbs)
            raise InstructionError(f"{self._name} knows no {request.verb!r}; there are {known}")
        values = self._verbs[request.verb](request.arguments)
        return Reply(ok=True, values={name: clip_text(text) for name, text in values.items()})

    def _reset(self, arguments: dict[str, str]) -> dict[str, str]:
        self.was_reset = True
        return self._core.reset(arguments)

    def _status(self, _: dict[str, str]) -> dict[str, str]:
        return self._core.status()

    def _verdict(self, _: dict[str, str]) -> dict[str, str]:
        verdict = self._core.verdict()
        return verdict | {"verdict": verdict["verdict"] or "running"}

    def _instruction(self, arguments: dict[str, str]) -> dict[str, str]:
        if words := arguments.get("text", ""):
            self._core.say(words)
        return {"instruction": self._core.scene()["instruction"]}

    def _stop(self, arguments: dict[str, str]) -> dict[str, str]:
        self._core.stop(arguments.get("reason", ""))
        return {}

    def _recover(self, _: dict[str, str]) -> dict[str, str]:
        self._core.recover()
        return {}


class _End:
    """Notes that a signal has asked for the end."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True


class RobotLoop:
    """Runs a core on the robot link in real time, one tick after the other.

    Signals are heard from the moment that it is made.

    Args:
        context: From `bus.sockets.open_context`.
        config: The whole system.
        tick_ns: Duration of a tick.

    Raises:
        BusError: An address is taken or cannot be used.
    """

    def __init__(self, context: ZmqContext, config: SystemConfig, tick_ns: int) -> None:
        self._end = _End()
        self._clock, self._tick_ns = WallClock(), tick_ns
        ends = config.endpoints.robot
        self._service = ServiceServer(context, ends.service, setting="endpoints.robot.service")
        self._service.reserve("control")
        self._states = LatestPublisher(context, ends.state, bind=True, setting="endpoints.robot.state")
        self._commands = LatestSubscriber(
            context, ends.command, bind=True, setting="endpoints.robot.command", types=(ArmCommand,)
        )

    def run(self, core: RobotCore, server: RobotServer, after: Callable[[], None]) -> None:
        """Run until SIGINT or SIGTERM.

        Args:
            core: The robot.
            server: Answers questions about it.
            after: Called in every tick, once the reading has gone out.
        """
        pacer = Pacer(self._clock, self._tick_ns)
        while not self._end.asked:
            missed = pacer.wait().missed
            core.counters["missed"] += missed
            core.counters["lost"] += max(0, missed - MOST_CATCH_UP)
            command = self._commands.receive()
            if command is not None:
                core.on_command(command)
            for _ in range(min(missed, MOST_CATCH_UP)):
                core.tick()
            self._states.send(core.tick())
            after()
            self._service.serve(server.on_hello, server.on_request)
            if server.was_reset:
                # Building a scene takes many ticks; none of them is to be made up for.
                server.was_reset, pacer = False, Pacer(self._clock, self._tick_ns)
