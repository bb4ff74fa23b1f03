"""The simulated robot as a process: its own physics, its own clock, the robot link, two cameras, and a judge.

Physics, judge and cameras share one thread. An image takes a fraction of a tick (about 2.5 ms for the fixed
camera and 1.5 ms for the wrist on one core of a small machine; a physics tick takes 0.1 ms), so at most one
is drawn per tick, after the reading has gone out. A second process with a copy of the scene would take a core
away from inference and show poses that are older than the readings.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Final

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.handshake import answer_hello
from dualsys.bus.service import ServiceServer
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import NS_PER_MS, NS_PER_S, Pacer, WallClock
from dualsys.errors import InstructionError
from dualsys.messages import ArmCommand, CameraFrame, Hello, Reply, Request, Welcome, clip_text
from dualsys.robots.link import spec_details
from dualsys.robots.simulated import SIMULATED_PANDA
from dualsys_sim.table import TICK_NS, TableCore
from dualsys_sim.world import World

if TYPE_CHECKING:
    from dualsys.config import SystemConfig

MOST_CATCH_UP: Final = 5
"""Ticks that are made up for at once after a delay; time beyond that is lost, and counted."""


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

    def __init__(self, rates_hz: dict[str, float]) -> None:
        self._period_ns = {name: round(NS_PER_S / rate) for name, rate in rates_hz.items()}
        self._due_ns = dict.fromkeys(rates_hz, 0)

    def due(self, time_ns: int) -> str | None:
        """The camera to look through now, or None."""
        name = min(self._due_ns, key=self._due_ns.__getitem__)
        if self._due_ns[name] > time_ns:
            return None
        following_ns = self._due_ns[name] + self._period_ns[name]
        # After a delay frames are left out: they would show the same instant twice.
        self._due_ns[name] = following_ns if following_ns > time_ns else time_ns + self._period_ns[name]
        return name


class TableServer:
    """Answers the questions of the robot link.

    Args:
        core: What is asked about.
    """

    def __init__(self, core: TableCore) -> None:
        self._core = core
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
        return answer_hello(hello, "robot", None, spec_details(SIMULATED_PANDA))

    def on_request(self, request: Request) -> Reply:
        """Carry out a request.

        Raises:
            InstructionError: It is unknown, or its arguments are wrong.
        """
        if request.verb not in self._verbs:
            known = ", ".join(self._verbs)
            raise InstructionError(f"the simulated robot knows no {request.verb!r}; there are {known}")
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


def serve(config: SystemConfig) -> None:
    """Run the simulated robot in real time until SIGINT or SIGTERM.

    Args:
        config: The whole system.

    Raises:
        BusError: An address is taken or cannot be used.
    """
    ends, sim = config.endpoints.robot, config.sim
    end = _End()
    clock = WallClock()
    context = open_context(config.protection())
    try:
        service = ServiceServer(context, ends.service, setting="endpoints.robot.service")
        service.reserve("control")
        states = LatestPublisher(context, ends.state, bind=True, setting="endpoints.robot.state")
        cameras = CameraPublisher(context, ends.cameras)
        commands = LatestSubscriber(
            context, ends.command, bind=True, setting="endpoints.robot.command", types=(ArmCommand,)
        )
        with World(gui=sim.gui) as world:
            core = TableCore(world, round(sim.watchdog_ms * NS_PER_MS))
            server = TableServer(core)
            shutters = Shutters({"fixed": sim.camera_fixed_hz, "wrist": sim.camera_wrist_hz})
            pacer = Pacer(clock, TICK_NS)
            while not end.asked:
                missed = pacer.wait().missed
                core.counters["missed"] += missed
                core.counters["lost"] += max(0, missed - MOST_CATCH_UP)
                command = commands.receive()
                if command is not None:
                    core.on_command(command)
                for _ in range(min(missed, MOST_CATCH_UP)):
                    core.tick()
                states.send(core.tick())
                camera = shutters.due(core.time_ns)
                if camera is not None:
                    cameras.send(core.look(camera))
                service.serve(server.on_hello, server.on_request)
                if server.was_reset:
                    # Building a scene takes many ticks; none of them is to be made up for.
                    server.was_reset, pacer = False, Pacer(clock, TICK_NS)
    finally:
        close_context(context)
