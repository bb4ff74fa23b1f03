"""The robot link: a robot in another process, in any language, reached over ZeroMQ; see docs/robot-link.md.

Three addresses that the robot binds: readings (`ArmState`, latest value), commands (`ArmCommand`, latest
value), and questions (handshake and requests). The robot tells in the handshake what it is.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

import numpy as np

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.handshake import shake_hands
from dualsys.bus.service import ServiceClient
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.clock import nanoseconds
from dualsys.errors import DualsysError, MismatchError, RobotError, SpecError
from dualsys.fast.control.limits import FloatArray, Limits
from dualsys.messages import ArmCommand, ArmState
from dualsys.robots.contract import ArmReading, RobotSpec
from dualsys.robots.registry import RobotDriver, RobotSettings
from dualsys.robots.tabletop import geometry_of

LINK_VERSION: Final = "1"
"""Raised whenever a robot that spoke the link before would be misunderstood."""

_TICKS_PER_LOOK: Final = 256
"""Commands after which what the robot has sent unasked is dropped: it looks for who controls it that way."""

_VECTORS: Final = ("lower", "upper", "velocity", "acceleration", "jerk")


def spec_details(spec: RobotSpec) -> dict[str, str]:
    """What a robot tells about itself in its welcome: numbers as decimal text, blanks between them."""
    limits = spec.limits
    return {
        "link": LINK_VERSION,
        "robot": spec.name,
        "axes": " ".join(spec.axes),
        "joints": str(limits.joints),
        "rate_hz": repr(spec.rate_hz),
        "rest_s": repr(spec.rest_s),
        **{name: " ".join(map(repr, getattr(limits, name).tolist())) for name in _VECTORS},
    }


def spec_from(details: Mapping[str, str]) -> RobotSpec:
    """What a robot is, from its welcome. `jerk` and `rest_s` may be missing.

    Raises:
        RobotError: Something is missing, or makes no sense.
    """
    needed = {"link", "robot", "axes", "joints", "rate_hz", *_VECTORS} - {"jerk"}
    if missing := sorted(needed - details.keys()):
        raise RobotError(
            f"robot link: the robot does not tell its {', '.join(missing)}: docs/robot-link.md lists what a "
            "welcome must tell"
        )
    if details["link"] != LINK_VERSION:
        raise MismatchError("link", LINK_VERSION, details["link"], "use releases of the robot link that fit")
    axes = tuple(details["axes"].split())
    vectors = {name: _numbers(details, name) for name in _VECTORS if name in details}
    try:
        limits = Limits(**vectors, joints=_whole(details, "joints"))
        rest_s = _numbers(details, "rest_s")[0] if "rest_s" in details else 0.5
        return RobotSpec(
            details["robot"], axes, limits, float(_numbers(details, "rate_hz")[0]), float(rest_s)
        )
    except SpecError as error:
        raise RobotError(f"robot link: what the robot tells about itself makes no sense: {error}") from error


def _numbers(details: Mapping[str, str], name: str) -> FloatArray:
    try:
        numbers = np.array([float(word) for word in details[name].split()])
    except ValueError as error:
        raise RobotError(f"robot link: {name}: expected numbers, got {details[name]!r}") from error
    if not numbers.size:
        raise RobotError(f"robot link: {name}: expected numbers, got none")
    return numbers


def _whole(details: Mapping[str, str], name: str) -> int:
    text = details[name]
    if not (text.isascii() and text.isdigit()):
        raise RobotError(f"robot link: {name}: expected a whole number, got {text!r}")
    return int(text)


class LinkRobot:
    """Driver of the robot link.

    Its `stop` is silence: the robot at the other end comes to rest by itself as soon as commands stay away,
    and does so as well when this process is gone.

    Args:
        settings: Where the robot is. The option `robot` names the only one that will do, the option `arm`
            the arm of `robots.tabletop` that the planner takes it for.
        expected: What it should be; None to believe the robot.
        options: The options that there are; None if the caller has checked them.

    Raises:
        RobotError: An option is unknown.
    """

    def __init__(
        self,
        settings: RobotSettings,
        expected: RobotSpec | None = None,
        options: tuple[str, ...] | None = ("robot", "arm"),
    ) -> None:
        if options is not None:
            settings.require_options(*options)
        self._settings = settings
        self._expected = expected
        self._spec = expected
        self._context: ZmqContext | None = None
        self._client: ServiceClient | None = None
        self._states: LatestSubscriber[ArmState] | None = None
        self._commands: LatestPublisher | None = None
        self._reading: ArmReading | None = None
        self._seq = 0

    @property
    def spec(self) -> RobotSpec:
        """What the robot is.

        Raises:
            RobotError: Only the robot knows, and it was not asked yet.
        """
        if self._spec is None:
            raise RobotError("the robot tells what it is when it is connected, and it was not connected yet")
        return self._spec

    def connect(self) -> None:
        """Shake hands, and wait for the first reading.

        Raises:
            PeerTimeoutError: Nobody answers.
            MismatchError: It is another robot, or its axes are others.
            BusError: Another control has it.
            RobotError: It sends no readings, tells nonsense about itself, or is connected already.
        """
        if self._context is not None:
            raise RobotError("the robot is connected already: close it first")
        try:
            self._connect(self._settings)
        except DualsysError:
            self.close()
            raise

    def _connect(self, settings: RobotSettings) -> None:
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
        session, timeout_s = secrets.randbits(31) + 1, settings.connect_timeout_s
        welcome = shake_hands(self._client, "control", session, None, timeout_s, self._ours())
        if self._expected is None:
            self._spec = spec_from(welcome.details)
        wanted = self._ours().get("robot")
        theirs = welcome.details.get("robot", "")
        if wanted is not None and theirs != wanted:
            raise MismatchError("robot", wanted, theirs, "choose the driver that is made for that robot")
        if self._taken(self._states.receive_within(deadline_ns - settings.clock.now_ns())) is None:
            raise RobotError(
                f"the robot at {settings.service_endpoint} answers, but no reading came from "
                f"{settings.state_endpoint} within {settings.connect_timeout_s:g} s"
            )

    def read(self) -> ArmReading:
        """The newest reading, stamped when it was first seen here.

        Raises:
            RobotError: `connect` was not called, or failed.
        """
        reading = None if self._states is None else self._taken(self._states.receive())
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
        state = self._states.receive_within(deadline_ns - self._settings.clock.now_ns())
        self._taken(state)
        return state is not None

    def write(self, command: FloatArray) -> None:
        """Send the set-point [A] of this tick.

        Raises:
            RobotError: It is not one finite number for each axis, or `connect` was not called.
        """
        if self._commands is None:
            raise RobotError("the robot was commanded before it was connected")
        position = self.spec.require_command(command)
        self._commands.send(ArmCommand(seq=self._seq, position=tuple(position.tolist())))
        self._seq += 1
        if self._client is not None and self._seq % _TICKS_PER_LOOK == 0:
            self._client.heard()

    def stop(self, reason: str) -> None:
        """Do nothing: without commands the robot comes to rest by itself."""

    def close(self) -> None:
        """Disconnect."""
        if self._context is not None:
            close_context(self._context)
        self._context = self._client = self._states = self._commands = self._reading = None

    def _ours(self) -> dict[str, str]:
        """What both sides must agree about."""
        ours = {"link": LINK_VERSION}
        if self._expected is not None:
            ours |= {"robot": self._expected.name, "axes": " ".join(self._expected.axes)}
        if (wanted := self._settings.options.get("robot")) is not None:
            ours["robot"] = str(wanted)
        return ours

    def _taken(self, state: ArmState | None) -> ArmReading | None:
        """The newest reading, once what has come was taken in, if anything has."""
        if state is not None:
            self._reading = ArmReading(
                self._settings.clock.now_ns(),
                np.array(state.position),
                np.array(state.velocity),
                state.status,
                state.detail,
            )
        return self._reading


DRIVER: Final = RobotDriver(
    "whatever speaks the robot link, such as a controller in C++", open=LinkRobot, geometry=geometry_of
)
