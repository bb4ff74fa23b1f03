"""Driver of UFACTORY's xArm 6 and 7, on the maker's own `xarm-python-sdk`.

Set-points go out in servo mode (mode 1), in which the controller executes the newest one at once and keeps
none: an arm that is sent nothing comes to rest at the last one. Each call of the SDK waits for the answer of
the controller, so that a thread of the driver makes them, and reads the joints in between.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from dualsys.clock import nanoseconds, period_ns
from dualsys.errors import MissingExtraError, RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.contract import ArmReading, ArmStatus, RobotSpec
from dualsys.robots.options import choice_option, number_option, text_option
from dualsys.robots.profiles import XARM6, XARM7
from dualsys.robots.registry import RobotDriver, RobotSettings
from dualsys.robots.setpoint_sender import Mailbox, SenderCalls, SetpointSender

EXTRA: Final = "xarm"

CONTROL_PORT: Final = 502

MODELS: Final = {"xarm6": (XARM6, 6), "xarm7": (XARM7, 7)}
"""Limits and number of joints, by the option `model`."""

OTHER_ARMS: Final = (8, 9, 11, 12)
"""`device_type` of arms with six joints that are no xArm 6, such as the Lite 6 (9) and the 850 (12)."""

SERVO_MODE: Final = 1
READY: Final = 0
STOP: Final = 4
STANDING: Final = (4, 5)
"""States in which the arm takes no set-points: stopped, and stopped by a change of the system."""

EMERGENCY_ERRORS: Final = (1, 2, 3)
"""Error codes of the emergency stop: its button, its input, the three-state switch."""

LOST_CODES: Final = (-1, 3, 4, 5, 6, 7, 8)
"""Codes of the SDK: not connected, no answer in time, an answer that does not fit, not sent."""

ANSWER_S: Final = 0.5
"""Longest wait for an answer."""

JUDGE_EVERY: Final = 5
"""State and error code are asked for with every fifth reading; a set-point that is refused tells at once."""

_LOG = logging.getLogger(__name__)


class XarmRobot:
    """An xArm, without a gripper.

    Options: `host`, its IP address; `model`, `xarm6` or `xarm7`; `rate_hz` (250), readings per second.

    Args:
        settings: Where it is.

    Raises:
        RobotError: An option is unknown.
        ConfigError: An option is wrong.
        MissingExtraError: The SDK is not installed.
    """

    def __init__(self, settings: RobotSettings) -> None:
        settings.require_options("host", "model", "rate_hz")
        self._settings = settings
        self._host = text_option(settings, "xarm", "host")
        profile, self._joints = MODELS[choice_option(settings, "xarm", "model", tuple(MODELS))]
        rate_hz = number_option(settings, "xarm", "rate_hz", profile.rate_hz, 10.0, profile.rate_hz)
        self.spec = RobotSpec(profile.name, profile.axes, profile.limits, rate_hz)
        try:
            from xarm.wrapper import XArmAPI
        except ImportError as error:
            raise MissingExtraError("xarm-python-sdk", EXTRA, "robot.driver 'xarm'") from error
        self._make = XArmAPI
        self._api: Any = None
        self._sender: SetpointSender | None = None
        self._reset()

    def _reset(self) -> None:
        self._reading: ArmReading | None = None
        self._status: ArmStatus = "ok"
        self._fault = ""
        self._error = 0
        self._polls = 0

    @property
    def fault(self) -> str:
        """Why the arm stands still until it is connected anew; empty if it does not."""
        return self._fault

    def connect(self) -> None:
        """Reach the controller, see that the arm has no error, and switch it to servo mode.

        The motors are enabled, and hold. An error is never cleared from here.

        Raises:
            RobotError: Nobody answers, the arm is of another model, has an error, or does not get ready; or
                it is connected already.
        """
        if self._sender is not None:
            raise RobotError("the arm is connected already: close it first")
        self._reset()
        deadline_ns = self._settings.clock.now_ns() + nanoseconds(self._settings.connect_timeout_s)
        self._require_answer()
        try:
            with undisturbed_sockets():
                # Its reports tell the mode, which can be had in no other way.
                self._api = self._make(
                    self._host, is_radian=True, report_type="normal", forbid_uds=True, do_not_open=True
                )
                self._open()
            self._require_model()
            self._get_ready(deadline_ns)
            self._poll()
        # Whatever it is, such as an SDK that trips, or a person who breaks off: the connection is not kept.
        except BaseException:
            self._disconnect()
            raise
        mailbox = Mailbox(beat_ns=period_ns(self.spec.rate_hz))
        calls = SenderCalls(self._servo, self._hold, self._poll)
        self._sender = SetpointSender(self.spec, self._settings.clock, calls, mailbox)
        self._sender.start()

    def read(self) -> ArmReading:
        """The newest reading, stamped when the answer of the controller came.

        Raises:
            RobotError: The connection is lost, or the arm is not connected.
        """
        sender = self._require_connected()
        if sender.fault:
            raise RobotError(sender.fault)
        if (reading := self._reading) is None:
            raise RobotError(f"{self._host} has given no reading yet")
        return reading

    def write(self, command: FloatArray) -> None:
        """Have the set-point [A] sent, rad. An arm that reports a stop is sent nothing.

        Raises:
            RobotError: It is not one finite number for each axis, begins far from where the arm rests, or the
                arm is not connected.
        """
        sender = self._require_connected()
        command = self.spec.require_command(command)
        if not self._fault and self._reading is not None:
            sender.put(command, self._reading.position)

    def stop(self, reason: str) -> None:
        """Send nothing more: the arm comes to rest at the last set-point, until the next."""
        if self._sender is not None:
            _LOG.info("%s: stop: %s", self.spec.name, reason)
            self._sender.ask_rest()

    def close(self) -> None:
        """Stop the arm (state 4), and disconnect. Its motors stay enabled, and hold."""
        if (sender := self._sender) is None:
            return
        sender.end()
        self._sender = None
        if not sender.fault and self._api.set_state(STOP) != 0:
            _LOG.warning("%s at %s could not be told to stop", self.spec.name, self._host)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._api is not None:
            self._api.disconnect()
            self._api = None

    def _require_answer(self) -> None:
        try:
            socket.create_connection((self._host, CONTROL_PORT), self._settings.connect_timeout_s).close()
        except OSError as error:
            remedy = "look at robot.options.host, cable and power, and that the controller has started"
            raise self._refused(f"port {CONTROL_PORT} does not answer ({error})", remedy) from error

    def _open(self) -> None:
        try:
            self._api.connect()
        # The SDK raises nothing more special.
        except Exception as error:
            raise self._refused(f"the SDK cannot connect ({error})", "look at the controller") from error
        self._api.set_timeout(ANSWER_S)

    def _require_model(self) -> None:
        axes, kind = self._api.axis, self._api.device_type
        if axes != self._joints or kind in OTHER_ARMS:
            raise self._refused(
                f"it has {axes} joints and the type {kind}, expected {self._joints} joints",
                f"choose the option `model` among {', '.join(MODELS)}; others have other limits",
            )

    def _get_ready(self, deadline_ns: int) -> None:
        """Enable the motors, and switch to servo mode."""
        self._judge()
        if self._status != "ok" and self._error:
            raise self._refused(f"it has {self._fault}", "find out why, and clear it in UFACTORY Studio")
        acts: dict[str, Callable[[], Any]] = {
            "motion_enable": lambda: self._api.motion_enable(True),
            "set_mode(1)": lambda: self._api.set_mode(SERVO_MODE),
            "set_state(0)": lambda: self._api.set_state(READY),
        }
        for name, act in acts.items():
            if (code := act()) != 0:
                raise self._refused(f"{name} gave code {code}", "look at UFACTORY Studio")
        clock = self._settings.clock
        while True:
            self._reset()
            self._judge()
            if self._status == "ok" and self._api.mode == SERVO_MODE:
                return
            if clock.now_ns() > deadline_ns:
                told = f"mode {self._api.mode}, {self._fault or 'no fault'}"
                raise self._refused(f"it does not get ready: {told}", "look at UFACTORY Studio")
            clock.sleep_until_ns(clock.now_ns() + nanoseconds(0.02))

    def _servo(self, setpoint: FloatArray) -> None:
        code = self._api.set_servo_angle_j(setpoint.tolist(), is_radian=True)
        if code != 0:
            if code in LOST_CODES:
                raise self._unanswered("set_servo_angle_j", code)
            self._judge()
            if self._status == "ok":
                self._latch(f"a set-point was refused with code {code}", "protective_stop")
        self._poll()

    def _hold(self) -> None:
        """In servo mode there is nothing to be told: the arm rests at the last set-point."""
        self._poll()

    def _poll(self) -> None:
        """Read the joints, and now and then the state."""
        joints = self._told("get_joint_states", self._api.get_joint_states(is_radian=True, num=2))
        t_ns = self._settings.clock.now_ns()
        if self._polls % JUDGE_EVERY == 0:
            self._judge()
        self._polls += 1
        position: FloatArray = np.array(joints[0][: self._joints], dtype=np.float64)
        velocity: FloatArray = np.array(joints[1][: self._joints], dtype=np.float64)
        status = self._status
        if status == "ok" and self._sender is not None and self._sender.silent:
            status = "watchdog"
        self._reading = ArmReading(t_ns, position, velocity, status, self._fault)

    def _judge(self) -> None:
        """Ask for error code and state. A stop stays one until somebody connects anew."""
        error, _ = self._told("get_err_warn_code", self._api.get_err_warn_code())
        state = self._told("get_state", self._api.get_state())
        self._error = int(error)
        if error in EMERGENCY_ERRORS:
            self._latch(f"error {error}, an emergency stop", "emergency_stop")
        elif error:
            self._latch(f"error {error}", "protective_stop")
        elif state in STANDING:
            self._latch(f"state {state}: it was stopped", "protective_stop")
        elif self._sender is not None and self._api.mode != SERVO_MODE:
            self._latch(f"mode {self._api.mode}: somebody changed it", "protective_stop")

    def _latch(self, why: str, status: ArmStatus) -> None:
        if self._sender is not None and self._status == "ok":
            _LOG.warning(
                "%s: %s: %s; clear it in UFACTORY Studio, and start control again",
                self.spec.name,
                status,
                why,
            )
        if self._status != "emergency_stop":
            self._status, self._fault = status, why

    def _told(self, what: str, answer: tuple[int, Any]) -> Any:
        """What the SDK gives of a question; with any code but 0, zeros or words stand in its place."""
        code, told = answer
        if code != 0:
            raise self._unanswered(what, code)
        return told

    def _unanswered(self, what: str, code: int) -> RobotError:
        return self._refused(f"no answer to {what} (code {code})", "look at cable and controller")

    def _refused(self, what: str, remedy: str) -> RobotError:
        return RobotError(f"{self.spec.name} at {self._host}: {what}; {remedy}")

    def _require_connected(self) -> SetpointSender:
        if self._sender is None:
            raise RobotError("the arm is not connected: call connect first")
        return self._sender


@contextmanager
def undisturbed_sockets() -> Iterator[None]:
    """Put back the time-out of new sockets, which the SDK sets for the whole process."""
    before = socket.getdefaulttimeout()
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


DRIVER: Final = RobotDriver(
    "a UFACTORY xArm 6 or 7, in servo mode",
    open=XarmRobot,
    library="xarm",
    install=f"pip install 'dualsys[{EXTRA}]'",
)
