"""The simulated Panda, reached as a real arm would be: over the robot link, in another process and clock.

The link is three addresses that the robot binds: readings (`ArmState`, latest value), commands (`ArmCommand`,
latest value), and questions (handshake). Whatever speaks it is a robot for this driver.
"""

from __future__ import annotations

import secrets
from typing import Final

import numpy as np

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.handshake import shake_hands
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import nanoseconds
from dualsys.errors import MismatchError, RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.messages import ArmCommand, ArmState
from dualsys.robots.contract import ArmReading, RobotSpec
from dualsys.robots.profiles import PANDA_JOINTS, SIMULATED_PANDA_LIMITS
from dualsys.robots.registry import RobotDriver, RobotSettings

SIMULATED_PANDA: Final = RobotSpec(
    name="simulated_panda",
    axes=(*PANDA_JOINTS, "gripper_opening"),
    limits=SIMULATED_PANDA_LIMITS,
    rate_hz=250.0,
)


class SimulatedRobot:
    """Driver of the robot link.

    Its `stop` is silence: the robot at the other end comes to rest by itself as soon as commands stay away,
    and does so as well when this process is gone.

    Args:
        settings: Where the robot is.
        spec: What it should be.
    """

    def __init__(self, settings: RobotSettings, spec: RobotSpec = SIMULATED_PANDA) -> None:
        self._settings = settings
        self._spec = spec
        self._context: ZmqContext | None = None
        self._client: ServiceClient | None = None
        self._states: LatestSubscriber[ArmState] | None = None
        self._commands: LatestPublisher | None = None
        self._reading: ArmReading | None = None
        self._seq = 0

    @property
    def spec(self) -> RobotSpec:
        """What the robot is."""
        return self._spec

    def connect(self) -> None:
        """Shake hands, and wait for the first reading.

        Raises:
            PeerTimeoutError: Nobody answers.
            MismatchError: It is another robot, or its axes are others.
        BusError: Another control has it.
            RobotError: It sends no readings.
        """
        settings = self._settings
        deadline_ns = settings.clock.now_ns() + nanoseconds(settings.connect_timeout_s)
        self._context = open_context(settings.protection)
        self._commands = LatestPublisher(
            self._context, settings.command_endpoint, bind=False, setting="endpoints.robot.command"
        )
        self._states = LatestSubscriber(
            self._context,
            settings.state_endpoint,
            bind=False,
            setting="endpoints.robot.state",
            types=(ArmState,),
        )
        # It stays open: the robot has one controller as long as this connection lives.
        self._client = ServiceClient(self._context, settings.service_endpoint, "the robot")
        ours = {"robot": self._spec.name, "axes": " ".join(self._spec.axes)}
        session = secrets.randbits(31) + 1
        welcome = shake_hands(self._client, "control", session, None, settings.connect_timeout_s, ours)
        theirs = welcome.details.get("robot", "")
        if theirs != self._spec.name:
            raise MismatchError(
                "robot", self._spec.name, theirs, "choose the driver that is made for that robot"
            )
        self._states.wait(deadline_ns - settings.clock.now_ns())
        if self._newest(self._states) is None:
            raise RobotError(
                f"the robot at {settings.service_endpoint} answers, but no reading came from "
                f"{settings.state_endpoint} within {settings.connect_timeout_s:g} s"
            )

    def read(self) -> ArmReading:
        """The newest reading, stamped when it was first seen here.

        Raises:
            RobotError: `connect` was not called, or failed.
        """
        reading = None if self._states is None else self._newest(self._states)
        if reading is None:
            raise RobotError("the robot was read before it was connected")
        return reading

    def wait_cycle(self, deadline_ns: int) -> bool:
        """Wait for the next reading, which the robot sends once per cycle; see `pacing.PacingDevice`.

        Raises:
            RobotError: `connect` was not called.
        """
        if self._states is None:
            raise RobotError("the robot was waited for before it was connected")
        arrived = self._states.wait(deadline_ns - self._settings.clock.now_ns())
        if arrived:
            self._newest(self._states)
        return arrived

    def write(self, command: FloatArray) -> None:
        """Send the set-point [A] of this tick.

        Raises:
            RobotError: `connect` was not called.
        """
        if self._commands is None:
            raise RobotError("the robot was commanded before it was connected")
        self._commands.send(ArmCommand(seq=self._seq, position=tuple(command.tolist())))
        self._seq += 1

    def stop(self, reason: str) -> None:
        """Do nothing: without commands the robot comes to rest by itself."""

    def close(self) -> None:
        """Disconnect."""
        if self._context is not None:
            close_context(self._context)
        self._context = self._client = self._states = self._commands = self._reading = None

    def _newest(self, states: LatestSubscriber[ArmState]) -> ArmReading | None:
        state = states.receive()
        if state is not None:
            self._reading = ArmReading(
                self._settings.clock.now_ns(),
                np.array(state.position, dtype=np.float64),
                np.array(state.velocity, dtype=np.float64),
                state.status,
            )
        return self._reading


DRIVER: Final = RobotDriver(
    "a Franka Panda at a table, in a process of its own", open=SimulatedRobot, simulated=True
)
