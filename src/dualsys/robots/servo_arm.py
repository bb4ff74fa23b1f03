"""An arm made of bus servos: the driver that the families of servos share.

Nothing waits in a cycle. `write` sends the goals of all servos in one packet and asks them all for what they
measure; the next `read` takes the answers, which have come in the meantime. A reading is therefore one cycle
old, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from dualsys.clock import nanoseconds
from dualsys.errors import RobotError
from dualsys.fast.control.limits import FloatArray
from dualsys.robots.contract import ArmReading, RobotSpec
from dualsys.robots.registry import RobotSettings
from dualsys.robots.servo_bus import Answers, ServoBus, check_time, patience_ns
from dualsys.robots.servo_calibration import JointEntry
from dualsys.robots.servo_family import ServoFamily, arm_of
from dualsys.robots.servo_health import Health, Losses
from dualsys.robots.servo_port import SerialPort
from dualsys.robots.servo_registers import ServoModel, ServoSample, sample_of

PUSHED_RAD: Final = 0.1
"""Distance from its goal at which an axis that shall hold is taken to be held back, and holds where it is."""

LIMP_START_RAD: Final = 0.2
"""Farthest first set-point of motors that were off."""

POLL_NS: Final = 200_000
"""How often answers are looked for where they are waited for, ns."""

_LOG = logging.getLogger(__name__)


class ServoArm:
    """An arm on one serial port.

    The option `arm` names its file, see `servo_calibration`; the option `port` replaces the port in it.

    Args:
        settings: Where the arm is.
        family: Its servos.

    Raises:
        ConfigError: The file has faults, or none is named.
        RobotError: An option is unknown, or the bus is too slow for the arm.
        MissingExtraError: The SDK is not installed.
    """

    def __init__(self, settings: RobotSettings, family: ServoFamily) -> None:
        arm = arm_of(settings, family)
        self._settings = settings
        self._family = family
        self._arm = arm
        self._scale = arm.scale()
        self._spec = arm.spec()
        self._names = self._spec.axes
        self._ids = tuple(joint.id for joint in arm.joints)
        self._models = tuple(family.models[joint.model] for joint in arm.joints)
        self._port = SerialPort(arm.port, arm.baud_rate, settings.clock, patience_ns(arm.rate_hz))
        calls = family.calls(self._port)
        check_time(calls, family.registers, len(self._ids), arm.baud_rate, arm.rate_hz)
        self._bus = ServoBus(self._port, calls, family.registers, self._ids)
        self._connected = False
        self._reset()

    def _reset(self) -> None:
        self._health = Health(self._names, self._arm.protection)
        self._losses = Losses(self._names, self._arm.tolerated_losses)
        self._speed_unit = np.array([model.velocity_rad_s for model in self._models])
        self._load_unit = np.ones(len(self._ids))
        self._reading: ArmReading | None = None
        self._samples: tuple[ServoSample, ...] = ()
        self._alerts: dict[int, tuple[str, ...]] = {}
        self._fault = ""
        self._requested_ns = 0
        self._goal: dict[int, int] = {}
        self._unsent: dict[int, int] | None = None
        self._led = False
        self._limp = False

    @property
    def spec(self) -> RobotSpec:
        """What the arm is: its profile, within what the joints reach."""
        return self._spec

    @property
    def fault(self) -> str:
        """Why the arm stands still, by its own judgement; empty if it does not."""
        return self._fault

    @property
    def samples(self) -> tuple[ServoSample, ...]:
        """What each servo measured, in the order of the joints; empty before the first reading."""
        return self._samples

    def counts(self) -> dict[str, int]:
        """Cycles so far, and answers that were lost or came damaged."""
        losses = self._losses
        return {"cycles": losses.cycles, "lost": losses.lost, "corrupted": losses.corrupted}

    def connect(self) -> None:
        """Find every servo, check it, have it hold where it is, and switch the motors on.

        Raises:
            RobotError: The port cannot be opened; a servo is missing, of another model, in another mode, or
                has a fault; or the arm is connected already.
        """
        with self._found():
            reading = self._measure()
            if self._fault:
                raise RobotError(f"{self._spec.name} cannot be switched on: {self._fault}")
            self._switch_on(reading)

    def find(self) -> None:
        """Find every servo and check it, as `connect` does, and let go of the port: nothing is switched.

        Raises:
            RobotError: As `connect`.
        """
        with self._found():
            self._let_go()

    def connect_limp(self) -> None:
        """Find every servo, and switch the motors off: the arm can be moved by hand, and sinks.

        Raises:
            RobotError: As `connect`.
        """
        with self._found():
            for servo in self._ids:
                self._bus.put(servo, self._family.registers.torque, 0)
            self._limp = True
            self._measure()

    def read(self) -> ArmReading:
        """The newest reading, stamped when the servos were asked for it.

        Raises:
            RobotError: The port failed, a servo gave no good answer for too long, or the arm is not
                connected.
        """
        self._require_connected()
        self._take_answers()
        if not self._bus.asked:
            if self._unsent is not None:
                self._send(self._unsent)
            # Otherwise `write` follows, and asks after its goals.
            elif not self._led:
                self._ask()
        self._led = False
        if self._reading is None:
            raise RobotError("the arm has given no reading yet")
        return self._reading

    def write(self, command: FloatArray) -> None:
        """Send the set-point [A], rad, and ask for what the servos measure.

        While answers are under way it waits for the next call: two packets at once would destroy each other.

        Raises:
            RobotError: It is not one finite number for each axis, lies outside of a turn, begins far from
                where motors are that were off, cannot be sent, or the arm is not connected.
        """
        self._require_connected()
        goal = self._goal_of(self._spec.require_command(command))
        if self._limp:
            self._require_near(command)
        self._led = True
        self._take_answers()
        if self._bus.asked:
            self._unsent = goal
            return
        self._send(goal)
        self._ask()

    def stop(self, reason: str) -> None:
        """Rest, as the file of the arm says: with the motors on (`hold`) or off (`limp`).

        To hold, the goals stay what they are, apart from axes that something keeps away from them: those hold
        where they are. It waits for answers that are under way, at most a cycle.
        """
        if not self._connected:
            return
        try:
            # Whoever was silent, the others shall stop.
            self._await_answers()
            if self._bus.asked:
                self._bus.answers()
            self._unsent = None
            if self._arm.on_stop == "limp":
                self._bus.put_all(self._family.registers.torque, dict.fromkeys(self._ids, 0))
                self._limp = True
            elif not self._limp:
                self._send(self._goal | self._held_back())
        except RobotError as error:
            _LOG.warning("%s could not be told to stop (%s): %s", self._spec.name, reason, error)

    def close(self) -> None:
        """Stop, and let go of the port. Motors that hold stay on until somebody switches them off."""
        if not self._connected:
            return
        self._rest("the connection is closed")
        self._let_go()

    @contextmanager
    def _found(self) -> Iterator[None]:
        """Open the port and check every servo; what fails then, or within this, closes it again."""
        if self._connected:
            raise RobotError("the arm is connected already: close it first")
        self._reset()
        self._port.open(self._family.extra)
        self._connected = True
        try:
            for joint, model in zip(self._arm.joints, self._models, strict=True):
                self._check_servo(joint, model)
            yield
        # Whatever it is, such as an SDK that trips, or a person who breaks off: the port is not kept.
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        self._connected = False
        self._bus.close()

    def _check_servo(self, joint: JointEntry, model: ServoModel) -> None:
        number = self._bus.ping(joint.id)
        if number != model.number:
            known = [other.name for other in self._family.models.values() if other.number == number]
            raise RobotError(
                f"{joint.name}: servo {joint.id} says that its model is {known[0] if known else number}, "
                f"expected {model.name} ({model.number}): correct the id or the model in the file of the arm"
            )
        registers = self._family.registers
        mode = self._bus.get(joint.id, registers.mode)
        if mode != registers.position_mode:
            raise RobotError(
                f"{joint.name}: the operating mode of servo {joint.id} is {mode}, expected "
                f"{registers.position_mode} (position): set it with the maker's tool"
            )
        at = self._ids.index(joint.id)
        if model.velocity_unit_flag is not None:
            register, bit = model.velocity_unit_flag
            if not self._bus.get(joint.id, register) >> bit & 1:
                self._speed_unit[at] = model.velocity_rad_s * model.velocity_coarse
        if model.load_unit is not None:
            self._load_unit[at] = model.load_unit
        elif model.load_limit is not None:
            largest = self._bus.get(joint.id, model.load_limit)
            if largest <= 0:
                raise RobotError(
                    f"{joint.name}: the current limit of servo {joint.id} is {largest}, expected more than "
                    "0: set it with the maker's tool"
                )
            self._load_unit[at] = 1.0 / largest

    def _measure(self) -> ArmReading:
        """The first reading; waits for it."""
        clock = self._settings.clock
        deadline_ns = clock.now_ns() + nanoseconds(self._settings.connect_timeout_s)
        while self._reading is None:
            if clock.now_ns() > deadline_ns:
                raise RobotError(
                    f"{self._spec.name}: not every servo told its position within "
                    f"{self._settings.connect_timeout_s:g} s"
                )
            self._ask()
            self._await_answers()
            self._take_answers()
        return self._reading

    def _switch_on(self, reading: ArmReading) -> None:
        registers = self._family.registers
        held = self._goal_of(reading.position)
        # First every goal, then the first motor: nothing may jump to where it was sent long ago.
        for servo in self._ids:
            for register, value in registers.prepared:
                self._bus.put(servo, register, value)
            self._bus.put(servo, registers.goal, held[servo])
        self._goal = held
        try:
            for servo in self._ids:
                self._bus.put(servo, registers.torque, 1)
        except RobotError:
            self._rest("not every motor could be switched on")
            raise

    def _ask(self) -> None:
        self._requested_ns = self._settings.clock.now_ns()
        self._bus.request()

    def _send(self, goal: dict[int, int]) -> None:
        registers = self._family.registers
        self._bus.put_all(registers.goal, goal)
        if self._limp:
            self._bus.put_all(registers.torque, dict.fromkeys(self._ids, 1))
            self._limp = False
        self._goal, self._unsent = goal, None

    def _await_answers(self) -> None:
        """Wait for the answers that are under way, at most until their deadline."""
        clock = self._settings.clock
        while self._bus.asked and not self._bus.arrived:
            clock.sleep_until_ns(min(clock.now_ns() + POLL_NS, self._bus.deadline_ns + 1))

    def _take_answers(self) -> None:
        if not (self._bus.asked and self._bus.arrived):
            return
        answers = self._bus.answers()
        answered = {name: servo in answers.data for name, servo in zip(self._names, self._ids, strict=True)}
        silent = self._losses.note(answered, answers.corrupted)
        if silent:
            raise RobotError(
                f"{silent}: check cables and supply; docs/servo-arms.md tells what to do about a slow adapter"
            )
        self._look_into(answers)
        if all(answered.values()):
            self._understand(answers)

    def _look_into(self, answers: Answers) -> None:
        """Ask servos that raised an alert what it is, once for each alert."""
        registers = self._family.registers
        for servo in answers.data:
            if servo not in answers.alerts:
                self._alerts.pop(servo, None)
            elif servo not in self._alerts:
                found = registers.errors_of(self._bus.get(servo, registers.error))
                self._alerts[servo] = found or ("an alert that was over when it was asked about",)

    def _understand(self, answers: Answers) -> None:
        samples = [sample_of(self._family.registers, answers.data[servo]) for servo in self._ids]
        loads = self._load_unit * [sample.load for sample in samples]
        self._samples = tuple(samples)
        faults = [self._health.fault(self._requested_ns, samples, loads.tolist())]
        faults += [
            f"{name}: {error}"
            for name, servo in zip(self._names, self._ids, strict=True)
            for error in self._alerts.get(servo, ())
        ]
        fault = "; ".join(found for found in faults if found)
        if fault and fault != self._fault:
            _LOG.warning("%s: protective stop: %s", self._spec.name, fault)
        self._fault = fault
        speeds = self._scale.direction * self._speed_unit * [sample.velocity for sample in samples]
        self._reading = ArmReading(
            self._requested_ns,
            self._scale.to_rad([sample.position for sample in samples]),
            speeds,
            "protective_stop" if fault else "ok",
            fault,
        )

    def _goal_of(self, angles_rad: FloatArray) -> dict[int, int]:
        ticks = self._scale.to_ticks(angles_rad)
        for name, model, goal in zip(self._names, self._models, ticks.tolist(), strict=True):
            if not 0 <= goal < model.ticks_per_turn:
                raise RobotError(
                    f"{name}: position {goal} lies outside of 0 to {model.ticks_per_turn - 1}: nothing was "
                    "sent; calibrate the arm again"
                )
        return dict(zip(self._ids, ticks.tolist(), strict=True))

    def _held_back(self) -> dict[int, int]:
        """Where to hold axes that are far from their goals."""
        if self._reading is None:
            return {}
        goals = self._scale.to_rad([self._goal[servo] for servo in self._ids])
        far = np.abs(self._reading.position - goals) > PUSHED_RAD
        # One that was pushed over the end of its turn holds there, and keeps no other from giving way.
        ends = [model.ticks_per_turn - 1 for model in self._models]
        here = np.clip(self._scale.to_ticks(self._reading.position), 0, ends).tolist()
        return {servo: at for servo, at, pushed in zip(self._ids, here, far, strict=True) if pushed}

    def _require_near(self, command: FloatArray) -> None:
        reading = self._reading
        if reading is None:
            return
        away = np.abs(command - reading.position)
        if away.max() > LIMP_START_RAD:
            at = int(away.argmax())
            raise RobotError(
                f"{self._names[at]}: the motors are off, and the first set-point is {away[at]:.2f} rad away, "
                f"at most {LIMP_START_RAD:g} rad: begin where the arm is"
            )

    def _require_connected(self) -> None:
        if not self._connected:
            raise RobotError("the arm is not connected: call connect first")

    def _rest(self, reason: str) -> None:
        """Stop, and have every servo confirm it where its motor shall be off."""
        self.stop(reason)
        if self._arm.on_stop != "limp":
            return
        for name, servo in zip(self._names, self._ids, strict=True):
            try:
                self._bus.put(servo, self._family.registers.torque, 0)
            except RobotError as error:
                _LOG.warning("%s may still be powered, switch off its supply: %s", name, error)
