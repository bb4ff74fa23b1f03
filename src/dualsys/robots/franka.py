"""Driver of the Franka Emika Panda (FER) and of the Franka Research 3, on `panda-python`.

The loop of 1 kHz is the library's own: a thread in C++ that holds the joints at the newest set-point, with
the stiffness of its `JointPosition` controller. Set-points go in below it, and never wait. An arm that gets
nothing comes to rest at the last one; when this process is gone, it misses its packets and stops itself.

The library recovers from errors by itself whenever it starts a controller. So the driver starts one only on
an arm that has no error, and only when it connects. Nobody has tried it on an arm.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np

from dualsys.errors import DualsysError, MissingExtraError, RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.contract import ArmReading, ArmStatus, RobotSpec
from dualsys.robots.options import choice_option, number_option, text_option
from dualsys.robots.profiles import FER, FR3
from dualsys.robots.registry import RobotDriver, RobotSettings
from dualsys.robots.setpoint_sender import SILENCE_NS, require_near

EXTRA: Final = "franka"

COMMAND_PORT: Final = 1337
"""Where the arm answers libfranka."""

MODELS: Final = {"panda": FER, "fr3": FR3}
FER_JOINT6_RAD: Final = 3.7525
"""Upper limit of joint 6 of the FER; that of the FR3 is higher, which tells the two apart."""

READY_MODE: Final = "kIdle"
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class FrankaRobot:
    """A Panda or FR3, without its hand.

    Options: `host`, its address; `model`, `panda` or `fr3`; `rate_hz` (250, at most 1000), set-points per
    second; `filter` (0.1), the part of the way to a set-point that the controller goes in each millisecond;
    `realtime` (`enforce`), or `ignore` for a kernel without real time.

    Args:
        settings: Where it is.

    Raises:
        RobotError: An option is unknown.
        ConfigError: An option is wrong.
        MissingExtraError: The library is not installed.
    """

    def __init__(self, settings: RobotSettings) -> None:
        settings.require_options("host", "model", "rate_hz", "filter", "realtime")
        self._settings = settings
        self._host = text_option(settings, "franka", "host")
        self._model = choice_option(settings, "franka", "model", tuple(MODELS))
        self._filter = number_option(settings, "franka", "filter", 0.1, 0.001, 1.0)
        realtime = choice_option(settings, "franka", "realtime", ("enforce", "ignore"), "enforce")
        rate_hz = number_option(settings, "franka", "rate_hz", 250.0, 10.0, 1000.0)
        profile = MODELS[self._model]
        self.spec = RobotSpec(profile.name, profile.axes, profile.limits, rate_hz)
        try:
            import panda_py
            from panda_py import controllers, libfranka
        except ImportError as error:
            raise MissingExtraError("panda-python", EXTRA, "robot.driver 'franka'") from error
        self._pandas = panda_py.Panda
        self._controllers = controllers.JointPosition
        modes = libfranka.RealtimeConfig
        self._realtime = modes.kEnforce if realtime == "enforce" else modes.kIgnore
        self._panda: Any = None
        self._controller: Any = None
        self._reset()

    def _reset(self) -> None:
        self._time_s = -1.0
        self._reading: ArmReading | None = None
        self._fault = ""
        self._fed_ns: int | None = None
        self._silent = False

    @property
    def fault(self) -> str:
        """Why the arm stands still until it is connected anew; empty if it does not."""
        return self._fault

    def connect(self) -> None:
        """Reach the arm, see that it is idle and has no error, and have the library hold it where it is.

        Raises:
            RobotError: Nobody answers, another program controls the arm, it is another model, it is not idle
                (its brakes, its stop, guiding, a reflex), or it is connected already.
        """
        if self._panda is not None:
            raise RobotError("the arm is connected already: close it first")
        self._reset()
        self._require_answer()
        try:
            self._panda = self._called(lambda: self._pandas(self._host, realtime_config=self._realtime))
            self._require_model()
            state = self._called(self._panda.get_state)
            if state.current_errors or state.robot_mode.name != READY_MODE:
                raise self._refused(
                    f"it is in mode {state.robot_mode.name}, errors {state.current_errors}",
                    "make it ready in Desk; nothing is recovered from here",
                )
            self._controller = self._controllers(filter_coeff=self._filter)
            self._called(lambda: self._panda.start_controller(self._controller))
            self._take()
        except DualsysError:
            self._let_go()
            raise

    def read(self) -> ArmReading:
        """The newest reading, stamped when it was first seen here.

        Raises:
            RobotError: The arm is not connected.
        """
        self._require_connected()
        self._take()
        if self._reading is None:
            raise RobotError(f"{self._host} has given no reading yet")
        return self._reading

    def write(self, command: FloatArray) -> None:
        """Hand the set-point [A], rad, to the library. An arm that reports a stop is sent nothing.

        Raises:
            RobotError: It is not one finite number for each axis, begins far from where the arm rests, or the
                arm is not connected.
        """
        self._require_connected()
        command = self.spec.require_command(command)
        if self._fault or self._reading is None:
            return
        if self._fed_ns is None:
            require_near(self.spec, command, self._reading.position)
        self._called(lambda: self._controller.set_control(command))
        self._fed_ns, self._silent = self._settings.clock.now_ns(), False

    def stop(self, reason: str) -> None:
        """Hand over nothing more: the arm comes to rest at the last set-point, until the next."""
        if self._panda is not None:
            _LOG.info("%s: stop: %s", self.spec.name, reason)
            self._fed_ns = None

    def close(self) -> None:
        """End the controller, and let go of the arm, which holds its position itself."""
        self._let_go()

    def _let_go(self) -> None:
        panda, self._panda, self._controller = self._panda, None, None
        if panda is not None:
            try:
                self._called(panda.stop_controller)
            except RobotError as error:
                _LOG.warning("%s", error)

    def _require_answer(self) -> None:
        try:
            socket.create_connection((self._host, COMMAND_PORT), self._settings.connect_timeout_s).close()
        except OSError as error:
            remedy = "look at robot.options.host and cable, and that FCI is activated in Desk"
            raise self._refused(f"port {COMMAND_PORT} does not answer ({error})", remedy) from error

    def _require_model(self) -> None:
        upper = self._called(self._panda.get_joint_limits_upper)
        found = "panda" if float(upper[5]) < FER_JOINT6_RAD + 0.01 else "fr3"
        if found != self._model:
            raise self._refused(f"it is a {found}, expected {self._model}", "change robot.options.model")

    def _take(self) -> None:
        """Keep the newest reading, and see whether the library's loop still runs."""
        now_ns = self._settings.clock.now_ns()
        if self._fed_ns is not None and now_ns - self._fed_ns >= SILENCE_NS:
            self._fed_ns, self._silent = None, True
        if not self._fault and not self._panda.is_moving():
            self._latch(self._why_ended())
        if self._fault:
            # Without its loop the library would wait for the arm.
            return
        state = self._called(self._panda.get_state)
        status: ArmStatus = "protective_stop" if state.current_errors else _status(state.robot_mode.name)
        if status != "ok":
            self._latch(f"it is in mode {state.robot_mode.name}, errors {state.current_errors}", status)
        elif self._silent:
            status = "watchdog"
        time_s = state.time.to_sec()
        before = self._reading
        if before is not None and time_s == self._time_s and status == before.status:
            return
        t_ns = before.t_ns if before is not None and time_s == self._time_s else now_ns
        self._time_s = time_s
        position: FloatArray = np.array(state.q, dtype=np.float64)
        velocity: FloatArray = np.array(state.dq, dtype=np.float64)
        self._reading = ArmReading(t_ns, position, velocity, status, self._fault)

    def _why_ended(self) -> str:
        try:
            self._panda.raise_error()
        except (RuntimeError, OSError) as error:
            return f"the library's loop has ended: {error}"
        return "the library's loop has ended"

    def _latch(self, why: str, status: ArmStatus = "protective_stop") -> None:
        _LOG.warning("%s: %s: %s; see Desk, then start control again", self.spec.name, status, why)
        self._fault = why
        if (last := self._reading) is not None:
            still = np.zeros_like(last.velocity)
            self._reading = ArmReading(last.t_ns, last.position, still, status, why)

    def _called(self, act: Callable[[], _T]) -> _T:
        """Call the library, and turn what it raises into a RobotError."""
        try:
            return act()
        except (RuntimeError, ValueError, OSError) as error:
            raise self._refused(str(error), "see Desk") from error

    def _refused(self, what: str, remedy: str) -> RobotError:
        return RobotError(f"{self.spec.name} at {self._host}: {what}; {remedy}")

    def _require_connected(self) -> None:
        if self._panda is None:
            raise RobotError("the arm is not connected: call connect first")


def _status(mode: str) -> ArmStatus:
    if mode == "kMove":
        return "ok"
    return "emergency_stop" if mode == "kUserStopped" else "protective_stop"


DRIVER: Final = RobotDriver(
    "a Franka Emika Panda or Franka Research 3, over FCI",
    open=FrankaRobot,
    library="panda_py",
    install=f"pip install 'dualsys[{EXTRA}]'",
)
