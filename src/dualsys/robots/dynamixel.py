"""Driver of arms made of Dynamixel X servos (protocol 2.0), on ROBOTIS' own `dynamixel-sdk`.

The addresses are those of the control tables in the ROBOTIS e-Manual (https://emanual.robotis.com/docs/en/dxl/x/,
one page per model); the SDK ships the same tables, and a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

from dualsys.errors import MissingExtraError
from dualsys.robots.registry import RobotDriver, RobotSettings
from dualsys.robots.servo_arm import ServoArm
from dualsys.robots.servo_bus import Packet, PacketCalls
from dualsys.robots.servo_family import ServoFamily
from dualsys.robots.servo_port import SerialPort
from dualsys.robots.servo_registers import Register, RegisterMap, ServoModel

EXTRA: Final = "dynamixel"

REGISTERS: Final = RegisterMap(
    model=Register("model number", 0, 2),
    mode=Register("operating mode", 11, 1),
    position_mode=3,
    torque=Register("torque enable", 64, 1),
    goal=Register("goal position", 116, 4, "twos_complement"),
    position=Register("present position", 132, 4, "twos_complement"),
    velocity=Register("present velocity", 128, 4, "twos_complement"),
    load=Register("present load", 126, 2, "twos_complement"),
    voltage=Register("present input voltage", 144, 2),
    temperature=Register("present temperature", 146, 1),
    error=Register("hardware error status", 70, 1),
    error_in_block=False,
    errors=MappingProxyType(
        {
            0: "the supply voltage is out of range",
            2: "overheated",
            3: "its encoder failed",
            4: "electrical shock, or too little supply",
            5: "overloaded",
        }
    ),
    # No profile of its own: goals come at the rate of control, and already obey the limits.
    prepared=(
        (Register("profile acceleration", 108, 4), 0),
        (Register("profile velocity", 112, 4), 0),
    ),
)

CURRENT_LIMIT: Final = Register("current limit", 38, 2)
RPM_UNIT_RAD_S: Final = 0.229 * 2 * 3.141592653589793 / 60
"""One unit of velocity: 0.229 revolutions per minute."""


def _model(name: str, number: int, *, current: bool) -> ServoModel:
    return ServoModel(
        name,
        number,
        REGISTERS,
        ticks_per_turn=4096,
        velocity_rad_s=RPM_UNIT_RAD_S,
        load_unit=None if current else 0.001,
        load_limit=CURRENT_LIMIT if current else None,
    )


MODELS: Final = MappingProxyType(
    {
        model.name: model
        for model in (
            # These measure a load, in 0.1 %.
            _model("xl430-w250", 1060, current=False),
            _model("xc430-w150", 1070, current=False),
            _model("xc430-w240", 1080, current=False),
            _model("2xl430-w250", 1090, current=False),
            _model("2xc430-w250", 1160, current=False),
            # These measure a current, which is compared with their current limit.
            _model("xm430-w350", 1020, current=True),
            _model("xm430-w210", 1030, current=True),
            _model("xm540-w270", 1120, current=True),
            _model("xm540-w150", 1130, current=True),
            _model("xl330-m077", 1190, current=True),
            _model("xl330-m288", 1200, current=True),
            _model("xc330-t181", 1210, current=True),
            _model("xc330-t288", 1220, current=True),
            _model("xc330-m181", 1230, current=True),
            _model("xc330-m288", 1240, current=True),
        )
    }
)
"""Every model that is driven, by name."""


def calls(port: SerialPort) -> PacketCalls:
    """What is used of the SDK.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import dynamixel_sdk as sdk
    except ImportError as error:
        raise MissingExtraError("dynamixel-sdk", EXTRA, "robot.driver 'dynamixel'") from error
    handler = sdk.Protocol2PacketHandler()

    def request(address: int, length: int, ids: Sequence[int]) -> int:
        return int(handler.syncReadTx(port, address, length, list(ids), len(ids), False))

    def receive() -> tuple[Packet | None, int]:
        found, result = handler.rxPacket(port, False)
        if result != sdk.COMM_SUCCESS:
            return None, int(result)
        # Header, id, length, instruction; then the error, the data, and two bytes of CRC. The length is the
        # one without stuffing, which was removed.
        end = 5 + found[5] + (found[6] << 8)
        return Packet(found[4], found[8], bytes(found[9:end])), int(result)

    def sync_write(address: int, length: int, packet: Sequence[int]) -> int:
        return int(handler.syncWriteTxOnly(port, address, length, list(packet), len(packet)))

    return PacketCalls(
        ask=partial(handler.readTx, port),
        write=partial(handler.writeTxRx, port),
        request=request,
        receive=receive,
        sync_write=sync_write,
        overhead=11,
        success=sdk.COMM_SUCCESS,
        nothing=sdk.COMM_RX_TIMEOUT,
        instruction_errors=0x7F,
        alert=0x80,
    )


FAMILY: Final = ServoFamily("dynamixel", EXTRA, MODELS, REGISTERS, calls)


def open_arm(settings: RobotSettings) -> ServoArm:
    """The arm that the setting `robot.arm` describes; it is not connected yet.

    Raises:
        ConfigError: The file has faults, or none is named.
        MissingExtraError: The SDK is not installed.
    """
    return ServoArm(settings, FAMILY)


DRIVER: Final = RobotDriver(
    "an arm of Dynamixel X servos on a serial port",
    open=open_arm,
    library="dynamixel_sdk",
    install=f"pip install 'dualsys[{EXTRA}]'",
)
