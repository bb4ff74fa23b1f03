"""Servos of one maker, and the file of an arm that is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dualsys.errors import ConfigError
from dualsys.robots.registry import RobotSettings
from dualsys.robots.servo_bus import PacketCalls
from dualsys.robots.servo_calibration import ArmFile, load_arm
from dualsys.robots.servo_port import SerialPort
from dualsys.robots.servo_registers import RegisterMap, ServoModel


@dataclass(frozen=True)
class ServoFamily:
    """Servos of one maker that share a protocol and a table.

    Attributes:
        name: Of the driver.
        extra: Which extra installs the SDK.
        models: Every model that is driven, by name.
        registers: Their table.
        calls: Loads the SDK, and puts the port in.
    """

    name: str
    extra: str
    models: Mapping[str, ServoModel]
    registers: RegisterMap
    calls: Callable[[SerialPort], PacketCalls]


def arm_of(settings: RobotSettings, family: ServoFamily) -> ArmFile:
    """The file of the arm that the options name, with the port that they name.

    Raises:
        ConfigError: It has faults, or none is named.
        RobotError: An option is unknown.
    """
    settings.require_options("arm", "port")
    path, port = settings.options.get("arm"), settings.options.get("port")
    if not isinstance(path, str) or not path:
        fault = (
            f"robot.options.arm: got {path!r}, expected the file of the arm; `dualsys calibrate` makes one"
        )
        raise ConfigError(f"robot.driver {family.name!r}", [fault])
    if port is not None and (not isinstance(port, str) or not port):
        raise ConfigError(
            f"robot.driver {family.name!r}",
            [f"robot.options.port: got {port!r}, expected a serial port such as /dev/ttyACM0"],
        )
    arm = load_arm(Path(path).expanduser())
    faults = [
        f"joints.{number}.model: got {joint.model!r}, expected one of {', '.join(family.models)}"
        for number, joint in enumerate(arm.joints)
        if joint.model not in family.models
    ]
    if faults:
        raise ConfigError(path, faults)
    return arm if port is None else arm.model_copy(update={"port": port})
