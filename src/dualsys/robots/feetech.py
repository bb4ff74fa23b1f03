"""Driver of arms made of Feetech STS servos, such as the SO-101, on Feetech's own `ftservo-python-sdk`.

The addresses are those of Feetech's memory table of the STS series (https://www.feetechrc.com, STS3215); the
SDK has most of them as constants, and a test compares those.

Two packages install the module `scservo_sdk`. This one is Feetech's own, kept (last release 2026), with a
licence (MIT) and a wheel; `feetech-servo-sdk` is a copy of 2022 by somebody else, with another interface.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from dualsys.errors import MissingExtraError, RobotError
from dualsys.robots.registry import RobotDriver, RobotSettings
from dualsys.robots.servo_arm import ServoArm
from dualsys.robots.servo_bus import Packet, PacketCalls
from dualsys.robots.servo_family import ServoFamily
from dualsys.robots.servo_port import SerialPort
from dualsys.robots.servo_registers import Register, RegisterMap, ServoModel

EXTRA: Final = "feetech"

REGISTERS: Final = RegisterMap(
    model=Register("model number", 3, 2),
    mode=Register("operating mode", 33, 1),
    position_mode=0,
    torque=Register("torque switch", 40, 1),
    goal=Register("goal position", 42, 2, "sign_bit", 15),
    position=Register("present position", 56, 2, "sign_bit", 15),
    velocity=Register("present speed", 58, 2, "sign_bit", 15),
    load=Register("present load", 60, 2, "sign_bit", 10),
    voltage=Register("present voltage", 62, 1),
    temperature=Register("present temperature", 63, 1),
    error=Register("status", 65, 1),
    error_in_block=True,
    errors=MappingProxyType(
        {
            0: "the supply voltage is out of range",
            1: "its encoder failed",
            2: "overheated",
            3: "the current is too high",
            5: "overloaded",
        }
    ),
    # As fast as it can: goals come at the rate of control, and already obey the limits.
    prepared=((Register("acceleration", 41, 1), 254),),
)

PHASE: Final = Register("phase", 18, 1)
FINE_SPEED_BIT: Final = 2
"""Of `PHASE`: set where one unit of speed is one tick per second, else it is 50."""

TICK_RAD: Final = 2 * 3.141592653589793 / 4096

MODELS: Final = MappingProxyType(
    {
        "sts3215": ServoModel(
            "sts3215",
            777,
            REGISTERS,
            ticks_per_turn=4096,
            velocity_rad_s=TICK_RAD,
            load_unit=0.001,
            velocity_unit_flag=(PHASE, FINE_SPEED_BIT),
            velocity_coarse=50.0,
        )
    }
)
"""Every model that is driven, by name."""


def calls(port: SerialPort) -> PacketCalls:
    """What is used of the SDK.

    Raises:
        MissingExtraError: It is not installed.
        RobotError: Another package has put its own in the place of it.
    """
    try:
        import scservo_sdk as sdk
    except ImportError as error:
        raise MissingExtraError("ftservo-python-sdk", EXTRA, "robot.driver 'feetech'") from error
    if not hasattr(sdk, "sms_sts"):
        raise RobotError(
            "robot.driver 'feetech': the module scservo_sdk is that of feetech-servo-sdk; replace it: "
            "pip uninstall feetech-servo-sdk, then pip install --force-reinstall ftservo-python-sdk"
        )
    handler = sdk.sms_sts(port)

    def receive() -> tuple[Packet | None, int]:
        found, result = handler.rxPacket()
        if result != sdk.COMM_SUCCESS:
            return None, int(result)
        # Header, id, length, error; then the data and a checksum.
        return Packet(found[2], found[4], bytes(found[5 : 3 + found[3]])), int(result)

    return PacketCalls(
        ask=handler.readTx,
        write=handler.writeTxRx,
        request=lambda address, length, ids: int(handler.syncReadTx(address, length, list(ids), len(ids))),
        receive=receive,
        sync_write=lambda address, length, packet: int(
            handler.syncWriteTxOnly(address, length, list(packet), len(packet))
        ),
        overhead=6,
        success=sdk.COMM_SUCCESS,
        nothing=sdk.COMM_RX_TIMEOUT,
        instruction_errors=0,
        alert=0,
    )


FAMILY: Final = ServoFamily("feetech", EXTRA, MODELS, REGISTERS, calls)


def open_arm(settings: RobotSettings) -> ServoArm:
    """The arm that the setting `robot.arm` describes; it is not connected yet.

    Raises:
        ConfigError: The file has faults, or none is named.
        MissingExtraError: The SDK is not installed.
        RobotError: Another package has put its own in the place of it.
    """
    return ServoArm(settings, FAMILY)


DRIVER: Final = RobotDriver(
    "an arm of Feetech STS servos, such as the SO-101, on a serial port",
    open=open_arm,
    library="scservo_sdk",
    install=f"pip install 'dualsys[{EXTRA}]'",
)
