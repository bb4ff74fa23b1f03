"""Driver of Universal Robots' e-Series and CB3 arms, on `ur-rtde` (https://sdurobotics.gitlab.io/ur_rtde/).

That library uploads a program to the controller, which follows `servoJ` set-points from RTDE registers. The
controller's own watchdog on these registers ends the program when this process is gone; inside the process a
thread of the driver sends the set-points, because a call may wait for the controller.

The library reconnects by itself when its control connection breaks, uploads the program again, and repeats
the call that failed. The driver does not go on after that: a program that has ended once, for whatever
reason, is a protective stop until somebody connects anew.
"""

from __future__ import annotations

import logging
import re
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from dualsys.clock import nanoseconds, seconds
from dualsys.errors import MissingExtraError, RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.contract import ArmReading, ArmStatus, RobotSpec
from dualsys.robots.options import number_option, text_option
from dualsys.robots.profiles import UR5E
from dualsys.robots.registry import RobotDriver, RobotSettings
from dualsys.robots.setpoint_sender import SenderCalls, SetpointSender

EXTRA: Final = "ur"

DASHBOARD_PORT: Final = 29999
SCRIPT_PORT: Final = 30003
RTDE_PORT: Final = 30004

LOOKAHEAD_S: Final = (0.03, 0.2)
GAIN: Final = (100.0, 2000.0)
"""Ranges of `servoj` in the URScript manual."""

STOP_M_S2: Final = 10.0
"""Deceleration of the tool point after `stop`: the default of `servoStop`."""

VARIABLES: Final = ("timestamp", "actual_q", "actual_qd", "runtime_state", "safety_status_bits")
PLAYING: Final = 2
"""Value of runtime_state while a program runs."""

NORMAL_BITS: Final = 0b11
"""Bits of safety_status_bits in which the arm may move: normal mode and reduced mode."""

EMERGENCY_BITS: Final = 0b1110_0000
"""Emergency stop of the system, of the robot, of either."""

WAIT_NS: Final = 10_000_000
"""Between two looks whether the program runs."""

CLOSE_S: Final = 5.0
"""Longest wait for the library to let go; each of its two connections takes half a second."""

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


def safety_status(bits: int) -> ArmStatus:
    """What `safety_status_bits` of RTDE mean for the arm."""
    if bits & EMERGENCY_BITS:
        return "emergency_stop"
    return "ok" if not bits & ~NORMAL_BITS else "protective_stop"


class UrRobot:
    """A UR5e.

    Options: `host`, its address; `rate_hz` (250; e-Series at most 500, CB3 at most 125), set-points per
    second, whose period is also the time of each `servoj` (readings come at the rate of the controller);
    `lookahead_s` (0.1) and `gain` (300) of `servoj`; `watchdog_hz` (5): the controller ends the program when
    nothing comes for a period of that rate.

    Args:
        settings: Where it is.

    Raises:
        RobotError: An option is unknown.
        ConfigError: An option is wrong.
        MissingExtraError: The library is not installed.
    """

    def __init__(self, settings: RobotSettings) -> None:
        settings.require_options("host", "rate_hz", "lookahead_s", "gain", "watchdog_hz")
        self._settings = settings
        self._host = text_option(settings, "ur", "host")
        self._rate_hz = number_option(settings, "ur", "rate_hz", 250.0, 10.0, 500.0)
        self._lookahead_s = number_option(settings, "ur", "lookahead_s", 0.1, *LOOKAHEAD_S)
        self._gain = number_option(settings, "ur", "gain", 300.0, *GAIN)
        # A stop at full speed takes the library 0.1 s, in which nothing feeds the watchdog.
        self._watchdog_hz = number_option(settings, "ur", "watchdog_hz", 5.0, 3.0, 8.0)
        self.spec = RobotSpec(UR5E.name, UR5E.axes, UR5E.limits, self._rate_hz)
        try:
            import dashboard_client
            import rtde_control
            import rtde_receive
        except ImportError as error:
            raise MissingExtraError("ur-rtde", EXTRA, "robot.driver 'ur'") from error
        self._dashboards = dashboard_client.DashboardClient
        self._receives = rtde_receive.RTDEReceiveInterface
        self._controls = rtde_control.RTDEControlInterface
        self._receive: Any = None
        self._control: Any = None
        self._sender: SetpointSender | None = None
        self._closing: list[threading.Thread] = []
        self._reset()

    def _reset(self) -> None:
        self._timestamp_s = -1.0
        self._reading: ArmReading | None = None
        self._ended = ""

    @property
    def fault(self) -> str:
        """Why the arm stands still until it is connected anew; empty if it does not."""
        return self._ended

    def connect(self) -> None:
        """Look whether it may be moved, upload the program, and wait for the first reading.

        The library holds the whole process while it connects, and cannot be called back; so the driver looks
        first whether somebody answers who speaks RTDE.

        Raises:
            RobotError: Nobody answers, the controller is not in remote control, its motors are off, it has a
                safety stop, a program runs, another client has its registers, or it is connected already.
        """
        if self._sender is not None:
            raise RobotError("the arm is connected already: close it first")
        if any(thread.is_alive() for thread in self._closing):
            raise RobotError(f"{self._host}: the library still waits for the connection before to end")
        self._reset()
        deadline_ns = self._settings.clock.now_ns() + nanoseconds(self._settings.connect_timeout_s)
        self._require_answers(deadline_ns)
        self._require_ready()
        try:
            self._open_library()
            if not self._called("watchdog", lambda: self._control.setWatchdog(self._watchdog_hz)):
                raise self._refused("the watchdog of its registers could not be set", "look at its log")
            self._wait_for_program(deadline_ns)
            self._take()
        # Whatever it is, such as a library that trips, or a person who breaks off: nothing stays connected.
        except BaseException:
            self._let_go()
            raise
        calls = SenderCalls(self._servo, self._servo_stop, self._kick)
        self._sender = SetpointSender(self.spec, self._settings.clock, calls)
        self._sender.start()

    def _wait_for_program(self, deadline_ns: int) -> None:
        """Wait until the connection of readings, which is another one, shows the program as well."""
        clock = self._settings.clock
        while self._called("runtime_state", self._receive.getRuntimeState) != PLAYING:
            if clock.now_ns() > deadline_ns:
                raise self._refused("its program was uploaded but does not run", "look at its log")
            clock.sleep_until_ns(clock.now_ns() + WAIT_NS)

    def _open_library(self) -> None:
        """Both connections. The library's objects are kept: to destroy one holds the process for 0.5 s."""
        if self._receive is None:
            self._receive = self._called(
                "readings", lambda: self._receives(self._host, -1.0, list(VARIABLES))
            )
        else:
            self._called("readings", self._receive.reconnect)
        if self._called("runtime_state", self._receive.getRuntimeState) == PLAYING:
            raise self._refused("a program runs on it", "stop that program on the pendant")
        if self._control is None:
            self._control = self._called("control", lambda: self._controls(self._host))
        else:
            self._called("control", self._control.reconnect)

    def read(self) -> ArmReading:
        """The newest reading, stamped when it was first seen here.

        Raises:
            RobotError: The connection is lost, or the arm is not connected.
        """
        self._require_connected()
        if not self._receive.isConnected():
            raise RobotError(f"{self._host}: the connection of readings is lost; {self._remedy()}")
        self._take()
        if self._reading is None:
            raise RobotError(f"{self._host} has given no reading yet")
        return self._reading

    def write(self, command: FloatArray) -> None:
        """Have the set-point [A] sent, rad. An arm that reports a stop is sent nothing.

        Raises:
            RobotError: It is not one finite number for each axis, begins far from where the arm rests, or the
                arm is not connected.
        """
        sender = self._require_connected()
        command = self.spec.require_command(command)
        if self._reading is not None and self._judge() in ("ok", "watchdog"):
            sender.put(command, self._reading.position)

    def stop(self, reason: str) -> None:
        """Have `servoStop` sent: the arm brakes, and holds."""
        if self._sender is not None:
            _LOG.info("%s: stop: %s", self.spec.name, reason)
            self._sender.ask_rest()

    def close(self) -> None:
        """Stop, end the program, and let go of the connections."""
        if (sender := self._sender) is not None:
            sender.end()
            self._sender = None
            self._let_go()

    def _let_go(self) -> None:
        """Close both connections at once: the library sleeps half a second for each."""
        control, receive = self._control, self._receive

        def stop_program() -> None:
            # Without a connection the library would first make a new one.
            if receive.isConnected():
                control.stopScript()

        acts: list[list[Callable[[], Any]]] = []
        if control is not None:
            acts.append([stop_program, control.disconnect])
        if receive is not None:
            acts.append([receive.disconnect])
        # It also waits without end for the answer of a controller that has gone silent: not in this thread.
        self._closing = [
            threading.Thread(target=self._end_with, args=(one,), name=f"closing {self._host}", daemon=True)
            for one in acts
        ]
        for thread in self._closing:
            thread.start()
        for thread in self._closing:
            thread.join(CLOSE_S)

    def _end_with(self, acts: Sequence[Callable[[], Any]]) -> None:
        """Do each, whatever comes of the one before: what the library raises is logged."""
        for act in acts:
            try:
                self._called("closing", act)
            except RobotError as error:
                _LOG.warning("%s", error)

    def _require_answers(self, deadline_ns: int) -> None:
        for port in (DASHBOARD_PORT, SCRIPT_PORT, RTDE_PORT):
            left_s = seconds(deadline_ns - self._settings.clock.now_ns())
            try:
                if left_s <= 0:
                    raise TimeoutError("timed out")
                with socket.create_connection((self._host, port), left_s) as link:
                    if port == RTDE_PORT:
                        require_rtde(link)
            except OSError as error:
                remedy = "look at robot.options.host, cable and power, and that the controller has started"
                raise self._refused(f"port {port} does not answer ({error})", remedy) from error

    def _require_ready(self) -> None:
        """Ask the dashboard server whether the arm may be moved from here."""
        dashboard = self._dashboards(self._host)

        def ask(question: Callable[[], Any]) -> str:
            return str(self._called("dashboard", question))

        try:
            self._called("dashboard", dashboard.connect)
            version = re.match(r"(\d+)\.(\d+)", told := ask(dashboard.polyscopeVersion))
            if version is None:
                raise self._refused(f"its version is {told!r}", "this driver is for PolyScope 3 and 5")
            # CB3 controllers, and e-Series before 5.6, have no such switch, or do not tell.
            tells = (int(version[1]), int(version[2])) >= (5, 6)
            if tells and ask(dashboard.isInRemoteControl) != "True":
                raise self._refused("it is in local control", "switch the pendant to Remote Control")
            mode = ask(dashboard.robotmode)
            if not mode.upper().endswith("RUNNING"):
                raise self._refused(f"it is not powered ({mode})", "power it on and release its brakes")
            safety = ask(dashboard.safetystatus)
            if not safety.upper().endswith(("NORMAL", "REDUCED")):
                raise self._refused(f"its safety says {safety}", "find out why, then clear it on the pendant")
            model = ask(dashboard.getRobotModel)
            if model.upper() not in ("UR5", "UR5E"):
                raise self._refused(f"it is a {model}", f"this driver knows the limits of a {UR5E.name} only")
        finally:
            # It has answered, or something else is the matter: that it does not let go is neither.
            self._end_with([dashboard.disconnect])

    def _take(self) -> None:
        """Keep the newest reading."""
        receive = self._receive
        stamp_s = self._called("readings", receive.getTimestamp)
        status = self._judge()
        reading = self._reading
        if reading is not None and stamp_s == self._timestamp_s and status == reading.status:
            return
        now_ns = self._settings.clock.now_ns()
        t_ns = reading.t_ns if reading is not None and stamp_s == self._timestamp_s else now_ns
        position: FloatArray = np.array(self._called("readings", receive.getActualQ), dtype=np.float64)
        velocity: FloatArray = np.array(self._called("readings", receive.getActualQd), dtype=np.float64)
        self._timestamp_s = stamp_s
        self._reading = ArmReading(t_ns, position, velocity, status, self._ended)

    def _judge(self) -> ArmStatus:
        """What the arm says about itself. A program that has ended stays a protective stop."""
        bits = int(self._called("safety", self._receive.getSafetyStatusBits))
        status = safety_status(bits)
        if self._sender is not None and not self._ended:
            running = self._called("runtime_state", self._receive.getRuntimeState) == PLAYING
            if status != "ok":
                self._latch(f"safety_status_bits are {bits:#x}")
            elif not running:
                self._latch("its program has ended: its watchdog, or somebody at the pendant")
            elif self._sender.fault:
                self._latch(self._sender.fault)
        if status == "ok" and self._ended:
            return "protective_stop"
        if status == "ok" and self._sender is not None and self._sender.silent:
            return "watchdog"
        return status

    def _latch(self, why: str) -> None:
        self._ended = why
        _LOG.warning("%s: protective stop: %s; %s", self.spec.name, why, self._remedy())
        # Nobody feeds the watchdog any more: the controller ends the program, if it still runs.
        if self._sender is not None:
            self._sender.end(wait=False)

    def _servo(self, setpoint: FloatArray) -> None:
        step_s = 1.0 / self._rate_hz
        self._obeyed(
            "servoJ",
            lambda: self._control.servoJ(setpoint.tolist(), 0.0, 0.0, step_s, self._lookahead_s, self._gain),
        )

    def _servo_stop(self) -> None:
        self._obeyed("servoStop", lambda: self._control.servoStop(STOP_M_S2))

    def _kick(self) -> None:
        self._obeyed("kickWatchdog", self._control.kickWatchdog)

    def _obeyed(self, what: str, act: Callable[[], Any]) -> None:
        if not self._receive.isConnected():
            raise RobotError(f"{self._host}: the connection is lost")
        if not self._called(what, act):
            raise RobotError(f"{self._host} did not take {what}")

    def _called(self, what: str, act: Callable[[], _T]) -> _T:
        """Call the library, and turn what it raises into a RobotError."""
        try:
            return act()
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            raise self._refused(f"{what}: {error}", self._remedy()) from error

    def _refused(self, what: str, remedy: str) -> RobotError:
        return RobotError(f"{self.spec.name} at {self._host}: {what}; {remedy}")

    def _remedy(self) -> str:
        return "see the pendant, clear what it tells, and start control again"

    def _require_connected(self) -> SetpointSender:
        if self._sender is None:
            raise RobotError("the arm is not connected: call connect first")
        return self._sender


def require_rtde(link: socket.socket) -> None:
    """See that whoever answers speaks version 2 of RTDE (Universal Robots, RTDE guide).

    Raises:
        OSError: It does not, or says nothing in the time of the socket.
    """
    link.sendall(struct.pack(">HBH", 5, ord("V"), 2))
    answer = b""
    while len(answer) < 4:
        if not (some := link.recv(4 - len(answer))):
            raise ConnectionError("the connection was closed")
        answer += some
    if answer != struct.pack(">HBB", 4, ord("V"), 1):
        raise ConnectionError(f"it does not speak RTDE version 2: {answer.hex()}")


DRIVER: Final = RobotDriver(
    "a Universal Robots UR5e, over RTDE",
    open=UrRobot,
    library="rtde_control",
    install=f"pip install 'dualsys[{EXTRA}]'",
)
